"""Mutated requests to every route: no 5xx except the named ones, no uncaught exception, no hang.

A failing request is printed as bytes, with the seed, number and time from which it is made again:
`python -m chaos.fuzz SEED NUMBER NOW`.
"""

import asyncio
import contextlib
import itertools
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from chaos.flood import acting_service
from chaos.inprocess import Listener, listeners, logged_errors
from chaos.mutation import make
from chaos.part import Row, Size
from vyrox.clock import wall_clock

SEED: Final = 20_260_101
AT_ONCE: Final = 64

SILENCE_S: Final = 1.0
"""Over a socket: after so long without a byte, the server waits for the rest of the request."""

_LENGTH: Final = re.compile(
    rb"HTTP/1\.1 [^1].*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL
)

NAMED: Final = {
    True: frozenset({200, 202, 400, 401, 404, 405, 408, 413, 415, 422, 431}),
    False: frozenset(
        {200, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 431, 501, 502}
    ),
}
"""The statuses of the public and of the private listener while every store is up: a 500 would be
an exception, a 503 a store that is away, or too busy for a moment."""

ATTEMPTS: Final = 5
"""A request that gets 503 so often in a row is a failure. A sender repeats it, too: for a moment,
other work on the machine may hold a write for longer than a request waits."""

_HEAD: Final = re.compile(
    rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!-~]+: [^\r\n]*\r\n)*)\r\n", re.ASCII
)


class _BusyError(ValueError):
    """The response is 503."""


class _Refusal(msgspec.Struct, forbid_unknown_fields=True):
    detail: str


_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def check(public: bool, raw: bytes, answer: bytes) -> list[int]:
    """Return the status of every response in `answer`.

    Raises:
        ValueError: One is not as contract 1 and 2 have it, or has a status that is not named.
    """
    statuses = []
    rest = answer
    while rest:
        head = _HEAD.match(rest)
        if head is None:
            raise ValueError(f"no answer: {rest[:200]!r}")
        status, rest = int(head[1]), rest[head.end() :]
        if status == 100:
            continue
        statuses.append(status)
        rest = _check_one(public, raw, status, head[2].lower(), rest)
    return statuses


def _check_one(public: bool, raw: bytes, status: int, fields: bytes, rest: bytes) -> bytes:
    """Check one response; return what follows it."""
    if status not in NAMED[public]:
        raise (_BusyError if status == 503 else ValueError)(f"status {status}")
    if fields.count(b"x-request-id: ") != 1 or b"content-type: application/" not in fields:
        raise ValueError(f"header: {fields!r}")
    found = re.search(rb"content-length: (\d+)", fields)
    if found is None or raw.startswith(b"HEAD"):
        return b""  # streamed, or without a body
    body, rest = rest[: int(found[1])], rest[int(found[1]) :]
    if status >= 400 and body:
        _decode_refusal(body)
    return rest


class Tally:
    """The responses, and what failed."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.silent = 0
        self.failed = 0
        self.repeated = 0

    def add(self, statuses: list[int]) -> None:
        """Count one connection's responses."""
        self.statuses.update(statuses)
        self.silent += not statuses

    def fail(self, number: int, now: int, raw: bytes, reason: BaseException) -> None:
        """Count and print a failing request."""
        self.failed += 1
        if self.failed <= 20:
            again = f"python -m chaos.fuzz {SEED} {number} {now}"
            print(
                f"fuzz: {type(reason).__name__}: {reason}\n  {again}\n  {raw[:4000]!r}",
                file=sys.stderr,
            )

    @property
    def figure(self) -> str:
        """Return the statuses, most frequent first."""
        found = [f"{status}: {count}" for status, count in self.statuses.most_common()]
        return ", ".join([*found, f"no answer: {self.silent}, 503 and repeated: {self.repeated}"])


Answer = Callable[[bool, bytes], Awaitable[bytes]]


async def _checked(answer: Answer, public: bool, raw: bytes, tally: Tally) -> list[int]:
    for _ in range(ATTEMPTS - 1):
        try:
            return check(public, raw, await answer(public, raw))
        except _BusyError:
            tally.repeated += 1
    return check(public, raw, await answer(public, raw))


async def fuzz(answer: Answer, requests: int, tally: Tally) -> None:
    """Send `requests` mutated requests, AT_ONCE at a time."""
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:
            now = int(wall_clock())
            public, raw = make(SEED, number, now)
            try:
                tally.add(await _checked(answer, public, raw, tally))
            except Exception as exc:  # noqa: BLE001  (each is a loss, and printed)
                tally.fail(number, now, raw, exc)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def _exchange(port: int, raw: bytes) -> bytes:
    """Return the responses to `raw`, until the connection ends or is silent for SILENCE_S."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(raw)
            while piece := await asyncio.wait_for(reader.read(65536), SILENCE_S):
                answer += piece
                found = _LENGTH.match(answer)
                if found is not None and len(answer) >= found.end() + int(found[1]):
                    break
    finally:
        writer.transport.abort()
    return answer


async def _over_sockets(requests: int) -> list[Row]:
    """Fuzz a service that is a process of its own."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="vx-") as path:
        async with acting_service(Path(path)) as service:
            ports = {
                True: httpx.URL(service.ingestion_url).port or 80,
                False: httpx.URL(service.proxy_url).port or 80,
            }
            await fuzz(lambda public, raw: _exchange(ports[public], raw), requests, tally)
            died = service.process.returncode is not None
        errors = [line for line in service.lines if line["level"] in {"error", "critical"}]
    for error in errors[:5]:
        print(f"fuzz: uncaught: {error}", file=sys.stderr)
    return [
        Row("fuzz", "sockets: answers not as documented", requests, tally.failed, tally.figure),
        Row("fuzz", "sockets: uncaught exceptions", requests, len(errors) + died),
    ]


async def run(size: Size) -> list[Row]:
    """Fuzz both listeners, in process or, in the long form, over sockets."""
    if size.long:
        return await _over_sockets(size.requests)
    tally = Tally()
    with logged_errors() as errors:
        async with listeners() as opened:
            ends = {True: Listener(opened.public), False: Listener(opened.private)}
            await fuzz(lambda public, raw: ends[public].answer(raw), size.requests, tally)
    for error in itertools.islice(errors, 5):
        print(f"fuzz: uncaught: {error}", file=sys.stderr)
    return [
        Row("fuzz", "answers not as documented", size.requests, tally.failed, tally.figure),
        Row("fuzz", "uncaught exceptions", size.requests, len(errors)),
    ]


def main() -> None:
    """Print the request that is made from SEED NUMBER NOW."""
    seed, number, now = map(int, sys.argv[1:])
    public, raw = make(seed, number, now)
    print("public" if public else "private", repr(raw))


if __name__ == "__main__":
    main()
