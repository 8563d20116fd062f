"""`verify_audit.py --approvals`: who decided on each action (contract 64, A29 and A36)."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.approvals.authenticator import UP, UV, Authenticator, b64
from tests.approvals.story import (
    DISCORD_USER,
    START,
    Change,
    Discord,
    Members,
    Story,
    begun,
    canonical,
    digest,
    proposal,
    raw_decision,
    sign,
    told,
)
from tests.audit import TENANT
from tests.cli import Vyrox, succeeded
from tests.service import HMAC_SECRET, ROOT
from vyrox.approvals import passkeys
from vyrox.chain import verify

KEY: Final = Authenticator("ES256")
"""Jane's."""

OMARS: Final = Authenticator("EdDSA", b"credential-2")
DISCORD: Final = Discord()


def by_passkey(
    on: Members, name: str = "jane", decision: Literal["approve", "reject"] = "approve"
) -> Members:
    statement, response = sign(on, {"jane": KEY, "omar": OMARS}[name], name, decision)
    members = raw_decision(response, statement, on["id"])
    return {**members, "by_requester": True} if is_own(on, name) else members


def by_discord(on: Members) -> Members:
    members = DISCORD.decision(on, DISCORD.click(on))
    return {**members, "by_requester": True} if is_own(on, "omar") else members


def is_own(on: Members, name: str) -> bool:
    asked: str = on["requested_by"]
    return asked.strip().lower() == name


def refusals(story: Story) -> list[str]:
    return [f"{each.kind}: {each.reason}" for each in story.verify().failures]


def findings(story: Story) -> list[verify.Finding]:
    found = story.verify()
    return [found.finding(action_hash) for action_hash in found.actions]


def break_glass(story: Story, **changes: object) -> Members:
    """Append a lift by break glass, and its event."""
    host, by = "workstation-01", "break-glass root"
    lift = {"action_type": "LIFT_HOST_ISOLATION", "host": host, "tenant_id": TENANT}
    text = canonical({**lift, "request_id": "1", "by": "root", "reason": "fire", **changes})
    sha256 = hashlib.sha256(b"vyrox-break-glass-v1\n" + text.encode()).hexdigest()
    members = {"break_glass_id": "1", "break_glass_sha256": sha256}
    action_hash = story.lift(host, by)
    story.event("break_glass.used", **members, break_glass=text, action_hash=action_hash)
    return members


def acknowledged(glass: Members, **changes: object) -> Members:
    """Return Jane's acknowledgement of a break glass, with changes in what is signed."""
    digest = {"break_glass_sha256": glass["break_glass_sha256"]}
    proof = signed("jane", "acknowledgement", {**digest, **changes})
    return {**glass, "approver": "jane", **proof}


# Reports


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier as an auditor does: alone, without installed packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "verify_audit.py"), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def whole_story() -> Story:
    """Return actions that are proven by passkey, by both and by the requester, and others."""
    one = proposal()
    story = told(one, by_passkey(one), KEY, discord=DISCORD)
    story.now += 10
    two = proposal(id="two", required=2, host="dc-01")
    story.propose(two)
    decided = [story.event("approval.decided", **make(two)) for make in (by_passkey, by_discord)]
    story.dispatch(two, story.act(two, "jane+omar"), *decided)
    own = proposal(id="own", requested_by="Jane ")
    story.propose(own)
    decision = story.event("approval.decided", **by_passkey(own))
    story.dispatch(own, story.act(own, "jane"), decision)
    story.lift("\x1b", "jane")
    story.now += 14400
    story.end_lease(one)
    break_glass(story)
    story.lift("workstation-01", f"jane sha256:{digest(canonical(one))}")
    return story


REPORT = """\
action 1, 2024-01-01T00:00:20Z, 'HOST_ISOLATION workstation-01'
    PROVEN by passkey ('jane')
action 2, 2024-01-01T00:00:30Z, 'HOST_ISOLATION dc-01'
    PROVEN by passkey ('jane') and Discord ('omar')
action 3, 2024-01-01T00:00:30Z, 'HOST_ISOLATION workstation-01'
    PROVEN by passkey ('jane')
    proposed and approved by the same person
action 4, 2024-01-01T00:00:30Z, 'LIFT_HOST_ISOLATION \\x1b' (dry run)
    NOT PROVEN: a caller with the shared secret asked for it
    approved_by, as the caller wrote it: 'jane'
action 5, 2024-01-01T04:00:30Z, 'LIFT_HOST_ISOLATION workstation-01'
    APPROVED with the lease of action 1, which ended
action 6, 2024-01-01T04:00:30Z, 'LIFT_HOST_ISOLATION workstation-01' (dry run)
    NOT PROVEN: break glass, without an approval; not acknowledged
    approved_by: 'break-glass root'
action 7, 2024-01-01T04:00:30Z, 'LIFT_HOST_ISOLATION workstation-01' (dry run)
    NOT PROVEN: approved_by names a proposal, but no event dispatches it
    approved_by: 'jane sha256:DIGEST'
4 of 7 actions are proven or follow from a proven lease, 3 are not
0 checks failed
"""


@pytest.mark.usefixtures("anyio_backend")  # for the asynchronous fixture
def test_a_real_export_says_who_approved_each_action_contract_64(
    data_dir: Path, database_url: str | None
) -> None:
    vyrox = Vyrox(data_dir, database_url, VYROX_HMAC_SECRET=HMAC_SECRET)
    vyrox.write(whole_story().append)
    paths = [str(data_dir / "actions"), str(data_dir / "events")]
    succeeded(vyrox("audit", "export", TENANT, "--out", paths[0]))
    succeeded(vyrox("audit", "export", TENANT, "--stream", "events", "--out", paths[1]))
    done = run("--approvals", *paths)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.isascii()
    assert REPORT.replace("DIGEST", digest(canonical(proposal()))) in done.stdout
    assert "keys: as the log itself names them" in done.stdout
    assert run("--links-only", "--approvals", *paths).returncode == 0


def test_the_report_as_json_contract_64(tmp_path: Path) -> None:
    done = run("--json", "--approvals", *whole_story().write(tmp_path))
    report = json.loads(done.stdout)
    assert (report["status"], report["result"], report["failures"]) == (3, "approvals hold", [])
    assert [len(each["proven"]) for each in report["actions"]] == [1, 2, 1, 0, 0, 0, 0]
    assert [each["lease_of"] for each in report["actions"]] == [None] * 4 + [1, None, None]
    assert [each["not_proven"] is None for each in report["actions"]] == [
        *[True] * 3,
        False,
        True,
        False,
        False,
    ]
    assert report["actions"][1]["proven"][1] == {
        "approver": "omar",
        "proof": "Discord",
        "means": DISCORD_USER,
        "is_requester": False,
    }
    assert report["chains"]["events"]["stream"] == "events"


PROOF_WRONG = """\
FAILED at event 6, approval.decided by 'jane'
    of proposal '5f0e2c1a-7c3f-4e0b-9a55-0d0a3f7f1c11'
    the signature is wrong
"""


def test_a_changed_proof_is_status_1_and_named(tmp_path: Path) -> None:
    """Changed in the log: the chain breaks. Changed before it was hashed: the proof is wrong."""
    on = proposal()
    paths = told(on, by_passkey(on), KEY).write(tmp_path)
    events = Path(paths[1])
    line = events.read_bytes()
    events.write_bytes(line.replace(b'"signature":"M', b'"signature":"N'))
    done = run("--approvals", *paths)
    assert done.returncode == 1
    assert f"TAMPERED WITH OR DAMAGED at entry 6 ({events}, line 6)" in done.stdout
    assert PROOF_WRONG in done.stdout
    failure = json.loads(run("--json", "--approvals", *paths).stdout)["failure"]
    assert (failure["event"], failure["reason"]) == (6, "the signature is wrong")

    def change(members: Members) -> None:
        members["signature"] = "N" + members["signature"][1:]  # it always begins with an M

    paths = told(on, by_passkey(on), KEY, {"approval.decided": change}).write(tmp_path)
    done = run("--approvals", *paths)
    assert done.returncode == 1
    assert PROOF_WRONG in done.stdout
    assert "NOT PROVEN: the check of its dispatch failed at event 7" in done.stdout
    assert json.loads(run("--json", "--approvals", *paths).stdout)["result"] == "approval refused"


def test_both_chains_come_first(tmp_path: Path) -> None:
    on = proposal()
    paths = told(on, by_passkey(on), KEY).write(tmp_path)
    assert run("--approvals", *reversed(paths)).returncode == 2
    actions = Path(paths[0])
    actions.write_bytes(actions.read_bytes().replace(b"workstation-01", b"workstation-02"))
    done = run("--approvals", *paths)
    assert (done.returncode, "PROVEN" in done.stdout) == (1, False)
    assert f"at entry 1 ({actions}, line 1)" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"approval.decided"', b'"kind":"approval.ended"'),
        (b'"kind":"approval.decided"', b'"king":"approval.decided"'),
        (b'"kind":"approval.decided",', b""),
        (b'"kind":"approver.removed"', b'"kind":"approver.renamed"'),
        (b'"previous_hash":"', b'"previous_hash":"0'),
        (b"{", b"["),
    ],
)
def test_other_damage_is_tampering_too(tmp_path: Path, old: bytes, new: bytes) -> None:
    on = proposal()
    story = told(on, by_passkey(on), KEY)
    story.event("approver.removed", approver="jane", discord_user_id=None, by="root")
    paths = story.write(tmp_path)
    events = Path(paths[1])
    events.write_bytes(events.read_bytes().replace(old, new, 1))
    done = run("--approvals", *paths)
    assert (done.returncode, done.stderr) == (1, "")
    assert "TAMPERED WITH OR DAMAGED at entry" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["x", "--approvals", "y", "z"], ["x", "--keys", "y"], ["--approvals", "x"]],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_chains_of_two_tenants_are_status_2(tmp_path: Path) -> None:
    on = proposal()
    paths = told(on, by_passkey(on), KEY).write(tmp_path)
    other = Story()
    other.lift("host", "jane", tenant_id="initech")
    Path(paths[0]).write_bytes(other.lines["actions"][0])
    done = run("--approvals", *paths)
    assert (done.returncode, done.stdout) == (2, "")
    assert "different tenants" in done.stderr


# Keys pinned elsewhere


def thumbprint(authenticator: Authenticator, name: str) -> str:
    return verify.check_key(Story().enrol(name, authenticator)).thumbprint


def test_only_pinned_keys_count(tmp_path: Path) -> None:
    jane, discord = thumbprint(KEY, "jane"), DISCORD.configured["public_key"]
    keys = tmp_path / "keys"
    paths = whole_story().write(tmp_path)
    grouped = " ".join(jane[at : at + 4] for at in range(0, len(jane), 4))
    keys.write_text(f"# the team\n\njane {grouped}\n discord \t{discord}\n")
    done = run("--approvals", *paths, "--keys", str(keys))
    assert (done.returncode, "those of the file of keys" in done.stdout) == (3, True)
    for text, failed in (
        (f"jane {jane}", "of 'discord' is not in the file of keys"),
        (f"omar {jane}\ndiscord {discord}", "of 'jane' is not in the file of keys"),
        (f"jane {thumbprint(OMARS, 'omar')}\ndiscord {discord}", "of 'jane' is not"),
        ("", "of 'jane' is not"),
    ):
        keys.write_text(text)
        done = run("--approvals", *paths, "--keys", str(keys))
        assert (done.returncode, failed in done.stdout) == (1, True), text
    for text in ("jane", "jane x", f"jane {jane}=", f"discord {discord.upper()}"):
        keys.write_text(text)
        assert run("--approvals", *paths, "--keys", str(keys)).returncode == 2, text
    assert run("--approvals", *paths, "--keys", str(tmp_path / "none")).returncode == 2


# One wrong thing in the log at a time


def setting(**changes: object) -> Change:
    return lambda members: members.update(changes)


def upper(name: str) -> Change:
    return lambda members: members.update({name: members[name].upper()})


def with_text(make: Callable[[str], str]) -> Change:
    """Change the text of a proposal, and its digest with it."""

    def change(members: Members) -> None:
        members["proposal"] = make(members["proposal"])
        members["proposal_sha256"] = digest(members["proposal"])

    return change


WRONG: dict[str, tuple[str, Change, str]] = {
    "upper-case digest": ("approval.decided", upper("proposal_sha256"), "another proposal"),
    "other digest": ("approval.decided", setting(proposal_sha256="0" * 64), "another proposal"),
    "other proposal": ("approval.decided", setting(proposal_id="other"), "no valid proposal"),
    "approve for reject": ("approval.decided", setting(decision="reject"), "another decision"),
    "other decision": ("approval.decided", setting(decision="Approve"), "neither"),
    "other approver": ("approval.decided", setting(approver="omar"), "no valid, confirmed key"),
    "unknown approver": ("approval.decided", setting(approver="eve"), "no such approver"),
    "other proof": ("approval.decided", setting(proof="password"), "is unknown"),
    "no proof": ("approval.decided", setting(proof=None), "proof is not text"),
    "other key": ("approval.decided", setting(credential_id="AAAA"), "no valid, confirmed key"),
    "padded": ("approval.decided", setting(signature="AA=="), "not base64url"),
    "never canonical": ("approval.decided", setting(signature="AB"), "not base64url"),
    "not ASCII": ("approval.decided", setting(signature="\u00e9AAA"), "not base64url"),
    "too short": ("approval.decided", setting(signature="A"), "not base64url"),
    "a number": ("approval.decided", setting(signature=1), "not text"),
    "statement of another kind": ("approval.decided", setting(statement="[]"), "not canonical"),
    "list": ("approval.proposed", with_text(lambda _: "[]"), "not canonical"),
    "client data of another kind": (
        "approval.decided",
        setting(client_data=b64(b"[]")),
        "client_data is not a JSON object",
    ),
    "weak key": ("approver.key_added", setting(y=b64(bytes(32))), "not on the curve"),
    "unknown algorithm": ("approver.key_added", setting(alg="none"), "is unknown"),
    "key of nobody": ("approver.key_added", setting(approver="eve"), "no such approver"),
    "other approvers": ("approver.added", setting(approver="eve"), "used before"),
    "space": ("approval.proposed", with_text(lambda text: text + " "), "not canonical"),
    "twice": (
        "approval.proposed",
        with_text(lambda text: text.replace("{", '{"action_type":"PROCESS_KILL",', 1)),
        "not canonical",
    ),
    "deep": ("approval.proposed", with_text(lambda _: "[" * 60_000), "not canonical"),
    "version": (
        "approval.proposed",
        with_text(lambda text: text.replace('"v":1', '"v":2')),
        "another version",
    ),
    "no approver required": (
        "approval.proposed",
        with_text(lambda text: text.replace('"required":1', '"required":0')),
        "requires no approver",
    ),
    "text": ("approval.proposed", setting(proposal=canonical(proposal(host="x"))), "digest"),
    "id": ("approval.proposed", with_text(lambda _: canonical(proposal(id="x"))), "another id"),
    "tenant": (
        "approval.proposed",
        with_text(lambda _: canonical(proposal(tenant_id="initech"))),
        "another tenant",
    ),
    "early": (
        "approval.proposed",
        with_text(lambda _: canonical(proposal(created_at=START + 21))),
        "another proposal",
    ),
    "action": ("approval.dispatched", setting(action_hash="0" * 64), "no action has"),
    "no decision": ("approval.dispatched", setting(decisions=""), "no valid approval"),
    "unknown decision": ("approval.dispatched", setting(decisions="0" * 64), "no valid approval"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_thing_in_the_log_is_refused_contract_64(name: str) -> None:
    kind, change, reason = WRONG[name]
    on = proposal()
    changes = {kind: change}
    found = told(on, by_passkey(on), KEY, changes).verify()
    assert any(reason in each.reason for each in found.failures), found.failures
    assert found.proven == {}


@pytest.mark.parametrize(
    "name",
    ["id", "tenant_id", "action_type", "host", "requested_by", "reason"],
)
def test_a_proposal_has_its_texts(name: str) -> None:
    for on in ({**proposal(), name: 1}, {**proposal(), name: None}):
        with pytest.raises(verify.RefusedProofError, match=f"^{name} is not text"):
            verify.check_proposal(canonical(on), digest(canonical(on)))


@pytest.mark.parametrize("name", ["v", "required", "created_at", "expires_at", "lease_s"])
def test_a_proposal_has_its_numbers(name: str) -> None:
    for on in ({**proposal(), name: "1"}, {**proposal(), name: True}):
        with pytest.raises(verify.RefusedProofError, match=f"^{name} is not a whole number"):
            verify.check_proposal(canonical(on), digest(canonical(on)))


STATEMENTS: dict[str, tuple[Members, str]] = {
    "a member more": ({"other": 1}, "other members"),
    "another version": ({"v": 2}, "another version"),
    "a version that is true": ({"v": True}, "v is not a whole number"),
    "no time": ({"issued_at": -1}, "of no time"),
    "a time in text": ({"issued_at": "1"}, "issued_at is not a whole number"),
    "no comment": ({"comment": None}, "comment is not text"),
    "a short nonce": ({"nonce": b64(bytes(15))}, "not 16 bytes"),
    "a nonce in another form": ({"nonce": "A" * 21 + "B"}, "nonce is not base64url"),
    "another digest": ({"proposal_sha256": "0" * 64}, "another proposal_sha256"),
    "another decision": ({"decision": "reject"}, "another decision"),
    "another approver": ({"approver": "omar"}, "another approver"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_with_one_wrong_thing_is_refused_though_it_is_signed(name: str) -> None:
    """A2: the right key has signed it."""
    changes, reason = STATEMENTS[name]
    on = proposal()
    statement = canonical({**json.loads(sign(on, KEY)[0]), **changes})
    response = KEY.get(passkeys.challenge(statement))
    decision = {
        **raw_decision(response, statement, on["id"]),
        "proposal_sha256": digest(canonical(on)),
        "decision": "approve",
        "approver": "jane",
    }
    found = told(on, decision, KEY).verify()
    assert reason in found.failures[0].reason
    assert found.proven == {}


def test_a_statement_may_be_of_the_first_second_of_1970() -> None:
    on = proposal()
    statement = canonical({**json.loads(sign(on, KEY)[0]), "issued_at": 0})
    response = KEY.get(passkeys.challenge(statement))
    assert refusals(told(on, raw_decision(response, statement, on["id"]), KEY)) == []


def test_a_statement_lacks_no_member() -> None:
    on = proposal()
    members = json.loads(sign(on, KEY)[0])
    del members["comment"]
    statement = canonical(members)
    response = KEY.get(passkeys.challenge(statement))
    decision = raw_decision(response, statement, on["id"])
    assert "other members" in refusals(told(on, decision, KEY))[0]


@pytest.mark.parametrize("length", [0, 32, 36])
def test_short_authenticator_data_are_refused_though_they_are_signed(length: int) -> None:
    on = proposal()
    statement, _ = sign(on, KEY)
    client_data = KEY.client_data("get", passkeys.challenge(statement))
    data = KEY.data(UP | UV)[:length]
    signature = KEY.sign(data + hashlib.sha256(client_data).digest())
    parts = {"authenticator_data": b64(data), "signature": b64(signature)}
    decision = {**by_passkey(on), "statement": statement, "client_data": b64(client_data), **parts}
    assert "shorter than 37 bytes" in refusals(told(on, decision, KEY))[0]


def test_a_proof_names_its_key() -> None:
    key = verify.check_key(Story().enrol("jane", KEY))
    decision = by_passkey(proposal())
    verify.check_passkey(decision, key)
    with pytest.raises(verify.RefusedProofError, match="another id"):
        verify.check_passkey({**decision, "credential_id": "AAAA"}, key)
    with pytest.raises(verify.RefusedProofError, match="credential_id is empty"):
        verify.check_key({**Story().enrol("jane", KEY), "credential_id": ""})


@pytest.mark.parametrize("at", [START - 1, START + 901])
def test_a_decision_outside_the_life_of_its_proposal_is_refused(at: int) -> None:
    on = proposal(created_at=START, expires_at=START + 900)
    story = begun(on, KEY)
    story.now = max(at, story.now)
    if at < START:
        on = proposal(id="later", created_at=START + 30)
        story.propose(on)
    story.event("approval.decided", **by_passkey(on))
    [refusal] = refusals(story)
    assert "not within the proposal's life" in refusal


def test_a_key_counts_from_its_confirmation_to_its_removal() -> None:
    on = proposal()
    story = begun(on, KEY)
    omars = story.enrol("omar", OMARS, is_confirmed=False)
    story.event("approval.decided", **by_passkey(on, "omar"))
    janes = {**omars, "approver": "jane", "credential_id": b64(KEY.credential_id)}
    story.key_event("confirmed", {**omars, "approver": "jane"})
    story.key_event("confirmed", janes)
    story.key_event("removed", {**omars, "approver": "jane"})
    story.key_event("removed", janes)
    story.key_event("removed", janes)
    story.event("approval.decided", **by_passkey(on))
    none = "approval.decided: the person has no valid, confirmed key with this id now"
    assert refusals(story) == [
        none,
        "approver.key_confirmed: the approver has no such key",
        "approver.key_confirmed: the key has another thumbprint",
        "approver.key_removed: the approver has no such key",
        "approver.key_removed: the approver has no such key",
        none,
    ]
    story.key_event("confirmed", omars)
    story.event("approval.decided", **by_passkey(on, "omar"))
    assert len(refusals(story)) == 6


def test_an_approver_counts_from_addition_to_removal() -> None:
    """A name is never used for another person."""
    on = proposal()
    story = begun(on, KEY)
    removed = {"approver": "jane", "discord_user_id": None, "by": "root"}
    story.event("approver.removed", **removed)
    story.event("approval.decided", **by_passkey(on))
    story.event("approver.removed", **removed)
    story.approver("jane")
    story.enrol("jane", KEY)
    story.event("approval.decided", **by_passkey(on))
    assert refusals(story) == [
        "approval.decided: there is no such approver at this time",
        "approver.removed: there is no such approver at this time",
        "approver.added: the name was used before",
        "approver.key_added: there is no such approver at this time",
        "approver.key_confirmed: there is no such approver at this time",
        "approval.decided: there is no such approver at this time",
    ]


def test_who_was_reset_has_no_key_and_no_account_and_is_not_one_of_two_for_a_day() -> None:
    """A39."""
    on = proposal(expires_at=START + 200_000)
    two = proposal(id="two", required=2, expires_at=START + 200_000)
    story = begun(on, KEY, discord=DISCORD)
    story.propose(two)
    story.enrol("omar", OMARS)
    for name in ("jane", "omar"):
        story.event("approver.reset", approver=name, discord_user_id=None, by="root")
    story.event("approval.decided", **by_passkey(on))
    story.event("approval.decided", **by_discord(on))
    reasons = [
        "approval.decided: the person has no valid, confirmed key with this id now",
        "approval.decided: the person has no account at Discord at this time",
    ]
    assert refusals(story) == reasons
    other = Authenticator("EdDSA", b"credential-3")
    story.enrol("jane", other)
    statement, response = sign(two, other)
    again = raw_decision(response, statement, "two")
    story.event("approval.decided", **again)
    third = proposal(id="third", required=2)
    story.propose(third)
    statement, response = sign(third, other, decision="reject")
    story.event("approval.decided", **raw_decision(response, statement, "third"))
    statement, response = sign(on, other)
    alone = story.event("approval.decided", **raw_decision(response, statement, on["id"]))
    story.dispatch(on, story.act(on, "jane"), alone)
    reasons.append("approval.decided: the person was reset within a day, and is not one of two yet")
    assert refusals(story) == reasons
    story.now += 86_400
    story.event("approval.decided", **again)
    assert refusals(story) == reasons


def test_what_was_approved_before_a_reset_never_counts_again() -> None:
    """A39: not even with the same account, bound again."""
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    decided = story.event("approval.decided", **by_discord(on))
    reset = {"approver": "omar", "by": "root"}
    story.event("approver.reset", **reset, discord_user_id=DISCORD_USER)
    story.event("approver.discord_bound", **reset, discord_user_id=DISCORD_USER)
    story.dispatch(on, story.act(on, "omar"), decided)
    assert "was removed before it" in refusals(story)[0]


@pytest.mark.parametrize("after", [0, 359, 360, 86_400])
def test_an_approval_of_long_ago_proves_no_action(after: int) -> None:
    """A10: 60 s, and the 300 s by which clocks may be apart."""
    on = proposal(expires_at=START + 200_000)
    story = begun(on, KEY)
    decided = story.event("approval.decided", **by_passkey(on))
    story.now += after
    story.dispatch(on, story.act(on, "jane"), decided)
    refused = ["approval.dispatched: the approvals had lapsed long before"]
    assert refusals(story) == ([] if after < 360 else refused)


def test_an_account_counts_once_it_is_bound() -> None:
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    decision = {**by_discord(on), "approver": "jane"}
    story.event("approval.decided", **decision)
    bound = {"approver": "jane", "discord_user_id": DISCORD_USER, "by": "jane"}
    story.event("approver.discord_bound", **bound)
    story.event("approver.discord_bound", **{**bound, "approver": "omar"})
    story.event("approver.removed", approver="omar", discord_user_id=None, by="root")
    story.event("approver.discord_bound", **{**bound, "approver": "omar"})
    story.event("approver.discord_bound", **bound)
    assert refusals(story) == [
        "approval.decided: the person has no account at Discord at this time",
        "approver.discord_bound: another approver has this account",
        "approver.discord_bound: there is no such approver at this time",
    ]
    story.event("approval.decided", **decision)
    assert len(refusals(story)) == 3


def test_persons_count_and_not_keys_or_accounts() -> None:
    on = proposal()
    story = begun(on, KEY)
    story.enrol("omar", KEY)
    other = Authenticator("ES256", b"credential-3")
    other.cose = KEY.cose
    story.enrol("omar", other)
    story.approver("eve", "80351110224678912")
    assert [each for each in refusals(story) if "confirmed" not in each] == [
        "approver.key_added: the key is enrolled already",
        "approver.key_added: the key is enrolled already",
        "approver.added: another approver has this account",
    ]


def test_a_decision_is_final() -> None:
    on = proposal(required=2)
    story = begun(on, KEY)
    story.enrol("omar", OMARS)
    first = story.event("approval.decided", **by_passkey(on))
    story.event("approval.decided", **by_passkey(on))
    story.event("approval.decided", **by_passkey(on, "omar", "reject"))
    story.dispatch(on, story.act(on, "jane"), first)
    story.event("approval.decided", **by_passkey(on, "omar"))
    story.event("approval.ended", proposal_id=on["id"], state="lapsed")
    story.propose(on)
    assert refusals(story) == [
        "approval.decided: the person has decided before",
        "approval.dispatched: its proposal was rejected",
        "approval.decided: its proposal has ended before: dispatched",
        "approval.ended: its proposal has ended before: dispatched",
        "approval.proposed: the proposal was proposed before",
    ]


@pytest.mark.parametrize("state", ["rejected", "expired", "withdrawn", "superseded", "lapsed"])
def test_what_has_ended_is_not_dispatched(state: str) -> None:
    on = proposal()
    story = begun(on, KEY)
    decided = story.event("approval.decided", **by_passkey(on))
    story.event("approval.ended", proposal_id=on["id"], state=state)
    story.dispatch(on, story.act(on, "jane"), decided)
    assert refusals(story) == [f"approval.dispatched: its proposal has ended before: '{state}'"]


def test_two_persons_are_needed_where_two_are_required() -> None:
    on = proposal(required=2)
    story = begun(on, KEY)
    decided = story.event("approval.decided", **by_passkey(on))
    story.dispatch(on, story.act(on, "jane"), decided, decided)
    assert "names a decision" in refusals(story)[0]
    story = told(on, by_passkey(on), KEY)
    assert refusals(story) == ["approval.dispatched: 1 of 2 persons approved"]


def test_two_persons_need_one_passkey() -> None:
    """A Discord account can be taken over, or two (A18)."""
    on = proposal(required=2)
    story = begun(on, KEY, discord=DISCORD)
    story.approver("eve", "9")
    body = DISCORD.click(on)
    body["member"]["user"]["id"] = "9"
    decisions = [by_discord(on), {**DISCORD.decision(on, body), "approver": "eve"}]
    decided = [story.event("approval.decided", **decision) for decision in decisions]
    story.dispatch(on, story.act(on, "omar+eve"), *decided)
    assert refusals(story) == [
        "approval.dispatched: no passkey is among the proofs, and two persons need one"
    ]


REMOVALS: dict[str, Members] = {
    "approver.removed": {},
    "approver.reset": {},
    "approver.key_removed": {"credential_id": b64(KEY.credential_id)},
    "approver.discord_bound": {"discord_user_id": "1"},
}


@pytest.mark.parametrize("kind", REMOVALS)
def test_what_was_used_must_still_be_the_persons_at_the_dispatch(kind: str) -> None:
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    is_click = kind == "approver.discord_bound"
    decided = story.event("approval.decided", **(by_discord(on) if is_click else by_passkey(on)))
    name = "omar" if is_click else "jane"
    story.event(kind, approver=name, by="root", **REMOVALS[kind])
    story.dispatch(on, story.act(on, name), decided)
    assert "was removed before it" in refusals(story)[0]


def test_a_drill_is_answered_by_everybody_and_has_no_action() -> None:
    on = proposal(action_type="DRILL", vendor=None, host="none", requested_by="omar")
    story = begun(on, KEY, discord=DISCORD)
    story.event("approval.decided", **by_discord(on))
    story.event("approval.decided", **by_passkey(on))
    story.event("approval.ended", proposal_id=on["id"], state="expired")
    assert refusals(story) == []
    story = told(on, by_passkey(on), KEY)
    assert refusals(story) == ["approval.dispatched: a drill has no action"]


@pytest.mark.parametrize("requester", ["jane", " JANE "])
def test_the_requester_counts_only_alone_and_with_a_passkey(requester: str) -> None:
    """A7, and where one person is needed that person may be the one who asked."""
    two = proposal(required=2, requested_by=requester)
    assert (
        "the person proposed it, and does not count" in refusals(told(two, by_passkey(two), KEY))[0]
    )
    clicked = proposal(requested_by="omar")
    story = told(clicked, by_discord(clicked), KEY, discord=DISCORD)
    assert "the person proposed it, and does not count" in refusals(story)[0]
    own = proposal(requested_by=requester)
    found = told(own, by_passkey(own), KEY).verify()
    assert found.failures == []
    assert [each.is_requester for [each] in found.proven.values()] == [True]


def asked(kind: str, subject: str, approver: str | None = None) -> Members:
    """Return a change of who may decide, as it is asked for."""
    members = {"v": 1, "kind": kind, "tenant_id": TENANT, "approver": approver, "subject": subject}
    change = canonical(members)
    sha256 = hashlib.sha256(b"vyrox-change-v1\n" + change.encode()).hexdigest()
    return {"change_id": f"{kind} {subject}", "change": change, "change_sha256": sha256}


def endorsed(change: Members, name: str, **changes: object) -> Members:
    """Return the endorsement of a change, with changes in what is signed."""
    digest = {"change_sha256": change["change_sha256"]}
    own = {"change_id": change["change_id"], **digest, "approver": name}
    return {**own, **signed(name, "endorsement", {"kind": "endorse", **digest, **changes})}


def signed(name: str, what: str, members: Members) -> Members:
    """Return the proof of what an approver has signed that is no decision."""
    statement = canonical(
        {
            "v": 1,
            "tenant_id": TENANT,
            "approver": name,
            "issued_at": START,
            "nonce": b64(bytes(16)),
            **members,
        }
    )
    challenge = hashlib.sha256(f"vyrox-{what}-v1\n{statement}".encode()).digest()
    answer = json.loads({"jane": KEY, "omar": OMARS}[name].get(challenge))
    return {
        "statement": statement,
        "credential_id": answer["id"],
        "client_data": answer["response"]["clientDataJSON"],
        "authenticator_data": answer["response"]["authenticatorData"],
        "signature": answer["response"]["signature"],
    }


def end_rule(story: Story, rule: str) -> None:
    """End a rule, as two approvers have endorsed it."""
    change = asked("end_rule", rule)
    story.event("approver.change_asked", **change, needed=2, by="root")
    for name in ("jane", "omar"):
        story.event("approver.change_endorsed", **endorsed(change, name))
    story.event("approval.rule_ended", rule=rule, by="root")


def test_four_eyes_holds_from_the_event_that_adds_it_to_the_one_that_ends_it() -> None:
    """A7 and A18: at the decision, and again at the dispatch."""
    own = proposal(requested_by="jane")
    refused = ["the person proposed it, and does not count"]
    for rules, ended, found in (
        (["four-eyes"], [], refused),
        (["host:dc-*"], [], []),
        (["four-eyes"], ["four-eyes"], []),
        (["four-eyes"], ["host:dc-*"], refused),
    ):
        story = begun(own, KEY)
        story.enrol("omar", OMARS)
        for rule in rules:
            story.event("approval.rule_added", rule=rule, by="root")
        for rule in ended:
            end_rule(story, rule)
        story.event("approval.decided", **by_passkey(own))
        assert [each.reason for each in story.verify().failures] == found
    story = begun(own, KEY)
    decided = story.event("approval.decided", **by_passkey(own))
    story.event("approval.rule_added", rule="four-eyes", by="root")
    story.dispatch(own, story.act(own, "jane"), decided)
    assert refusals(story) == ["approval.dispatched: the person who asked does not count any more"]
    other = proposal(requested_by="omar")
    story = begun(other, KEY)
    story.event("approval.rule_added", rule="four-eyes", by="root")
    decided = story.event("approval.decided", **by_passkey(other))
    story.dispatch(other, story.act(other, "jane"), decided)
    assert refusals(story) == []


def with_signed(**changes: object) -> Change:
    """Sign another statement."""

    def change(members: Members) -> None:
        members.update(endorsed(members, members["approver"], **changes))

    return change


NOT_ENDED = "approval.rule_ended: two approvers have not endorsed it"
ENDORSEMENTS: dict[str, tuple[str, Change, str]] = {
    "other text": ("approver.change_asked", setting(change="{}"), "not that of its text"),
    "no text": ("approver.change_asked", setting(change="{ }"), "not canonical"),
    "no change": ("approver.change_endorsed", setting(change_id="x"), "no such change"),
    "other change": ("approver.change_endorsed", setting(change_sha256="x"), "another change"),
    "other person": ("approver.change_endorsed", setting(approver="eve"), "no such approver"),
    "one person twice": ("approver.change_endorsed", setting(approver="jane"), "before"),
    "other key": ("approver.change_endorsed", setting(credential_id="AAAA"), "no valid, confirmed"),
    "no signature": ("approver.change_endorsed", setting(signature="AA"), "signature is wrong"),
    "other kind": ("approver.change_endorsed", with_signed(kind="own_key"), "another kind"),
    "other tenant": ("approver.change_endorsed", with_signed(tenant_id="x"), "another tenant_id"),
    "other digest": (
        "approver.change_endorsed",
        with_signed(change_sha256="x"),
        "another change_sha256",
    ),
    "other signer": ("approver.change_endorsed", with_signed(approver="x"), "another approver"),
    "a member more": ("approver.change_endorsed", with_signed(more=1), "other members"),
    "other version": ("approver.change_endorsed", with_signed(v=2), "another version"),
}


@pytest.mark.parametrize("name", ENDORSEMENTS)
def test_an_endorsement_with_one_wrong_thing_is_refused(name: str) -> None:
    """A17: a rule that asks for two persons ends when two approvers have endorsed it."""
    kind, change, reason = ENDORSEMENTS[name]
    story = begun(proposal(), KEY, {kind: change})
    story.enrol("omar", OMARS)
    end_rule(story, "four-eyes")
    found = refusals(story)
    assert any(reason in each for each in found), found
    assert found[-1] == NOT_ENDED


def test_an_endorsement_is_of_one_change_though_its_text_comes_again() -> None:
    """The rule was ended, and set again: the old signatures do not end it a second time."""
    story = begun(proposal(), KEY)
    story.enrol("omar", OMARS)
    end_rule(story, "four-eyes")
    story.event("approval.rule_added", rule="four-eyes", by="root")
    end_rule(story, "four-eyes")
    used = "approver.change_endorsed: the statement was used before"
    assert refusals(story) == [used, used, NOT_ENDED]


@pytest.mark.parametrize("after", [86_699, 86_700])
def test_a_change_waits_for_a_day_only(after: int) -> None:
    """An endorsement of long ago, and one of today, are not two that agree (A17)."""
    for is_endorsed in (True, False):
        story = begun(proposal(), KEY)
        story.enrol("omar", OMARS)
        change = asked("end_rule", "four-eyes")
        story.event("approver.change_asked", **change, needed=2, by="root")
        story.event("approver.change_endorsed", **endorsed(change, "jane"))
        story.now += 0 if is_endorsed else after
        story.event("approver.change_endorsed", **endorsed(change, "omar"))
        story.now += after if is_endorsed else 0
        story.event("approval.rule_ended", rule="four-eyes", by="root")
        ended = "approver.change_endorsed: the change had ended before"
        late = [NOT_ENDED] if is_endorsed else [ended, NOT_ENDED]
        assert refusals(story) == (late if after == 86_700 else [])


def test_only_others_endorse_and_none_who_was_reset_of_late() -> None:
    story = begun(proposal(), KEY)
    own = asked("confirm_key", "thumbprint", "jane")
    story.event("approver.change_asked", **own)
    story.event("approver.change_asked", **own)
    story.event("approver.change_endorsed", **endorsed(own, "jane"))
    omars = story.enrol("omar", OMARS)
    story.event("approver.reset", approver="omar", discord_user_id=None, by="root")
    story.key_event("removed", omars)
    story.enrol("omar", OMARS)
    story.event("approver.change_endorsed", **endorsed(own, "omar"))
    end_rule(story, "four-eyes")
    assert refusals(story) == [
        "approver.change_asked: the change was asked for before",
        "approver.change_endorsed: the person endorses a change of the person's own means",
        "approver.change_endorsed: the person was reset within a day",
        "approver.change_endorsed: the person was reset within a day",
        NOT_ENDED,
    ]


def test_an_endorsement_counts_once_and_while_its_person_has_a_key() -> None:
    story = begun(proposal(), KEY)
    omars = story.enrol("omar", OMARS)
    end_rule(story, "four-eyes")
    story.event("approval.rule_ended", rule="four-eyes", by="root")
    change = asked("end_rule", "host:dc-*")
    story.event("approver.change_asked", **change)
    for name in ("jane", "omar"):
        story.event("approver.change_endorsed", **endorsed(change, name))
    story.key_event("removed", omars)
    story.event("approval.rule_ended", rule="host:dc-*", by="root")
    story.event("approver.removed", approver="omar", discord_user_id=None, by="root")
    story.event("approval.rule_ended", rule="host:dc-*", by="root")
    assert refusals(story) == [NOT_ENDED] * 3


def test_an_endorsement_is_of_the_change_that_it_names() -> None:
    story = begun(proposal(), KEY)
    one, other = asked("end_rule", "four-eyes"), asked("end_rule", "host:dc-*")
    for change in (one, other):
        story.event("approver.change_asked", **change)
    moved = {**endorsed(one, "jane"), "change_id": other["change_id"]}
    story.event("approver.change_endorsed", **moved)
    assert refusals(story) == ["approver.change_endorsed: the digest is of another change"]


def test_endorsements_and_acknowledgements_need_pinned_keys_too() -> None:
    story = begun(proposal(), KEY)
    story.enrol("omar", OMARS)
    end_rule(story, "four-eyes")
    story.event("break_glass.acknowledged", **acknowledged(break_glass(story)))
    pins = {"jane": thumbprint(KEY, "jane"), "omar": thumbprint(OMARS, "omar")}
    assert story.verify(frozenset(pins.items())).failures == []
    found = story.verify(frozenset([("omar", pins["omar"])])).failures
    kinds = ["approver.change_endorsed", "approval.rule_ended", "break_glass.acknowledged"]
    assert [each.kind for each in found] == kinds
    assert "of 'jane' is not in the file of keys" in found[0].reason


@pytest.mark.parametrize("requester", ["jane", "vyrox"])
def test_the_event_says_whether_the_same_person_proposed_it(requester: str) -> None:
    on = proposal(requested_by=requester)
    wrong = {**by_passkey(on), "by_requester": requester != "jane"}
    assert "by_requester" in refusals(told(on, wrong, KEY))[0]


LIFTS: dict[str, tuple[Change, str]] = {
    "another host": (setting(device_id="dc-01"), "no lift of the device of action 1"),
    "another proposal": (setting(proposal_id="x"), "a lease that no proven action has"),
    "another lift": (setting(action_hash="x"), "no event lifts by it"),
    "no device": (setting(device_id=None), "no event lifts by it"),
}


@pytest.mark.parametrize("name", LIFTS)
def test_a_lift_is_that_of_the_lease_that_its_event_names(name: str) -> None:
    """A19."""
    change, reason = LIFTS[name]
    on = proposal()
    story = told(on, by_passkey(on), KEY, {"lease.lifting": change})
    story.now += 14400
    story.end_lease(on)
    assert reason in str(findings(story)[1].not_proven)


def test_a_lift_is_that_of_the_lease_that_its_entry_names() -> None:
    """It is no failed check: the caller of `/lift` chooses `approved_by`."""
    on = proposal()
    lease = f"lease {digest(canonical(on))}"
    story = told(on, by_passkey(on), KEY)
    story.now += 14400
    host = on["host"]
    for changes in (
        {"action_type": "LIFT_NETWORK_QUARANTINE"},
        {"approved_by": f"lease {'0' * 64}"},
        {"approved_by": "lease "},
        {"approved_by": "jane"},
    ):
        lift = story.lift(**{"host": host, "approved_by": lease, **changes})
        story.event("lease.lifting", proposal_id=on["id"], device_id=host, action_hash=lift)
    assert [each.not_proven for each in findings(story)[1:]] == [
        "it is no lift of the device of action 1",
        "it names a lease that no proven action has",
        "it names a lease that no proven action has",
        "a caller with the shared secret asked for it",
    ]
    assert refusals(story) == []


@pytest.mark.parametrize(
    ("lease_s", "dry_run", "after", "lease_of"),
    [
        (14400, False, 14400, 1),
        (14400, False, 14100, 1),  # clocks of containers may be five minutes apart
        (14400, False, 14099, None),
        (0, False, 14400, None),
        (14400, True, 14400, None),
    ],
)
def test_a_lease_begins_with_its_action_and_ends_in_time(
    lease_s: int, dry_run: bool, after: int, lease_of: int | None
) -> None:
    on = proposal(lease_s=lease_s)
    story = begun(on, KEY)
    decided = story.event("approval.decided", **by_passkey(on))
    story.dispatch(on, story.act(on, "jane", dry_run=dry_run), decided)
    story.now += after
    story.end_lease(on, "device-1")
    assert [each.lease_of for each in findings(story)] == [None, lease_of]


def test_a_break_glass_is_acknowledged_with_a_passkey() -> None:
    """A16."""
    story = begun(proposal(), KEY)
    glass = break_glass(story)
    break_glass(story)
    break_glass(story, at=START + 1)
    story.lift("workstation-01", "break-glass root")
    nobody = "break glass, without an approval; not acknowledged"
    missing = "approved_by says break glass, but no event records that"
    assert [each.not_proven for each in findings(story)] == [nobody] * 3 + [missing]
    story.event("break_glass.acknowledged", **acknowledged(glass))
    jane = nobody.replace("not acknowledged", "acknowledged by passkey ('jane')")
    assert [each.not_proven for each in findings(story)] == [jane, jane, nobody, missing]
    assert refusals(story) == []


GLASSES: dict[str, tuple[str, Change, str]] = {
    "other text": ("break_glass.used", setting(break_glass="{}"), "not that of its text"),
    "no text": ("break_glass.used", setting(break_glass="{ }"), "not canonical"),
    "other action": ("break_glass.used", setting(action_hash="0" * 64), "no action has"),
    "other id": ("break_glass.used", setting(break_glass_id="2"), "another id"),
    "other digest": ("break_glass.acknowledged", setting(break_glass_sha256="x"), "no such break"),
    "other person": ("break_glass.acknowledged", setting(approver="eve"), "no such approver"),
    "other key": ("break_glass.acknowledged", setting(credential_id="x"), "no valid, confirmed"),
    "no signature": ("break_glass.acknowledged", setting(signature="AA"), "signature is wrong"),
}


@pytest.mark.parametrize("name", GLASSES)
def test_a_break_glass_with_one_wrong_thing_is_refused(name: str) -> None:
    kind, change, reason = GLASSES[name]
    story = begun(proposal(), KEY, {kind: change})
    story.event("break_glass.acknowledged", **acknowledged(break_glass(story)))
    assert reason in refusals(story)[0]
    assert "passkey" not in str(findings(story)[0].not_proven)


@pytest.mark.parametrize("name", ["action_type", "host", "tenant_id"])
def test_a_break_glass_is_of_its_action(name: str) -> None:
    story = begun(proposal(), KEY)
    break_glass(story, **{name: "x"})
    assert refusals(story) == [f"break_glass.used: its action has another {name}"]


def test_an_acknowledgement_is_of_what_was_signed() -> None:
    for changes, reason in (
        ({"break_glass_sha256": "x"}, "another break_glass_sha256"),
        ({"tenant_id": "x"}, "another tenant_id"),
        ({"approver": "x"}, "another approver"),
        ({"more": "x"}, "other members"),
    ):
        story = begun(proposal(), KEY)
        glass = break_glass(story)
        story.event("break_glass.acknowledged", **acknowledged(glass, **changes))
        assert reason in refusals(story)[0]


def test_a_lease_of_an_action_that_is_not_proven_lifts_nothing() -> None:
    on = proposal()
    story = told(on, {**by_passkey(on), "signature": "AA"}, KEY)
    story.now += 14400
    story.end_lease(on)
    assert [each.lease_of for each in findings(story)] == [None, None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"host": "workstation-02"}, "another host"),
        ({"action_type": "PROCESS_KILL"}, "another action_type"),
    ],
)
def test_the_action_must_be_the_approved_one(change: Members, reason: str) -> None:
    on = proposal()
    story = begun(on, KEY)
    decided = story.event("approval.decided", **by_passkey(on))
    acted = {**on, **change}
    members = {name: acted[name] for name in ("action_type", "host")}
    by = f"jane sha256:{digest(canonical(on))}"
    done = story.add("actions", {**members, "approved_by": by, "dry_run": False})
    story.dispatch(on, done, decided)
    assert reason in refusals(story)[0]
    assert story.verify().proven == {}


def test_the_action_must_name_the_proposal_and_be_of_one_dispatch() -> None:
    on, other = proposal(), proposal(id="other")
    story = begun(on, KEY)
    story.propose(other)
    decided = [story.event("approval.decided", **by_passkey(each)) for each in (on, other)]
    done = story.act(on, "jane")
    story.dispatch(other, done, decided[1])
    story.dispatch(on, done, decided[0])
    assert refusals(story) == [
        "approval.dispatched: its action's approved_by does not name the proposal"
    ]
    third = proposal(id="third")
    story.propose(third)
    story.dispatch(third, done, story.event("approval.decided", **by_passkey(third)))
    assert refusals(story)[1:] == ["approval.dispatched: its action was dispatched before"]


SCALARS = st.none() | st.booleans() | st.integers(-9, 2**53 - 1) | st.text()
KINDS = [
    "approver.added",
    "approver.removed",
    "approver.key_added",
    "approver.reset",
    "approver.key_confirmed",
    "approver.key_removed",
    "approver.discord_bound",
    "discord.configured",
    "discord.removed",
    "approver.change_asked",
    "approver.change_endorsed",
    "break_glass.used",
    "break_glass.acknowledged",
    "approval.rule_added",
    "approval.rule_ended",
    "lease.lifting",
    "approval.proposed",
    "approval.decided",
    "approval.ended",
    "approval.dispatched",
]


@given(data=st.data(), by=st.sampled_from([by_passkey, by_discord]))
def test_any_members_are_refused_and_nothing_else_is_raised(
    data: st.DataObject, by: Callable[[Members], Members]
) -> None:
    """An attacker who writes the log must not stop the verifier, nor get an action proven."""
    kind = data.draw(st.sampled_from(KINDS))

    def change(members: Members) -> None:
        names = st.sampled_from(sorted(members))
        for name in data.draw(st.sets(names, min_size=1, max_size=3)):
            if data.draw(st.booleans()):
                members[name] = data.draw(SCALARS)
            else:
                members.pop(name)

    on = proposal()
    found = told(on, by(on), KEY, {kind: change}, DISCORD).verify()
    assert found.failures or found.proven


NAMES = [
    "action_hash",
    "alg",
    "approver",
    "break_glass",
    "break_glass_id",
    "break_glass_sha256",
    "change",
    "change_id",
    "change_sha256",
    "credential_id",
    "decision",
    "decisions",
    "device_id",
    "discord_user_id",
    "proof",
    "proposal",
    "proposal_id",
    "rule",
    "thumbprint",
]


@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.dictionaries(
                st.sampled_from(NAMES),
                SCALARS | st.sampled_from(["jane", "omar", b64(KEY.credential_id), "four-eyes"]),
            ),
        )
    )
)
def test_any_events_are_judged(events: list[tuple[str, Members]]) -> None:
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    for kind, members in events:
        story.event(kind, **members)
    assert story.verify().proven == {}


@given(data=st.data())
def test_any_proposal_is_refused_or_displayed(data: st.DataObject) -> None:
    on = proposal()
    for name in data.draw(st.sets(st.sampled_from(sorted(on)), min_size=1, max_size=3)):
        on[name] = data.draw(SCALARS | st.lists(st.none()) | st.dictionaries(st.text(), SCALARS))
    try:
        text = canonical(on)
        assert verify.display(verify.check_proposal(text, digest(text))).isascii()
    except verify.RefusedProofError:
        pass


# Discord


def test_a_click_in_discord_is_a_proof_contract_64() -> None:
    on = proposal()
    found = told(on, by_discord(on), KEY, discord=DISCORD).verify()
    assert (found.failures, [each.proof for [each] in found.proven.values()]) == ([], ["Discord"])
    for kind, refused in (
        (5, []),
        (3, ["approval.decided: the click's type is wrong"]),  # it only opens the form
    ):
        body = {**DISCORD.click(on, "reject"), "type": kind}
        story = begun(on, KEY, discord=DISCORD)
        story.event("approval.decided", **DISCORD.decision(on, body, "reject"))
        assert refusals(story) == refused


def put(*path: str, value: object) -> Change:
    """Return a change of one place in the body of a click."""

    def change(body: Members) -> None:
        at: Any = body
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


CLICKS: dict[str, tuple[Change, str]] = {
    "type": (put("type", value=2), "type is wrong"),
    "type true": (put("type", value=True), "type is wrong"),
    "type with a fraction": (put("type", value=3.0), "type is wrong"),
    "a form to approve": (put("type", value=5), "type is wrong"),
    "application": (put("application_id", value="8"), "another application_id"),
    "guild": (put("guild_id", value="8"), "another guild_id"),
    "channel": (put("channel_id", value="8"), "another channel_id"),
    "no guild": (put("guild_id", value=None), "another guild_id"),
    "custom_id": (put("data", "custom_id", value="v1:a:x"), "another custom_id"),
    "data": (put("data", value=[]), "data is not an object"),
    "author": (put("message", "author", "id", value="8"), "another author"),
    "components": (put("message", "components", value=[{}, 1]), "no such button"),
    "no components": (put("message", "components", value=None), "no such button"),
    "content": (put("message", "content", value="```\nx\n```"), "proposal's text"),
    "no content": (put("message", "content", value=None), "proposal's text"),
    "user": (put("member", "user", "id", value="8"), "another account"),
    "no member": (put("member", value=None), "member is not an object"),
}


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_with_one_wrong_thing_is_refused(name: str) -> None:
    change, reason = CLICKS[name]
    on = proposal()
    body = DISCORD.click(on)
    change(body)
    found = told(on, DISCORD.decision(on, body), KEY, discord=DISCORD).verify()
    assert reason in found.failures[0].reason
    assert found.proven == {}


def test_a_message_must_end_with_the_text() -> None:
    on = proposal()
    body = DISCORD.click(on)
    body["message"]["content"] += "\nnever mind"
    found = told(on, DISCORD.decision(on, body), KEY, discord=DISCORD).verify()
    assert "proposal's text" in found.failures[0].reason


PROOFS_OF_DISCORD: dict[str, tuple[Members, str]] = {
    "other time": ({"signature_timestamp": str(START + 21)}, "signature is wrong"),
    "eleven digits": ({"signature_timestamp": "0" + str(START + 20)}, "10 digits"),
    "other digits": ({"signature_timestamp": "\u0661" * 10}, "10 digits"),
    "upper-case hex": ({"signature": "AB" * 64}, "lower-case hex"),
    "zeros": ({"signature": "00" * 64}, "signature is wrong"),
    "s too large": ({"signature": "00" * 32 + "ff" * 32}, "signature is wrong"),
    "no object": ({"body": b64(b"[]")}, "not a click"),
    "too large": ({"body": b64(b"{" + b" " * 32_768)}, "not a click"),
}


@pytest.mark.parametrize("name", PROOFS_OF_DISCORD)
def test_a_signature_of_discord_with_one_wrong_thing_is_refused(name: str) -> None:
    changes, reason = PROOFS_OF_DISCORD[name]
    on = proposal()
    found = told(on, {**by_discord(on), **changes}, KEY, discord=DISCORD).verify()
    assert reason in found.failures[0].reason


@pytest.mark.parametrize("at", [START, START + 900])
def test_discord_signed_at_the_ends_of_the_life_of_the_proposal(at: int) -> None:
    on = proposal()
    story = begun(on, KEY, discord=DISCORD)
    story.now = max(story.now, at)
    story.event("approval.decided", **DISCORD.decision(on, DISCORD.click(on), at=at))
    assert refusals(story) == []


def test_a_body_may_have_32_kib() -> None:
    on = proposal()
    for size, is_right in ((32_768, True), (32_769, False)):
        raw = json.dumps(DISCORD.click(on)).encode().ljust(size)
        found = told(on, DISCORD.decision(on, raw), KEY, discord=DISCORD).verify()
        assert bool(found.proven) == is_right


@pytest.mark.parametrize("at", [START - 1, START + 901])
def test_discord_signed_within_the_life_of_the_proposal(at: int) -> None:
    on = proposal()
    decision = DISCORD.decision(on, DISCORD.click(on), at=at)
    assert "the signed time" in refusals(told(on, decision, KEY, discord=DISCORD))[0]


def test_a_body_with_a_member_twice_is_refused() -> None:
    on = proposal()
    raw = json.dumps(DISCORD.click(on)).encode().replace(b"{", b'{"type": 3, ', 1)
    story = told(on, DISCORD.decision(on, raw), KEY, discord=DISCORD)
    assert "a member twice" in refusals(story)[0]


def test_discord_needs_a_configuration_and_an_account() -> None:
    on = proposal()
    assert "no valid key of Discord" in refusals(told(on, by_discord(on), KEY))[0]
    decision = {**by_discord(on), "approver": "jane"}
    assert "no account at Discord" in refusals(told(on, decision, KEY, discord=DISCORD))[0]
    other = {"discord.configured": upper("public_key")}
    assert "lower-case hex" in refusals(told(on, by_discord(on), KEY, other, DISCORD))[0]
    weak = {"discord.configured": setting(public_key="01" + "00" * 31)}
    found = refusals(told(on, by_discord(on), KEY, weak, DISCORD))
    assert [why.partition(":")[2] for why in found[:2]] == [
        " the key's point is of small order",
        " no valid key of Discord is known at this time",
    ]


# The text of a proposal


def test_the_text_of_a_proposal() -> None:
    on = proposal(process={"name": "a\u202eb", "id": None, "start": START}, lease_s=0, reason=" x ")
    assert verify.display(on).splitlines() == [
        "Action: HOST_ISOLATION",
        "Host: workstation-01",
        r"Name: W\u00d6RK\u006001",
        "Vendor: crowdstrike",
        r"Process: a\u202eb",
        "Process id:",
        "Process start: 2024-01-01 00:00:00 UTC",
        "State: normal",
        "Ends: never",
        "Tenant: acme-corp",
        "Alert: alert-1",
        "Asked by: vyrox",
        "Asked at: 2024-01-01 00:00:00 UTC",
        "Decide by: 2024-01-01 00:15:00 UTC",
        "Persons: 1",
        r"Reason: \u0020x\u0020",
        "Id: 5f0e2c1a-7c3f-4e0b-9a55-0d0a3f7f1c11",
        f"SHA-256: {digest(canonical(on))}",
    ]
    assert len(verify.display(proposal(reason="\U0001f512" * 1000))) <= 1500


@pytest.mark.parametrize("start", ["x", True, -1, 253_402_300_800])
def test_a_time_beyond_the_calendar_is_not_displayed(start: object) -> None:
    process = {"name": "miner", "id": None, "start": start}
    with pytest.raises(verify.RefusedProofError, match="beyond the calendar"):
        verify.display(proposal(process=process))
    last = {**process, "start": 253_402_300_799}
    assert "9999-12-31 23:59:59 UTC" in verify.display(proposal(process=last))
    with pytest.raises(verify.RefusedProofError, match="process is not an object"):
        verify.display(proposal(process="miner"))


# Published vectors


def test_signatures_of_the_standards() -> None:
    """RFC 8032, 7.1, test 3; RFC 6979, A.2.5, SHA-256 of "sample"."""
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signature = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    point = verify._edwards_point(public)
    assert verify._is_eddsa(point, b"\xaf\x82", signature)
    assert not verify._is_eddsa(point, b"\xaf\x83", signature)
    x = 0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
    y = 0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert verify._is_es256((x, y), b"sample", der(r, s))
    assert not verify._is_es256((x, y), b"Sample", der(r, s))
    # The twin of an ECDSA signature is right too. The chain fixes which of the two was given.
    assert verify._is_es256((x, y), b"sample", der(r, verify._P_ORDER - s))
    for wrong in (der(0, s), der(r, 0), der(r + verify._P_ORDER, s), der(r, s + verify._P_ORDER)):
        assert not verify._is_es256((x, y), b"sample", wrong)


def der(r: int, s: int) -> bytes:
    numbers = verify._der_integer(r) + verify._der_integer(s)
    return bytes((0x30, len(numbers))) + numbers


def test_signatures_in_another_encoding_are_refused() -> None:
    message = b"sample"
    key = verify.check_key(Story().enrol("jane", KEY))
    right = KEY.sign(message)
    assert verify._is_es256(key.numbers, message, right)
    r_end = 4 + right[3]
    long_r = b"\x02" + bytes((right[3] + 1,)) + b"\0" + right[4:r_end]
    for wrong in (
        right + b"\0",
        b"\x31" + right[1:],
        b"\x30\x81" + right[1:],
        b"\x30" + bytes((right[1] + 1,)) + long_r + right[r_end:],
        right[:-1],
        b"",
    ):
        assert not verify._is_es256(key.numbers, message, wrong)


def test_thumbprints_of_the_standards() -> None:
    """RFC 7638, 3.1, and RFC 8037, A.3."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXj"
        "BZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    members = {"approver": "a", "credential_id": "AAAA", "rp_id": "r", "origin": "o"}
    rsa = verify.check_key({**members, "alg": "RS256", "n": n, "e": "AQAB"})
    assert rsa.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    okp = verify.check_key({**members, "alg": "EdDSA", "x": x})
    assert okp.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert len(base64.urlsafe_b64decode(okp.thumbprint + "=")) == 32
