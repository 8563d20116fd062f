"""Send a response: complete, late, byte by byte, or not at all."""

import asyncio
from typing import Final

import httpx
from starlette.types import Receive, Scope, Send

from vyrox.trial.mock_edr.exchange import Answer
from vyrox.trial.mock_edr.faults import Fault
from vyrox.trial.mock_edr.recording import RecordedRequest

RESET: Final = "vyrox.trial.mock_edr.reset"
CLOSE: Final = "vyrox.trial.mock_edr.close"
"""Functions in the scope's state that end the connection. Without them the application raises."""

_PIECE_BYTES: Final = 65_536


async def deliver(
    fault: Fault | None,
    answer: Answer,
    request: RecordedRequest,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Send `answer` with the effect of `fault`, and record its status.

    Raises:
        httpx.ReadError: The connection should end, but the caller is in the same process and has no
            connection. Its client raises this error when a connection ends.
    """
    kind = None if fault is None else fault.kind
    seconds = 0.0 if fault is None else fault.seconds
    if kind == "reset":
        await _end(scope, receive, RESET)
        return
    if kind == "slow" and await _disconnects_within(receive, seconds):
        return
    request.status = answer.status
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = answer.body[: len(answer.body) // 2] if kind == "cut" else answer.body
    size = 1 if kind == "dribble" else _PIECE_BYTES
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if kind == "dribble" and await _disconnects_within(receive, seconds):
            return
    if kind == "cut":
        await _end(scope, receive, CLOSE)
        return
    await send({"type": "http.response.body", "body": b""})


async def _end(scope: Scope, receive: Receive, how: str) -> None:
    end = scope.get("state", {}).get(how)
    if end is None:
        raise httpx.ReadError("ended by the mock")
    end()
    # Wait until the server knows it too. Otherwise it would send a 500.
    await _disconnected(receive)


async def _disconnects_within(receive: Receive, seconds: float) -> bool:
    """Wait for `seconds`. Return True early if the caller disconnects."""
    try:
        async with asyncio.timeout(seconds):
            await _disconnected(receive)
    except TimeoutError:
        return False
    return True


async def _disconnected(receive: Receive) -> None:
    """Return when the connection has ended. After a complete request, no other event comes."""
    await receive()
