"""`vyrox incident`: listed, shown, and changed by people (contract 54)."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
import pytest
from rich.cells import cell_len
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, rows_of, succeeded
from tests.cli.test_queue import HOSTILE
from tests.triage.stored import NOW, new
from vyrox.alerts.intake import delivery, store
from vyrox.cli.execute import execute
from vyrox.cli.incident_text import show_lines
from vyrox.models import NormalizedAlert
from vyrox.triage.incident_list import ListedIncident
from vyrox.triage.judging import store_verdicts
from vyrox.triage.score import judge
from vyrox.triage.shown_incident import ShownIncident

pytestmark = pytest.mark.usefixtures("anyio_backend")

SHADOWS: Final = "vssadmin delete shadows /all /quiet"
NEEDED_WIDTHS: Final = (50, 80)


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return Vyrox(data_dir, database_url).migrated()


def judge_all(vyrox: Vyrox, *found: NormalizedAlert) -> None:
    def run(connection: Connection) -> None:
        deliveries = [delivery(each, each.id.encode(), each.timestamp) for each in found]
        store(connection, deliveries, 1)
        for tenant_id in {each.tenant_id for each in found}:
            own = [(each, judge(each)) for each in found if each.tenant_id == tenant_id]
            store_verdicts(connection, tenant_id, own, NOW + 100)

    vyrox.write(run)


def lines(vyrox: Vyrox, *args: str) -> list[str]:
    return succeeded(vyrox("incident", *args)).splitlines()


def shown(vyrox: Vyrox, incident_id: str) -> ShownIncident:
    output = succeeded(vyrox("incident", "show", incident_id, "--json"))
    return msgspec.json.decode(output, type=ShownIncident)


def changed(vyrox: Vyrox, *args: str) -> ListedIncident:
    output = succeeded(vyrox("incident", *args, "--json"))
    return msgspec.json.decode(output, type=ListedIncident)


def test_an_incident_is_handled_from_first_to_last_contract_54(vyrox: Vyrox) -> None:
    quiet, bad = new(0, "ipconfig /all"), new(1, SHADOWS)
    other = new(2, SHADOWS, hostname="srv-9", device_id="id-9")
    judge_all(vyrox, quiet, bad, other)

    wanted = ("incident", "list", "--tenant", "acme-corp", "--band", "urgent")
    table = rows_of(succeeded(vyrox(*wanted)))
    assert [row["INCIDENT"] for row in table] == ["acme-corp-2", "acme-corp-1"]
    assert changed(vyrox, "ack", "acme-corp-1", "--by", "jane").assignee == "jane"
    [line] = lines(vyrox, "comment", "acme-corp-1", "asked", "--by", "jane")
    assert line.startswith("acme-corp-1  acknowledged, jane, urgent, score 9")
    assert line.endswith(", 2 alerts")
    moved = changed(vyrox, "move", quiet.id, "--new", "--note", "the help desk")
    assert (moved.id, moved.alerts) == ("acme-corp-3", 1)
    merged = changed(vyrox, "merge", "acme-corp-2", "acme-corp-1")
    assert (merged.id, merged.alerts) == ("acme-corp-1", 2)
    closed = changed(vyrox, "close", "acme-corp-1", "--resolution", "malicious")
    assert (closed.status, closed.resolution) == ("closed", "malicious")
    assert changed(vyrox, "reopen", "acme-corp-1").status == "open"
    text = "\n".join(lines(vyrox, "show", "acme-corp-2"))
    assert text.startswith("acme-corp-2 was merged into acme-corp-1:")
    assert "jane has acknowledged it" in text
    assert "jane notes: asked" in text


def test_what_cannot_be_done_is_one_line_contract_54(vyrox: Vyrox) -> None:
    judge_all(vyrox, new(1, SHADOWS))
    assert "the nearest is acme-corp-1" in refused(vyrox("incident", "show", "acme-corp-7"))
    succeeded(vyrox("tenant", "add", "acme-corp", "--vendor", "crowdstrike"))
    mistyped = refused(vyrox("incident", "show", "acme-crop-1"))
    assert mistyped.endswith(
        "acme-crop is not onboarded and has sent no alert; did you mean acme-corp?"
    )
    benign = vyrox("incident", "close", "acme-corp-1", "--resolution", "false_positive")
    assert "needs a note" in refused(benign)
    assert "is not closed" in refused(vyrox("incident", "reopen", "acme-corp-1"))
    assert "acme-corb is not onboarded" in refused(
        vyrox("incident", "list", "--tenant", "acme-corb")
    )
    for args in (("ack", "acme"), ("move", "x"), ("move", "x", "--new", "--to", "acme-corp-1")):
        assert vyrox("incident", *args).exit_code == 2


def test_a_benign_close_offers_a_suppression_contract_56(vyrox: Vyrox) -> None:
    bad = new(1, SHADOWS)
    judge_all(vyrox, bad)
    close = ("incident", "close", "acme-corp-1", "--resolution", "benign_expected", "--note", "x")
    offer = f"vyrox triage suppress acme-corp --like {bad.id} --reason REASON"
    closed = vyrox(*close)
    assert offer in closed.stderr
    assert "For 24 h, alerts of the same behaviour" in closed.stderr


def test_the_printed_command_is_one_that_execute_takes_contract_54(vyrox: Vyrox) -> None:
    """Also if an attacker has chosen the device's id."""
    strange = "id'; $(reboot) #"
    judge_all(vyrox, new(1, SHADOWS, device_id=strange))
    text = "\n".join(lines(vyrox, "show", "acme-corp-1"))
    command = text[text.index("  vyrox execute") :].replace("\\\n", " ").strip()
    program, name, *args = shlex.split(command)
    assert (program, name) == ("vyrox", "execute")
    context = click.Context(execute)
    parsed = execute.make_context("execute", args, parent=context).params
    assert (parsed["host"], parsed["action"], parsed["tenant_id"]) == (
        strange,
        "HOST_ISOLATION",
        "acme-corp",
    )
    assert parsed["alert_id"] == shown(vyrox, "acme-corp-1").reasons[0].alert_id


def test_no_command_is_printed_without_a_proposal_contract_54(vyrox: Vyrox) -> None:
    judge_all(vyrox, new(1, SHADOWS, hostname=None, device_id=None))
    text = "\n".join(lines(vyrox, "show", "acme-corp-1"))
    assert "none: the device is not certain" in text
    assert "vyrox execute" not in text
    judge_all(vyrox, new(1, SHADOWS, device_id="a\u202eb"))
    text = "\n".join(lines(vyrox, "show", "acme-corp-2"))
    assert "cannot be printed" in text
    assert "vyrox execute" not in text


def test_ocsf_is_a_finding_of_the_incident_contract_54(vyrox: Vyrox) -> None:
    judge_all(vyrox, new(1, SHADOWS))
    finding = msgspec.json.decode(succeeded(vyrox("incident", "show", "acme-corp-1", "--ocsf")))
    assert (finding["class_uid"], finding["finding_info"]["uid"]) == (2004, "acme-corp/incident/1")


@pytest.mark.parametrize("width", NEEDED_WIDTHS)
def test_no_line_is_wider_than_the_terminal_or_hostile(data_dir: Path, width: int) -> None:
    vyrox = Vyrox(data_dir).migrated()
    evil = f"{HOSTILE} \u6f22\u5b57" * 20
    bad = new(1, f"{SHADOWS} {evil}", hostname=evil, username=evil, process_name=evil)
    usual = new(2, "nightly backup.exe " * 30)
    judge_all(vyrox, bad, usual)
    by = HOSTILE.replace("\0", "")  # no argument of a program can hold one
    succeeded(vyrox("incident", "ack", "acme-corp-1", "--by", by, "--note", evil[:900]))
    incident = shown(vyrox, "acme-corp-1")
    for printed in (list(show_lines(incident, width)),):
        check(printed, width)


def check(printed: Sequence[str], width: int) -> None:
    assert all(line.isprintable() for line in printed)
    # The id of an alert and an option of the command stay in one piece.
    assert [line for line in printed if cell_len(line) > width] == []
