"""Unauthenticated clients on the public port: `python -m chaos.flooder PORT COUNT`.

The process keeps COUNT connections of five kinds open, and opens each again when it is closed. One
kind sends nothing, one half a header, one half a body, one a byte a second, one a body of 1 MiB
with a wrong signature. Beside them, it sends valid alerts. When its standard input ends, it prints
the responses to the alerts.
"""

import asyncio
import contextlib
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import uvloop

from chaos.part import quantile
from tests.adapters.payloads import DOCUMENTED
from tests.ingestion import webhook

ALERTS_PER_S: Final = 50
PATIENCE_S: Final = 60.0
HEAD: Final = b"POST /webhook/crowdstrike HTTP/1.1\r\nHost: vyrox\r\n"
JUNK: Final = b'{"customer_id":"acme-corp","x":"' + b"x" * (1024 * 1024 - 34) + b'"}'

Stranger = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Seen(msgspec.Struct):
    """What the flood did, and what the senders of valid alerts got meanwhile.

    Attributes:
        acknowledged: The ids of the alerts that got 202.
    """

    connections: int
    refused: int
    alerts: dict[str, int]
    alert_p99_ms: float
    acknowledged: list[str]


async def _says_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    pass


async def _half_header(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)


async def _half_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
    while not reader.at_eof() and not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(1)


async def _junk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(JUNK) + JUNK)
    await writer.drain()


STRANGERS: Final[tuple[Stranger, ...]] = (_says_nothing, _half_header, _half_body, _drips, _junk)


class Flood:
    """Connections to one port, kept open or opened again until they are cancelled."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.refused = 0
        self.answers: Counter[str] = Counter()
        self.took_ms: list[float] = []
        self.acknowledged: list[str] = []

    async def hold(self, stranger: Stranger) -> None:
        """Act as one unauthenticated client after the other."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.1)
                continue
            self.connections += 1
            try:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(PATIENCE_S):
                        await stranger(reader, writer)
                        await reader.read()
            finally:
                writer.transport.abort()
            await asyncio.sleep(random.random())

    async def deliver(self) -> None:
        """Send valid alerts, each on a connection of its own and not waiting for the last."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._deliver_one())
                await asyncio.sleep(1 / ALERTS_PER_S)

    async def _deliver_one(self) -> None:
        body = DOCUMENTED["crowdstrike"].replace(
            b"evt:", b"evt:%b" % uuid.uuid4().bytes.hex().encode()
        )
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(webhook("crowdstrike", body).raw())
                answer = await reader.read()
                writer.close()
            status = answer[9:12].decode() or "closed"
            if status == "202":
                body = answer.partition(b"\r\n\r\n")[2]
                self.acknowledged.append(msgspec.json.decode(body)["alert_id"])
        except (OSError, TimeoutError) as exc:
            status = type(exc).__name__
        self.answers[status] += 1
        self.took_ms.append((time.perf_counter() - began) * 1000)


async def flood(port: int, count: int) -> Seen:
    """Flood `port` until standard input ends."""
    flooding = Flood(port)
    strangers = (STRANGERS[number % len(STRANGERS)] for number in range(count))
    work = [*map(flooding.hold, strangers), flooding.deliver()]
    tasks = [asyncio.create_task(part) for part in work]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        if task.done():
            task.result()  # raises: a task that should run until the end has failed
    return Seen(
        flooding.connections,
        flooding.refused,
        dict(flooding.answers),
        quantile(flooding.took_ms, 0.99),
        flooding.acknowledged,
    )


def main() -> None:
    """Flood the port that the command line names."""
    uvloop.run(_main(*map(int, sys.argv[1:])))


async def _main(port: int, count: int) -> None:
    seen = await flood(port, count)
    print(msgspec.json.encode(seen).decode(), flush=True)
    # Thousands of connections would have to be closed one by one.
    os._exit(0)


if __name__ == "__main__":
    main()
