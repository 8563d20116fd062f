"""The routes of the documents on the private listener (contract 100)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.routes.documents.openapi import document
from vyrox.routes.documents.page import HEADERS, page


def create_routes() -> list[BaseRoute]:
    """Return the routes. Neither has a credential, like the listener's `/health`."""
    return [
        Route("/openapi.json", show_document, methods=["GET"]),
        Route("/docs", show_page, methods=["GET"]),
    ]


async def show_document(_request: Request) -> Response:
    """Return the OpenAPI document. It is made for the first request, in a thread."""
    return Response(await asyncio.to_thread(document), media_type="application/json")


async def show_page(_request: Request) -> Response:
    """Return the document as a page."""
    return Response(await asyncio.to_thread(page), headers=HEADERS, media_type="text/html")
