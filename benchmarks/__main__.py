"""Runs every measurement: `make bench`, or `make bench SECONDS=1` for a short look.

The figures that need much data or time: `make bench SECONDS=10 ALERTS=1000000`.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import (
    clicks,
    cold_start,
    idle,
    memory,
    proofs,
    queue_depth,
    tenants,
    throughput,
    triage,
    verdicts,
)

ALERTS_PER_SECOND: Final = 10_000
"""How many alerts the measurements with much data send, per second of the length of a run."""


def main() -> None:
    """Print every promised number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=throughput.SECONDS, help="of each run")
    parser.add_argument("--alerts", type=int, help="for memory and queue depth")
    arguments = parser.parse_args()
    seconds: int = arguments.seconds
    alerts: int = arguments.alerts or ALERTS_PER_SECOND * seconds
    rounds = throughput.ROUNDS if seconds >= throughput.SECONDS else 1
    _print_machine()
    throughput.compare("webhook", seconds, rounds)
    throughput.compare("execute", seconds, rounds)
    idle.measure(10 * seconds, idle.UNREAD if rounds > 1 else alerts)
    verdicts.measure()
    triage.measure(6 * seconds)
    proofs.measure()
    clicks.measure(6 * seconds)
    cold_start.main()
    tenants.measure(seconds)
    queue_depth.measure(seconds, alerts)
    memory.measure(alerts)


def _print_machine() -> None:
    load = os.getloadavg()[0]
    print(
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors for everything (load generator and stores included)\n"
        f"load before the start {load:.2f}, fsync of 600 bytes {_fsync_us():.0f} us",
        flush=True,
    )


def _fsync_us() -> float:
    """Return the median time of an fsync where the stores will be."""
    with tempfile.TemporaryDirectory(prefix="vx-bench-") as path:
        descriptor = os.open(Path(path) / "file", os.O_CREAT | os.O_WRONLY)
        took = []
        for _ in range(100):
            os.write(descriptor, b"x" * 600)
            began = time.perf_counter()
            os.fsync(descriptor)
            took.append(time.perf_counter() - began)
        os.close(descriptor)
    return sorted(took)[50] * 1e6


if __name__ == "__main__":
    main()
