"""What approvals write, the verifier proves: both sides of one format (contract 62 and 64)."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from sqlalchemy import Connection

from tests.approvals.authenticator import Authenticator
from tests.approvals.decided import KILL, WANTED, prepared, proposed
from tests.approvals.test_dispatch import dispatching
from tests.approvals.test_proposal import proposals
from tests.audit import NOW, TENANT
from vyrox.approvals import passkeys
from vyrox.approvals.deciding import Verified, decide
from vyrox.approvals.display import DisplayError, display
from vyrox.approvals.events import draft
from vyrox.approvals.proposal import Proposal, canonical, digest
from vyrox.approvals.proposing import Proposed, Wanted
from vyrox.chain import verify
from vyrox.chain.entry import Scalar, Stream
from vyrox.chain.export import pages
from vyrox.chain.writer import append
from vyrox.store.database import Database

ASKED_BY_ANN = msgspec.structs.replace(KILL, requested_by="ann")


class Person:
    """An approver with a passkey."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._authenticator = Authenticator("ES256", name.encode())
        party = passkeys.RelyingParty(self._authenticator.rp_id, self._authenticator.origin)
        response = self._authenticator.create(bytes(32))
        self.key = passkeys.enrol(response, bytes(32), name, party)

    async def enrol(self, database: Database) -> None:
        event = draft("approver.key_added", TENANT, None, **self.key, by=self.name)
        await database.write(append, [event], NOW)

    async def approve(self, database: Database, proposal: Proposed) -> None:
        sha256 = proposal.proposal_sha256
        statement = passkeys.new_statement(sha256, "approve", self.name, "", int(NOW))
        response = self._authenticator.get(passkeys.challenge(statement))
        members = passkeys.decide(response, statement, proposal.proposal_id, self.key, NOW)
        await database.write(decide, TENANT, proposal.proposal_id, Proof(members), NOW)


class Proof:
    """The proof of a passkey, for `decide`."""

    def __init__(self, members: dict[str, Scalar]) -> None:
        self._members = members

    def verify(self, connection: Connection, tenant_id: str) -> Verified:
        members = self._members
        return Verified(
            "webauthn",
            str(members["approver"]),
            str(members["proposal_sha256"]),
            "approve",
            str(members["statement"]),
            members,
        )


async def export(database: Database, stream: Stream, directory: Path) -> str:
    path = directory / stream
    found = [line async for page in pages(database, TENANT, stream) for line in page]
    path.write_bytes(b"\n".join(found))
    return str(path)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [(WANTED, ["ann", "bob"]), (KILL, ["bob"]), (ASKED_BY_ANN, ["ann"])],
    ids=["two", "one", "same"],
)
async def test_what_approvals_write_is_proven_offline_contract_64(
    database: Database, wanted: Wanted, names: list[str], data_dir: Path
) -> None:
    await prepared(database)
    people = [Person(name) for name in names]
    for person in people:
        await person.enrol(database)
    async with dispatching(database) as each:
        proposal = await proposed(database, wanted)
        for person in people:
            await person.approve(database, proposal)
        await each.run()
    actions, events = [await export(database, s, data_dir) for s in ("actions", "events")]
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    [(action, decisions)] = report.named
    assert action.approved_by == f"{'+'.join(names)} sha256:{proposal.proposal_sha256}"
    assert decisions == tuple(
        verify.Decision(name, "passkey", is_requester=name == wanted.requested_by) for name in names
    )


@given(proposals)
def test_the_verifier_displays_what_people_read_contract_64(proposal: Proposal) -> None:
    try:
        text = display(proposal)
    except DisplayError:
        assume(False)
    canonical_text = canonical(proposal).decode()
    members = verify.check_proposal(canonical_text, digest(canonical_text.encode()))
    assert members == json.loads(canonical_text)
    assert verify.display(members) == text
