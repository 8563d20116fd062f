"""Measures the worker beside ingestion: `python -m benchmarks.triage [--seconds N]`.

(a) 500 alerts a second are offered, with the worker on: how old is the oldest waiting alert at the
end, and how long does an urgent one take until the receiver has its notification.
(b) Ingestion is driven to its limit, with the worker off and on in turn.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.load import SECRET, drive
from benchmarks.postgres import postgres
from benchmarks.servers import Server, vyrox
from benchmarks.stores import TENANT

RATE: Final = 500
CONNECTIONS: Final = 32
ROUNDS: Final = 3
HOSTS: Final = 200

URGENT_EVERY: Final = 250
"""One alert in so many is urgent, on a host of its own."""

DRAIN_S: Final = 5.0

SAMPLES: Final = Path(__file__).parent.parent / "tests" / "data" / "triage" / "benign.jsonl"

_ON: Final = {"TRIAGE_ENABLED": "true", "NOTIFY_ALLOWED_HOSTS": "127.0.0.1"}
_URGENT: Final = "vssadmin.exe delete shadows /all /quiet"


def main() -> None:
    """Print the figures beside the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    measure(parser.parse_args().seconds)


def measure(seconds: int) -> None:
    """Print the figures of both databases, with `seconds` for each run."""
    with postgres() as new_database:
        for name, urls in (("SQLite", [None] * 8), ("PostgreSQL", None)):
            fresh = iter(urls) if urls else iter(new_database, None)
            print(f"\ntriage, {name}")
            with vyrox(next(fresh), extra=_ON) as server:
                asyncio.run(_offer(server, seconds))
            _drive(fresh, max(3, seconds // 6))


def _drive(fresh: Iterator[str | None], seconds: int) -> None:
    """Print (b)."""
    off: list[float] = []
    on: list[float] = []
    left: list[int] = []
    for _ in range(ROUNDS):
        for rates, extra in ((off, {}), (on, _ON)):
            with vyrox(next(fresh), extra=extra) as server:
                load = drive("webhook", server.addresses["webhook"], CONNECTIONS, seconds)
                rates.append(load.per_second)
                if extra:
                    assert server.stores is not None  # noqa: S101  (Vyrox's own)
                    left.append(server.stores.count("waiting alerts"))
    share = median(on) / median(off)
    print(
        f"(b) {seconds} s at {CONNECTIONS} connections: {median(off):.0f} alerts/s with the worker "
        f"off, {median(on):.0f} on: {share:.2f} (target 0.85); {median(left):.0f} left waiting"
    )


async def _offer(server: Server, seconds: int) -> None:
    """Print (a)."""
    assert server.stores is not None  # noqa: S101  (Vyrox's own)
    received: dict[str, float] = {}
    async with _receiver(received) as url:
        await asyncio.to_thread(server.stores.add_target, url)
        requests = list(signed_requests(RATE * seconds))
        sent = await send(server.addresses["webhook"], requests)
        oldest_s = await asyncio.to_thread(server.stores.oldest_waiting_s)
        await asyncio.sleep(DRAIN_S)
        waiting = await asyncio.to_thread(server.stores.count, "waiting alerts")
    took = sorted(received[host] - at for host, at in sent.urgent.items() if host in received)
    p95 = took[int(0.95 * len(took))] if took else float("nan")
    print(
        f"(a) {len(requests)} alerts at {RATE}/s: {sent.refused} refused, oldest waiting "
        f"{oldest_s:.1f} s (target 5), {waiting} waiting {DRAIN_S:.0f} s later; urgent to "
        f"notification p95 {p95:.2f} s (target 1), {len(took)} of {len(sent.urgent)} announced"
    )


class Sent:
    """What became of the requests, and when those with urgent alerts were sent, by host."""

    def __init__(self) -> None:
        self.refused = 0
        self.urgent: dict[str, float] = {}
        self.accepted: list[int] = []
        self.took: list[float] = []


def signed_requests(
    count: int, tenant_id: str = TENANT, secret: str = SECRET, first: int = 0
) -> Iterator[tuple[str | None, bytes]]:
    """Yield the host of an urgent alert, or None, and the bytes of its request.

    Args:
        first: The number of the first alert. The same number is the same alert.
    """
    alerts = [json.loads(line)["alert"] for line in SAMPLES.read_text().splitlines()]
    for number in range(first, first + count):
        sample = alerts[number % len(alerts)]
        is_urgent = number % URGENT_EVERY == URGENT_EVERY - 1
        host = f"urgent-{number}" if is_urgent else f"ws-{number % HOSTS}"
        body = json.dumps(
            {
                "customer_id": tenant_id,
                "detect_id": f"ldt:{number}",
                "severity": "Critical" if is_urgent else "Low",
                "sensor": {"hostname": host, "agent_id": host},
                "process": {
                    "file_name": sample.get("process_name"),
                    "command_line": _URGENT if is_urgent else sample.get("process_cmdline"),
                    "user_name": sample.get("username"),
                },
            }
        ).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        head = (
            "POST /webhook/crowdstrike HTTP/1.1\r\nhost: bench\r\n"
            f"x-vyrox-signature: sha256={signature}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        yield (host if is_urgent else None), head.encode() + body


async def send(
    address: str | Sequence[str],
    requests: Sequence[tuple[str | None, bytes]],
    rate: float = RATE,
) -> Sent:
    """Send the requests at `rate`, over CONNECTIONS connections in turn, or more addresses."""
    addresses = [address] if isinstance(address, str) else address
    sent = Sent()
    began = time.monotonic()

    async def one(first: int) -> None:
        host, _, port = addresses[first % len(addresses)].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(first, len(requests), CONNECTIONS):
            await asyncio.sleep(began + number / rate - time.monotonic())
            urgent, request = requests[number]
            if urgent is not None:
                sent.urgent[urgent] = time.monotonic()
            at = time.monotonic()
            writer.write(request)
            status = await _status(reader)  # not in the next line: others count meanwhile
            sent.took.append(time.monotonic() - at)
            sent.refused += status != 202
            if status == 202:
                sent.accepted.append(number)
        writer.close()

    await asyncio.gather(*(one(first) for first in range(CONNECTIONS)))
    return sent


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head[9:12])


@asynccontextmanager
async def _receiver(received: dict[str, float]) -> AsyncIterator[str]:
    """Run the receiver; it stores when the first notification of each host came."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        message: dict[str, Any] = json.loads(await reader.readexactly(int(length)))
        for host in message.get("hosts", ()):
            received.setdefault(host, time.monotonic())
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/hook"


if __name__ == "__main__":
    main()
