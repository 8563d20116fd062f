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
from benchmarks.servers import Server, ceiling, conventional, has_node, node, vyrox

CONNECTIONS: Final = (1, 32, 128)
WARM_UP_S: Final = 1

CEILING: Final = "a. bare 202"
CONVENTIONAL: Final = "b. conventional"
NODE: Final = "n. hand-made Node"
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
    with_node = kind == "webhook" and has_node()
    if kind == "webhook" and not with_node:
        print("The hand-made Node build is left out: node or npm is missing.")
    print(
        f"{'conns':>5}  {'server':<21}{'req/s':>8}{'c/a':>7}{'c/b':>7}{'c/n':>7}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'errors':>8}{'CPU us/req':>12}"
    )
    with postgres() as new_database:
        servers: dict[str, Callable[[], AbstractContextManager[Server]]] = {
            CEILING: ceiling,
            CONVENTIONAL: conventional,
            **({NODE: node} if with_node else {}),
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
    ratios = "".join(
        f"{rates[name] / rates[other]:>7.2f}" if is_ours and other in rates else " " * 7
        for other in (CEILING, CONVENTIONAL, NODE)
    )
    print(
        f"{connections:>5}  {name:<21}{load.per_second:>8.0f}{ratios}"
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
