"""Responses that are made while they are sent, in constant memory (contract 80)."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vyrox.console.sessions import Person
from vyrox.errors import NotPossibleError, UnavailableError

MAX_AT_ONCE: Final = 4
"""Of all persons."""

MAX_OF_TENANT: Final = 2
"""Of all persons of one tenant: who reads very slowly holds a place for long."""

END_S: Final = 2.0
"""How long a response may go on when the service shuts down: time to say so at its end."""

POLL_S: Final = 0.25

_working: Final[set[tuple[str, str]]] = set()
"""Who waits for one: tenant and name of each person."""


class Streamed(StreamingResponse):
    """A response of one person, who gets one at a time."""

    def __init__(
        self,
        person: Person,
        body: AsyncIterator[bytes | str],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the place of the person.

        Raises:
            NotPossibleError: The person waits for another one, or too many persons do.
        """
        super().__init__(body, media_type=media_type, headers=headers)
        self._person = (person.tenant_id, person.approver)
        if self._person in _working:
            raise NotPossibleError("one of yours is still in progress: wait until it has ended")
        of_tenant = sum(tenant_id == person.tenant_id for tenant_id, _ in _working)
        if len(_working) >= MAX_AT_ONCE or of_tenant >= MAX_OF_TENANT:
            raise NotPossibleError("too many persons do this at once: try again in a minute")
        _working.add(self._person)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, also to a browser that leaves before its end.

        Raises:
            UnavailableError: The service shuts down. The browser sees that the end is missing.
        """
        sending = asyncio.ensure_future(super().__call__(scope, receive, send))
        stopping_at: float | None = None
        try:
            while not (await asyncio.wait({sending}, timeout=POLL_S))[0]:
                now = time.monotonic()
                if stopping_at is None and _is_stopping(scope["app"]):
                    stopping_at = now
                if stopping_at is not None and now > stopping_at + END_S:
                    raise UnavailableError("the service shuts down")
            await sending
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            _working.discard(self._person)


def at_work() -> int:
    """Return how many persons wait for one."""
    return len(_working)


def is_stopping(request: Request) -> bool:
    """Return whether the service shuts down, and long work should end."""
    return _is_stopping(request.app)


def _is_stopping(app: Starlette) -> bool:
    return bool(getattr(app.state, "is_stopping", False))
