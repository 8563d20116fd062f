"""A click becomes a decision, or one step of A29 refuses it (contract 67; A29, A30, A34 to A36)."""

import asyncio
import json
from collections.abc import Callable
from functools import reduce

import msgspec
import pytest
from sqlalchemy import Connection

from tests import audit
from tests.approvals.decided import KILL, proposed, say
from tests.approvals.discord.pressing import (
    ACCOUNTS,
    CHANNEL,
    CONSOLE,
    STRANGER,
    Body,
    Discord,
    bind,
    discord,
    encoded,
    headers,
    refusal,
    slash,
)
from tests.approvals.test_dispatch import Dispatching, dispatching
from tests.audit import NOW, TENANT, FaultyDatabase
from vyrox.approvals import approvers, drills, enrolment
from vyrox.approvals.discord import configured, receiving
from vyrox.approvals.discord.answers import NO_RIGHT
from vyrox.approvals.discord.clicks import ClickProof
from vyrox.approvals.discord.interaction import MAX_REASON
from vyrox.approvals.discord.message import button_id, message_of
from vyrox.chain import verify
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import Database


async def test_two_clicks_decide_and_the_log_proves_them_contract_67(at_discord: Discord) -> None:
    """A29, 8 to 10, A34 and A36: the message changes, and an auditor accepts each proof."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    answer = await at_discord.press(proposal, "a", "ann")
    shown = await at_discord.shown(proposal)
    assert shown.state == "approved"
    assert at_discord.notices == 1
    now_shown = message_of(shown)
    assert answer["type"] == 7
    assert answer["data"]["content"] == now_shown.content
    assert answer["data"]["components"] == []
    assert at_discord.failures == []
    [made] = await audit.events(at_discord.database, kind="approval.proposed")
    [event] = await audit.events(at_discord.database, kind="approval.decided")
    assert (event["approver"], event["proof"]) == ("ann", "discord")
    text, sha256 = str(made["proposal"]), str(made["proposal_sha256"])
    [configuration] = await audit.events(at_discord.database, kind="discord.configured")
    verify.check_discord(
        event,
        verify.check_proposal(text, sha256),
        verify.check_discord_configuration(configuration),
        ACCOUNTS["ann"],
    )


async def test_reject_asks_for_a_reason_and_its_form_decides_contract_67(
    at_discord: Discord,
) -> None:
    """The form carries the digest, and its body is the proof."""
    proposal = await proposed(at_discord.database)
    await at_discord.post(proposal)
    asked = await at_discord.press(proposal, "r")
    custom_id = button_id("r", proposal.proposal_sha256)
    assert (asked["type"], asked["data"]["custom_id"]) == (9, custom_id)
    assert (await at_discord.shown(proposal)).state == "pending"
    answer = await at_discord.press(proposal, "r", "ann", reason=" planned " + "x" * 400)
    assert (answer["type"], answer["data"]["components"]) == (7, [])
    assert answer["data"]["content"].startswith("**Rejected** by ann: planned xxx")
    shown = await at_discord.shown(proposal)
    assert shown.state == "rejected"
    assert shown.end_reason == "by ann: planned " + "x" * (MAX_REASON - len("planned "))
    [event] = await audit.events(at_discord.database, kind="approval.decided")
    assert event["decision"] == "reject"


def _at(body: Body, path: tuple[str, ...]) -> Body:
    return reduce(lambda each, name: each[name], path[:-1], body)


def _set(*path: str, to: object) -> Callable[[Body], None]:
    return lambda body: _at(body, path).update({path[-1]: to})


def _drop(*path: str) -> Callable[[Body], None]:
    return lambda body: _at(body, path).pop(path[-1])


def _other_digest(body: Body) -> None:
    """The button of another proposal, under this one's message."""
    body["data"]["custom_id"] = button_id("a", "0" * 64)


def _unnormal_digest(body: Body) -> None:
    """Another text for the same 32 bytes."""
    custom_id = body["data"]["custom_id"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    body["data"]["custom_id"] = custom_id[:-1] + letters[letters.index(custom_id[-1]) + 1]


def _cut_display(body: Body) -> None:
    body["message"]["content"] = body["message"]["content"].replace("workstation-01", "server-01")


def _no_block(body: Body) -> None:
    """Only in a code block can nothing be hidden."""
    content = body["message"]["content"]
    body["message"]["content"] = content.replace("```\nAction", "Action")


def _text_after_display(body: Body) -> None:
    body["message"]["content"] += "\nor not"


def _as_form(body: Body) -> None:
    """A form that approves: only Reject has one."""
    body["type"] = 5


@pytest.mark.parametrize(
    ("step", "change"),
    [
        pytest.param("application", _set("application_id", to="1" * 18), id="4_application"),
        pytest.param("application", _drop("application_id"), id="4_no_application"),
        pytest.param("channel", _set("guild_id", to="1" * 18), id="4_guild"),
        pytest.param("channel", _set("channel_id", to="1" * 18), id="4_channel"),
        pytest.param("channel", _drop("guild_id"), id="4_direct_message"),
        pytest.param("custom_id", _set("data", "custom_id", to="click_me"), id="5_other_button"),
        pytest.param("custom_id", _drop("data"), id="5_no_data"),
        pytest.param("custom_id", _unnormal_digest, id="5_digest_in_another_form"),
        pytest.param("custom_id", _as_form, id="5_form_that_approves"),
        pytest.param("proposal", _other_digest, id="5_unknown_proposal"),
        pytest.param("interaction_id", _drop("id"), id="5_no_interaction_id"),
        pytest.param("message", _drop("message"), id="6_no_message"),
        pytest.param("message", _set("message", "id", to="1" * 18), id="6_other_message"),
        pytest.param("message", _set("message", "author", "id", to="1" * 18), id="6_author"),
        pytest.param("message", _set("message", "components", to=[]), id="6_no_button"),
        pytest.param("content", _cut_display, id="6_other_text"),
        pytest.param("content", _text_after_display, id="6_text_after_it"),
        pytest.param("content", _no_block, id="6_no_block"),
        pytest.param("approver", _set("member", "user", "id", to=STRANGER), id="7_stranger"),
        pytest.param("approver", _drop("member"), id="7_no_member"),
    ],
)
async def test_each_step_of_a_click_fails_alone_contract_67(
    at_discord: Discord,
    caplog: pytest.LogCaptureFixture,
    step: str,
    change: Callable[[Body], None],
) -> None:
    """A29, 4 to 7: the person alone reads why, the log counts it, and nothing is recorded."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    body = await at_discord.body(proposal)
    change(body)
    assert refusal(await at_discord.say(body))
    assert [each.message for each in caplog.records] == [f"interaction.refused.{step}"]
    assert "secret-token" not in caplog.text
    assert (await at_discord.shown(proposal)).decisions == []
    assert at_discord.notices == 0


async def test_a_form_passes_the_same_steps_contract_67(at_discord: Discord) -> None:
    proposal = await proposed(at_discord.database)
    await at_discord.post(proposal)
    body = await at_discord.body(proposal, "r", "ann", reason="no")
    for change in (_drop("message"), _set("member", "user", "id", to=STRANGER)):
        changed = json.loads(json.dumps(body))
        change(changed)
        refusal(await at_discord.say(changed))
    assert (await at_discord.shown(proposal)).state == "pending"


async def test_late_clicks_are_told_what_was_decided_contract_67(at_discord: Discord) -> None:
    """A9, and A29, 5 and 7."""
    proposal = await proposed(at_discord.database)
    await at_discord.post(proposal)
    await at_discord.press(proposal, "a", "ann")
    assert "decided on this already: approve" in refusal(await at_discord.press(proposal))
    await at_discord.press(proposal, "r", "bob", reason="")
    assert "is rejected already" in refusal(await at_discord.press(proposal, "a", "cyd"))
    other = await proposed(at_discord.database, KILL)
    await at_discord.post(other)
    at_discord.clock.now = NOW + 900
    assert "is expired already" in refusal(await at_discord.press(other))


async def test_who_asked_does_not_decide_at_discord_contract_67(at_discord: Discord) -> None:
    """A7: even if one person suffices, who asked needs a passkey."""
    wanted = msgspec.structs.replace(KILL, requested_by="ann")
    proposal = await proposed(at_discord.database, wanted)
    await at_discord.post(proposal)
    for letter in ("a", "r"):
        assert "you proposed this" in refusal(await at_discord.press(proposal, letter))
    assert (await at_discord.press(proposal, "a", "bob"))["type"] == 7


async def test_a_removed_approver_is_a_stranger_contract_67(at_discord: Discord) -> None:
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    await at_discord.database.write(approvers.remove, TENANT, "ann", "operator", NOW)
    assert refusal(await at_discord.press(proposal)) == NO_RIGHT


@pytest.mark.parametrize(
    ("failure", "changed"),
    [
        ("wrong", {"x-signature-ed25519": "0" * 128}),
        ("malformed", {"x-signature-ed25519": "F" * 128}),
        ("malformed", {"x-signature-ed25519": "0" * 126}),
        ("malformed", {"x-signature-ed25519": "zz"}),
        ("malformed", {"x-signature-timestamp": "1_04067200"}),
        ("malformed", {"x-signature-timestamp": "01704067200"}),
        ("wrong", {"x-signature-timestamp": "1704067201"}),
    ],
)
async def test_authentication_is_one_401_contract_67(
    at_discord: Discord, failure: str, changed: dict[str, str]
) -> None:
    """A29, 1."""
    response = await at_discord.send(b'{"type":1}', **changed)
    assert (response.status_code, response.json()) == (401, {"detail": "unauthorized"})
    assert at_discord.failures == [failure]


async def test_what_is_signed_is_split_in_one_way_contract_67(at_discord: Discord) -> None:
    """A29, 1 and 2: nothing separates the time from the body, so both have one form."""
    body = b'{"type":1}'
    good = headers(body)
    missing = {name: good[name] for name in good if name != "x-signature-ed25519"}
    twice = [*good.items(), ("x-signature-timestamp", good["x-signature-timestamp"])]
    space = b" " + body
    for sent, content in (
        (missing, body),
        (twice, body),
        (headers(space), space),
        (headers(body, NOW - 61), body),
        (headers(body, NOW + 62), body),
    ):
        response = await at_discord.client.post("/interactions", content=content, headers=sent)
        assert response.status_code == 401
    assert at_discord.failures == [
        "missing",
        "malformed",
        "malformed_body",
        "stale_signature",
        "stale_signature",
    ]
    for at in (NOW - 59, NOW + 60):
        response = await at_discord.client.post(
            "/interactions", content=body, headers=headers(body, at)
        )
        assert response.json() == {"type": 1}


async def test_a_ping_is_answered_before_any_list_contract_67(at_discord: Discord) -> None:
    """A29, 3: Discord pings before any channel is configured."""
    await at_discord.database.write(configured.remove, TENANT, "operator", NOW)
    response = await at_discord.send(b'{"type":1}')
    assert (response.status_code, response.json()) == (200, {"type": 1})
    assert response.headers["content-type"] == "application/json"


async def test_a_channel_of_another_key_is_refused_contract_67(at_discord: Discord) -> None:
    """The settings name another application than the channel: no proof would hold."""
    other = msgspec.structs.replace(CHANNEL, public_key="d" * 64)
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    await at_discord.database.write(configured.configure, other, "operator", NOW)
    assert "discord setup" in refusal(await at_discord.press(proposal))


async def test_a_body_that_is_no_proof_is_refused_as_a_decision_contract_67(
    at_discord: Discord,
) -> None:
    """A35: over 32 KiB it would not fit into an entry; Investigate needs no proof."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    body = await at_discord.body(proposal)
    body["message"]["embeds"] = [{"description": "x" * 33_000}]
    assert "too long" in refusal(await at_discord.say(body))
    body["data"]["custom_id"] = button_id("i", proposal.proposal_sha256)
    assert refusal(await at_discord.say(body)).startswith("```\n")
    body["message"]["embeds"] = [{"description": "x" * 66_000}]
    assert (await at_discord.send(encoded(body))).status_code == 413


async def test_what_an_auditor_would_refuse_is_not_recorded_contract_67(
    at_discord: Discord,
) -> None:
    """A36: a member twice, and a signed time before the proposal."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    twice = encoded(await at_discord.body(proposal)).replace(b'{"type"', b'{"type": 1, "type"', 1)
    assert "member twice" in refusal((await at_discord.send(twice)).json())
    body = encoded(await at_discord.body(proposal))
    sent = headers(body, NOW - 30)
    response = await at_discord.client.post("/interactions", content=body, headers=sent)
    assert "signed time" in refusal(response.json())
    assert await audit.events(at_discord.database, kind="approval.decided") == []


async def test_an_interaction_counts_once_contract_67(at_discord: Discord) -> None:
    """The same signed body again, from anybody who has seen it."""
    one = await proposed(at_discord.database)
    await at_discord.post(one)
    body = await at_discord.body(one)
    assert (await at_discord.say(body))["type"] == 7
    refusal(await at_discord.say(body))
    other = await proposed(at_discord.database, KILL)
    await at_discord.post(other)
    reused = {**await at_discord.body(other), "id": body["id"]}
    assert "received before" in refusal(await at_discord.say(reused))


async def test_five_clicks_of_two_persons_at_once_are_one_action_contract_67(
    at_discord: Discord,
) -> None:
    """A12: one decision, one call to the vendor."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    people = ("ann", "bob", "ann", "bob", "ann")
    bodies = [await at_discord.body(proposal, "a", name) for name in people]
    async with dispatching(at_discord.database) as each:
        answers = await asyncio.gather(*(at_discord.say(body) for body in bodies))
        await asyncio.gather(each.run(), Dispatching(each.proxy).run())
        await each.run()
        assert [target for target, _ in each.vendor.did] == ["killed"]
    assert sorted(answer["type"] for answer in answers) == [4, 4, 4, 4, 7]
    assert len(await audit.entries(at_discord.database)) == 1


async def test_two_persons_at_discord_alone_are_no_quorum_of_two_contract_67(
    at_discord: Discord,
) -> None:
    """A18: one of them needs a passkey. The buttons stay."""
    proposal = await proposed(at_discord.database)
    await at_discord.post(proposal)
    link = f"{CONSOLE}/approvals/{proposal.proposal_id}"
    for name in ("ann", "bob"):
        answer = await at_discord.press(proposal, "a", name)
        assert answer["data"]["components"][0]["components"][-1]["url"] == link
    assert (await at_discord.shown(proposal)).state == "pending"
    await say(at_discord.database, proposal, "cyd")
    assert (await at_discord.shown(proposal)).state == "approved"


async def test_a_drill_is_answered_and_shows_who_has_contract_67(at_discord: Discord) -> None:
    """Its state does not change, but its message names who has answered."""
    drill = await at_discord.database.write(drills.start, TENANT, "operator", NOW)
    await at_discord.post(drill)
    answer = await at_discord.press(drill)
    assert answer["type"] == 7
    assert "Answered: ann" in answer["data"]["content"]
    at_discord.clock.now = NOW + 30
    assert (await at_discord.press(drill, "a", "bob"))["type"] == 7
    assert (await at_discord.shown(drill)).state == "pending"
    text = refusal(await at_discord.say(slash("drill", ACCOUNTS["cyd"])))
    assert "ann: by Discord, after 0 s" in text
    assert "bob: by Discord, after 30 s" in text
    assert "cyd: no answer" in text


async def test_a_commit_not_known_in_time_is_not_recorded_yet_contract_67(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A29, 8: the decision is recorded all the same, once, and a second press says so."""
    monkeypatch.setattr(receiving, "ANSWER_S", 0.5)
    faulty = FaultyDatabase(database)
    async with discord(database, faulty) as at_discord:
        proposal = await proposed(database, KILL)
        await at_discord.post(proposal)
        faulty.gate.clear()
        assert "Not recorded yet" in refusal(await at_discord.press(proposal))
        assert at_discord.notices == 0
        faulty.gate.set()
    assert at_discord.notices == 1
    assert (await at_discord.shown(proposal)).state == "approved"
    assert len(await audit.events(database, kind="approval.decided")) == 1


def _rebind(connection: Connection) -> None:
    bind(connection, "ann", STRANGER)


def _reconfigure(connection: Connection) -> None:
    other = msgspec.structs.replace(CHANNEL, bot_user_id="1" * 18)
    configured.configure(connection, other, "operator", NOW)


@pytest.mark.parametrize("change", [_rebind, _reconfigure])
async def test_what_changes_between_the_checks_and_the_decision_counts_contract_67(
    at_discord: Discord, monkeypatch: pytest.MonkeyPatch, change: Callable[[Connection], None]
) -> None:
    """A6: the approver has another account, or the channel another bot, than the click shows."""
    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    whole = ClickProof.check
    loop = asyncio.get_running_loop()

    def changed(proof: ClickProof) -> None:
        changing = at_discord.database.write(change)
        asyncio.run_coroutine_threadsafe(changing, loop).result()
        whole(proof)

    monkeypatch.setattr(ClickProof, "check", changed)
    assert refusal(await at_discord.press(proposal)) == NO_RIGHT
    assert (await at_discord.shown(proposal)).decisions == []


async def test_a_decision_whose_new_state_cannot_be_read_is_acknowledged_contract_67(
    at_discord: Discord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise DatabaseUnavailableError("away")

    proposal = await proposed(at_discord.database, KILL)
    await at_discord.post(proposal)
    monkeypatch.setattr(receiving, "find_message", unavailable)
    assert "is recorded" in refusal(await at_discord.press(proposal))
    assert (await at_discord.shown(proposal)).state == "approved"


async def test_a_database_that_is_away_is_no_error_contract_67(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultyDatabase(database)
    async with discord(database, faulty) as at_discord:
        proposal = await proposed(database, KILL)
        await at_discord.post(proposal)
        faulty.faults[1] = "before"
        assert "Not recorded yet" in refusal(await at_discord.press(proposal))
        code = await database.write(enrolment.new_code, TENANT, "ann", "discord", NOW)
        faulty.faults[faulty.writes + 1] = "after"
        asked = slash("register", ACCOUNTS["ann"], code=code)
        assert "Not known yet" in refusal(await at_discord.say(asked))
        faulty.always = "before"
        assert "could not read" in refusal(await at_discord.press(proposal))
    names = [each.message for each in caplog.records]
    assert names.count("interaction.not_recorded") == 1
    assert names.count("interaction.refused.late") == 3


async def test_a_guessed_code_takes_no_turn_of_the_writer_contract_67(database: Database) -> None:
    """Any member of the server may type one, as often as Discord lets them."""
    faulty = FaultyDatabase(database)
    async with discord(database, faulty) as at_discord:
        before = faulty.writes
        guess = slash("register", STRANGER, code="AAAA-AAAA-AAAA-AAAA")
        assert refusal(await at_discord.say(guess)) == NO_RIGHT
        assert faulty.writes == before
