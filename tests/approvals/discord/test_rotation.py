"""Discord's key and token are replaced: no decision, no message and no proof is lost (104)."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests import audit
from tests.approvals.decided import KILL, proposed, say
from tests.approvals.discord.conftest import Site, buttons_of
from tests.approvals.discord.pressing import (
    ACCOUNTS,
    APPLICATION,
    CHANNEL,
    Discord,
    encoded,
    headers,
    refusal,
)
from tests.approvals.test_dispatch import dispatching
from tests.approvals.test_proven import exported
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers
from vyrox.approvals.discord import configured, due
from vyrox.approvals.discord.clicks import Application
from vyrox.approvals.discord.client import DiscordClient
from vyrox.approvals.discord.joining import REFUSED_S
from vyrox.chain import verify

NEW_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


async def test_decisions_before_and_after_another_public_key_are_proven_contract_104(
    at_discord: Discord, tmp_path: Path
) -> None:
    """A message from before is decided on after it. Until `discord setup`, no click counts."""
    database = at_discord.database
    for name, account in ACCOUNTS.items():  # as the log has it
        await database.write(approvers.bind_account, TENANT, name, account, "operator", NOW)
    kills = [KILL, msgspec.structs.replace(KILL, host="workstation-02")]
    before, after = [await proposed(database, wanted) for wanted in kills]
    for each in (before, after):
        await at_discord.post(each)
    async with dispatching(database) as dispatcher:
        assert (await at_discord.press(before))["type"] == 7
        await dispatcher.run()

        async def press(key: Ed25519PrivateKey) -> tuple[int, dict[str, object]]:
            body = encoded(await at_discord.body(after, name="bob"))
            response = await at_discord.send(body, **headers(body, at_discord.clock(), key))
            return response.status_code, response.json()

        assert (await press(NEW_KEY))[0] == 401  # the old setting: nothing is recorded
        public_key = NEW_KEY.public_key().public_bytes_raw().hex()
        at_discord.serve(Application(APPLICATION.id, public_key))
        assert "discord setup" in refusal((await press(NEW_KEY))[1])
        channel = msgspec.structs.replace(CHANNEL, public_key=public_key)
        await database.write(configured.configure, channel, "operator", NOW)
        status, answer = await press(NEW_KEY)
        assert (status, answer["type"]) == (200, 7)
        await dispatcher.run()
    decided = await audit.events(database, kind="approval.decided")
    assert [event["approver"] for event in decided] == ["ann", "bob"]
    actions = await exported(database, tmp_path, "actions")
    events = await exported(database, tmp_path, "events")
    report = verify.verify_approvals(actions, events)
    assert report.failures == []
    assert [[each.proof for each in found.decisions] for found in report.findings] == [
        ["Discord"],
        ["Discord"],
    ]


async def test_with_another_bot_token_all_that_waited_is_posted_once_contract_104(
    site: Site,
) -> None:
    """Discord ends the old token at once. What was decided meanwhile is shown as decided."""
    earlier = await site.propose()
    await site.join()
    site.fake.world.bot_token = "another"
    await say(site.database, earlier, "ann", "reject")
    later = await site.propose("workstation-02")
    await site.join()
    assert site.client.refused is not None
    waiting, _ = await site.database.read(due.waiting, TENANT)
    assert waiting == 2
    site.time.now += REFUSED_S
    http = site.client._http
    site.client = DiscordClient(http, "another", site.time, "http://discord.test")
    await site.join(site.new_joiner())
    assert await site.database.read(due.waiting, TENANT) == (0, None)
    shown, new = site.messages
    assert earlier.proposal_sha256 in shown["content"]
    assert buttons_of(shown) == []
    assert later.proposal_sha256 in new["content"]
    assert "Approve" in buttons_of(new)
