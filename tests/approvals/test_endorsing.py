"""Changes of who may decide, once several persons have passkeys (contract 65; A8, A17, A39)."""

import hashlib
import json
from pathlib import Path
from typing import Final

import msgspec
import pytest
import sqlalchemy as sa

from tests import audit
from tests.approvals.authenticator import Authenticator
from tests.approvals.decided import KILL, prepared, proposed
from tests.approvals.enrolled import PARTY, confirm, enrol, register, sign
from tests.approvals.test_dispatch import dispatching
from tests.approvals.test_proven import exported
from tests.audit import NOW, TENANT
from tests.notify.samples import SECRET
from tests.vendor import VAULT
from vyrox.approvals import approvers, changes, drills, endorsing, enrolment, keys, rules
from vyrox.approvals.changes import Change, PendingChange
from vyrox.approvals.deciding import decide
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import Decision
from vyrox.approvals.rules import FOUR_EYES
from vyrox.chain import verify
from vyrox.errors import NotFoundError, NotPossibleError, UnauthorizedError
from vyrox.notify import targets
from vyrox.notify.messages import Band
from vyrox.notify.targets import Format
from vyrox.store.database import Database
from vyrox.store.tables import notifications

NAMES: Final = ("ann", "bob", "cyd")
OF: Final = {
    "ann": Authenticator("ES256", b"of-ann"),
    "bob": Authenticator("EdDSA", b"of-bob"),
    "cyd": Authenticator("ES256", b"of-cyd"),
}
ACCOUNT: Final = "80351110224678912"


@pytest.fixture
async def opened(database: Database) -> Database:
    """Give the tenant three approvers; Ann and Bob have a confirmed passkey."""
    await prepared(database, ())
    for name in NAMES:
        await database.write(approvers.add, TENANT, name, "operator", NOW)
    await enrol(database, "ann", OF["ann"])
    await enrol(database, "bob", OF["bob"])
    return database


async def waiting(database: Database, now: float = NOW) -> list[PendingChange]:
    return await database.read(changes.list_open, TENANT, now)


async def signed(
    database: Database, change_id: str, name: str, now: float = NOW
) -> tuple[str, str]:
    text, options = await database.write(endorsing.issue, TENANT, change_id, name, now)
    return text, OF[name].get(verify._from_base64url(str(options["challenge"]), "challenge"))


async def endorse(database: Database, change_id: str, name: str, now: float = NOW) -> int:
    sent = await signed(database, change_id, name, now)
    return await database.write(endorsing.endorse, TENANT, *sent, PARTY, now)


async def test_a_new_key_waits_for_another_approver_contract_65(opened: Database) -> None:
    """A17. What was signed is in the log, with what it was about."""
    key = await register(opened, "cyd", OF["cyd"])
    assert await confirm(opened, key) == 1
    assert await confirm(opened, key) == 1  # asked again, it is the same change
    [pending] = await waiting(opened)
    assert pending.change == Change(
        kind="confirm_key", tenant_id=TENANT, approver="cyd", subject=key.thumbprint
    )
    assert await opened.read(keys.find_key, key.credential_id) is None
    assert await endorse(opened, pending.id, "ann") == 0
    assert await opened.read(keys.find_key, key.credential_id) is not None
    assert await waiting(opened) == []
    [asked] = await audit.events(opened, kind="approver.change_asked")
    [event] = await audit.events(opened, kind="approver.change_endorsed")
    assert asked["change"] == pending.text
    assert event["change_sha256"] == asked["change_sha256"] == changes.digest(pending.text)
    assert json.loads(str(event["statement"]))["change_sha256"] == event["change_sha256"]
    assert event["approver"] == "ann"
    [confirmed] = [
        each
        for each in await audit.events(opened, kind="approver.key_confirmed")
        if each["approver"] == "cyd"
    ]
    assert confirmed["by"] == "operator"


async def test_endorsed_proofs_hold_offline_contract_65(opened: Database) -> None:
    """A36: by the steps of the verifier, on the stored bytes."""
    await confirm(opened, await register(opened, "cyd", OF["cyd"]))
    [pending] = await waiting(opened)
    await endorse(opened, pending.id, "bob")
    [event] = await audit.events(opened, kind="approver.change_endorsed")
    [key] = await opened.read(keys.confirmed_of, TENANT, "bob")
    challenge = endorsing.DOMAIN + str(event["statement"]).encode()
    verify.check_assertion(event, verify.check_key(key.members), hashlib.sha256(challenge).digest())


@pytest.mark.parametrize("why", ["reset", "removed", "response", "twice", "changed"])
async def test_what_is_no_endorsement_changes_nothing_contract_65(
    opened: Database, why: str
) -> None:
    key = await register(opened, "cyd", OF["cyd"])
    await confirm(opened, key)
    [pending] = await waiting(opened)
    text, response = await signed(opened, pending.id, "ann")
    match why:
        case "reset":
            await opened.write(approvers.reset, TENANT, "ann", "operator", NOW)
        case "removed":
            await opened.write(approvers.remove, TENANT, "ann", "operator", NOW)
        case "response":
            response = OF["ann"].get(bytes(32))
        case "twice":
            await opened.write(endorsing.endorse, TENANT, text, response, PARTY, NOW)
        case _:
            text = text.replace('"ann"', '"bob"')
    before = await opened.read(keys.confirmed_of, TENANT, "cyd")
    with pytest.raises(UnauthorizedError):
        await opened.write(endorsing.endorse, TENANT, text, response, PARTY, NOW)
    assert await opened.read(keys.confirmed_of, TENANT, "cyd") == before


async def test_no_person_endorses_the_own_key_contract_65(opened: Database) -> None:
    new = await register(opened, "ann", Authenticator("ES256", b"new"))
    assert await confirm(opened, new) == 1
    [pending] = await waiting(opened)
    with pytest.raises(UnauthorizedError) as caught:
        await endorse(opened, pending.id, "ann")
    assert caught.value.kind == "may_not_endorse"
    assert await endorse(opened, pending.id, "bob") == 0


async def test_a_person_reset_of_late_does_not_endorse_contract_65(opened: Database) -> None:
    """A39. Ann has a new key, and that is the only one beside Bob's."""
    await opened.write(approvers.reset, TENANT, "ann", "operator", NOW)
    new = Authenticator("ES256", b"new")
    key = await register(opened, "ann", new)
    assert await confirm(opened, key) == 1  # a reset spares no endorsement
    [pending] = await waiting(opened)
    assert await endorse(opened, pending.id, "bob") == 0
    ending = Change(kind="bind_discord", tenant_id=TENANT, approver="cyd", subject=ACCOUNT)
    assert await opened.read(changes.endorsers, ending, NOW) == {"bob"}
    later = NOW + approvers.RESET_S
    assert await opened.read(changes.endorsers, ending, later) == {"ann", "bob"}


async def test_a_change_waits_for_a_day_contract_65(opened: Database) -> None:
    await confirm(opened, await register(opened, "cyd", OF["cyd"]))
    [pending] = await waiting(opened)
    later = NOW + changes.CHANGE_S
    assert await waiting(opened, later) == []
    with pytest.raises(NotFoundError):
        await opened.write(endorsing.issue, TENANT, pending.id, "ann", later)
    sent = await signed(opened, pending.id, "ann", later - 1)
    with pytest.raises(NotFoundError):
        await opened.write(endorsing.endorse, TENANT, *sent, PARTY, later)


async def test_an_account_waits_as_well_contract_65(opened: Database) -> None:
    """A17: it lets a person decide, as a key does."""
    code = await opened.write(enrolment.new_code, TENANT, "cyd", "discord", NOW)
    bound = await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW)
    assert bound.discord_user_id is None
    [pending] = await waiting(opened)
    await endorse(opened, pending.id, "ann")
    assert (await opened.read(approvers.require, TENANT, "cyd")).discord_user_id == ACCOUNT


async def test_a_reset_ends_what_waits_for_the_person_contract_65(opened: Database) -> None:
    """An attacker with the lost code may have asked for them, so no approver can endorse them."""
    await confirm(opened, await register(opened, "cyd", OF["cyd"]))
    code = await opened.write(enrolment.new_code, TENANT, "cyd", "discord", NOW)
    await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW)
    asked = await waiting(opened)
    texts = [await signed(opened, each.id, "ann") for each in asked]
    await opened.write(approvers.reset, TENANT, "cyd", "operator", NOW + 1)
    assert await waiting(opened, NOW + 1) == []
    for sent in texts:
        with pytest.raises(NotFoundError):
            await opened.write(endorsing.endorse, TENANT, *sent, PARTY, NOW + 2)
    person = await opened.read(approvers.require, TENANT, "cyd")
    assert person.discord_user_id is None
    # The person asks again, and that waits.
    code = await opened.write(enrolment.new_code, TENANT, "cyd", "discord", NOW + 2)
    await opened.write(enrolment.bind_discord, TENANT, code, ACCOUNT, NOW + 2)
    assert len(asked) == 2
    assert [each.change.kind for each in await waiting(opened, NOW + 2)] == ["bind_discord"]


async def test_a_tenant_whose_keys_are_lost_is_not_locked_out_contract_65(opened: Database) -> None:
    for name in ("ann", "bob"):
        await opened.write(approvers.reset, TENANT, name, "operator", NOW)
    key = await register(opened, "ann", Authenticator("ES256", b"new"))
    assert await confirm(opened, key) == 0


async def test_a_rule_for_two_persons_is_ended_by_two_contract_65(opened: Database) -> None:
    """A17. One person twice is one person, and one who is removed counts no longer."""
    await opened.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW)
    ending = Change(kind="end_rule", tenant_id=TENANT, approver=None, subject=FOUR_EYES)
    assert await opened.write(changes.ask, ending, "operator", NOW) == 2
    [pending] = await waiting(opened)
    assert await endorse(opened, pending.id, "ann") == 1
    with pytest.raises(NotPossibleError, match="ann has endorsed this already"):
        await endorse(opened, pending.id, "ann")
    assert await opened.write(changes.ask, ending, "operator", NOW) == 1
    assert await opened.read(rules.list_rules, TENANT) == [FOUR_EYES]
    key = await register(opened, "cyd", OF["cyd"])
    await opened.write(keys.confirm, key, "operator", NOW)
    await opened.write(approvers.remove, TENANT, "ann", "operator", NOW)
    assert await endorse(opened, pending.id, "bob") == 1
    assert await endorse(opened, pending.id, "cyd") == 0
    assert await opened.read(rules.list_rules, TENANT) == []
    [ended] = await audit.events(opened, kind="approval.rule_ended")
    assert (ended["rule"], ended["by"]) == (FOUR_EYES, "operator")


async def test_without_two_persons_no_rule_ends_contract_65(opened: Database) -> None:
    await opened.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW)
    await opened.write(approvers.remove, TENANT, "bob", "operator", NOW)
    ending = Change(kind="end_rule", tenant_id=TENANT, approver=None, subject=FOUR_EYES)
    with pytest.raises(NotPossibleError, match="needs two approvers"):
        await opened.write(changes.ask, ending, "operator", NOW)


async def own_key(database: Database, name: str) -> tuple[str, str]:
    text, options = await database.write(endorsing.issue_own_key, TENANT, name, NOW)
    return text, OF[name].get(verify._from_base64url(str(options["challenge"]), "challenge"))


async def test_a_person_adds_a_key_with_an_earlier_one_contract_65(opened: Database) -> None:
    """A39: the operator compares it, and no other approver is asked."""
    sent = await own_key(opened, "ann")
    secret = await opened.write(endorsing.link_by_key, TENANT, *sent, PARTY, NOW)
    second = Authenticator("EdDSA", b"second")
    enrolled = await opened.read(enrolment.open_link, secret, NOW)
    assert enrolled.approver == "ann"
    response = second.create(enrolled.challenge)
    key = await opened.write(enrolment.register, secret, response, PARTY, NOW)
    [added] = await audit.events(opened, kind="approver.key_asked")
    assert key.vouched_by == added["credential_id"]
    assert await opened.read(keys.find_key, key.credential_id) is None
    assert await confirm(opened, key) == 0
    with pytest.raises(UnauthorizedError):
        await opened.write(endorsing.link_by_key, TENANT, *sent, PARTY, NOW)


async def test_a_key_asked_for_with_a_lost_one_waits_contract_65(opened: Database) -> None:
    sent = await own_key(opened, "ann")
    secret = await opened.write(endorsing.link_by_key, TENANT, *sent, PARTY, NOW)
    enrolled = await opened.read(enrolment.open_link, secret, NOW)
    response = Authenticator("EdDSA", b"second").create(enrolled.challenge)
    key = await opened.write(enrolment.register, secret, response, PARTY, NOW)
    first = await opened.read(keys.confirmed_of, TENANT, "ann")
    await opened.write(keys.remove, first, "operator", NOW)
    assert await confirm(opened, key) == 1


async def test_statements_of_one_kind_do_nothing_else_contract_65(opened: Database) -> None:
    sent = await own_key(opened, "ann")
    with pytest.raises(NotFoundError):
        await opened.write(endorsing.endorse, TENANT, *sent, PARTY, NOW)
    await confirm(opened, await register(opened, "cyd", OF["cyd"]))
    [pending] = await waiting(opened)
    endorsement = await signed(opened, pending.id, "ann")
    with pytest.raises(UnauthorizedError):
        await opened.write(endorsing.link_by_key, TENANT, *endorsement, PARTY, NOW)


async def test_all_are_told_of_every_change_contract_65(database: Database) -> None:
    """A17: each notice is in the transaction of the change."""
    sealed = targets.seal(VAULT, TENANT, "https://hooks.example.com/", SECRET)
    shown: tuple[str, Format, Band] = ("hooks.example.com", "vyrox", "urgent")
    await database.write(targets.add_target, sealed, shown, NOW)
    await prepared(database, ())
    for number, name in enumerate(("ann", "bob")):
        await database.write(approvers.add, TENANT, name, "operator", NOW + number)
        await enrol(database, name, OF[name], NOW + number)
    await database.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW + 2)
    ending = Change(kind="end_rule", tenant_id=TENANT, approver=None, subject=FOUR_EYES)
    await database.write(changes.ask, ending, "operator", NOW + 3)
    [pending] = await waiting(database, NOW + 3)
    await database.write(approvers.bind_account, TENANT, "bob", ACCOUNT, "bob", NOW + 4)
    await database.write(approvers.reset, TENANT, "bob", "operator", NOW + 5)
    await database.write(approvers.remove, TENANT, "bob", "operator", NOW + 6)
    query = sa.select(notifications.c.body).order_by(notifications.c.created_at)
    bodies = await database.read(lambda connection: connection.execute(query).scalars().all())
    told = [msgspec.json.decode(body) for body in bodies]
    assert {each["kind"] for each in told} == {"approvers.changed"}
    texts = [each["text"] for each in told]
    assert len(texts) == 9
    for part in (
        "operator has put ann on the list",
        "ann decides with a new passkey",
        "the rule four-eyes: it asks for two persons",
        "operator asks approvers to endorse the end of the rule four-eyes",
        f"bob decides in Discord from now on, with the account {ACCOUNT}",
        "operator has reset bob",
        "operator has taken bob off the list",
    ):
        assert any(part in text for text in texts), part
    assert f"/changes/{pending.id}" in {each["link"] for each in told}


async def test_an_auditor_follows_all_that_approvers_did_contract_65(
    opened: Database, tmp_path: Path
) -> None:
    """A36: what was accepted here is refused nowhere, with every kind of event."""
    key = await register(opened, "cyd", OF["cyd"])
    await confirm(opened, key)
    [pending] = await waiting(opened)
    await endorse(opened, pending.id, "ann")
    await opened.write(rules.add_rule, TENANT, FOUR_EYES, "operator", NOW)
    ending = Change(kind="end_rule", tenant_id=TENANT, approver=None, subject=FOUR_EYES)
    await opened.write(changes.ask, ending, "operator", NOW)
    [pending] = await waiting(opened)
    for name in ("ann", "bob"):
        await endorse(opened, pending.id, name)
    sent = await own_key(opened, "ann")
    secret = await opened.write(endorsing.link_by_key, TENANT, *sent, PARTY, NOW)
    enrolled = await opened.read(enrolment.open_link, secret, NOW)
    response = Authenticator("RS256", b"second").create(enrolled.challenge)
    await confirm(opened, await opened.write(enrolment.register, secret, response, PARTY, NOW))
    await opened.write(approvers.reset, TENANT, "bob", "operator", NOW)
    drill = await opened.write(drills.start, TENANT, "ann", NOW)
    asked = Proposed(drill.proposal_id, drill.proposal_sha256, drill.expires_at, "pending")
    by_cyd = msgspec.structs.replace(KILL, requested_by="cyd")
    async with dispatching(opened) as each:
        decided: tuple[tuple[Proposed, str, Decision], ...] = (
            (asked, "ann", "approve"),
            (asked, "cyd", "reject"),
            (await proposed(opened, by_cyd), "cyd", "approve"),
        )
        for proposal, name, decision in decided:
            proof = await sign(opened, proposal, name, OF[name], decision)
            await opened.write(decide, TENANT, proposal.proposal_id, proof, NOW)
        await each.run()
    actions = await exported(opened, tmp_path, "actions")
    report = verify.verify_approvals(actions, await exported(opened, tmp_path, "events"))
    assert report.failures == []
    [found] = report.findings
    [by] = found.decisions
    assert (by.approver, by.is_requester) == ("cyd", True)
