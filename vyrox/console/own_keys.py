"""The approver's own passkeys: a passkey asks for another, or removes one (contract 66, A39)."""

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import endorsing, keys
from vyrox.approvals.ceremonies import request_options
from vyrox.approvals.keys import Key
from vyrox.approvals.passkeys import RelyingParty
from vyrox.console.pages import page
from vyrox.console.parts import (
    Answered,
    Console,
    acts,
    console_of,
    read_json,
    recorded,
    signed_in,
    statement_of,
)
from vyrox.console.sessions import Person, Session, list_sessions
from vyrox.console.sign_in import used_by
from vyrox.errors import NotFoundError, NotPossibleError, UnauthorizedError
from vyrox.http.responses import JsonResponse


class Agreed(Answered, frozen=True):
    """The answer of a passkey to a challenge of `ceremony_of`."""

    challenge: str


class _Removal(Agreed, frozen=True):
    credential_id: str


async def ceremony_of(
    console: Console, person: Person, purpose: str, now: float
) -> dict[str, object]:
    """Return what the script needs to have one of the person's passkeys agree to `purpose`."""
    own = await console.database.read(keys.keys_of, person.tenant_id, person.approver)
    challenge, sealed = console.challenges.make(purpose, now)
    allowed = [each.credential_id for each in _able(own)]
    options = request_options(console.relying_party.rp_id, challenge, allowed)
    return {"options": options, "challenge": sealed}


async def keys_page(request: Request) -> Response:
    """Show the person's sessions and passkeys.

    Each passkey has a challenge by which another one can remove it.
    """
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    own, open_sessions = await console.database.read(_read, person, now)
    ceremonies = {}
    for key in own:
        purpose = _removal(person, key.credential_id)
        challenge, sealed = console.challenges.make(purpose, now)
        allowed = [each.credential_id for each in _able(own) if each != key]
        options = request_options(console.relying_party.rp_id, challenge, allowed)
        ceremonies[key.credential_id] = {"options": options, "challenge": sealed}
    able = len(_able(own))
    return page(
        "keys",
        person,
        now,
        keys=own,
        ceremonies=ceremonies,
        able=able,
        sessions=open_sessions,
        places={tenant_id: tenant_id in person.acts_for for tenant_id in person.tenants},
    )


def _read(
    connection: Connection, person: Person, now: float
) -> tuple[Sequence[Key], Sequence[Session]]:
    open_sessions = list_sessions(connection, person.tenants, person.approver, now)
    if not person.acts_for:  # a link may be in other hands than the keys are
        return (), open_sessions
    return keys.keys_of(connection, person.tenant_id, person.approver), open_sessions


async def further_key(request: Request) -> Response:
    """Return the statement by which the person asks for a further passkey."""
    return await statement_of(request, endorsing.issue_own_key)


async def add_key(request: Request) -> Response:
    """Return the secret of a link with which the person enrols a further passkey.

    Raises:
        UnauthorizedError: The statement was not signed by a passkey of the person.
    """
    return JsonResponse({"secret": await recorded(request, endorsing.link_by_key)})


async def remove_key(request: Request) -> Response:
    """Remove a passkey of the person, because another one of the same person has agreed.

    Raises:
        UnauthorizedError: Another passkey of the person has not agreed.
        NotPossibleError: The person would have none that decides.
    """
    person = await signed_in(request)
    acts(person, person.tenant_id)
    console = console_of(request)
    removal = await read_json(request, _Removal)
    now = console.now()
    purpose = _removal(person, removal.credential_id)
    challenge = console.challenges.open(purpose, removal.challenge, now)
    console.check_clocks()
    await console.database.write(
        _remove,
        person,
        removal.credential_id,
        console.relying_party,
        challenge,
        removal.answer,
        now,
    )
    return JsonResponse({})


def _remove(
    connection: Connection,
    person: Person,
    credential_id: str,
    relying_party: RelyingParty,
    challenge: bytes,
    response: str,
    now: float,
) -> None:
    agreed = used_by(connection, relying_party, challenge, response, now)
    if (agreed.tenant_id, agreed.approver) != (person.tenant_id, person.approver):
        raise UnauthorizedError("key_of_another_person", person.tenant_id)
    own = keys.keys_of(connection, person.tenant_id, person.approver)
    removed = [each for each in own if each.credential_id == credential_id]
    if not removed:
        raise NotFoundError("the person has no such key")
    if agreed.credential_id == credential_id:
        raise NotPossibleError("Another of your passkeys must agree: a person needs one that works")
    keys.remove(connection, removed, person.approver, now)


def _able(own: Sequence[Key]) -> list[Key]:
    return [each for each in own if each.confirmed_at is not None]


def _removal(person: Person, credential_id: str) -> str:
    return f"remove\n{person.tenant_id}\n{person.approver}\n{credential_id}"
