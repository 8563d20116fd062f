"""Compares two states of the service: whether stored data slows it down."""

import statistics
from typing import Final

from benchmarks.load import Load
from benchmarks.servers import Server

CONNECTIONS: Final = 32
ROUNDS: Final = 3
WARM_UP_S: Final = 2


def compare(servers: dict[str, Server], seconds: int, target: float) -> None:
    """Load each of two servers in turn, some times over, and print the median rates.

    Args:
        servers: By name; the second is the one that holds more.
        target: Least ratio of the second's rate to the first's.
    """
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for server in servers.values():
        server.deliver(CONNECTIONS, WARM_UP_S)
    for _ in range(ROUNDS):
        for name, server in servers.items():
            loads[name].append(server.deliver(CONNECTIONS, seconds))
    for server in servers.values():
        server.check()
    rates = [
        statistics.median(load.per_second for load in of_server) for of_server in loads.values()
    ]
    for (name, of_server), rate in zip(loads.items(), rates, strict=True):
        each = ", ".join(f"{load.per_second:.0f}" for load in of_server)
        errors = sum(load.errors for load in of_server)
        print(f"{name:<16} {rate:>7.0f}/s (median of {each}), {errors} errors")
    print(f"ratio {rates[1] / rates[0]:.2f}   (target: at least {target})", flush=True)
