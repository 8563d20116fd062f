"""Runs every measurement: `make bench`, or `make bench SECONDS=3` for a short run."""

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
"""How many alerts the long measurements send in a short run, per second of its length."""


def main() -> None:
    """Print every promised number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, help="of each measurement; 10, or a short look")
    parser.add_argument("--alerts", type=int, help="for memory and queue depth; 1,000,000")
    arguments = parser.parse_args()
    seconds = arguments.seconds or 10
    short = ALERTS_PER_SECOND * seconds if arguments.seconds else 1_000_000
    alerts = arguments.alerts or short
    _print_machine()
    throughput.compare("webhook", seconds)
    throughput.compare("execute", seconds)
    verdicts.measure()
    triage.measure(6 * seconds)
    proofs.measure()
    clicks.measure(6 * seconds)
    cold_start.main()
    idle.measure(6 * seconds, min(alerts, 100_000))
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
