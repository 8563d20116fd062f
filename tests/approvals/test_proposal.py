"""The text of a proposal, what people read of it, and its states (contract 62; A1, A3, A4, A10)."""

import json
from hashlib import sha256
from typing import Final

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.approvals.decided import PROPOSAL
from vyrox.approvals.display import MAX_DISPLAY, DisplayError, display
from vyrox.approvals.proposal import Process, Proposal, canonical, digest, parse
from vyrox.approvals.states import DISPATCH_S, State, state_at

texts: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
proposals: Final = st.builds(
    Proposal,
    id=texts,
    tenant_id=texts,
    alert_id=texts,
    vendor=st.sampled_from(["crowdstrike", "sentinelone", "defender"]),
    action_type=st.sampled_from(["HOST_ISOLATION", "PROCESS_KILL", "LIFT_HOST_ISOLATION"]),
    host=texts,
    hostname=st.none() | texts,
    process=st.none() | st.builds(Process, name=texts, id=st.none() | texts),
    device_state=st.none() | texts,
    lease_s=st.integers(0, 31_536_000),
    requested_by=texts,
    reason=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1000),
    created_at=st.integers(0, 4_000_000_000),
    expires_at=st.integers(0, 4_000_000_000),
    required=st.integers(1, 2),
    nonce=texts,
)


@given(proposals)
def test_text_is_canonical_and_hashed_with_its_domain_contract_62(proposal: Proposal) -> None:
    """A1: RFC 8785, exactly these fields, SHA-256 over the domain and the text."""
    text = canonical(proposal)
    fields = json.loads(text)
    assert text.decode() == json.dumps(
        fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
    assert fields.keys() == {
        *("v", "id", "tenant_id", "alert_id", "vendor", "action_type", "host", "hostname"),
        *("process", "device_state", "lease_s", "requested_by", "reason", "created_at"),
        *("expires_at", "required", "nonce"),
    }
    assert digest(text) == sha256(b"vyrox-proposal-v1\n" + text).hexdigest()
    assert parse(text) == proposal


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b'"v":1', b'"v":1,"v":1', id="member_twice"),
        pytest.param(b'"v":1', b'"v":1,"w":1', id="unknown_member"),
        pytest.param(b'"v":1', b'"v":2', id="version"),
        pytest.param(b'"v":1', b'"v": 1', id="space"),
        pytest.param(b'"v":1', b'"v":1.0', id="number"),
        pytest.param(b'"required":2', b'"required":0', id="no_person"),
    ],
)
def test_text_in_another_form_is_refused_contract_62(before: bytes, after: bytes) -> None:
    text = canonical(PROPOSAL)
    assert before in text
    with pytest.raises(ValueError, match=r"."):
        parse(text.replace(before, after))


@given(proposals)
def test_display_is_bounded_printable_ascii_contract_62(proposal: Proposal) -> None:
    """A3: nothing can turn the direction, leave a code block, or add a line."""
    shown = display(proposal)
    assert len(shown) <= MAX_DISPLAY
    lines = shown.split("\n")
    assert len(lines) == 18
    assert all(" " <= c <= "~" and c != "`" for line in lines for c in line)
    assert [line for line in lines if line != line.rstrip(" ")] == []
    assert lines[-1] == f"SHA-256: {digest(canonical(proposal))}"


@given(proposals, proposals)
def test_displays_of_two_actions_differ_without_the_digest_contract_62(
    one: Proposal, other: Proposal
) -> None:
    """A3: each field of the action can be read back from what is displayed."""
    names = ("action_type", "host", "hostname", "vendor", "tenant_id", "alert_id", "lease_s")
    differing = [name for name in names if getattr(one, name) != getattr(other, name)]
    assume(differing)
    for name in differing:
        changed = msgspec.structs.replace(one, **{name: getattr(other, name)})
        assert display(changed).split("\n")[:-1] != display(one).split("\n")[:-1]


@pytest.mark.parametrize(
    ("host", "line"),
    [
        pytest.param("a`b", r"Host: a\u0060b", id="backtick"),
        pytest.param(r"a\u0060b", r"Host: a\u005cu0060b", id="escape"),
        pytest.param("\u202eexe.doc", r"Host: \u202eexe.doc", id="bidi"),
        pytest.param("\U0001f512", r"Host: \ud83d\udd12", id="astral"),
        pytest.param("x\nAction: y ", r"Host: x\u000aAction: y\u0020", id="line"),
        pytest.param("  ", r"Host: \u0020\u0020", id="spaces"),
    ],
)
def test_display_escapes_what_could_mislead_contract_62(host: str, line: str) -> None:
    shown = display(msgspec.structs.replace(PROPOSAL, host=host))
    assert shown.split("\n")[1] == line


def test_display_cuts_the_reason_and_nothing_else_contract_62() -> None:
    cut = display(msgspec.structs.replace(PROPOSAL, reason="\u20ac" * 1000))
    [line] = [line for line in cut.split("\n") if line.startswith("Reason: ")]
    assert len(cut) <= MAX_DISPLAY
    assert line.removeprefix("Reason: ").removesuffix("...").replace(r"\u20ac", "") == ""
    with pytest.raises(DisplayError):
        display(msgspec.structs.replace(PROPOSAL, host="\u20ac" * 256))


@pytest.mark.parametrize(
    ("stored", "after_s", "state"),
    [
        ("pending", 899.9, "pending"),
        ("pending", 900, "expired"),
        ("approved", DISPATCH_S - 0.1, "approved"),
        ("approved", DISPATCH_S, "lapsed"),
        ("dispatched", 9999, "dispatched"),
        ("rejected", 9999, "rejected"),
        ("withdrawn", 9999, "withdrawn"),
    ],
)
def test_states_end_by_time_when_they_are_read_contract_62(
    stored: State, after_s: float, state: State
) -> None:
    """A4 and A10. The quorum of the approved one was reached at 0."""
    assert state_at(stored, 900, 0, after_s) == state


def test_approved_without_a_time_has_lapsed_contract_62() -> None:
    assert state_at("approved", 900, None, 1) == "lapsed"


def test_a_quorum_of_a_wrong_clock_has_lapsed_contract_62() -> None:
    """A10: a service that ran a day ahead has stored it, and restarts on the right clock."""
    assert state_at("approved", 90_000, 86_400, 0) == "lapsed"
    assert state_at("approved", 90_000, 10.1, 0) == "lapsed"
    assert state_at("approved", 90_000, 10, 0) == "approved"
