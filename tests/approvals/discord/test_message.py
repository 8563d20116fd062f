"""What a message says and what it must never do, whatever an attacker wrote (contract 67; A31)."""

import json
import re
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.approvals.decided import PROPOSAL
from tests.audit import NOW, TENANT
from vyrox.approvals.discord.message import (
    MAX_CONTENT,
    MAX_FIELD,
    MAX_HEADLINE,
    Evidence,
    button_id,
    embed_of,
    headline,
    incident_message,
    message_of,
    nonce_of,
    notice_message,
    plain,
)
from vyrox.approvals.display import display
from vyrox.approvals.proposal import Proposal, canonical, digest
from vyrox.approvals.shown import ShownDecision, ShownProposal
from vyrox.chain import verify

HOSTILE = "```\n@everyone <@&1> [x](http://evil) ‮ `a` **b** https://evil <t:1:R> ||s||"


def _encodable(min_size: int, max_size: int) -> st.SearchStrategy[str]:
    characters = st.characters(codec="utf-8")
    return st.text(characters, min_size=min_size, max_size=max_size)


def shown_of(proposal: Proposal = PROPOSAL, **changes: object) -> ShownProposal:
    text = canonical(proposal)
    shown = ShownProposal(
        proposal_id=proposal.id,
        tenant_id=TENANT,
        proposal_sha256=digest(text),
        state="pending",
        required=proposal.required,
        expires_at=proposal.expires_at,
        approved_at=None,
        ended_at=None,
        end_reason=None,
        repeats=0,
        decisions=(),
        action_hash=None,
        outcome=None,
        outcome_reason=None,
        proposal=text.decode(),
        display=display(proposal),
    )
    return msgspec.structs.replace(shown, **changes)


def said(*names: str, decision: str = "approve") -> list[ShownDecision]:
    return [ShownDecision(name, cast(Any, decision), "discord", NOW) for name in names]


def buttons(message: dict[str, Any]) -> list[dict[str, Any]]:
    decoded = json.loads(msgspec.json.encode(message))
    return [button for row in decoded["components"] for button in row["components"]]


def test_content_ends_with_the_text_as_the_verifier_demands_contract_67() -> None:
    shown = shown_of()
    message = message_of(shown, role_id="100000000000000005")
    block = f"```\n{verify.display(json.loads(shown.proposal))}\n```"
    assert message.content.endswith(block)
    body = message.post(nonce_of(shown.proposal_id))
    ids = [button["custom_id"] for button in buttons(body)]
    assert ids == [button_id(letter, shown.proposal_sha256) for letter in "ari"]
    assert all(re.fullmatch(r"v1:[ari]:[A-Za-z0-9_-]{43}", each) for each in ids)
    assert body["allowed_mentions"] == {"parse": [], "roles": ["100000000000000005"]}
    assert len(str(body["nonce"])) == 22
    assert body["enforce_nonce"] is True


def test_an_edit_has_components_always_and_mentions_nobody_contract_67() -> None:
    """Left out, the old buttons stay."""
    body = message_of(shown_of(state="rejected", decisions=said("bob", decision="reject"))).edit()
    assert body["components"] == ()
    assert body["allowed_mentions"] == {"parse": []}
    assert "embeds" not in body


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "2 persons are needed, one with a passkey"),
        ({"decisions": said("ann")}, "**1 of 2** approved (ann)"),
        ({"state": "approved", "decisions": said("ann", "bob")}, "by ann, bob. Vyrox is acting"),
        ({"state": "rejected", "decisions": said("a_b", decision="reject")}, r"by a\_b. Nothing"),
        ({"state": "expired"}, "**Expired**"),
        ({"state": "withdrawn", "end_reason": "by @everyone"}, r"**Withdrawn** by \@everyone"),
        ({"state": "lapsed", "decisions": said("ann"), "end_reason": "frozen"}, "frozen. Nothing"),
        ({"state": "dispatched", "outcome": "confirmed"}, "the vendor confirms it"),
        ({"state": "dispatched", "outcome": "failed", "outcome_reason": "x*"}, r"failed** (x\*)"),
        ({"state": "dispatched", "outcome": "outcome_unknown"}, "not known"),
        ({"state": "dispatched", "outcome": "dry_run"}, "nothing was sent"),
    ],
)
def test_each_state_has_its_line_and_only_pending_has_buttons_contract_67(
    changes: dict[str, Any], words: str
) -> None:
    shown = shown_of(**changes)
    message = message_of(shown)
    assert words in headline(shown)
    assert message.content == f"{headline(shown)}\n```\n{shown.display}\n```"
    assert bool(message.components) == (shown.state == "pending")


def test_a_drill_has_one_button_contract_67() -> None:
    shown = shown_of()
    text = shown.display.replace("HOST_ISOLATION", "DRILL", 1)
    message = message_of(msgspec.structs.replace(shown, display=text))
    [button] = buttons(message.edit())
    assert button["custom_id"] == button_id("a", shown.proposal_sha256)
    assert "nothing will be done" in message.content
    over = msgspec.structs.replace(shown, display=text, state="expired", decisions=said("ann"))
    assert headline(over) == "**The drill is over.** Answered: ann."


def test_the_console_is_a_link_and_no_decision_contract_67() -> None:
    link = "https://vyrox.example/approvals/1"
    message = message_of(shown_of(), link=link)
    last = buttons(message.edit())[-1]
    assert (last["style"], last["url"]) == (5, link)
    assert "custom_id" not in last


def test_hostile_texts_cannot_mention_or_leave_their_place_contract_67() -> None:
    evidence = Evidence(HOSTILE, (("Hosts", (HOSTILE,)),), (("Command line", HOSTILE),))
    embed = cast(dict[str, Any], embed_of(evidence))
    assert embed["title"].startswith(r"\`\`\`\@everyone".replace("`\\@", "` \\@"))
    command = embed["fields"][-1]["value"]
    assert command.count("```") == 2
    assert r"\u000a@everyone" in command
    for text in (embed["title"], embed["fields"][0]["value"], notice_message(HOSTILE).content):
        assert re.search(r"(?<!\\)[@`<\[*|:]", text) is None
        assert "‮" not in text
    assert notice_message(HOSTILE).post("n")["allowed_mentions"] == {"parse": []}
    assert incident_message(evidence).components == ()


@given(st.text(max_size=3000), st.integers(10, 700))
def test_plain_text_is_bounded_and_without_meaning_contract_67(text: str, limit: int) -> None:
    result = plain(text, limit)
    assert len(result) <= limit
    unescaped = re.sub(r"\\[!-/:-@\[-`{-~]", "", result.removesuffix("..."))
    assert re.search(r"[!-/:-@\[-`{-~]", unescaped) is None
    assert "\n" not in result


@given(st.lists(st.text(max_size=2000), max_size=12), st.text(max_size=4000))
def test_embeds_stay_within_the_limits_of_discord_contract_67(texts: list[str], code: str) -> None:
    fields = tuple((f"Field {number}", tuple(texts)) for number in range(10))
    embed = cast(dict[str, Any], embed_of(Evidence("t" * 500, fields, (("Code", code),))))
    values = [field["value"] for field in embed["fields"]]
    assert all(0 < len(value) <= MAX_FIELD for value in values)
    whole = len(embed["title"]) + sum(len(f["name"]) + len(f["value"]) for f in embed["fields"])
    assert whole <= 6000
    assert len(embed["title"]) <= 256


@given(_encodable(1, 1000), st.lists(_encodable(0, 300), max_size=2))
def test_content_fits_whatever_the_reason_is_contract_67(reason: str, names: list[str]) -> None:
    proposal = msgspec.structs.replace(PROPOSAL, reason=reason)
    shown = shown_of(proposal, decisions=said(*names), end_reason=reason, state="withdrawn")
    message = message_of(shown, role_id="100000000000000005")
    assert len(message.content) <= MAX_CONTENT
    assert len(headline(shown)) <= MAX_HEADLINE
