"""A decision signed by passkey, with one thing wrong at a time (contract 65; A2, A25 to A28)."""

import json
from collections.abc import Callable
from typing import Final

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests import audit
from tests.approvals.authenticator import UP, Authenticator, b64
from tests.approvals.decided import KILL, prepared, proposed
from tests.approvals.enrolled import PARTY, enrol, register, sign
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, deciding, keys, passkeys, statements
from vyrox.approvals.proofs import SignedByPasskey
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import StoredProposal
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError, UnauthorizedError
from vyrox.store import tables
from vyrox.store.database import Database

ANN: Final = Authenticator("ES256", b"of-ann")
BOB: Final = Authenticator("EdDSA", b"of-bob")


@pytest.fixture
async def opened(database: Database) -> Database:
    await prepared(database, ())
    for name, passkey in (("ann", ANN), ("bob", BOB)):
        passkey.count = 0
        await database.write(approvers.add, TENANT, name, "operator", NOW)
        await enrol(database, name, passkey)
    return database


async def decide(
    database: Database, proposal: Proposed, proof: deciding.Proof, now: float = NOW
) -> StoredProposal:
    return await database.write(deciding.decide, TENANT, proposal.proposal_id, proof, now)


async def shown(database: Database, proposal: Proposed, name: str = "ann") -> str:
    text, _ = await database.write(
        statements.issue, TENANT, proposal.proposal_id, name, "approve", "", NOW
    )
    return text


async def test_the_browser_is_asked_for_the_approvers_keys_contract_65(opened: Database) -> None:
    """A25 and A28."""
    proposal = await proposed(opened, KILL)
    second = await register(opened, "ann", Authenticator("RS256", b"second"))
    await opened.write(keys.confirm, second, "operator", NOW)
    text, options = await opened.write(
        statements.issue, TENANT, proposal.proposal_id, "ann", "reject", "why", NOW
    )
    assert options == {
        "challenge": b64(passkeys.challenge(text)),
        "timeout": 300_000,
        "rpId": "localhost",
        "allowCredentials": [
            {"type": "public-key", "id": b64(b"of-ann")},
            {"type": "public-key", "id": second.credential_id},
        ],
        "userVerification": "required",
    }
    signed = json.loads(text)
    assert (signed["decision"], signed["comment"], signed["approver"]) == ("reject", "why", "ann")
    assert signed["proposal_sha256"] == proposal.proposal_sha256


async def test_a_statement_is_used_once_contract_65(opened: Database) -> None:
    """A2: on the first use only, also for another decision on the same proposal."""
    proposal = await proposed(opened)
    proof = await sign(opened, proposal, "ann", ANN, comment="sure")
    assert (await decide(opened, proposal, proof)).stored_state == "pending"
    [event] = await audit.events(opened, kind="approval.decided")
    assert json.loads(str(event["statement"]))["comment"] == "sure"
    with pytest.raises(UnauthorizedError) as caught:
        await decide(opened, proposal, proof)
    assert caught.value.kind == "statement_not_open"


async def test_a_person_has_a_bounded_number_of_open_statements_contract_65(
    opened: Database,
) -> None:
    proposal = await proposed(opened, KILL)
    first = await sign(opened, proposal, "ann", ANN)

    def issue_many(connection: Connection) -> int:
        for number in range(statements.MAX_OPEN):
            later = NOW + (number + 1) / 1000
            statements.issue(connection, TENANT, proposal.proposal_id, "ann", "approve", "", later)
        count = sa.select(sa.func.count()).select_from(tables.statements)
        return connection.execute(count).scalar_one()

    assert await opened.write(issue_many) == statements.MAX_OPEN
    with pytest.raises(UnauthorizedError) as caught:
        await decide(opened, proposal, first)
    assert caught.value.kind == "statement_not_open"


async def test_a_refused_proof_does_not_use_the_statement_up_contract_65(opened: Database) -> None:
    proposal = await proposed(opened)
    text = await shown(opened, proposal)
    wrong = SignedByPasskey(text, ANN.get(bytes(32)), PARTY)
    with pytest.raises(UnauthorizedError):
        await decide(opened, proposal, wrong)
    await decide(opened, proposal, SignedByPasskey(text, ANN.get(passkeys.challenge(text)), PARTY))


Make = Callable[[str], tuple[str, str]]
"""From the statement that was shown to what the browser sends: a statement and a response."""


def changed(text: str, **changes: object) -> tuple[str, str]:
    other = json.dumps({**json.loads(text), **changes}, sort_keys=True, separators=(",", ":"))
    return other, ANN.get(passkeys.challenge(other))


def with_name(response: str) -> str:
    """Return the response of another key, which claims to be Ann's."""
    return json.dumps({**json.loads(response), "id": b64(b"of-ann"), "rawId": b64(b"of-ann")})


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(
            lambda text: (text, BOB.get(passkeys.challenge(text))), "key_not_enrolled", id="bobs"
        ),
        pytest.param(
            lambda text: (text, with_name(BOB.get(passkeys.challenge(text)))), None, id="claims"
        ),
        pytest.param(
            lambda text: (text, Authenticator("ES256", b"x").get(passkeys.challenge(text))),
            "key_not_enrolled",
            id="unknown_key",
        ),
        pytest.param(
            lambda text: changed(text, decision="reject"), "statement_not_open", id="reject"
        ),
        pytest.param(lambda text: changed(text, comment="x"), "statement_not_open", id="comment"),
        pytest.param(
            lambda text: changed(text, approver="bob"), "statement_not_open", id="approver"
        ),
        pytest.param(lambda text: (text, ANN.get(bytes(32))), None, id="challenge"),
        pytest.param(
            lambda text: (text, ANN.get(passkeys.challenge(text), flags=UP)), None, id="unverified"
        ),
        pytest.param(
            lambda text: (text, ANN.get(passkeys.challenge(text), crossOrigin=True)),
            None,
            id="cross_origin",
        ),
        pytest.param(lambda text: (text, "{"), None, id="not_json"),
        pytest.param(lambda text: (text, "{}"), None, id="empty"),
        pytest.param(lambda _text: ("\udc80", "{}"), "statement_not_open", id="surrogate"),
        pytest.param(
            lambda text: (text, ANN.get(passkeys.challenge(text)) + " " * 20_000),
            "response_too_long",
            id="too_long",
        ),
    ],
)
async def test_what_was_not_signed_so_is_refused_contract_65(
    opened: Database, make: Make, kind: str | None
) -> None:
    proposal = await proposed(opened)
    proof = SignedByPasskey(*make(await shown(opened, proposal)), PARTY)
    with pytest.raises(UnauthorizedError) as caught:
        await decide(opened, proposal, proof)
    assert kind in {None, caught.value.kind}
    assert await audit.events(opened, kind="approval.decided") == []


@pytest.mark.parametrize("why", ["too_old", "expired", "key_removed", "tenant", "other"])
async def test_a_signature_that_comes_too_late_is_refused_contract_65(
    opened: Database, why: str
) -> None:
    """It lives 10 minutes, never beyond the proposal, and counts for one proposal of one tenant."""
    proposal = await proposed(opened)
    other = await proposed(opened, KILL)
    at = NOW + 400 if why == "expired" else NOW
    proof = await sign(opened, proposal, "ann", ANN, now=at)
    now, tenant_id, proposal_id = at, TENANT, proposal.proposal_id
    match why:
        case "too_old":
            now += 600
        case "expired":
            now += 500
        case "key_removed":
            found = await opened.read(keys.keys_of, TENANT, "ann")
            await opened.write(keys.remove, found, "operator", NOW)
        case "tenant":
            tenant_id = "initech"
        case _:
            proposal_id = other.proposal_id
    with pytest.raises((UnauthorizedError, NotFoundError)):
        await opened.write(deciding.decide, tenant_id, proposal_id, proof, now)
    assert await audit.events(opened, kind="approval.decided") == []


async def test_nothing_is_shown_to_be_signed_that_cannot_be_decided_contract_65(
    opened: Database,
) -> None:
    proposal = await proposed(opened)

    async def issue(name: str, comment: str, now: float) -> None:
        await opened.write(
            statements.issue, TENANT, proposal.proposal_id, name, "approve", comment, now
        )

    with pytest.raises(InvalidRequestError):
        await issue("ann", "x" * 1001, NOW)
    with pytest.raises(InvalidRequestError):
        await issue("ann", "\udc80", NOW)
    with pytest.raises(NotPossibleError, match="is expired"):
        await issue("ann", "", NOW + 900)
    with pytest.raises(NotPossibleError, match="no confirmed passkey"):
        await issue("cyd", "", NOW)


async def test_a_sign_count_that_falls_is_an_event_contract_65(opened: Database) -> None:
    """A26: a synced passkey does not count, so nothing is refused."""
    for count, told in ((5, []), (5, []), (3, [(5, 3)])):
        proposal = await proposed(opened, KILL)
        ANN.count = count
        proof = await sign(opened, proposal, "ann", ANN, "reject")
        await decide(opened, proposal, proof)
        events = await audit.events(opened, kind="approver.sign_count_fell")
        assert [(each["before"], each["after"]) for each in events] == told
