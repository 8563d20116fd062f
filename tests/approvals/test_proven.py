"""What is written about approvals is what the offline verifier reads (contract 62 and 64)."""

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given

from tests import audit
from tests.approvals.authenticator import Authenticator, b64
from tests.approvals.decided import KILL, LEASED, PROPOSAL, WANTED, prepared, proposed, say
from tests.approvals.enrolled import PARTY, enrol, sign
from tests.approvals.test_dispatch import dispatching
from tests.approvals.test_leases import END, opened_site
from tests.approvals.test_proposal import proposals
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, break_glass
from vyrox.approvals.deciding import decide
from vyrox.approvals.display import display
from vyrox.approvals.proposal import Proposal, canonical
from vyrox.approvals.proposing import withdraw
from vyrox.chain import verify
from vyrox.chain.entry import Stream
from vyrox.chain.export import pages
from vyrox.errors import UnauthorizedError
from vyrox.models import BreakGlass, Device
from vyrox.store.database import Database

OF: Final = {
    "ann": Authenticator("ES256", b"of-ann"),
    "bob": Authenticator("EdDSA", b"of-bob"),
}


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
    await prepared(database, people=())
    for name, authenticator in OF.items():
        await database.write(approvers.add, TENANT, name, "operator", NOW)
        await enrol(database, name, authenticator)
    async with dispatching(database) as each:
        proposal = await proposed(database)
        for name, authenticator in OF.items():
            proof = await sign(database, proposal, name, authenticator)
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


async def test_a_lift_at_the_end_of_a_lease_is_approved_with_it_contract_64(
    database: Database, tmp_path: Path
) -> None:
    """A19: the vendor knows the device by another id than the proposal."""
    await prepared(database, people=())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    async with opened_site(database) as site:
        site.vendor.devices["workstation-01"] = Device("device-1", "workstation-01")
        proposal = await proposed(database, LEASED)
        proof = await sign(database, proposal, "ann", OF["ann"])
        await database.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await site.dispatching.run()
        await site.at(END)
        assert site.vendor.sent == [("contained", "device-1"), ("lifted", "device-1")]
    report = verify.verify_approvals(
        await exported(database, tmp_path, "actions"), await exported(database, tmp_path, "events")
    )
    assert report.failures == []
    assert [(each.lease_of, each.not_proven) for each in report.findings] == [
        (None, None),
        (1, None),
    ]
    assert report.findings[1].action.host == "device-1"


async def test_a_break_glass_is_not_proven_but_acknowledged_contract_64(
    database: Database, tmp_path: Path
) -> None:
    """A16: who acted without an approval, and who has acknowledged that with a passkey."""
    await prepared(database, people=())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    glass = BreakGlass(
        request_id="1",
        tenant_id=TENANT,
        alert_id="alt_abc123",
        action_type="HOST_ISOLATION",
        host="workstation-01",
        by="root \u2713",
        reason="fire",
        at=int(NOW),
    )
    async with dispatching(database) as each:
        execute = each.proxy.containment.execute
        await execute(glass.request, "trace", break_glass.BrokenGlass(glass, NOW))
    text, _ = await database.write(break_glass.issue, TENANT, "1", "ann", NOW)
    response = OF["ann"].get(sha256(b"vyrox-acknowledgement-v1\n" + text.encode()).digest())
    await database.write(break_glass.acknowledge, TENANT, "1", text, response, PARTY, NOW)
    report = verify.verify_approvals(
        await exported(database, tmp_path, "actions"), await exported(database, tmp_path, "events")
    )
    assert report.failures == []
    assert [each.not_proven for each in report.findings] == [
        "break glass, without an approval; acknowledged by passkey ('ann')"
    ]


async def test_a_person_who_asked_and_approved_is_reported_as_that_contract_64(
    database: Database, tmp_path: Path
) -> None:
    await prepared(database, people=())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    async with dispatching(database) as each:
        proposal = await proposed(database, msgspec.structs.replace(KILL, requested_by="ann"))
        proof = await sign(database, proposal, "ann", OF["ann"])
        await database.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await each.run()
    actions = await exported(database, tmp_path, "actions")
    events = await exported(database, tmp_path, "events")
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    [found] = report.findings
    assert found.decisions == (
        verify.Decision("ann", "passkey", b64(b"of-ann"), is_requester=True),
    )


async def test_the_end_of_a_lease_follows_from_its_proof_contract_68(
    database: Database, tmp_path: Path
) -> None:
    await prepared(database, people=())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    async with opened_site(database) as site:
        proposal = await proposed(database, LEASED)
        proof = await sign(database, proposal, "ann", OF["ann"])
        await database.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await site.dispatching.run()
        await site.at(END)
    actions = await exported(database, tmp_path, "actions")
    events = await exported(database, tmp_path, "events")
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    assert [each.lease_of for each in report.findings] == [None, 1]
    assert report.findings[0].decisions != ()


async def test_a_proof_of_another_proposal_is_refused_contract_62(database: Database) -> None:
    await prepared(database, people=())
    await database.write(approvers.add, TENANT, "ann", "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    one = await proposed(database)
    other = await proposed(database, msgspec.structs.replace(WANTED, host="other"))
    proof = await sign(database, one, "ann", OF["ann"])
    with pytest.raises(UnauthorizedError):
        await database.write(decide, TENANT, other.proposal_id, proof, NOW)
    assert await audit.events(database, kind="approval.decided") == []
    with pytest.raises(UnauthorizedError):
        await say(database, one, "dan")


@given(proposals)
def test_display_is_that_of_the_verifier_contract_62(proposal: Proposal) -> None:
    """A3: two programs that share no code, so that an auditor reads what the person has read."""
    text = canonical(proposal)
    members: dict[str, Any] = msgspec.json.decode(text)
    assert verify.display(members) == display(proposal)


def test_a_reason_is_cut_at_the_same_place_contract_62() -> None:
    """A3: around the length at which it must be cut, and with every character of ASCII."""
    long = msgspec.structs.replace(PROPOSAL, host="h" * 256, hostname="n" * 256)
    characters = "".join(map(chr, range(128)))
    for reason in (
        *("a" * length for length in range(1, 1001)),
        *("\u2713" + "a" * length for length in range(1000)),
        *("\u2713" * length for length in range(80, 110)),
        characters,
        f" {characters} ",
    ):
        proposal = msgspec.structs.replace(long, reason=reason)
        members: dict[str, Any] = msgspec.json.decode(canonical(proposal))
        assert verify.display(members) == display(proposal)
