"""Throughput with 10,000 tenants, beside that with one.

python -m benchmarks.tenants [--seconds N]
"""

import argparse
from typing import Final

from benchmarks.growth import compare
from benchmarks.servers import vyrox

TENANTS: Final = 10_000
TARGET: Final = 0.8


def main() -> None:
    """Measure both, in alternation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    measure(parser.parse_args().seconds)


def measure(seconds: int) -> None:
    """Print the rates with one tenant and with many, and their ratio."""
    print(f"\n{TENANTS} tenants beside one, SQLite")
    with vyrox() as one, vyrox(tenants=TENANTS) as many:
        compare({"1 tenant": one, f"{TENANTS} tenants": many}, seconds, TARGET)


if __name__ == "__main__":
    main()
