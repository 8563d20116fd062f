"""Answers to the caller, and bodies of any content (contract 67; A29, A31)."""

import json
from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.approvals.decided import KILL, WANTED, approved, proposed
from tests.approvals.discord.pressing import (
    ACCOUNTS,
    STRANGER,
    Discord,
    encoded,
    interaction,
    refusal,
    slash,
)
from tests.approvals.test_dispatch import dispatching
from tests.audit import NOW, TENANT
from vyrox.approvals import approvers, changes, enrolment
from vyrox.approvals.discord import configured
from vyrox.approvals.discord import slash as slash_commands
from vyrox.approvals.discord.answers import NO_RIGHT, RefusedError, block, to_caller
from vyrox.approvals.discord.commands import COMMANDS
from vyrox.approvals.discord.message import MAX_CONTENT
from vyrox.approvals.discord.posted import find_message
from vyrox.tenants.guard_rails import freeze


@example(["```\n@everyone [x](https://evil) <@&1> \u202e\\`"])
@example(["a" * 5000] * 30)
@given(st.lists(st.text(), max_size=40))
def test_nothing_leaves_a_block_contract_67(lines: list[str]) -> None:
    content = block(lines, "end")
    assert len(content) <= MAX_CONTENT
    assert content.startswith("```\n")
    assert content.endswith("\n```\nend")
    inner = content[4:-8]
    assert "`" not in inner
    assert all(character == "\n" or " " <= character <= "~" for character in inner)


def test_an_answer_to_the_caller_mentions_nobody_contract_67() -> None:
    data = to_caller("@everyone " * 300)["data"]
    assert isinstance(data, dict)
    assert (data["flags"], data["allowed_mentions"]) == (64, {"parse": []})
    assert len(data["content"]) == MAX_CONTENT


MEMBERS = (
    "type",
    "id",
    "application_id",
    "guild_id",
    "channel_id",
    "data",
    "member",
    "message",
)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_members = st.fixed_dictionaries(
    {"type": st.sampled_from([1, 2, 3, 4, 5, 6, True, 3.0, "3", None]) | _json},
    optional=dict.fromkeys(MEMBERS[1:], _json),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b'{"type":1e999}')
@example(b'{"type":1,"id":"\\ud800"}')
@example(b"{\xff}")
@given(
    _members.map(lambda members: json.dumps(members).encode())
    | st.binary().map(lambda rest: b"{" + rest)
)
async def test_no_signed_body_is_an_error_of_ours_contract_67(
    at_discord: Discord, body: bytes
) -> None:
    assert (await at_discord.send(body)).status_code in {200, 400}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(MEMBERS), _json)
async def test_no_changed_click_is_an_error_or_a_decision_contract_67(
    at_discord: Discord, name: str, value: object
) -> None:
    """One member of a right click has another value."""
    proposal = await proposed(at_discord.database, KILL)
    if await at_discord.database.read(find_message, proposal.proposal_id) is None:
        await at_discord.post(proposal)
    body = await at_discord.body(proposal)
    assume(value != body[name])
    response = await at_discord.send(encoded({**body, name: value}))
    assert response.status_code in {200, 400}
    assert (await at_discord.shown(proposal)).decisions == []


async def test_a_deep_body_is_refused_contract_67(at_discord: Discord) -> None:
    assert (await at_discord.send(b'{"a":' * 5000)).status_code == 400


@pytest.mark.parametrize("kind", [4, 6, 0])
async def test_unused_types_are_refused_contract_67(at_discord: Discord, kind: int) -> None:
    body = encoded(interaction(kind, ACCOUNTS["ann"]))
    assert (await at_discord.send(body)).status_code == 400


def _registered() -> set[str]:
    [command] = COMMANDS
    assert command["name"] == slash("status", STRANGER)["data"]["name"]
    options = command["options"]
    assert isinstance(options, list)
    return {option["name"] for option in options}


async def test_commands_answer_approvers_of_the_channel_alone_contract_67(
    at_discord: Discord,
) -> None:
    """One refusal for all others, which says nothing of the tenant or its approvers."""
    assert "register" in _registered()
    for command in _registered() - {"register"}:
        assert refusal(await at_discord.say(slash(command, ACCOUNTS["ann"]))).startswith("```\n")
        assert refusal(await at_discord.say(slash(command, STRANGER))) == NO_RIGHT
        elsewhere = {**slash(command, ACCOUNTS["ann"]), "channel_id": "1" * 18}
        assert refusal(await at_discord.say(elsewhere)) == NO_RIGHT
    assert refusal(await at_discord.say(slash("isolate", ACCOUNTS["ann"]))) == NO_RIGHT
    other = slash("status", ACCOUNTS["ann"])
    other["data"]["name"] = "other"
    assert refusal(await at_discord.say(other)) == NO_RIGHT
    assert refusal(await at_discord.say(slash("register", STRANGER, code="x"))) == NO_RIGHT
    await at_discord.database.write(configured.remove, TENANT, "operator", NOW)
    assert refusal(await at_discord.say(slash("status", ACCOUNTS["ann"]))) == NO_RIGHT


async def test_status_says_what_waits_contract_67(at_discord: Discord) -> None:
    await proposed(at_discord.database, WANTED)
    text = refusal(await at_discord.say(slash("status", ACCOUNTS["ann"])))
    assert "1 proposal is open" in text
    assert "HOST_ISOLATION on workstation-01: pending, 0 of 2, until 00:15 UTC" in text
    assert "0 incidents are open, 0 urgent" in text
    await at_discord.database.write(partial(freeze, frozen=True), TENANT, NOW)
    assert "FROZEN since" in refusal(await at_discord.say(slash("status", ACCOUNTS["ann"])))


async def test_status_does_not_count_what_it_has_not_read_contract_67(
    at_discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slash_commands, "MAX_SEARCHED", 2)
    monkeypatch.setattr(slash_commands, "MAX_SHOWN", 1)
    for number in range(3):
        wanted = msgspec.structs.replace(WANTED, host=f"host-{number}")
        await proposed(at_discord.database, wanted)
    text = refusal(await at_discord.say(slash("status", ACCOUNTS["ann"])))
    assert "At least 2 proposals are open\n" in text
    assert text.count("HOST_ISOLATION") == 1
    assert "  and more\n" in text


async def test_contained_names_each_device_and_its_end_contract_67(at_discord: Discord) -> None:
    async with dispatching(at_discord.database) as each:
        await approved(at_discord.database, msgspec.structs.replace(WANTED, lease_s=14_400))
        await approved(at_discord.database, msgspec.structs.replace(WANTED, host="ws`2"))
        await each.run()
    text = refusal(await at_discord.say(slash("contained", ACCOUNTS["ann"])))
    assert "2 devices are contained by Vyrox" in text
    assert "workstation-01 (crowdstrike), until 2024-01-01 04:00 UTC" in text
    assert r"ws\u00602 (crowdstrike), without an end" in text


async def test_register_binds_the_account_to_the_approver_of_the_code_contract_67(
    at_discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and in the tenant's own channel; an account is one person's."""
    database = at_discord.database
    await database.write(approvers.add, TENANT, "dan", "operator", NOW)
    code = await database.write(enrolment.new_code, TENANT, "dan", "discord", NOW)
    taken = refusal(await at_discord.say(slash("register", ACCOUNTS["ann"], code=code)))
    assert "another approver" in taken
    elsewhere = {**slash("register", STRANGER, code=code), "channel_id": "1" * 18}
    assert refusal(await at_discord.say(elsewhere)) == NO_RIGHT
    # Three approvers have passkeys, so one of them must agree (A17).
    asked = refusal(await at_discord.say(slash("register", STRANGER, code=f" {code.lower()} ")))
    assert "Another approver must now endorse" in asked
    assert refusal(await at_discord.say(slash("status", STRANGER))) == NO_RIGHT
    monkeypatch.setattr(changes, "TWO", 9)
    code = await database.write(enrolment.new_code, TENANT, "dan", "discord", NOW)
    bound = refusal(await at_discord.say(slash("register", STRANGER, code=code)))
    assert bound == "This account can now decide here, as the approver `dan`."
    assert refusal(await at_discord.say(slash("register", STRANGER, code=code))) == NO_RIGHT
    used = slash_commands.Typed("register", code, TENANT, STRANGER)
    with pytest.raises(RefusedError):  # used by another person since it was checked
        await database.write(slash_commands.register, used, NOW)
    assert refusal(await at_discord.say(slash("status", STRANGER))).startswith("```")
    proposal = await proposed(database, KILL)
    await at_discord.post(proposal)
    assert (await at_discord.press(proposal, "a", "dan"))["type"] == 7
