"""Messages at Discord become true, and nothing waits for Discord (contract 67; A31, A32)."""

import asyncio

import pytest
import sqlalchemy as sa

from tests.approvals.decided import change_text, say
from tests.approvals.discord.conftest import Site, buttons_of, channel_of
from tests.audit import NOW, TENANT, FaultyDatabase
from tests.vendor import give_credentials
from vyrox.approvals.discord import client as discord_client
from vyrox.approvals.discord import configured, due, joining, posted
from vyrox.approvals.discord.due import CLAIM_S, CLICK_S, OLD_S
from vyrox.approvals.discord.joining import MAX_AWAY_S, REFUSED_S, Joiner
from vyrox.approvals.pings import PINGS_PER_HOUR
from vyrox.approvals.proposing import withdraw
from vyrox.approvals.shown import show
from vyrox.store.tables import discord_messages
from vyrox.trial.fake_discord.faults import Fault


async def test_a_proposal_is_posted_once_with_its_buttons_contract_67(site: Site) -> None:
    proposal = await site.propose()
    await site.join()
    await site.join(site.new_joiner())
    [message] = site.messages
    shown = await site.database.read(show, TENANT, proposal.proposal_id, NOW)
    assert message["content"].endswith(f"```\n{shown.display}\n```")
    assert buttons_of(message) == ["Approve", "Reject", "Investigate"]
    assert message["embeds"][0]["title"] == "Evidence"
    assert site.fake.world.pinged == [site.fake.world.role_id]
    row = await site.row(proposal)
    assert (row.message_id, row.channel_id) == (message["id"], site.fake.world.channel_id)
    assert site.did("POST") == 1


async def test_it_is_edited_after_each_change_contract_67(site: Site) -> None:
    proposal = await site.propose()
    await site.join()
    await say(site.database, proposal, "ann")
    await site.join()
    [message] = site.messages
    assert "**1 of 2** approved (ann)" in message["content"]
    assert len(buttons_of(message)) == 3
    await say(site.database, proposal, "bob", "reject")
    await site.join()
    assert message["content"].startswith("**Rejected** by bob")
    assert message["components"] == []
    assert message["embeds"] != []
    edits = site.did("PATCH")
    await site.join()
    assert (edits, site.did("PATCH")) == (2, 2)
    assert site.fake.world.pinged == [site.fake.world.role_id]


async def test_time_is_a_change_too_contract_67(site: Site) -> None:
    """No event says that it expired: the loop reads it like every other reader of a state."""
    await site.propose()
    await site.join()
    site.time.now += 901
    await site.join()
    [message] = site.messages
    assert message["content"].startswith("**Expired**")
    assert message["components"] == []


async def test_after_a_click_its_response_comes_first_contract_67(site: Site) -> None:
    """An edit at the same time could be overwritten by the response, which knows less."""
    proposal = await site.propose()
    await site.join()
    await say(site.database, proposal, "ann", kind="discord")
    await site.join()
    assert site.did("PATCH") == 0
    site.time.now += CLICK_S
    await site.join()
    assert site.did("PATCH") == 1


async def test_discord_away_holds_up_nothing_and_all_is_true_when_it_is_back_contract_67(
    site: Site,
) -> None:
    first = await site.propose()
    await site.join()
    site.fake.faults.append(Fault(kind="away", count=1000))
    second = await site.propose("other-host")
    await say(site.database, first, "ann", "reject")
    for _ in range(4):
        await site.join()
        site.time.now += MAX_AWAY_S
    assert await site.database.read(due.waiting, TENANT) == (
        2,
        "Discord cannot be reached: ReadError",
    )
    site.fake.faults.clear()
    await site.database.write(withdraw, TENANT, second.proposal_id, "ann", site.time.now)
    await site.join()
    one, two = site.messages
    assert one["content"].startswith("**Rejected** by ann")
    assert two["content"].startswith("**Withdrawn**")
    assert one["components"] == two["components"] == []
    assert await site.database.read(due.waiting, TENANT) == (0, None)


async def test_a_lost_response_posts_no_second_message_contract_67(site: Site) -> None:
    """The nonce, with `enforce_nonce`; the change in between is shown all the same."""
    proposal = await site.propose()
    site.fake.faults.append(Fault(kind="lost"))
    await site.join()
    assert len(site.messages) == 1
    await say(site.database, proposal, "ann")
    site.time.now += MAX_AWAY_S
    await site.join()
    [message] = site.messages
    assert site.did("POST") == 2
    assert "**1 of 2** approved (ann)" in message["content"]
    assert len(buttons_of(message)) == 3
    assert (await site.row(proposal)).is_altered is False


async def test_text_that_discord_changed_loses_its_buttons_contract_67(site: Site) -> None:
    """A31: people would read another text than the one that was hashed."""
    site.fake.world.channels[site.fake.world.channel_id].mangles = True
    proposal = await site.propose()
    await site.join()
    [message] = site.messages
    assert message["components"] == []
    await say(site.database, proposal, "ann")
    await site.join()
    assert message["components"] == []
    assert "**1 of 2**" in message["content"]
    edits = site.did("PATCH")
    await site.join()
    assert site.did("PATCH") == edits


async def test_limits_of_one_channel_do_not_hold_up_another_contract_67(site: Site) -> None:
    other = site.fake.world.add_channel()
    await give_credentials(site.database, ["other"])
    channel = channel_of(site.fake, tenant_id="other", channel_id=other.id)
    await site.database.write(configured.configure, channel, "operator", NOW)
    for number in range(7):
        await site.propose(f"host-{number}")
    await site.database.write(posted.add_notice, "other", "hello", NOW)
    await site.join()
    assert len(site.messages) == 5
    assert [each["content"] for each in site.fake.world.messages(other.id)] == ["hello"]
    assert site.fake.buckets.refused == 0, "the headers were enough"
    site.time.now += 5.0
    await site.join()
    assert len(site.messages) == 7
    assert site.fake.buckets.refused == 0


async def test_a_429_is_waited_for_also_the_one_for_all_contract_67(site: Site) -> None:
    site.fake.buckets.global_per_s = 0
    await site.propose()
    await site.join()
    assert site.messages == []
    requests = len(site.fake.requests)
    await site.join()
    assert len(site.fake.requests) == requests
    site.fake.buckets.global_per_s = 50
    site.time.now += 1.01
    await site.join()
    assert len(site.messages) == 1


async def test_a_slow_discord_is_left_after_a_while_contract_67(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord_client, "TIMEOUT_S", 0.01)
    site.fake.faults.append(Fault(kind="slow", seconds=3600))
    proposal = await site.propose()
    await site.join()
    await say(site.database, proposal, "ann", "reject")
    assert await site.database.read(due.waiting, TENANT) == (1, "Discord did not respond in time")


async def test_after_a_401_nothing_more_is_sent_contract_67(site: Site) -> None:
    site.fake.world.bot_token = "another"
    await site.propose()
    await site.join()
    requests = len(site.fake.requests)
    site.time.now += 600
    await site.propose("other-host")
    await site.join()
    assert (requests, len(site.fake.requests)) == (1, 1)
    assert site.client.refused is not None
    assert "bot-token" not in site.client.refused
    assert "bot-token" not in repr(site.client)


async def test_after_a_403_the_channel_waits_contract_67(site: Site) -> None:
    """Not per message: 10,000 refusals in ten minutes are a ban."""
    channel = site.fake.world.channels[site.fake.world.channel_id]
    channel.can_send = False
    for number in range(3):
        await site.propose(f"host-{number}")
    await site.join()
    site.time.now += REFUSED_S / 2
    await site.join()
    assert site.did("POST") == 1
    waiting, reason = await site.database.read(due.waiting, TENANT)
    assert waiting == 3
    assert reason == "Discord refuses: HTTP 403 Missing Permissions (code 50013)"
    channel.can_send = True
    site.time.now += REFUSED_S / 2
    await site.join()
    assert len(site.messages) == 3


async def test_a_deleted_message_is_not_posted_again_contract_67(site: Site) -> None:
    proposal = await site.propose()
    await site.join()
    site.fake.world.channels[site.fake.world.channel_id].messages.clear()
    await say(site.database, proposal, "ann", "reject")
    await site.join()
    site.time.now += MAX_AWAY_S
    await site.join()
    assert site.messages == []
    assert (site.did("POST"), site.did("PATCH")) == (1, 1)
    assert "Unknown Message" in str((await site.row(proposal)).last_error)


async def test_evidence_that_discord_refuses_does_not_hold_up_a_proposal_contract_67(
    site: Site,
) -> None:
    site.fake.faults.append(Fault(kind="status", status=400))
    proposal = await site.propose()
    await site.join()
    [message] = site.messages
    assert message["embeds"] == []
    assert proposal.proposal_sha256 in message["content"]
    assert len(buttons_of(message)) == 3


async def test_an_alarm_mentions_the_role_and_a_link_is_a_button_contract_67(site: Site) -> None:
    joiner = Joiner(site.database, site.client, site.time, "https://vyrox.example")
    await site.database.write(posted.add_notice, TENANT, "quiet @everyone", NOW)

    def alarm(connection: sa.Connection) -> bool:
        return posted.add_notice(
            connection, TENANT, "loud", NOW, link="/approvals/1", is_alarm=True
        )

    await site.database.write(alarm)
    await site.join(joiner)
    loud, quiet = site.messages
    assert quiet["content"] == r"quiet \@everyone"
    assert loud["content"] == f"<@&{site.fake.world.role_id}> loud"
    [[button]] = [row["components"] for row in loud["components"]]
    assert button["url"] == "https://vyrox.example/approvals/1"
    assert site.fake.world.pinged == [site.fake.world.role_id]


async def test_a_claim_of_a_killed_container_expires_contract_67(site: Site) -> None:
    await site.propose()
    claimed = await site.database.write(due.claim, site.time.now, frozenset(), None)
    assert len(claimed) == 1
    await site.join()
    assert site.messages == []
    site.time.now += CLAIM_S
    await site.join()
    assert len(site.messages) == 1


async def test_a_result_that_cannot_be_stored_is_found_again_contract_67(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyDatabase(site.database)
    faulty.faults[2] = "before"  # the first write is the claim
    await site.propose()
    joiner = Joiner(faulty, site.client, site.time)
    await site.join(joiner)
    assert caplog.messages == ["discord.not_recorded"]
    site.time.now += CLAIM_S
    await site.join(joiner)
    assert (site.did("POST"), len(site.messages)) == (2, 1)


async def test_an_error_of_ours_ends_no_loop_contract_67(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    await site.propose()
    with monkeypatch.context() as patch:
        patch.setattr(joining, "nonce_of", fail)
        await site.join()
    assert caplog.messages == ["discord.failed"]
    assert "a bug" in caplog.text
    site.time.now += CLAIM_S
    await site.join()
    assert len(site.messages) == 1


async def test_a_proposal_that_was_changed_is_not_posted_and_holds_up_no_other_contract_67(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.propose()
    await site.database.write(change_text, b"{}")
    other = await site.propose("other-host")
    await site.join()
    [message] = site.messages
    assert other.proposal_sha256 in message["content"]
    await site.join()
    assert caplog.messages == ["discord.unreadable"]


async def test_a_stop_does_not_wait_for_discord_contract_67(site: Site) -> None:
    site.fake.faults.append(Fault(kind="slow", seconds=3600))
    await site.propose()
    await site.joiner.run()
    while not site.fake.requests:  # noqa: ASYNC110  (no event says so)
        await asyncio.sleep(0)
    await site.joiner.stop()
    assert site.joiner.sending == 0
    await site.join()
    assert site.did("POST") == 1
    site.time.now += CLAIM_S
    await site.join(site.new_joiner())
    assert len(site.messages) == 1


async def test_two_containers_post_one_message_contract_67(site: Site) -> None:
    await site.propose()
    one, two = site.new_joiner(), site.new_joiner()
    await asyncio.gather(site.join(one), site.join(two))
    assert site.did("POST") == 1


async def test_what_was_over_before_it_could_be_posted_is_not_posted_contract_67(
    site: Site,
) -> None:
    proposal = await site.propose()
    await say(site.database, proposal, "ann", "reject")
    await site.join()
    assert site.messages == []


async def test_an_old_message_is_left_alone_contract_67(site: Site) -> None:
    await site.propose()
    await site.join()
    site.fake.faults.append(Fault(kind="away", count=1000))
    site.time.now += 901
    await site.join()
    site.fake.faults.clear()
    site.time.now += OLD_S
    await site.join()
    assert site.did("PATCH") == 1
    row = await site.database.read(_only_row)
    assert row.next_at is None
    await site.database.write(posted.delete_old, NOW)
    assert await site.database.read(_only_row) == row
    await site.database.write(posted.delete_old, NOW + 1)
    with pytest.raises(ValueError, match="not enough values"):
        await site.database.read(_only_row)


async def test_too_many_proposals_mention_nobody_any_more_contract_67(site: Site) -> None:
    """A13: beyond a cap per tenant no role is mentioned; the messages come all the same."""
    site.fake.buckets.limit = 1000
    for number in range(PINGS_PER_HOUR + 3):
        await site.propose(f"host-{number}")
        await site.join()
    assert len(site.messages) == PINGS_PER_HOUR + 3
    assert len(site.fake.world.pinged) == PINGS_PER_HOUR


async def test_without_embed_links_the_text_is_there_contract_67(site: Site) -> None:
    site.fake.world.channels[site.fake.world.channel_id].can_embed = False
    proposal = await site.propose()
    await site.join()
    [message] = site.messages
    assert message["embeds"] == []
    assert proposal.proposal_sha256 in message["content"]


def _only_row(connection: sa.Connection) -> posted.Posted:
    [row] = connection.execute(sa.select(discord_messages)).mappings().all()
    return posted.Posted(**row)
