"""What the pages use, and how they read a request (contract 66)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar, TypeVarTuple
from urllib.parse import parse_qsl

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox import log
from vyrox.alerts.entries import QueueEntries
from vyrox.alerts.health import Health
from vyrox.alerts.queue import AlertQueue
from vyrox.approvals.ceremonies import Options
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord.joining import Joiner
from vyrox.approvals.passkeys import RelyingParty
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.console import sessions
from vyrox.console.challenges import Challenges
from vyrox.console.pages import DONE
from vyrox.console.sessions import Person
from vyrox.errors import (
    InvalidRequestError,
    NotFoundError,
    NotPossibleError,
    UnauthorizedError,
    UnavailableError,
)
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.http.responses import JsonResponse
from vyrox.store.database import Database

MAX_BODY_BYTES: Final = 65_536

MAX_FIELDS: Final = 100
"""Of one form."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_incomplete: Final = IncompleteBodies()


class Answered(msgspec.Struct, frozen=True):
    """What the script posts after the browser has made or used a passkey.

    Attributes:
        response: What `navigator.credentials` returned.
    """

    response: msgspec.Raw

    @property
    def answer(self) -> str:
        """The response as JSON."""
        return bytes(self.response).decode()


class Signed(Answered, frozen=True):
    """A statement, and the response that signs it."""

    statement: str


@dataclass(frozen=True)
class Console:
    """The parts that the pages use, opened in the application's lifespan.

    Attributes:
        now: The clock of leases, by which proposals expire.
        check_clocks: Raises UnavailableError if the clocks cannot be trusted.
        approval_ttl_s: How long a proposal may be decided on.
        events: Takes the events of what people read, such as an export.
        queue: Of alerts that are replayed or revived. `entries` are those of single alerts.
        health: Of the database and of Redis.
        discord: What posts at Discord.
        fingerprint: Of a webhook's secret, by tenant, vendor and the encrypted secret.
        checkpoints: What signs the audit logs that are downloaded; None without a key.
    """

    database: Database
    decisions: Decisions
    now: Clock
    check_clocks: Callable[[], None]
    relying_party: RelyingParty
    challenges: Challenges
    approval_ttl_s: int
    events: AuditEvents
    queue: AlertQueue
    entries: QueueEntries
    health: Health
    discord: Joiner
    fingerprint: Callable[[str, str, str | None], str | None]
    checkpoints: Checkpoints | None


class Owned(NamedTuple):
    """A table with `id` and `tenant_id`, and the part of the address that has the id."""

    table: sa.Table
    parameter: str


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
    # For the page of an error that this request may end with.
    request.state.person = person
    return msgspec.structs.replace(person, done=request.query_params.get("done", ""))


def tenants_of(request: Request, person: Person) -> tuple[str, ...]:
    """Return the tenants that a page is about: the one that its address names, or all.

    Raises:
        NotFoundError: The person may not see the tenant, or it does not exist.
    """
    tenant_id = request.query_params.get("tenant", "")
    if not tenant_id:
        return person.tenants
    sees(person, tenant_id)
    return (tenant_id,)


def sees(person: Person, tenant_id: str) -> None:
    """Raise NotFoundError if the person may not see the tenant, as if it did not exist."""
    if tenant_id not in person.tenants:
        raise NotFoundError("of a tenant that this person may not see")


def acts(person: Person, tenant_id: str) -> None:
    """Raise NotPossibleError if the person may see the tenant, but do nothing in it.

    Raises:
        NotFoundError: The person may not see the tenant.
        NotPossibleError: The person only looks. The text says who may.
    """
    sees(person, tenant_id)
    if tenant_id not in person.acts_for:
        raise NotPossibleError(
            f"You may look, but not do this: it takes an approver of {tenant_id} "
            "who has signed in with a passkey"
        )


def done(path: str, word: str) -> Response:
    """Return the response to a form: the page at `path`, which says `DONE[word]`."""
    assert word in DONE, word  # noqa: S101  (a fixed table)
    return RedirectResponse(f"{path}{'&' if '?' in path else '?'}done={word}", 303)


async def remove_entry(console: Console, tenant_id: str, alert_id: str) -> None:
    """Remove the queue entry of an alert on which a person has decided, after the commit."""
    try:
        await console.entries.remove([(tenant_id, alert_id)])
    except UnavailableError as exc:
        # The next consumer skips the alert and removes the entry.
        log.event("alert.entry_left", logging.WARNING, alert=alert_id, reason=str(exc))


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        InvalidRequestError: The body is not a form, has a field twice, or a zero byte.
        VyroxError: It is too large, compressed or late.
    """
    body = await read_body(request, MAX_BODY_BYTES, _incomplete)
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as exc:
        raise InvalidRequestError("not a form") from exc
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequestError("a field twice")
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise InvalidRequestError("a zero byte")
    request.state.fields = fields
    return fields


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


async def owner_of(request: Request, person: Person, about: Owned) -> str:
    """Return the tenant of what the address names.

    Raises:
        NotFoundError: There is no such thing, or the person may not see its tenant.
    """
    row_id = request.path_params[about.parameter]
    if "\0" in row_id:
        raise NotFoundError("not an id")
    query = sa.select(about.table.c.tenant_id).where(about.table.c.id == row_id)
    tenant_id = await console_of(request).database.read(
        lambda connection: connection.execute(query).scalar()
    )
    if tenant_id is None:
        raise NotFoundError("not of any tenant")
    sees(person, tenant_id)
    return str(tenant_id)


async def acting(request: Request, about: Owned | None = None) -> tuple[Person, str]:
    """Return who wants to do something, and in which tenant.

    Args:
        about: What the address names; None: the person's own keys.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: There is no such thing, or the person may not see its tenant.
        NotPossibleError: The person sees this tenant, and may do nothing in it.
    """
    person = await signed_in(request)
    tenant_id = person.tenant_id if about is None else await owner_of(request, person, about)
    acts(person, tenant_id)
    return person, tenant_id


async def statement_of(
    request: Request,
    issue: Callable[[Connection, str, *Ts, str, float], tuple[str, Options]],
    *subject: *Ts,
    about: Owned | None = None,
) -> Response:
    """Return a statement for the person to sign, and what signs it. Raises as `issue`.

    Args:
        issue: Called with the tenant, `subject`, the approver and the time.
        about: What the statement is about; None: the person's own keys.
    """
    person, tenant_id = await acting(request, about)
    console = console_of(request)
    text, options = await console.database.write(
        issue, tenant_id, *subject, person.approver, console.now()
    )
    return JsonResponse({"statement": text, "options": options})


async def recorded(
    request: Request,
    record: Callable[[Connection, str, *Ts, str, str, RelyingParty, float], T],
    *subject: *Ts,
    about: Owned | None = None,
) -> T:
    """Record a statement that a passkey has signed, and return what `record` returns.

    Args:
        record: Called with the tenant, `subject`, the statement, its signature, the origin of the
            console and the time. It checks the signature.
        about: As in `statement_of`.

    Raises:
        UnauthorizedError: No person has signed in.
        InvalidRequestError: The body is not a signed statement.
        UnavailableError: The clocks cannot be trusted.
    """
    _, tenant_id = await acting(request, about)
    console = console_of(request)
    signed = await read_json(request, Signed)
    console.check_clocks()
    return await console.database.write(
        record,
        tenant_id,
        *subject,
        signed.statement,
        signed.answer,
        console.relying_party,
        console.now(),
    )
