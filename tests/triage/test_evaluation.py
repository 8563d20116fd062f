"""What `vyrox triage evaluate` measures."""

import json
from typing import Final

import pytest

from vyrox.triage.evaluation import About, measure, read_about
from vyrox.triage.trying import Read, read_line

ATTACK: Final = "vssadmin delete shadows /all"
WORK: Final = "ipconfig"


def line(label: str, command_line: str, **members: object) -> bytes:
    alert = {"raw_id": "r", "process_cmdline": command_line, "vendor_severity": "LOW"}
    return json.dumps({"label": label, "alert": alert, **members}).encode()


def reads(*lines: bytes) -> list[Read]:
    return [each for number, own in enumerate(lines, 1) for each in read_line(own, number)]


def test_measure_counts_by_label_tier_system_and_family() -> None:
    lines = [
        line("malicious", ATTACK, tier="clear", os="windows", technique_true="T1490"),
        line("malicious", WORK, tier="contextual", os="windows", technique_true="T1016"),
        line("benign", WORK, tier="plain", os="linux", technique_true="T1016.001"),
        line("benign", ATTACK, tier="hard", os="windows", technique_true="T1490"),
        line("benign", ATTACK, tier="trigger", os="windows", technique_true="T1490"),
    ]
    found = measure(reads(*lines), [read_about(each) for each in lines])
    assert (found.recall.share, found.recall.of) == (0.5, 2)
    assert (found.raised.share, found.raised.of) == (0.5, 2)
    assert found.recall.low < 0.5 < found.recall.high
    assert {name: (each.malicious.of, each.benign.of) for name, each in found.tiers.items()} == {
        "clear": (1, 0),
        "contextual": (1, 0),
        "hard": (0, 1),
        "plain": (0, 1),
        "trigger": (0, 1),
    }
    assert found.systems["linux"].benign.share == 0.0
    assert found.families["recovery"].malicious.share == 1.0
    assert found.families["discovery"].malicious.share == 0.0
    assert (found.missing, found.explained.share, found.tenants_mixed) == (0, 1.0, 0)


def test_threshold_lets_the_named_share_of_benign_alerts_through() -> None:
    benign = [line("benign", WORK)] * 98 + [line("benign", ATTACK)] * 2
    found = measure(reads(line("malicious", ATTACK), *benign))
    assert found.at_1.recall.share == 0.0
    assert found.at_5.recall.share == 1.0
    assert found.at_5.score < found.at_1.score


@pytest.mark.parametrize(
    ("incidents", "pairwise", "precision", "recall"),
    [("AA", 1.0, 1.0, 1.0), ("AB", 0.0, 0.5, 1.0)],
)
def test_grouping_is_measured_by_pairs_and_by_b_cubed(
    incidents: str, pairwise: float, precision: float, recall: float
) -> None:
    alert = {"hostname": "ws-1", "timestamp": 1_788_220_800, "process_cmdline": WORK}
    alerts = [{"incident": each, "alert": alert} for each in incidents]
    found = measure(reads(json.dumps({"story": "s", "alerts": alerts}).encode())).grouping
    assert found is not None
    assert found.pairwise_f1 == pairwise
    assert (found.bcubed_precision, found.bcubed_recall) == (precision, recall)
    assert found.bcubed_f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_family_follows_the_technique_and_its_parent() -> None:
    names = ("T1003.001", "T1685", "T1059", None)
    families = [About(technique=name).family for name in names]
    assert families == ["credentials", "defences", "download", "other"]
