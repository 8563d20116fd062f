"""Processor time of an idle service: empty, and with unread alerts.

python -m benchmarks.idle [--seconds N] [--alerts N]
"""

import argparse
import time
from typing import Final

from benchmarks.postgres import postgres
from benchmarks.servers import WITH_TRIAGE, Server, vyrox

FILL_CONNECTIONS: Final = 128
FILL_S: Final = 2
UNREAD: Final = 100_000
SETTLE_S: Final = 10
"""What a start, or a burst of alerts, leaves to do must be done before the measurement."""


def main() -> None:
    """Measure both states, with both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--alerts", type=int, default=UNREAD)
    arguments = parser.parse_args()
    measure(arguments.seconds, arguments.alerts)


def measure(seconds: int, alerts: int) -> None:
    """Print the share of a processor that an idle service and its Valkey use."""
    print(f"\nIdle for {seconds} s: % of one processor, service + Valkey")
    with vyrox(extra=WITH_TRIAGE) as server:
        _print("SQLite, empty, triage on", server, seconds, target=1.0)
    with vyrox() as server:
        queued = 0
        while queued < alerts:
            queued += server.deliver(FILL_CONNECTIONS, FILL_S).accepted
        _print(f"SQLite, {queued} unread alerts", server, seconds, target=2.0)
    with postgres() as new_database, vyrox(new_database(), extra=WITH_TRIAGE) as server:
        _print("PostgreSQL, empty, triage on", server, seconds, target=1.0)


def _print(name: str, server: Server, seconds: int, target: float) -> None:
    time.sleep(SETTLE_S)  # what an idle service does is only to be seen over time
    own, valkey = server.cpu_s(), server.valkey_cpu_s()
    time.sleep(seconds)  # the same
    own, valkey = server.cpu_s() - own, server.valkey_cpu_s() - valkey
    shares = [100 * used / seconds for used in (own, valkey, own + valkey)]
    print(
        f"{name:<30}{shares[0]:>6.2f} +{shares[1]:>5.2f} ={shares[2]:>6.2f}   "
        f"(target: at most {target:.0f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
