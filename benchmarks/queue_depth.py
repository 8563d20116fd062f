"""Throughput with 1,000,000 alerts queued, beside that with an empty queue.

python -m benchmarks.queue_depth [--seconds N] [--alerts N]
"""

import argparse
from typing import Final

from benchmarks.growth import compare
from benchmarks.servers import vyrox

TARGET: Final = 0.9
FILL_CONNECTIONS: Final = 128


def main() -> None:
    """Fill the queue, and measure both, in alternation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--alerts", type=int, default=1_000_000)
    arguments = parser.parse_args()
    measure(arguments.seconds, arguments.alerts)


def measure(seconds: int, alerts: int) -> None:
    """Print the rates with an empty queue and with `alerts` in it, and their ratio."""
    print(f"\n{alerts} queued alerts beside none, SQLite")
    with vyrox() as full:
        queued = 0
        while queued < alerts:
            queued += full.deliver(FILL_CONNECTIONS, 5).accepted
        with vyrox() as empty:
            compare({"empty": empty, f"{queued} queued": full}, seconds, TARGET)


if __name__ == "__main__":
    main()
