"""The private listener."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.asgi import JsonResponse


def create_routes() -> list[BaseRoute]:
    """Return the routes of the private listener."""
    return [Route("/health", report_health, methods=["GET"])]


async def report_health(_request: Request) -> Response:
    """Answer 200 while the process serves; touches nothing (contract 28)."""
    return JsonResponse({"status": "ok"})
