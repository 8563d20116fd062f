"""What is written about approvals is what the offline verifier reads (contract 62 and 64)."""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from sqlalchemy import Connection

from tests import audit
from tests.approvals.authenticator import Authenticator
from tests.approvals.decided import KILL, WANTED, prepared, proposed, say
from tests.approvals.test_dispatch import dispatching
from tests.approvals.test_proposal import proposals
from tests.audit import NOW, TENANT
from vyrox.approvals import passkeys
from vyrox.approvals.deciding import Verified, decide
from vyrox.approvals.display import display
from vyrox.approvals.events import draft
from vyrox.approvals.proposal import Proposal, canonical
from vyrox.approvals.proposing import Proposed, withdraw
from vyrox.chain import verify
from vyrox.chain.entry import Scalar, Stream
from vyrox.chain.export import pages
from vyrox.chain.writer import append
from vyrox.errors import UnauthorizedError
from vyrox.store.database import Database

PARTY: Final = passkeys.RelyingParty("localhost", "http://localhost:8002")
OF: Final = {
    "ann": Authenticator("ES256", b"of-ann"),
    "bob": Authenticator("EdDSA", b"of-bob"),
}


class Signed:
    """A proof by passkey, as a channel will bring it."""

    def __init__(
        self, proposal_id: str, statement: str, response: str, key: dict[str, Scalar]
    ) -> None:
        self._proposal_id = proposal_id
        self._statement = statement
        self._response = response
        self._key = key

    def verify(self, connection: Connection, tenant_id: str) -> Verified:
        try:
            members = passkeys.decide(
                self._response, self._statement, self._proposal_id, self._key, NOW
            )
        except verify.RefusedProofError as exc:
            raise UnauthorizedError(str(exc), tenant_id) from exc
        signed = msgspec.json.decode(self._statement, type=passkeys.Statement)
        return Verified(
            "webauthn",
            signed.approver,
            signed.proposal_sha256,
            signed.decision,
            signed.nonce,
            members,
        )


async def enrolled(database: Database, name: str) -> dict[str, Scalar]:
    """Enrol a person's passkey, as a page will do it."""
    response = OF[name].create(bytes(32))
    key = passkeys.enrol(response, bytes(32), name, PARTY)
    added = draft("approver.key_added", TENANT, None, **key, by=name)
    await database.write(append, [added], NOW)
    return key


def signed(proposal: Proposed, name: str, key: dict[str, Scalar]) -> Signed:
    sha256 = proposal.proposal_sha256
    statement = passkeys.new_statement(sha256, "approve", name, "", int(NOW))
    response = OF[name].get(passkeys.challenge(statement))
    return Signed(proposal.proposal_id, statement, response, key)


async def exported(database: Database, directory: Path, stream: Stream) -> str:
    path = directory / f"{stream}.ndjson"
    with path.open("wb") as file:
        async for page in pages(database, TENANT, stream):
            file.writelines(line + b"\n" for line in page)
    return str(path)


async def test_an_auditor_finds_each_action_proven_contract_62(
    database: Database, tmp_path: Path
) -> None:
    """A34 and A36: from two signatures to the vendor, and then without Vyrox."""
    await prepared(database)
    keys = {name: await enrolled(database, name) for name in OF}
    async with dispatching(database) as each:
        proposal = await proposed(database)
        for name in OF:
            proof = signed(proposal, name, keys[name])
            await database.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await each.run()
        assert each.vendor.did != []
        # What ends without an action is no failure either.
        other = await proposed(database, msgspec.structs.replace(WANTED, host="other"))
        await database.write(withdraw, TENANT, other.proposal_id, "ann", NOW)
    actions = await exported(database, tmp_path, "actions")
    events = await exported(database, tmp_path, "events")
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    [found] = report.findings
    assert found.action.host == "workstation-01"
    assert [(each.approver, each.proof) for each in found.decisions] == [
        ("ann", "passkey"),
        ("bob", "passkey"),
    ]


async def test_a_person_who_asked_and_approved_is_reported_as_that_contract_64(
    database: Database, tmp_path: Path
) -> None:
    await prepared(database)
    key = await enrolled(database, "ann")
    async with dispatching(database) as each:
        proposal = await proposed(database, msgspec.structs.replace(KILL, requested_by="ann"))
        proof = signed(proposal, "ann", key)
        await database.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await each.run()
    actions = await exported(database, tmp_path, "actions")
    events = await exported(database, tmp_path, "events")
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    [found] = report.findings
    assert found.decisions == (verify.Decision("ann", "passkey", is_requester=True),)


async def test_a_proof_of_another_proposal_is_refused_contract_62(database: Database) -> None:
    await prepared(database)
    key = await enrolled(database, "ann")
    one = await proposed(database)
    other = await proposed(database, msgspec.structs.replace(WANTED, host="other"))
    with pytest.raises(UnauthorizedError):
        await database.write(decide, TENANT, other.proposal_id, signed(one, "ann", key), NOW)
    assert await audit.events(database, kind="approval.decided") == []
    with pytest.raises(UnauthorizedError):
        await say(database, one, "dan")


@given(proposals)
def test_display_is_that_of_the_verifier_contract_62(proposal: Proposal) -> None:
    """A3: two programs that share no code, so that an auditor reads what the person has read."""
    text = canonical(proposal)
    members: dict[str, Any] = msgspec.json.decode(text)
    assert verify.display(members) == display(proposal)
