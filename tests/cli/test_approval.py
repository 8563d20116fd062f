"""`vyrox approval` (contract 62)."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.approvals.decided import Said, account_of, add_able
from tests.audit import NOW, TENANT
from tests.cli import Vyrox, refused, rows_of, succeeded
from tests.cli.test_incident import SHADOWS, judge_all
from tests.triage.stored import new
from vyrox.approvals import approvers
from vyrox.approvals.break_glass import BrokenGlass
from vyrox.approvals.deciding import decide
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.models import BreakGlass

pytestmark = pytest.mark.usefixtures("anyio_backend")

HOW: Final = "approvers decide in the console or in Discord until"


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    found = Vyrox(data_dir, database_url).migrated()
    accepted = event("alert.accepted", TENANT, None, alert_id="a-0")
    found.write(append, [accepted], NOW)
    judge_all(found, new(1, SHADOWS, hostname="srv-9", device_id="id-9"))
    return found


def test_an_incident_is_proposed_shown_and_withdrawn_contract_62(vyrox: Vyrox) -> None:
    made = vyrox("approval", "propose", "--incident", "acme-corp-1", "--by", "jane")
    assert succeeded(made).startswith("proposal ")
    nobody = "1 person must approve it, of: none yet: see vyrox approver add\nopen until "
    assert made.stderr.startswith(nobody)
    proposal_id = made.stdout.split()[1].rstrip(",")
    [row] = rows_of(succeeded(vyrox("approval", "list", TENANT)))
    assert (row["PROPOSAL"], row["TENANT"], row["STATE"]) == (proposal_id, TENANT, "pending")
    shown = vyrox("approval", "show", proposal_id)
    assert "Host: id-9\nName: srv-9\n" in shown.stdout
    assert "Asked by: jane\n" in shown.stdout
    assert HOW in shown.stderr
    assert "acme-corp-1" in succeeded(vyrox("incident", "show", "acme-corp-1"))
    succeeded(vyrox("approval", "withdraw", proposal_id, "--by", "jane"))
    assert "is withdrawn" in refused(vyrox("approval", "withdraw", proposal_id))
    assert succeeded(vyrox("approval", "list", "--json")) == "[]\n"
    [ended] = json.loads(succeeded(vyrox("approval", "list", "--all", "--json")))
    assert ended["state"] == "withdrawn"


def test_an_action_is_proposed_by_its_fields_contract_62(vyrox: Vyrox) -> None:
    alert_id = json.loads(succeeded(vyrox("alert", "list", "--json")))["alerts"][0]["id"]
    action = ("--tenant", TENANT, "--alert", alert_id, "--action", "HOST_ISOLATION")
    made = succeeded(
        vyrox("approval", "propose", *action, "--host", "id-9", "--reason", "why", "--json")
    )
    proposed = json.loads(made)
    shown = json.loads(succeeded(vyrox("approval", "show", proposed["proposal_id"], "--json")))
    assert shown["proposal_sha256"] == proposed["proposal_sha256"]
    assert json.loads(shown["proposal"])["reason"] == "why"
    assert vyrox("approval", "propose", *action).exit_code == 2
    assert vyrox("approval", "propose").exit_code == 2
    both = vyrox("approval", "propose", "--incident", "acme-corp-1", "--host", "id-9")
    assert both.exit_code == 2


def test_who_proposes_what_is_open_already_learns_that_contract_62(vyrox: Vyrox) -> None:
    """A13: otherwise a person who asks for no end believes that there will be none."""
    for name in ("ann", "bob"):
        vyrox.write(add_able, name)
    alert_id = json.loads(succeeded(vyrox("alert", "list", "--json")))["alerts"][0]["id"]
    action = ("--tenant", TENANT, "--alert", alert_id, "--action", "HOST_ISOLATION")
    propose = ("approval", "propose", *action, "--host", "id-9", "--reason", "why")
    first = vyrox(*propose, "--lease", "1h", "--by", "ann")
    assert "would end after 1 h\n" in succeeded(first)
    assert "before" not in first.stderr
    assert "1 person must approve it, of: ann, bob\n" in first.stderr
    second = vyrox(*propose, "--no-end", "--by", "omar")
    assert "would end after 1 h\n" in succeeded(second)
    assert "not a new one: ann has asked for this before" in second.stderr
    succeeded(vyrox("approval", "withdraw", second.stdout.split()[1].rstrip(",")))
    third = vyrox(*propose, "--no-end", "--by", "ann")
    assert "2 persons must approve it, of: bob, who are too few" in third.stderr


def test_who_asks_and_has_no_passkey_is_not_named_as_able_contract_62(vyrox: Vyrox) -> None:
    """The person who asked may approve with a passkey only, so an account at Discord is no use."""
    vyrox.write(add_able, "ann")
    vyrox.write(approvers.add, TENANT, "omar", "operator", NOW, account_of("omar"))
    propose = ("approval", "propose", "--incident", "acme-corp-1")
    by_ann = vyrox(*propose, "--by", "ann")
    assert "1 person must approve it, of: ann, omar\n" in by_ann.stderr
    succeeded(vyrox("approval", "withdraw", succeeded(by_ann).split()[1].rstrip(",")))
    assert "1 person must approve it, of: ann\n" in vyrox(*propose, "--by", "omar").stderr


def test_decisions_are_shown_contract_62(vyrox: Vyrox) -> None:
    vyrox.write(add_able, "ann")
    propose = ("approval", "propose", "--incident", "acme-corp-1", "--json")
    proposed = json.loads(succeeded(vyrox(*propose)))
    proof = Said(proposed["proposal_sha256"], "ann", "reject")
    vyrox.write(decide, TENANT, proposed["proposal_id"], proof, wall_clock())
    shown = succeeded(vyrox("approval", "show", proposed["proposal_id"]))
    assert "reject by passkey" in shown
    assert "state" in shown
    assert "rejected" in shown


def test_open_break_glass_is_shown_with_the_proposals_contract_69(vyrox: Vyrox) -> None:
    asked = BreakGlass(
        request_id="g-1",
        tenant_id=TENANT,
        alert_id="a",
        action_type="HOST_ISOLATION",
        host="id-9",
        by="jane",
        reason="Discord is\x1b[2J away",
        at=int(NOW),
    )
    vyrox.write(BrokenGlass(asked, NOW).begin, NOW)
    listed = vyrox("approval", "list", TENANT)
    assert "by jane: HOST_ISOLATION of id-9: Discord is" in listed.stderr
    assert "(console: /break-glass/g-1)" in listed.stderr
    assert "\x1b" not in listed.stderr
    assert "break glass" in vyrox("approval", "list", "--json").stderr
    assert "break glass" not in vyrox("approval", "list", "initech").stderr


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(("show", "550e8400"), id="show"),
        pytest.param(("withdraw", "550e8400"), id="withdraw"),
        pytest.param(("propose", "--incident", "acme-corp-9"), id="incident"),
    ],
)
def test_what_does_not_exist_is_refused_contract_62(vyrox: Vyrox, args: tuple[str, ...]) -> None:
    assert "there is no" in refused(vyrox("approval", *args))
