"""The channel of a tenant, and the rows of its messages (contract 67; A33, A34)."""

import msgspec
import pytest

from tests import audit
from tests.approvals.decided import prepared
from tests.audit import NOW, TENANT
from tests.vendor import give_credentials
from vyrox.approvals.discord import configured, due, posted
from vyrox.approvals.discord.configured import Channel
from vyrox.chain.verify import check_discord_configuration
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.database import Database

CHANNEL = Channel(
    tenant_id=TENANT,
    application_id="100000000000000001",
    public_key="d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    guild_id="100000000000000002",
    channel_id="100000000000000003",
    bot_user_id="100000000000000004",
    on_call_role_id="100000000000000005",
)


@pytest.fixture
async def opened(database: Database) -> Database:
    return await prepared(database)


async def test_a_channel_is_stored_with_an_event_that_the_verifier_takes_contract_67(
    opened: Database,
) -> None:
    stored = await opened.write(configured.configure, CHANNEL, "operator", NOW)
    assert await opened.read(configured.channel_of, TENANT) == stored
    guild, channel = CHANNEL.guild_id, CHANNEL.channel_id
    assert await opened.read(configured.find_channel, guild, channel) == stored
    assert await opened.read(configured.find_channel, channel, guild) is None
    [event] = await audit.events(opened, kind="discord.configured")
    assert check_discord_configuration(event).bot_user_id == CHANNEL.bot_user_id
    await opened.write(configured.remove, TENANT, "operator", NOW)
    assert await opened.read(configured.channel_of, TENANT) is None
    with pytest.raises(NotFoundError):
        await opened.write(configured.remove, TENANT, "operator", NOW)


async def test_a_channel_belongs_to_one_tenant_contract_67(opened: Database) -> None:
    await opened.write(configured.configure, CHANNEL, "operator", NOW)
    await give_credentials(opened, ["other"])
    other = msgspec.structs.replace(CHANNEL, tenant_id="other")
    with pytest.raises(NotPossibleError, match="another tenant"):
        await opened.write(configured.configure, other, "operator", NOW)


@pytest.mark.parametrize(
    "wrong", [{"guild_id": "me"}, {"on_call_role_id": "@everyone"}, {"public_key": "AB" * 32}]
)
async def test_values_of_another_form_are_refused_contract_67(
    opened: Database, wrong: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequestError):
        await opened.write(
            configured.configure, msgspec.structs.replace(CHANNEL, **wrong), "operator", NOW
        )


async def test_a_notice_waits_to_be_posted_in_the_channel_contract_67(opened: Database) -> None:
    assert not await opened.write(posted.add_notice, TENANT, "hello", NOW)
    await opened.write(configured.configure, CHANNEL, "operator", NOW)
    assert await opened.write(posted.add_notice, TENANT, "hello", NOW)
    [work] = await opened.write(due.claim, NOW, (), None)
    assert (work.message.content, work.row.channel_id) == ("hello", CHANNEL.channel_id)


async def test_what_waits_is_not_posted_in_a_former_channel_contract_67(opened: Database) -> None:
    """Another tenant may have that channel next."""
    await opened.write(configured.configure, CHANNEL, "operator", NOW)
    await opened.write(posted.add_notice, TENANT, "a secret", NOW)
    moved = msgspec.structs.replace(CHANNEL, channel_id="100000000000000009")
    await opened.write(configured.configure, moved, "operator", NOW)
    [work] = await opened.write(due.claim, NOW, (), None)
    assert work.row.channel_id == moved.channel_id
    await opened.write(configured.remove, TENANT, "operator", NOW)
    await give_credentials(opened, ["other"])
    taker = msgspec.structs.replace(moved, tenant_id="other")
    await opened.write(configured.configure, taker, "operator", NOW)
    assert await opened.write(due.claim, NOW + due.CLAIM_S, (), None) == []
