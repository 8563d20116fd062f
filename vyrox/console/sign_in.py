"""Signing in with a passkey, and out (contract 66)."""

import contextlib
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox import log
from vyrox.approvals import keys, passkeys
from vyrox.approvals.approvers import present
from vyrox.approvals.ceremonies import request_options
from vyrox.approvals.keys import Key
from vyrox.approvals.passkeys import RelyingParty
from vyrox.approvals.proofs import check_origin
from vyrox.chain.verify import RefusedProofError
from vyrox.console import sessions
from vyrox.console.challenges import use
from vyrox.console.pages import page
from vyrox.console.parts import Answered, console_of, read_json, signed_in
from vyrox.errors import NotPossibleError, UnauthorizedError
from vyrox.http.responses import JsonResponse

_SIGN_IN: Final = "sign in"


class _SignIn(Answered, frozen=True):
    challenge: str


async def sign_in_page(request: Request) -> Response:
    """Show the page. Its challenge names no person: the authenticator knows its own."""
    console = console_of(request)
    challenge, sealed = console.challenges.make(_SIGN_IN, console.now())
    options = request_options(console.relying_party.rp_id, challenge, ())
    return page("sign_in", ceremony={"options": options, "challenge": sealed})


async def sign_in(request: Request) -> Response:
    """Begin a session for the person whose passkey has answered.

    Raises:
        UnauthorizedError: The answer is not valid. The response does not say why.
    """
    console = console_of(request)
    sent = await read_json(request, _SignIn)
    now = console.now()
    challenge = console.challenges.open(_SIGN_IN, sent.challenge, now)
    # Checked first in a read: an unauthenticated client takes no turn of the writer.
    party = console.relying_party
    await console.database.read(answered_by, party, challenge, sent.answer)
    key, session_id = await console.database.write(_begin, party, challenge, sent.answer, now)
    log.event("console.signed_in", tenant=key.tenant_id, approver=key.approver)
    return with_session(JsonResponse({}), session_id)


def with_session(response: Response, session_id: str) -> Response:
    """Return the response, which makes the browser keep the session."""
    response.set_cookie(
        sessions.COOKIE, session_id, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


async def sign_out(request: Request) -> Response:
    """End the session, and show the sign-in page, also if the session has ended by itself."""
    with contextlib.suppress(UnauthorizedError):
        person = await signed_in(request)
        await console_of(request).database.write(sessions.end, person.session)
    return _signed_out()


async def sign_out_everywhere(request: Request) -> Response:
    """End every session of the person, this one too.

    Raises:
        UnauthorizedError: No person has signed in.
        NotPossibleError: A link has begun the session, which may be in other hands.
    """
    person = await signed_in(request)
    if person.credential_id is None:
        raise NotPossibleError("You have signed in with a link, so you can end only this session")
    ended = await console_of(request).database.write(
        sessions.end_all, person.tenants, person.approver
    )
    log.event("console.signed_out_everywhere", approver=person.approver, sessions=ended)
    return _signed_out()


def _signed_out() -> Response:
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(sessions.COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def answered_by(
    connection: Connection, relying_party: RelyingParty, challenge: bytes, response: str
) -> tuple[Key, int]:
    """Return the approver's key that has answered a challenge, and what the key counts.

    Raises:
        UnauthorizedError: The answer is not valid.
    """
    try:
        key = keys.find_key(connection, passkeys.credential_id_of(response))
        if key is None or key.approver not in present(connection, key.tenant_id):
            raise UnauthorizedError("unknown_key")
        check_origin(key, relying_party)
        members = passkeys.assertion(response, challenge, key.members)
    except RefusedProofError as exc:
        raise UnauthorizedError(f"refused_answer: {exc}") from exc
    return key, passkeys.sign_count(members)


def used_by(
    connection: Connection, party: RelyingParty, challenge: bytes, response: str, now: float
) -> Key:
    """Return the key as `answered_by` does, and use the challenge up."""
    key, count = answered_by(connection, party, challenge, response)
    use(connection, challenge, now)
    keys.note_sign_count(connection, key, count, now)
    return key


def _begin(
    connection: Connection, party: RelyingParty, challenge: bytes, response: str, now: float
) -> tuple[Key, str]:
    key = used_by(connection, party, challenge, response, now)
    session_id = sessions.begin(connection, key.tenant_id, key.approver, key.credential_id, now)
    return key, session_id
