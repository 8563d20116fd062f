"""A tenant's audit log: the export (contract 26), checkpoints and proofs (contract 93 and 94).

A reader's key is accepted here, and nowhere else.
"""

import logging
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from vyrox import log
from vyrox.chain import export
from vyrox.chain.archived import archived_up_to
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosignatures import add_cosignatures
from vyrox.chain.entry import Stream
from vyrox.chain.evidence import retained_pages
from vyrox.chain.identity import endorsements_up_to, list_keys
from vyrox.chain.nodes import BrokenChainError
from vyrox.chain.reading import STREAMS
from vyrox.errors import InvalidRequestError, NotFoundError, UnavailableError
from vyrox.http.application import request_id_of
from vyrox.http.responses import JsonResponse
from vyrox.routes.signed import Proxy, signed_read, unavailable_as_500

_LINES: Final = "application/x-ndjson"
_NOTE: Final = "text/plain; charset=utf-8"
_NOT_STORED: Final = {"cache-control": "no-store"}
MAX_ENDORSEMENTS: Final = 16
"""Notes of changes of the key in one answer, each of about 300 bytes. The newest ones are kept."""

RETAINED: Final = "retained"
"""The `stream` of an export that is no chain: events of archives that the database has too."""

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


async def checkpoint(request: Request) -> Response:
    """Return a checkpoint of all entries, signed now with the time (contract 93).

    Raises:
        UnauthorizedError, InvalidRequestError, StaleRequestError: As `export_entries`.
        NotFoundError: There is no key for checkpoints.
        AuditWriteError: The database is unavailable.
    """
    tenant_id = await signed_read(request, by_reader=True)
    proxy, found, stream = _asked(request)
    with unavailable_as_500():
        note = await found.current(tenant_id, stream)
        note = await proxy.database.read(add_cosignatures, (tenant_id, stream), note)
        known = await proxy.database.read(list_keys)
    key = found.signer.key(tenant_id, stream)
    headers = _NOT_STORED | {"x-vyrox-checkpoint-key": str(key)}
    endorsements = endorsements_up_to(key.public, known)[-MAX_ENDORSEMENTS:]
    if endorsements:
        encoded = (b64encode(each.encode()).decode() for each in endorsements)
        headers["x-vyrox-key-endorsement"] = ",".join(encoded)
    return Response(note.encode(), media_type=_NOTE, headers=headers)


async def proof(request: Request) -> Response:
    """Return the proof of an entry, or that a tree extends an older one (contract 94).

    Raises:
        UnauthorizedError, InvalidRequestError, StaleRequestError: As `export_entries`.
        NotFoundError: There is no such entry or size, or no key for checkpoints.
        AuditWriteError: The database is unavailable.
    """
    tenant_id = await signed_read(request, by_reader=True)
    _, found, stream = _asked(request)
    entry, old, size = (_number(request, name) for name in ("entry", "old_size", "size"))
    if (entry is None) is (old is None):
        raise InvalidRequestError("not exactly one of entry and old_size")
    with unavailable_as_500():
        if size is None:
            size = await found.length(tenant_id, stream)
        if entry is not None:
            return JsonResponse(await found.inclusion(tenant_id, stream, entry, size))
        return JsonResponse(await found.consistency(tenant_id, stream, cast("int", old), size))


def _asked(request: Request) -> tuple[Proxy, Checkpoints, Stream]:
    proxy: Proxy = request.app.state.proxy
    stream = _stream(request)
    if proxy.checkpoints is None:
        raise NotFoundError("there is no key for checkpoints")
    return proxy, proxy.checkpoints, stream


def _stream(request: Request) -> Stream:
    asked = request.query_params.getlist("stream") or ["actions"]
    if len(asked) != 1 or asked[0] not in STREAMS:
        raise InvalidRequestError("not one of the two streams")
    return asked[0]


def _number(request: Request, name: str) -> int | None:
    asked = request.query_params.getlist(name)
    if not asked:
        return None
    if len(asked) != 1 or _NUMBER.fullmatch(asked[0]) is None:
        raise InvalidRequestError(f"{name} is not a whole number")
    return int(asked[0])


async def export_entries(request: Request) -> Response:
    """Stream every entry of a tenant, oldest first. Contract 26 fixes the order of the steps.

    Raises:
        UnauthorizedError: A header is missing or malformed, or the signature is wrong.
        InvalidRequestError: The query does not name exactly one tenant.
        StaleRequestError: The timestamp is outside the replay window.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    # 1 to 4. Who asks, and when: the form that all signed reads have.
    tenant_id = await signed_read(request, by_reader=True)
    if request.query_params.getlist("stream") == [RETAINED]:
        return await _export_retained(request, tenant_id)
    stream, since = _stream(request), _number(request, "since") or 0
    # 5. The entries. The first page is read before the response starts: if the database is
    # unavailable, the client gets an error and not an incomplete response.
    with unavailable_as_500():
        part = await export.find_part(proxy.database, tenant_id, stream, since)
        pages = export.pages(proxy.database, tenant_id, stream, part)
        first: list[bytes] = await anext(pages, [])
        headers = await _part_headers(proxy, tenant_id, stream, part)
    lines = _LINES in request.headers.get("accept", "").lower()
    proxy.events.note("audit.exported", tenant_id, request_id_of(request), lines=lines)
    return StreamingResponse(
        _as_lines(first, pages) if lines else _as_array(first, pages),
        headers=headers,
        media_type=_LINES if lines else "application/json",
    )


async def _export_retained(request: Request, tenant_id: str) -> Response:
    """Stream the events that are retained of those in archives (contract 103)."""
    proxy: Proxy = request.app.state.proxy
    with unavailable_as_500():
        last = await proxy.database.read(archived_up_to, tenant_id)
        pages = retained_pages(proxy.database, tenant_id, last)
        first = await anext(pages, b"")
    proxy.events.note("audit.exported", tenant_id, request_id_of(request), lines=True)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for page in pages:
            yield page

    headers = _NOT_STORED | {"x-vyrox-audit-first": str(last + 1)}
    return StreamingResponse(body(), headers=headers, media_type=_NOTE)


async def _part_headers(
    proxy: Proxy, tenant_id: str, stream: Stream, part: export.Part
) -> dict[str, str]:
    """Return which entries follow, and a checkpoint of all entries up to the last of them."""
    numbers = {"x-vyrox-audit-first": part.first, "x-vyrox-audit-size": part.last}
    headers = _NOT_STORED | {name: str(number) for name, number in numbers.items()}
    if proxy.checkpoints is not None:
        try:
            note = await proxy.checkpoints.at(tenant_id, stream, part.last)
        except (BrokenChainError, UnavailableError) as exc:
            # The entries are what matters, above all if somebody has changed the rows.
            log.event("checkpoint.failed", logging.ERROR, tenant=tenant_id, reason=str(exc))
        else:
            headers["x-vyrox-checkpoint"] = b64encode(note.encode()).decode()
    return headers


async def _as_array(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"[" + b",".join(first)
    async for page in pages:
        yield b"," + b",".join(page)
    yield b"]"


async def _as_lines(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"".join(entry + b"\n" for entry in first)
    async for page in pages:
        yield b"".join(entry + b"\n" for entry in page)
