"""What Investigate shows, and that it changes nothing (contract 67)."""

import msgspec

from tests import audit
from tests.approvals.decided import KILL, WANTED, proposed, say
from tests.approvals.discord.pressing import ACCOUNTS, Discord, refusal, slash
from tests.audit import NOW, TENANT
from tests.triage.stored import judged, new
from vyrox.approvals.proposing import Proposed
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.writer import append
from vyrox.containment.events import outcome_event

ATTACK = "vssadmin delete shadows /all ```\n@everyone [reset](https://evil.example) \u202e"


async def _about(at_discord: Discord, **members: object) -> Proposed:
    """Return a proposal for an alert that triage has judged, with its message."""
    alert = new(0, ATTACK, **{"timestamp": NOW, **members})
    await judged(at_discord.database, alert)
    wanted = msgspec.structs.replace(WANTED, alert_id=alert.id, host="device-1")
    proposal = await proposed(at_discord.database, wanted)
    await at_discord.post(proposal)
    return proposal


async def _contained(at_discord: Discord) -> None:
    """Record an earlier action on the device."""
    members: dict[str, Scalar] = {
        "action_type": "HOST_ISOLATION",
        "host": "device-1",
        "approved_by": "jane sha256:0",
        "dry_run": False,
    }
    entry = Draft(TENANT, "actions", "HOST_ISOLATION", members)
    [receipt] = await at_discord.database.write(append, [entry], NOW)
    event = outcome_event(TENANT, None, "earlier", receipt.hash, "confirmed", None)
    await at_discord.database.write(append, [event], NOW)


async def test_investigate_shows_alerts_reasons_and_what_was_done_contract_67(
    at_discord: Discord,
) -> None:
    proposal = await _about(at_discord, hostname="ws-1", username=r"CORP\eve`")
    await _contained(at_discord)
    text = refusal(await at_discord.press(proposal, "i"))
    assert "acme-corp-1: urgent" in text
    assert "Hosts: ws-1" in text
    assert r"Users: CORP\eve\u0060" in text  # a backslash is harmless in a block
    assert "HOST_ISOLATION: confirmed, jane" in text
    assert r"vssadmin delete shadows /all \u0060\u0060\u0060\u000a@everyone" in text
    assert text.endswith("\n```\nAll of it: `vyrox incident show acme-corp-1`")
    assert text.count("```") == 2


async def test_investigate_changes_nothing_contract_67(at_discord: Discord) -> None:
    """It works after one's own decision too, and for the person who asked."""
    proposal = await _about(at_discord)
    await say(at_discord.database, proposal, "ann")
    before = await audit.verified_chains(at_discord.database)
    for name in ("ann", "bob"):
        assert "Nothing was done on this device" in refusal(
            await at_discord.press(proposal, "i", name)
        )
    assert await audit.verified_chains(at_discord.database) == before
    assert at_discord.notices == 0
    assert "Nothing was done. This account" in refusal(
        await at_discord.press(proposal, "i", "stranger")
    )


async def test_investigate_without_triage_or_alert_contract_67(at_discord: Discord) -> None:
    kill = await proposed(at_discord.database, KILL)
    await at_discord.post(kill)
    assert "Triage has not judged it" in refusal(await at_discord.press(kill, "i"))
    # PostgreSQL cannot store the second of these.
    for alert_id, shown in (("alt_unknown", "alt_unknown"), ("alt\0", r"alt\u0000")):
        unknown = msgspec.structs.replace(WANTED, alert_id=alert_id, host=f"host-{shown[3:6]}")
        other = await proposed(at_discord.database, unknown)
        await at_discord.post(other)
        assert f"{shown} is not stored" in refusal(await at_discord.press(other, "i"))


async def test_incidents_and_status_count_what_is_open_contract_67(at_discord: Discord) -> None:
    await _about(at_discord, hostname="@here`")
    text = refusal(await at_discord.say(slash("incidents", ACCOUNTS["ann"])))
    assert r"1 incident is open" in text
    assert r"@here\u0060" in text
    assert ", 1 urgent" in refusal(await at_discord.say(slash("status", ACCOUNTS["ann"])))
