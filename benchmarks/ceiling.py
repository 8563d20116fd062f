"""The ceiling: a bare Starlette 202 that reads the body and does nothing with it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def accept(request: Request) -> Response:
    """Read the body and return 202."""
    await request.body()
    return Response(status_code=202)


app = Starlette(routes=[Route("/{path:path}", accept, methods=["POST"])])
