"""The service's resident memory over very many alerts.

python -m benchmarks.memory [--alerts N]
"""

import argparse
from typing import Final

from benchmarks.servers import vyrox

CONNECTIONS: Final = 32
SAMPLES: Final = 20
TARGET_MIB: Final = 150


def main() -> None:
    """Send the alerts, and print the memory as it goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=1_000_000)
    measure(parser.parse_args().alerts)


def measure(alerts: int) -> None:
    """Print the memory at the start, and each time another twentieth of the alerts is in."""
    print(f"\nResident memory over {alerts} alerts, SQLite, {CONNECTIONS} connections")
    with vyrox() as server:
        samples = [(0, server.resident_mib())]
        accepted = 0
        while accepted < alerts:
            load = server.deliver(CONNECTIONS, 1)
            if load.errors:
                raise SystemExit(f"benchmark: {load.errors} errors after {accepted} alerts")
            accepted += load.accepted
            if accepted >= alerts / SAMPLES * len(samples):
                samples.append((accepted, server.resident_mib()))
        print(server.check())
    print("  ".join(f"{count}: {mib:.1f}" for count, mib in samples), "(alerts: MiB)")
    last_half = [mib for count, mib in samples if count >= alerts / 2]
    print(
        f"highest {max(mib for _, mib in samples):.1f} MiB   (target: under {TARGET_MIB}); "
        f"over the last half {last_half[0]:.1f} to {last_half[-1]:.1f} MiB   (target: flat)",
        flush=True,
    )


if __name__ == "__main__":
    main()
