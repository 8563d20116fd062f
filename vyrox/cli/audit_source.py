"""Where `vyrox audit export` reads from: the database, or a service (contract 26 and 97)."""

import binascii
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, Protocol

import httpx
import msgspec
from rich.console import Console
from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TimeElapsedColumn

from vyrox.chain import export as exporting
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.entry import MAX_ENTRY_BYTES, Stream
from vyrox.chain.evidence import beside, keys_beside, retained_beside
from vyrox.chain.keys_file import KeysInForce, keys_file
from vyrox.chain.nodes import Chain
from vyrox.cli.audit_fetch import AuditClient
from vyrox.cli.audit_key import open_signer
from vyrox.cli.stores import Opened, opened_database
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.tenants.known import require_logged

ANSWER_TIMEOUT_S: Final = 60.0
MAX_LINE_BYTES: Final = 16 * MAX_ENTRY_BYTES
"""Of one line: the memory that a service can take which is not the one it seems to be."""

MAX_RETAINED_BYTES: Final = 256 * 1024 * 1024
"""Of the events that are retained of archives: a service that never ends must not fill the disk."""

NDJSON: Final = "application/x-ndjson"


class Wanted(msgspec.Struct, frozen=True):
    """What is exported: entries of a time of `since` or later; 0 means all."""

    tenant_id: str
    streams: tuple[Stream, ...]
    since: int


class Source(Protocol):
    """A log that can be exported."""

    async def lines(self, stream: Stream) -> AsyncIterator[bytes] | None:
        """Return the entries; None if the source does not have this stream."""

    def first(self, stream: Stream) -> int:
        """Return the number of the first of the entries."""

    async def evidence(self, stream: Stream, first: int) -> dict[str, bytes]:
        """Return the files that belong beside entries from `first` on: checkpoints, and a proof."""

    async def retained(self) -> AsyncIterator[bytes] | None:
        """Return pages of `retained-events.txt`; None if the events do not begin after them."""

    async def keys(self, in_force: KeysInForce | None) -> bytes | None:
        """Return `keys.json`, or None if no key is known."""


class FromDatabase:
    """Reads the rows, both streams as of one moment."""

    def __init__(self, opened: Opened, wanted: Wanted, parts: dict[Stream, exporting.Part]) -> None:
        """Begin with the parts that were committed."""
        self._opened = opened
        self._wanted = wanted
        self._parts = parts

    async def lines(self, stream: Stream) -> AsyncIterator[bytes]:
        """Return the entries. Raises DatabaseUnavailableError."""
        tenant_id = self._wanted.tenant_id
        return each_of(
            exporting.pages(self._opened.database, tenant_id, stream, self._parts[stream])
        )

    def first(self, stream: Stream) -> int:
        """Return the number of the first of the entries."""
        return self._parts[stream].first

    async def evidence(self, stream: Stream, first: int) -> dict[str, bytes]:
        """As `evidence.beside`."""
        part = msgspec.structs.replace(self._parts[stream], first=first)
        chain = (self._wanted.tenant_id, stream)
        return await beside(self._opened.database, await self._checkpoints(), chain, part)

    async def retained(self) -> AsyncIterator[bytes] | None:
        """As `evidence.retained_beside`."""
        chain: Chain = (self._wanted.tenant_id, "events")
        return await retained_beside(self._opened.database, chain, self._parts["events"])

    async def keys(self, in_force: KeysInForce | None) -> bytes | None:
        """As `evidence.keys_beside`."""
        witnesses = self._opened.settings.checkpoints.witnesses
        return await keys_beside(
            self._opened.database,
            await self._checkpoints(),
            self._wanted.tenant_id,
            in_force,
            [each.key for each in witnesses if each.key is not None],
        )

    async def _checkpoints(self) -> Checkpoints | None:
        try:
            return Checkpoints(self._opened.database, wall_clock, await open_signer(self._opened))
        except OperatorError:
            return None  # there is no key


@asynccontextmanager
async def from_database(wanted: Wanted) -> AsyncIterator[FromDatabase]:
    """Open the database, and note what is committed."""
    async with opened_database() as opened:
        await opened.database.read(require_logged, wanted.tenant_id)
        parts = await opened.database.read(
            exporting.read_parts, wanted.tenant_id, wanted.streams, wanted.since
        )
        yield FromDatabase(opened, wanted, parts)


class FromService:
    """Asks the private listener."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, wanted: Wanted, key: str, progress: Progress
    ) -> None:
        """`key` is VYROX_HMAC_SECRET, or that of a reader."""
        self._client = client
        self._url = url.rstrip("/")
        self._shown = url
        self._wanted = wanted
        self._key = key
        self._progress = progress
        self._parts: dict[Stream, tuple[int, int, bytes | None]] = {}

    async def lines(self, stream: Stream) -> AsyncIterator[bytes] | None:
        """Return the entries; None if the service is older and has the actions only.

        Raises:
            OperatorError: The service did not send a whole export.
        """
        try:
            request = self._request(stream)
            answer = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise OperatorError(f"{self._shown}: {type(exc).__name__} {exc}") from exc
        if answer.status_code != httpx.codes.OK:
            await answer.aclose()
            raise OperatorError(f"{self._shown} answered {answer.status_code}")
        if answer.headers.get("content-type") != NDJSON:
            await answer.aclose()
            raise OperatorError(f"{self._shown} answered with something else than an export")
        try:
            first, last = (
                int(answer.headers[f"x-vyrox-audit-{name}"]) for name in ("first", "size")
            )
            note = answer.headers.get("x-vyrox-checkpoint")
            self._parts[stream] = first, last, None if note is None else b64decode(note)
        except (KeyError, ValueError, binascii.Error):
            if stream == "events" or self._wanted.since:
                await answer.aclose()
                return None
        return self._received(answer)

    def _request(self, stream: Stream | Literal["retained"]) -> httpx.Request:
        tenant_id, timestamp = self._wanted.tenant_id, str(int(wall_clock()))
        headers = {
            "accept": NDJSON,
            "x-vyrox-timestamp": timestamp,
            "x-vyrox-signature": sign(f"{tenant_id}:{timestamp}", self._key),
            "accept-encoding": "identity",  # a few compressed bytes can become gigabytes
        }
        params: dict[str, str | int] = {"tenant_id": tenant_id}
        if stream != "actions":
            params["stream"] = stream
        if self._wanted.since:
            params["since"] = self._wanted.since
        url = f"{self._url}/audit/export"
        return self._client.build_request("GET", url, params=params, headers=headers)

    async def _received(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        task = self._progress.add_task("export", total=None)
        rest = b""
        try:
            async for chunk in answer.aiter_bytes():
                self._progress.update(task, advance=len(chunk))
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise OperatorError(
                        f"{self._shown}: an entry has more than {MAX_LINE_BYTES} bytes"
                    )
                for line in whole:
                    yield line
        except httpx.HTTPError as exc:
            raise OperatorError(f"{self._shown}: {type(exc).__name__} {exc}") from exc
        finally:
            await answer.aclose()
        if rest:
            raise OperatorError(f"{self._shown}: the export is incomplete")

    def first(self, stream: Stream) -> int:
        """Return the number of the first of the entries."""
        return self._parts.get(stream, (1, 0, None))[0]

    async def evidence(self, stream: Stream, first: int) -> dict[str, bytes]:
        """Return the checkpoint that the export came with, and the proof of a range."""
        _, last, note = self._parts.get(stream, (1, 0, None))
        if note is None:
            return {}
        files = {f"checkpoint-{stream}.txt": note}
        if 1 < first <= last:
            client = AuditClient(self._client, self._url, self._wanted.tenant_id, self._key)
            proof = await client.inclusion(stream, first, last)
            files[f"proof-{stream}.json"] = msgspec.json.encode(proof)
        return files

    async def retained(self) -> AsyncIterator[bytes] | None:
        """Return the events that are retained, if the export begins after them."""
        first = self.first("events")
        if first == 1:
            return None
        try:
            answer = await self._client.send(self._request("retained"), stream=True)
        except httpx.HTTPError as exc:
            raise OperatorError(f"{self._shown}: {type(exc).__name__} {exc}") from exc
        if answer.headers.get("x-vyrox-audit-first") != str(first):
            await answer.aclose()
            return None  # it begins later, or the service is older
        return self._bounded(answer)

    async def _bounded(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        size = 0
        async for line in self._received(answer):
            size += len(line) + 1
            if size > MAX_RETAINED_BYTES:
                raise OperatorError(
                    f"{self._shown}: the retained events have more than {MAX_RETAINED_BYTES} bytes"
                )
            yield line + b"\n"

    async def keys(self, in_force: KeysInForce | None) -> bytes | None:
        """Return those of the approvers: the reader must know the log's from elsewhere."""
        return keys_file(self._wanted.tenant_id, in_force, None, (), ())


@asynccontextmanager
async def from_service(wanted: Wanted, url: str, key: str) -> AsyncIterator[FromService]:
    """Open a connection, and show on a terminal how far the export is."""
    columns = (SpinnerColumn(), FileSizeColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    progress = Progress(*columns, console=terminal, disable=not terminal.is_terminal)
    with progress:
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S, trust_env=False) as client:
            yield FromService(client, url, wanted, key, progress)


async def each_of(pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    """Yield the entries of all pages."""
    async for page in pages:
        for entry in page:
            yield entry
