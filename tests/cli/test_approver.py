"""`vyrox approver` and the rules for two persons of `vyrox tenant policy` (contract 65)."""

import json
import re
from pathlib import Path

import pytest

from tests.approvals.authenticator import Authenticator
from tests.approvals.decided import Said, add_able
from tests.approvals.enrolled import PARTY
from tests.audit import NOW, TENANT
from tests.cli import Vyrox, refused, succeeded
from vyrox.approvals import enrolment
from vyrox.approvals.deciding import decide
from vyrox.approvals.keys import Key
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.cli.output import in_groups
from vyrox.clock import wall_clock

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    found = Vyrox(data_dir, database_url).migrated()
    found.write(append, [event("alert.accepted", TENANT, None, alert_id="a-0")], NOW)
    return found


def registered(vyrox: Vyrox, printed: str, authenticator: Authenticator) -> Key:
    """Open the link that a command printed, and register a passkey."""
    found = re.search(r"^  http://localhost:8002/enrol#([A-Za-z0-9_-]{43})$", printed, re.M)
    assert found is not None
    opened = vyrox.write(enrolment.open_link, found[1], wall_clock())
    response = authenticator.create(opened.challenge)
    return vyrox.write(enrolment.register, found[1], response, PARTY, wall_clock())


def test_from_a_name_to_a_key_that_decides_contract_65(vyrox: Vyrox) -> None:
    """A39: the operator compares the thumbprint, and says no or yes."""
    assert "there are no approvers" in vyrox("approver", "list").stderr
    added = succeeded(vyrox("approver", "add", TENANT, "jane", "--discord"))
    assert re.search(r"/vyrox register [A-Z2-7]{4}(-[A-Z2-7]{4}){3}\n", added)
    assert "no passkey that waits" in refused(vyrox("approver", "confirm", TENANT, "jane"))
    key = registered(vyrox, added, Authenticator("ES256", b"one"))
    declined = vyrox("approver", "confirm", TENANT, "jane", stdin=b"n\n")
    assert declined.exit_code == 1
    assert in_groups(key.thumbprint) in declined.stdout  # as the console's page shows it
    other = vyrox("approver", "confirm", TENANT, "jane", "--thumbprint", "x" * 43)
    assert "no key with this thumbprint" in refused(other)
    confirmed = vyrox("approver", "confirm", TENANT, "jane", stdin=b"y\n")
    assert "decides from now on" in succeeded(confirmed)

    second = registered(
        vyrox, succeeded(vyrox("approver", "link", TENANT, "jane")), Authenticator("EdDSA", b"two")
    )
    by_voice = ("--thumbprint", in_groups(second.thumbprint))
    succeeded(vyrox("approver", "confirm", TENANT, "jane", *by_voice))
    assert key.thumbprint not in succeeded(vyrox("approver", "list", TENANT))
    listed = succeeded(vyrox("approver", "list", TENANT, "--wide"))
    assert key.thumbprint in listed
    assert second.thumbprint in listed
    assert "link" not in refused(vyrox("approver", "link", TENANT, "omar"))

    succeeded(vyrox("approver", "reset", TENANT, "jane"))
    [person] = json.loads(succeeded(vyrox("approver", "list", "--json")))["approvers"]
    assert person["reset_at"] is not None
    assert all(each["removed_at"] for each in person["keys"])
    succeeded(vyrox("approver", "remove", TENANT, "jane"))
    assert "no approver jane" in refused(vyrox("approver", "remove", TENANT, "jane"))
    assert "use another name" in refused(vyrox("approver", "add", TENANT, "jane"))


def test_several_keys_that_wait_are_told_apart_contract_65(vyrox: Vyrox) -> None:
    added = succeeded(vyrox("approver", "add", TENANT, "jane"))
    registered(vyrox, added, Authenticator("ES256", b"one"))
    again = succeeded(vyrox("approver", "link", TENANT, "jane"))
    registered(vyrox, again, Authenticator("ES256", b"two"))
    told = vyrox("approver", "confirm", TENANT, "jane", stdin=b"y\n")
    assert told.exit_code == 1
    assert "2 passkeys that wait: give '--thumbprint'" in told.stderr


def test_keys_of_another_origin_are_named_contract_65(vyrox: Vyrox) -> None:
    """A23: a console that moved leaves all its passkeys behind."""
    vyrox.write(add_able, "ann")
    assert vyrox("approver", "list").stderr == ""
    moved = vyrox("approver", "list", env={"CONSOLE_ORIGIN": "https://vyrox.example.com"})
    assert "passkeys of http://localhost:8002 decide nothing" in moved.stderr


def test_a_new_key_waits_where_others_have_keys_contract_65(vyrox: Vyrox) -> None:
    """A17."""
    for name in ("ann", "bob"):
        vyrox.write(add_able, name)
    added = succeeded(vyrox("approver", "add", TENANT, "jane"))
    registered(vyrox, added, Authenticator("ES256", b"one"))
    waits = succeeded(vyrox("approver", "confirm", TENANT, "jane", stdin=b"y\n"))
    assert "1 other approver must endorse it" in waits
    assert "waits: jane's new passkey" in succeeded(vyrox("approver", "list", TENANT))


def test_rules_for_two_persons_are_set_and_listed_contract_65(vyrox: Vyrox) -> None:
    """A8 and A17."""
    alone = vyrox("tenant", "policy", TENANT, "--four-eyes")
    assert "fewer than 2 approvers" in refused(alone)
    for name in ("ann", "bob", "cyd"):
        vyrox.write(add_able, name)
    set_ = vyrox("tenant", "policy", TENANT, "--four-eyes", "--two-person", "tag:Tier0")
    assert "four eyes      yes\ntwo persons    tag:tier0\n" in succeeded(set_)
    unknown = vyrox("tenant", "policy", TENANT, "--end-two-person", "tag:x")
    assert "no rule tag:x" in refused(unknown)
    ended = vyrox("tenant", "policy", TENANT, "--end-two-person", "tag:tier0", "--no-four-eyes")
    assert "2 approvers must endorse it" in ended.stderr
    rails = json.loads(succeeded(vyrox("tenant", "policy", TENANT, "--json")))
    assert (rails["four_eyes"], rails["two_person"]) == (True, ["tag:tier0"])
    assert "the end of the rule four-eyes" in succeeded(vyrox("approver", "list", TENANT))


def test_a_drill_shows_who_answers_and_how_fast_contract_65(vyrox: Vyrox) -> None:
    assert "has no approvers" in refused(vyrox("approver", "drill", TENANT))
    vyrox.write(add_able, "ann")
    succeeded(vyrox("approver", "add", TENANT, "jane"))
    begun = json.loads(succeeded(vyrox("approver", "drill", TENANT, "--by", "ann", "--json")))
    shown = succeeded(vyrox("approval", "show", begun["proposal_id"]))
    assert "Action: DRILL\nHost: none\n" in shown
    proof = Said(begun["proposal_sha256"], "ann")
    vyrox.write(decide, TENANT, begun["proposal_id"], proof, wall_clock())
    # All who can have answered, so nothing is waited for.
    lines = succeeded(vyrox("approver", "drill", TENANT, "--wait", "900")).splitlines()
    assert begun["proposal_id"] in lines[0]
    assert lines[2].split("\t")[:2] == ["ann", "passkey"]
    assert "cannot: no passkey, no account" in lines[3]
    succeeded(vyrox("approver", "reset", TENANT, "ann"))
    now = succeeded(vyrox("approver", "drill", TENANT))
    assert "passkey; cannot any more" in now
