"""Small requests to another server, whose small answer is read whole."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

from vyrox.errors import VyroxError
from vyrox.http.outgoing import open_transport, why_failed
from vyrox.models import Outbound

TIMEOUT_S: Final = 5.0
MAX_ANSWER: Final = 16_384

Post = Callable[[str, bytes], Awaitable[tuple[int, str]]]
"""Sends a body to a URL; returns the status and the text of the answer."""


class NoAnswerError(VyroxError):
    """The server did not answer in time, or with too much. The text says why."""


@asynccontextmanager
async def open_posting(outbound: Outbound) -> AsyncIterator[Post]:
    """Give what sends requests. It follows no redirect, and raises NoAnswerError."""
    transport = open_transport(outbound, httpx.Limits(max_connections=8))
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S, trust_env=False) as client:
        yield posting(client)


def posting(client: httpx.AsyncClient) -> Post:
    """Return what sends requests with `client`."""

    async def post(url: str, content: bytes) -> tuple[int, str]:
        body = b""
        try:
            async with client.stream("POST", url, content=content) as answer:
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise NoAnswerError(f"answered with more than {MAX_ANSWER} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise NoAnswerError(why_failed(exc)) from exc
        return answer.status_code, body.decode(errors="replace")

    return post
