"""`vyrox triage`: what a newcomer tries on their own alerts."""

from pathlib import Path

import msgspec
import pytest

from tests.cli import Vyrox, succeeded
from tests.triage.samples import SAMPLES
from vyrox.triage.trying import Tried


@pytest.fixture
def vyrox(tmp_path: Path) -> Vyrox:
    return Vyrox(tmp_path / "nothing")


def test_try_prints_a_line_for_each_alert_in_order_and_touches_nothing_contract_59(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    file = SAMPLES / "malicious.jsonl"
    printed = [succeeded(vyrox("triage", "try", str(file), "--json")) for _ in range(2)]
    assert printed[0] == printed[1]
    results = [msgspec.json.decode(line, type=Tried) for line in printed[0].splitlines()]
    assert len(results) == len(file.read_bytes().splitlines())
    assert all(result.explanation for result in results)
    assert list(tmp_path.iterdir()) == []


def test_try_takes_bare_alerts_with_nulls_and_says_which_lines_are_none(
    vyrox: Vyrox, tmp_path: Path
) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text(
        '{"hostname":"ws-1","process_cmdline":"vssadmin delete shadows /all","tenant_id":null}\n'
        "not json\n[]\n{}\n"
        '{"raw_id":"x","process_cmdline":null,"vendor_severity":null,"timestamp":null}\n'
    )
    result = vyrox("triage", "try", str(file))
    assert result.exit_code == 1
    first, second = [msgspec.json.decode(line, type=Tried) for line in result.stdout.splitlines()]
    assert (first.band, first.incident_band) == ("urgent", "urgent")
    assert second.band == "review"
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
    ]


def test_evaluate_prints_the_measures(vyrox: Vyrox) -> None:
    files = [str(SAMPLES / f"{name}.jsonl") for name in ("malicious", "benign", "incidents")]
    printed = succeeded(vyrox("triage", "evaluate", *files))
    assert printed.count("pairwise F1 1.00, B-cubed F1 1.00") == 2
    assert "family credentials" in printed
    assert "tier contextual" in printed
    assert "system linux" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_evaluate_reads_standard_input_once_and_prints_json(vyrox: Vyrox, tmp_path: Path) -> None:
    lines = (SAMPLES / "malicious.jsonl").read_text() + "not json\n"
    result = vyrox("triage", "evaluate", "-", "--json", stdin=lines.encode())
    assert result.exit_code == 1
    found = msgspec.json.decode(result.stdout)
    assert found["unread_lines"] == 1
    for name in ("with the vendor's fields", "without them"):
        assert found[name]["alerts"] == 60
        assert found[name]["recall"]["of"] == 60
    assert result.stderr.startswith("line 61: ")
    assert result.stderr.count("\n") == 1


def test_signals_are_listed(vyrox: Vyrox) -> None:
    assert "recovery.shadows_deleted" in succeeded(vyrox("triage", "signals"))
