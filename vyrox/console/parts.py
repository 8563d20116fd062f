"""What the pages use, and how they read a request (contract 66)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from vyrox.approvals.decisions import Decisions
from vyrox.approvals.passkeys import RelyingParty
from vyrox.clock import Clock
from vyrox.console import sessions
from vyrox.console.challenges import Challenges
from vyrox.console.sessions import Person
from vyrox.errors import InvalidRequestError, UnauthorizedError
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.store.database import Database

MAX_BODY_BYTES: Final = 65_536

T = TypeVar("T")

_incomplete: Final = IncompleteBodies()


class Signed(msgspec.Struct, frozen=True):
    """A statement, and what `navigator.credentials.get()` returned for it."""

    statement: str
    response: msgspec.Raw

    @property
    def answer(self) -> str:
        """The response as JSON."""
        return bytes(self.response).decode()


@dataclass(frozen=True)
class Console:
    """The parts that the pages use, opened in the application's lifespan.

    Attributes:
        now: The clock of leases, by which proposals expire.
        check_clocks: Raises UnavailableError if the clocks cannot be trusted.
        approval_ttl_s: How long a proposal may be decided on.
    """

    database: Database
    decisions: Decisions
    now: Clock
    check_clocks: Callable[[], None]
    relying_party: RelyingParty
    challenges: Challenges
    approval_ttl_s: int


def console_of(request: Request) -> Console:
    """Return the parts."""
    console: Console = request.app.state.console
    return console


async def signed_in(request: Request) -> Person:
    """Return who has signed in.

    Raises:
        UnauthorizedError: The request has no session, or it has ended.
    """
    console = console_of(request)
    session_id = request.cookies.get(sessions.COOKIE, "")
    if not sessions.is_possible_id(session_id):
        raise UnauthorizedError("not_signed_in")
    now = console.now()
    person = await console.database.read(sessions.find, session_id, now)
    if person is None:
        raise UnauthorizedError("session_ended")
    # A page that refreshes itself does not keep a person signed in.
    if person.is_due and "if-none-match" not in request.headers:
        await console.database.write(sessions.touch, person, now)
    return person


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body of a POST.

    Raises:
        InvalidRequestError: It is not JSON of this kind.
        VyroxError: It is too large, compressed or late.
    """
    body = await read_body(request, MAX_BODY_BYTES, _incomplete)
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequestError(type(exc).__name__) from exc
