"""`POST /interactions` on the public listener: what Discord sends (contract 67)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.approvals.discord.interaction import Signed, authenticate, parse
from vyrox.approvals.discord.receiving import Interactions
from vyrox.errors import NotFoundError, UnauthorizedError
from vyrox.http.application import header_values, request_id_of
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.http.responses import JsonResponse
from vyrox.http.senders import sender_of
from vyrox.routes.ingestion import Ingestion

MAX_BODY_BYTES: Final = 65_536

_incomplete: Final = IncompleteBodies()


def create_routes() -> list[BaseRoute]:
    """Return the route. It is on the public listener, beside the webhooks."""
    return [Route("/interactions", interact, methods=["POST"])]


async def interact(request: Request) -> Response:
    """Answer one interaction. A29 fixes the order of the steps.

    Raises:
        NotFoundError: Discord is not configured.
        UnauthorizedError: Discord has not signed the body, or not just now.
        VyroxError: The body is too large, compressed or late, or not an interaction.
    """
    ingestion: Ingestion = request.app.state.ingestion
    interactions = ingestion.interactions
    if interactions is None:
        raise NotFoundError("Discord is not configured")
    body = await read_body(request, MAX_BODY_BYTES, _incomplete)
    # 1 and 2. The signature, and its time. Nothing in the body is decoded before.
    signed = _authenticate(ingestion, interactions, request, body)
    # 3 to 10. What it asks for.
    answer = await interactions.answer(signed, parse(body), request_id_of(request))
    return JsonResponse(answer)


def _authenticate(
    ingestion: Ingestion, interactions: Interactions, request: Request, body: bytes
) -> Signed:
    try:
        return authenticate(
            header_values(request, b"x-signature-ed25519"),
            header_values(request, b"x-signature-timestamp"),
            body,
            interactions.key,
            ingestion.clock(),
        )
    except UnauthorizedError as exc:
        ingestion.events.note_unauthenticated(
            "auth.failed",
            None,
            request_id_of(request),
            source="discord",
            claimed_tenant=None,
            failure=exc.kind,
            address=sender_of(request.scope),
        )
        raise
