"""Requests per second, waiting time and processor time, beside builds that promise less.

python -m benchmarks.throughput [webhook|execute] [--seconds N] [--rounds N]

All servers are measured in turn, in several rounds: other work on the machine then reaches all of
them. The table has medians.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Final, get_args

import msgspec

from benchmarks.load import PATHS, Kind
from benchmarks.postgres import postgres
from benchmarks.servers import (
    WITH_TRIAGE,
    Server,
    ceiling,
    conventional,
    has_node,
    node,
    vyrox,
)

CONNECTIONS: Final = (1, 32, 128)
SECONDS: Final = 3
ROUNDS: Final = 3
WARM_UP_S: Final = 1

CEILING: Final = "a. bare 202"
CONVENTIONAL: Final = "b. conventional"
NODE: Final = "n. hand-made Node"
SQLITE: Final = "c. Vyrox, SQLite"
TRIAGE: Final = "c. the same, triage on"
POSTGRES: Final = "c. Vyrox, PostgreSQL"

CPU_TARGET: Final = 6.0
"""Times the processor time of the bare 202, with one connection."""

LATENCY_TARGET: Final = 2.0
"""Times the waiting time of the hand-made build, with one connection."""

RATE_TARGETS: Final = {32: 0.25, 128: 0.33}
"""Shares of the rate of the bare 202, by number of connections."""

Run = Callable[[], AbstractContextManager[Server]]


class Measured(msgspec.Struct, frozen=True):
    """One server under one load. `cpu_us` is the server process's own, per accepted request."""

    per_second: float
    p50_ms: float
    cpu_us: float
    errors: int


Rows = dict[tuple[str, int], list[Measured]]
"""By server and number of connections: what each round has found."""


def measure(server: Server, kind: Kind, connections: int, seconds: int) -> Measured:
    """Return the figures of `server` under load."""
    server.deliver(connections, WARM_UP_S, kind)
    before = server.cpu_s()
    load = server.deliver(connections, seconds, kind)
    cpu_us = (server.cpu_s() - before) / max(load.accepted, 1) * 1e6
    return Measured(load.per_second, load.p50_us / 1000, cpu_us, load.errors)


def compare(kind: Kind, seconds: int, rounds: int) -> None:
    """Measure all servers at each number of connections, and print a table."""
    print(f"\nPOST {PATHS[kind]}, every request new: medians of {rounds} rounds of {seconds} s")
    if kind == "webhook" and not has_node():
        print("The hand-made Node build is left out: node, npm or a C++ compiler is missing.")
    rows: Rows = {}
    with postgres() as new_database:
        servers = _servers(kind, new_database)
        for number in range(rounds):
            for name in sorted(servers, reverse=number % 2 == 1):
                with servers[name]() as server:
                    for connections in CONNECTIONS:
                        found = measure(server, kind, connections, seconds)
                        rows.setdefault((name, connections), []).append(found)
                    if server.stores is not None:
                        server.check(kind)
    _print_table(list(servers), rows)
    _print_targets(kind, rows)


def _servers(kind: Kind, new_database: Callable[[], str]) -> dict[str, Run]:
    servers: dict[str, Run] = {CEILING: ceiling, CONVENTIONAL: conventional}
    if kind == "webhook" and has_node():
        servers[NODE] = node
    servers[SQLITE] = vyrox
    if kind == "webhook":
        servers[TRIAGE] = lambda: vyrox(extra=WITH_TRIAGE)
    servers[POSTGRES] = lambda: vyrox(new_database())
    return servers


def _print_table(names: list[str], rows: Rows) -> None:
    heads = ("req/s", "p50 ms", "CPU us", "rate / a", "CPU / a")
    print(" " * 24 + "".join(f"{head:^24}" for head in heads))
    print(f"{'connections':<24}" + "".join(f"{each:>8}" for each in CONNECTIONS) * len(heads))
    for name in names:
        parts = [
            *(f"{_middle(rows, name, each, 'per_second'):>8.0f}" for each in CONNECTIONS),
            *(f"{_middle(rows, name, each, 'p50_ms'):>8.2f}" for each in CONNECTIONS),
            *(f"{_middle(rows, name, each, 'cpu_us'):>8.0f}" for each in CONNECTIONS),
            *(f"{_ratio(rows, name, CEILING, each, 'per_second'):>8.2f}" for each in CONNECTIONS),
            *(f"{_ratio(rows, name, CEILING, each, 'cpu_us'):>8.1f}" for each in CONNECTIONS),
        ]
        errors = sum(each.errors for key in rows for each in rows[key] if key[0] == name)
        print(f"{name:<24}{''.join(parts)}" + (f"   {errors} ERRORS" if errors else ""), flush=True)


def _print_targets(kind: Kind, rows: Rows) -> None:
    if kind != "webhook":
        return
    cpu = _ratio(rows, SQLITE, CEILING, 1, "cpu_us")
    print(f"CPU of c / a with 1 connection: {cpu:.1f} (target: at most {CPU_TARGET:.0f})")
    if (NODE, 1) in rows:
        waits = _ratio(rows, SQLITE, NODE, 1, "p50_ms")
        print(f"p50 of c / n with 1 connection: {waits:.1f} (target: at most {LATENCY_TARGET:.0f})")
    for connections, target in RATE_TARGETS.items():
        rate = _ratio(rows, SQLITE, CEILING, connections, "per_second")
        print(f"rate of c / a with {connections}: {rate:.2f} (target: at least {target})")


def _middle(rows: Rows, name: str, connections: int, figure: str) -> float:
    return median(float(getattr(each, figure)) for each in rows[name, connections])


def _ratio(rows: Rows, name: str, other: str, connections: int, figure: str) -> float:
    of_other = _middle(rows, other, connections, figure)
    return _middle(rows, name, connections, figure) / max(of_other, 1e-9)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=get_args(Kind))
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        compare(kind, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
