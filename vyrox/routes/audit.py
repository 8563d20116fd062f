"""The export of a tenant's audit log (contract 26)."""

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from vyrox.chain import export
from vyrox.http.application import request_id_of
from vyrox.routes.signed import Proxy, signed_read, unavailable_as_500

_LINES: Final = "application/x-ndjson"


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
    tenant_id = await signed_read(request)
    # 5. The entries. The first page is read before the response starts: if the database is
    # unavailable, the client gets an error and not an incomplete response.
    pages = export.pages(proxy.database, tenant_id, "actions")
    with unavailable_as_500():
        first: list[bytes] = await anext(pages, [])
    lines = _LINES in request.headers.get("accept", "").lower()
    proxy.events.note("audit.exported", tenant_id, request_id_of(request), lines=lines)
    return StreamingResponse(
        _as_lines(first, pages) if lines else _as_array(first, pages),
        headers={"cache-control": "no-store"},
        media_type=_LINES if lines else "application/json",
    )


async def _as_array(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"[" + b",".join(first)
    async for page in pages:
        yield b"," + b",".join(page)
    yield b"]"


async def _as_lines(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"".join(entry + b"\n" for entry in first)
    async for page in pages:
        yield b"".join(entry + b"\n" for entry in page)
