"""A service that takes interactions, as a test wants it."""

import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Endpoint:
    """A service that answers pings as the test wants, and keeps what it got."""

    def __init__(self, public_key: str, refusal: int = 401, pong: int = 1) -> None:
        self.key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        self.refusal, self.pong = refusal, pong
        self.got: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"type": 7, "data": {"content": "done"}}
        self.app = Starlette(routes=[Route("/interactions", self.respond, methods=["POST"])])

    async def respond(self, request: Request) -> Response:
        body = await request.body()
        timestamp = request.headers["x-signature-timestamp"].encode()
        try:
            self.key.verify(bytes.fromhex(request.headers["x-signature-ed25519"]), timestamp + body)
        except InvalidSignature:
            return Response(status_code=self.refusal)
        interaction = json.loads(body)
        if interaction["type"] == 1:
            return JSONResponse({"type": self.pong})
        self.got.append(interaction)
        return JSONResponse(self.answer)
