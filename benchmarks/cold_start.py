"""From `vyrox serve` to the first 202, with the embedded Valkey and SQLite.

python -m benchmarks.cold_start
"""

import socket
import statistics
import time
from typing import Final

from benchmarks.load import SECRET
from benchmarks.servers import fresh_directory, started, vyrox_environment
from vyrox.crypto import sign

TIMES: Final = 5
TARGET_S: Final = 1.5

_BODY: Final = b'{"customer_id":"acme-corp","detect_id":"evt:1"}'
_REQUEST: Final = (
    b"POST /webhook/crowdstrike HTTP/1.1\r\nHost: vyrox\r\nContent-Length: %d\r\n"
    b"X-Vyrox-Signature: %b\r\nConnection: close\r\n\r\n%b"
    % (len(_BODY), sign(_BODY, SECRET).encode(), _BODY)
)


def first_answer_s(*, again: bool = False) -> float:
    """Return how long the first 202 took; with `again`, that of a second start on the same data."""
    took = 0.0
    with fresh_directory() as directory:
        for _ in range(1 + again):
            environment = vyrox_environment(directory, None)
            environment["CROWDSTRIKE_WEBHOOK_SECRET"] = SECRET
            began = time.perf_counter()
            with started(["-m", "vyrox", "serve"], environment, directory):
                _wait_for_202(int(environment["INGESTION_PORT"]))
                took = time.perf_counter() - began
    return took


def _wait_for_202(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(_REQUEST)
                if connection.recv(1024).startswith(b"HTTP/1.1 202 "):
                    return
        except ConnectionError:
            pass
        time.sleep(0.005)  # it does not listen yet
    raise SystemExit("benchmark: no 202 within 60 s")


def main() -> None:
    """Start it some times and print the times."""
    print(f"\nCold start to the first 202, embedded Valkey and SQLite, {TIMES} times each")
    for name, again in (("fresh data", False), ("second start", True)):
        took = sorted(first_answer_s(again=again) for _ in range(TIMES))
        print(
            f"{name:<13} median {statistics.median(took):.2f} s, slowest {took[-1]:.2f} s"
            f"   (target: under {TARGET_S} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
