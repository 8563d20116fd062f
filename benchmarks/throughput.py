"""Requests per second, beside the ceiling and the conventional build, in one run.

python -m benchmarks.throughput [webhook|execute] [--seconds N]
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, get_args

import msgspec

from benchmarks.load import PATHS, Kind, Load, drive
from benchmarks.postgres import postgres
from benchmarks.servers import Server, ceiling, conventional, vyrox

CONNECTIONS: Final = (1, 32, 128)
WARM_UP_S: Final = 1

CEILING: Final = "a. bare 202"
CONVENTIONAL: Final = "b. conventional"
SQLITE: Final = "c. Vyrox, SQLite"
POSTGRES: Final = "c. Vyrox, PostgreSQL"


class Measured(msgspec.Struct, frozen=True):
    """One server under one load. `cpu_us` is the server process's own, per accepted request."""

    load: Load
    cpu_us: float


def measure(server: Server, kind: Kind, connections: int, seconds: int) -> Measured:
    """Return the figures of `server` under load, after its stores were checked."""
    warm_up = drive(kind, server.addresses[kind], connections, WARM_UP_S)
    before = server.cpu_s()
    load = drive(kind, server.addresses[kind], connections, seconds)
    cpu_s = server.cpu_s() - before
    if server.stores is not None:
        server.stores.check(kind, warm_up.accepted + load.accepted, cut_off=2 * connections)
    return Measured(load, cpu_s / max(load.accepted, 1) * 1e6)


def compare(kind: Kind, seconds: int) -> None:
    """Measure all servers at each number of connections, and print a table."""
    print(f"\nPOST {PATHS[kind]}, {seconds} s each, every request new")
    print(
        f"{'conns':>5}  {'server':<21}{'req/s':>8}{'c/a':>7}{'c/b':>7}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'errors':>8}{'CPU us/req':>12}"
    )
    with postgres() as new_database:
        servers: dict[str, Callable[[], AbstractContextManager[Server]]] = {
            CEILING: ceiling,
            CONVENTIONAL: conventional,
            SQLITE: vyrox,
            POSTGRES: lambda: vyrox(new_database()),
        }
        for connections in CONNECTIONS:
            rates: dict[str, float] = {}
            for name, run in servers.items():
                with run() as server:
                    measured = measure(server, kind, connections, seconds)
                rates[name] = measured.load.per_second
                _print_row(connections, name, measured, rates)


def _print_row(connections: int, name: str, measured: Measured, rates: dict[str, float]) -> None:
    load = measured.load
    is_ours = name.startswith("c.")
    ratios = [
        f"{rates[name] / rates[other]:.2f}" if is_ours else "" for other in (CEILING, CONVENTIONAL)
    ]
    print(
        f"{connections:>5}  {name:<21}{load.per_second:>8.0f}{ratios[0]:>7}{ratios[1]:>7}"
        f"{load.p50_us / 1000:>9.2f}{load.p99_us / 1000:>9.2f}{load.max_us / 1000:>9.1f}"
        f"{load.errors:>8}{measured.cpu_us:>12.1f}",
        flush=True,
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=get_args(Kind))
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        compare(kind, arguments.seconds)


if __name__ == "__main__":
    main()
