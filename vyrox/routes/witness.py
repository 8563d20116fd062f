"""The route of a witness: `add-checkpoint` (contract 95). `vyrox audit watch` serves it."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from vyrox.chain.notes import MAX_NOTE_BYTES
from vyrox.chain.witness import RefusedError, RewrittenError, Witness, read_added

_SIZE: Final = "text/x.tlog.size"
_CONFLICT: Final = 409
_TOO_LARGE: Final = 413


def create_witness(
    witness: Witness, lock: asyncio.Lock, rewritten: Callable[[RewrittenError], None]
) -> Starlette:
    """Return the application of a witness.

    Args:
        lock: Held while the witness extends a checkpoint.
        rewritten: Is called if the log has signed two histories.
    """

    async def add_checkpoint(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_NOTE_BYTES:
                return Response(status_code=_TOO_LARGE)
        async with lock:
            try:
                signature = await asyncio.to_thread(witness.extend, read_added(body))
            except RefusedError as exc:
                status, size = exc.answer
                if size is not None:
                    return Response(f"{size}\n", status, media_type=_SIZE)
                return PlainTextResponse(f"{exc}\n", status)
            except RewrittenError as exc:
                rewritten(exc)
                return PlainTextResponse("two checkpoints of one size\n", _CONFLICT)
        return PlainTextResponse(signature.line())

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])
