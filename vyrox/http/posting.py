"""Small requests to another server, whose small answer is read whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

from vyrox.errors import VyroxError
from vyrox.http.outgoing import open_transport, why_failed
from vyrox.models import Outbound

TIMEOUT_S: Final = 5.0
MAX_ANSWER: Final = 16_384

DEADLINE_S: Final = 15.0
"""For a whole request. TIMEOUT_S is for each part of it, and a byte now and then would renew it."""

_HEADERS: Final = {"accept-encoding": "identity"}
"""A few compressed bytes can become gigabytes."""

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


def posting(client: httpx.AsyncClient, deadline_s: float = DEADLINE_S) -> Post:
    """Return what sends requests with `client`."""

    async def post(url: str, content: bytes) -> tuple[int, str]:
        body = b""
        try:
            async with (
                asyncio.timeout(deadline_s),
                client.stream("POST", url, content=content, headers=_HEADERS) as answer,
            ):
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise NoAnswerError("answered with a compressed body")
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise NoAnswerError(f"answered with more than {MAX_ANSWER} bytes")
        except TimeoutError as exc:
            raise NoAnswerError(f"did not finish its answer within {deadline_s:g} s") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise NoAnswerError(why_failed(exc)) from exc
        return answer.status_code, body.decode(errors="replace")

    return post
