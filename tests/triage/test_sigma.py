"""The user's own Sigma rules (contract 60)."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import Vyrox, succeeded
from tests.triage.samples import alert
from tests.triage.stored import NOW, new
from tests.triage.test_worker import queued
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import AlertQueue
from vyrox.errors import OperatorError
from vyrox.notify.timers import DEFAULT
from vyrox.store.database import Database
from vyrox.store.tables import verdicts
from vyrox.triage import catalogue, signal
from vyrox.triage.announcement import Announcer
from vyrox.triage.rules import VERSION
from vyrox.triage.score import Verdict, judge
from vyrox.triage.sigma.rules import SigmaRules, load, load_for_service
from vyrox.triage.signal import Subject
from vyrox.triage.views import views
from vyrox.triage.worker import TriageWorker


def rule(detection: dict[str, Any], **members: object) -> dict[str, Any]:
    """Return a rule whose condition is `s`, if it has none."""
    return {
        "title": "A rule",
        "status": "test",
        "level": "high",
        "logsource": {"category": "process_creation", "product": "windows"},
        "detection": {"condition": "s", **detection},
        **members,
    }


def loaded(directory: Path, *rules: dict[str, Any]) -> SigmaRules:
    for number, each in enumerate(rules):
        text = yaml.safe_dump({"title": f"Rule {number}", **each})
        (directory / f"{number:03}.yml").write_text(text)
    return load(directory)


def subject(command_line: str | None, **members: object) -> Subject:
    forms = views(command_line)
    return Subject(alert(command_line, **members), forms, catalogue.present(forms))


def matches(rules: SigmaRules, command_line: str | None, **members: object) -> list[str]:
    return [found.name for found, _ in rules.found(subject(command_line, **members))]


LINE = r'"C:\Windows\System32\cmd.exe" /c ECHO Hello > C:\Temp\a.txt'
BARE = {"process_name": "cmd.exe", "username": r"CORP\Bob", "hostname": "WS-1", "sha256": "AB12"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"CommandLine|contains": "echo hello"}, True),
        ({"CommandLine|contains": "goodbye"}, False),
        ({"CommandLine|contains": ["goodbye", "hello"]}, True),
        ({"CommandLine|contains|all": ["echo", "hello"]}, True),
        ({"CommandLine|contains|all": ["echo", "goodbye"]}, False),
        ({"CommandLine|contains": "/c"}, True),
        ({"CommandLine|contains|cased": "Echo"}, False),
        ({"CommandLine|contains|cased": "ECHO"}, True),
        ({"CommandLine|startswith": '"c:\\windows'}, True),
        ({"CommandLine|startswith": "echo"}, False),
        ({"CommandLine|endswith": "a.TXT"}, True),
        ({"CommandLine": "*echo*a.tx?"}, True),
        ({"CommandLine": "echo*a.tx?"}, False),
        ({"CommandLine": "*echo?"}, False),
        ({"CommandLine|contains": r"echo \*"}, False),
        ({"CommandLine|contains|windash": "-c echo"}, True),
        ({"CommandLine|re": r"ECHO\s+H[a-z]{4}"}, True),
        ({"CommandLine|re": r"echo\s+h"}, False),
        ({"CommandLine|re|i": r"echo\s+h"}, True),
        ({"CommandLine|re": r"^ECHO"}, False),
        ({"CommandLine": None}, False),
        ({"CommandLine|exists": True}, True),
        ({"Image|endswith": r"\cmd.exe"}, True),
        ({"Image|endswith": "/cmd.exe"}, False),
        ({"Image": r"C:\Windows\System32\CMD.exe"}, True),
        ({"Image|startswith": r"C:\Users"}, False),
        ({"Image|endswith": r"\cmd.exe", "CommandLine|contains": "goodbye"}, False),
        ({"User|contains": "bob"}, True),
        ({"User": "bob"}, False),
        ({"Computer": "ws-1"}, True),
        ({"Hashes|contains": "SHA256=ab12"}, True),
        ({"sha256": "ab12"}, True),
        ({"sha256": "ab13"}, False),
    ],
)
def test_fields_and_modifiers_contract_60(
    tmp_path: Path, fields: dict[str, Any], expected: bool
) -> None:
    rules = loaded(tmp_path, rule({"s": fields}))
    assert [each.result for each in rules.outcomes] == ["loaded"], rules.outcomes
    assert bool(matches(rules, LINE, **BARE)) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("yes1 and yes2", True),
        ("yes1 and no1", False),
        ("no1 or yes1", True),
        ("yes1 and not no1", True),
        ("yes1 and not yes2", False),
        ("1 of yes*", True),
        ("1 of no*", False),
        ("all of yes*", True),
        ("all of them", False),
        ("1 of them", True),
        ("all of yes* and not 1 of no*", True),
        ("(no1 or yes1) and not (no1 and yes2)", True),
    ],
)
def test_conditions_contract_60(tmp_path: Path, condition: str, expected: bool) -> None:
    detection = {
        "yes1": {"CommandLine|contains": "echo"},
        "yes2": [{"CommandLine|contains": "goodbye"}, {"Image|endswith": r"\cmd.exe"}],
        "no1": {"CommandLine|contains": "goodbye"},
        "no2": {"CommandLine|contains": "farewell"},
        "condition": condition,
    }
    assert bool(matches(loaded(tmp_path, rule(detection)), LINE, **BARE)) == expected


@pytest.mark.parametrize(
    ("product", "name", "command_line", "expected"),
    [
        ("windows", "powershell", None, True),
        ("windows", r"C:\a\PowerShell.exe", None, True),
        ("windows", None, "powershell -enc AAAA", True),
        ("windows", None, None, False),
        ("linux", "powershell.exe", None, False),
        (None, "powershell.exe", None, True),
    ],
)
def test_the_image_is_a_name_below_an_unknown_directory_contract_60(
    tmp_path: Path, product: str | None, name: str | None, command_line: str, expected: bool
) -> None:
    source = {"category": "process_creation"} | ({"product": product} if product else {})
    rules = loaded(tmp_path, rule({"s": {"Image|endswith": r"\powershell.exe"}}, logsource=source))
    assert bool(matches(rules, command_line, process_name=name)) == expected


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (rule({"s": {"ParentImage|endswith": r"\w3wp.exe"}}), "do not have: ParentImage"),
        (
            rule({"s": {"CommandLine": "x", "IntegrityLevel": "High", "CurrentDirectory": "C:"}}),
            "do not have: CurrentDirectory, IntegrityLevel",
        ),
        (
            rule(
                {"s": {"CommandLine": "x"}, "f": {"ParentImage": "y"}, "condition": "s and not f"}
            ),
            "excludes ordinary work by what alerts do not have: ParentImage",
        ),
        (rule({"s": {"Hashes|contains": "IMPHASH=00"}}), "do not have: Hashes other than SHA256"),
        (rule({"s": {"CommandLine|re": "a(?=b)"}}), "linear time"),
        (rule({"s": {"CommandLine|re": r"(a)\1"}}), "linear time"),
        (rule({"s": ["word"]}), "without naming a field"),
        (rule({"s": {"CommandLine|cidr": "192.0.2.0/24"}}), "in a way that Vyrox does not know"),
        (rule({"s": {"CommandLine|fieldref": "Image"}}), "in a way that Vyrox does not know"),
        (rule({"s": {"CommandLine|expand": "%x%"}}), "placeholder"),
        (rule({}, logsource={"category": "file_event"}), "not process_creation"),
        (rule({}, correlation={}), "a Sigma correlation"),
        (rule({"s": {"CommandLine": "x"}, "condition": "t"}), "'t' not defined"),
        (rule({"s": {"CommandLine|nonsense": "x"}}), "Unknown modifier"),
        ({"title": "x", "logsource": {"category": "process_creation"}}, "detection"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_the_reason_contract_60(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    usable = rule({"s": {"CommandLine|contains": "echo"}}, title="Usable")
    rules = loaded(tmp_path, changed, usable)
    refused, other = rules.outcomes
    assert refused.result in {"refused", "failed"}
    assert why in (refused.why or "")
    assert other.signal == "sigma.usable"
    assert matches(rules, LINE) == ["sigma.usable"]


def test_an_alternative_with_a_field_that_alerts_lack_is_left_out_contract_60(
    tmp_path: Path,
) -> None:
    detection = {"s": [{"Image|endswith": r"\cmd.exe"}, {"OriginalFileName": "Cmd.Exe"}]}
    rules = loaded(tmp_path, rule(detection))
    assert rules.outcomes[0].why == "without OriginalFileName"
    assert matches(rules, None, process_name="cmd.exe")
    assert not matches(rules, None, process_name="other.exe")


def test_a_bad_file_is_named_and_the_others_are_loaded_contract_60(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(tmp_path, rule({"s": {"CommandLine": "x"}}, title="Good"))
    (tmp_path / "a.yml").write_text("a: [")
    (tmp_path / "b.yml").write_text("- 1")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "d.yml").write_bytes(b"#" * 1_048_577)
    (tmp_path / "e.yml").write_text("[" * 100_000)
    (tmp_path / "f.yml").write_text("&a [*a, *a]")
    (tmp_path / "g.yml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ignored.txt").write_text("a: [")
    with caplog.at_level(logging.INFO):
        rules = load_for_service(tmp_path)
    assert rules is not None
    assert [each.name for each in rules.signals] == ["sigma.good"]
    failed = {record.fields["file"] for record in caplog.records if "failed" in record.message}  # type: ignore[attr-defined]
    assert failed == {"a.yml", "b.yml", "c.yaml", "d.yml", "e.yml", "f.yml"}
    assert caplog.messages[-1] == "sigma.loaded"


def test_of_two_rules_with_one_id_the_second_is_refused_contract_60(tmp_path: Path) -> None:
    same = "00000000-0000-4000-8000-000000000001"
    one = rule({"s": {"CommandLine": "x"}}, id=same)
    rules = loaded(tmp_path, one, one)
    assert [each.result for each in rules.outcomes] == ["loaded", "refused"]
    assert [each.name for each in rules.signals] == [f"sigma.{same}"]


@pytest.mark.parametrize(
    ("level", "weight"),
    [
        ("critical", 0.85),
        ("high", 0.7),
        ("medium", 0.35),
        ("low", 0.1),
        ("informational", 0.0),
        (None, 0.35),
    ],
)
def test_rules_are_one_family_with_a_weight_by_level_contract_60(
    tmp_path: Path, level: str | None, weight: float
) -> None:
    made = rule({"s": {"CommandLine|contains": "zzzz"}}, title="Odd tool", level=level)
    if level is None:
        del made["level"]
    other = rule({"s": {"CommandLine|contains": "yyyy"}}, title="Another", level="informational")
    verdict = judge(alert("zzzz yyyy"), own=loaded(tmp_path, made, other))
    assert verdict.families["sigma"] == pytest.approx(weight)
    [reason] = [each for each in verdict.reasons if each.signal == "sigma.odd_tool"]
    assert (reason.weight, reason.text) == (weight, "Odd tool")
    assert judge(
        alert("zzzz"), own=loaded(tmp_path, made), disabled=["sigma.odd_tool"]
    ).families == {"vendor": 0.02}


def test_the_version_of_a_verdict_covers_the_rules_contract_60(tmp_path: Path) -> None:
    first = judge(alert("x"), own=loaded(tmp_path, rule({"s": {"CommandLine": "x"}}))).version
    second = judge(alert("x"), own=loaded(tmp_path, rule({"s": {"CommandLine": "y"}}))).version
    assert first.startswith(f"{VERSION}+")
    assert first != second
    assert judge(alert("x")).version == VERSION


WORDS = ("lsass", "-enc", "http://", "é", "tool", "/c", "a", r"\temp\\", "*", "x?y", "İ", "AbCd")
FIELDS = ("CommandLine", "Image", "User")
MODIFIERS = ("", "|contains", "|startswith", "|endswith", "|contains|cased", "|re")


@st.composite
def _detections(draw: st.DrawFn) -> dict[str, Any]:
    def leaf() -> dict[str, list[str]]:
        key = draw(st.sampled_from(FIELDS)) + draw(st.sampled_from(MODIFIERS))
        words = WORDS[:7] if key.endswith("re") else WORDS
        return {key: draw(st.lists(st.sampled_from(words), min_size=1, max_size=2))}

    conditions = ("p and q", "p or q", "p and not q", "1 of them", "not p", "(p or q) and r")
    parts = {name: [leaf() for _ in range(draw(st.integers(1, 2)))] for name in "pqr"}
    return {**parts, "condition": draw(st.sampled_from(conditions))}


def _tried_all(rules: SigmaRules, event_subject: Subject) -> list[str]:
    """Return the same as `found`, without the index."""
    from vyrox.triage.sigma.event import event_of

    event = event_of(event_subject, rules._lines, rules._images)
    return [each.signal.name for each in rules._rules if each.check(event)]


@given(
    st.lists(_detections(), min_size=1, max_size=6),
    st.lists(st.sampled_from((*WORDS, " ", "ABCD", "LSASS")), max_size=6),
    st.sampled_from((None, "tool", "TOOL.exe", r"c:\temp\tool", "é")),
)
def test_the_index_leaves_out_no_rule_that_matches_contract_60(
    tmp_path_factory: pytest.TempPathFactory,
    detections: Sequence[dict[str, Any]],
    words: Sequence[str],
    name: str | None,
) -> None:
    directory = tmp_path_factory.mktemp("rules")
    made = [rule(each, title=f"Rule {n}") for n, each in enumerate(detections)]
    rules = loaded(directory, *made)
    assert {each.result for each in rules.outcomes} == {"loaded"}
    line = subject("".join(words), process_name=name, username="AbCd")
    assert [found.name for found, _ in rules.found(line)] == _tried_all(rules, line)


def test_only_rules_whose_texts_occur_are_tried_contract_60(tmp_path: Path) -> None:
    made = [rule({"s": {"CommandLine|contains": f"tool{n}tool"}}) for n in range(300)]
    text = "\n---\n".join(
        yaml.safe_dump({**each, "title": f"R {n}"}) for n, each in enumerate(made)
    )
    (tmp_path / "all.yml").write_text(text)
    rules = load(tmp_path)
    assert len(rules.signals) == 300
    from vyrox.triage.sigma.event import event_of

    event = event_of(subject("x TOOL7tool x"), rules._lines, rules._images)
    assert [each.title for each in rules._possible(event)] == ["R 7"]


def test_regular_expressions_read_a_bounded_number_of_characters_contract_60(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "MAX_SEARCHED", 100_000)
    made = [rule({"s": {"CommandLine|re": f"[a-z]+{n}$"}}, title=f"R {n}") for n in range(20)]
    verdict = judge(alert("a" * 32_000), own=loaded(tmp_path, *made))
    assert "evasion.exhausted" in {each.signal for each in verdict.reasons}


@pytest.mark.parametrize(
    "members",
    [
        {"process_cmdline": "\ud800lsass"},
        {"process_cmdline": "x" * 1_000_000, "process_name": "y" * 1_000_000},
        {"process_cmdline": "", "process_name": "", "username": "", "hostname": None},
        {"process_name": "\\", "username": "\0"},
    ],
)
def test_any_alert_is_judged_contract_60(tmp_path: Path, members: dict[str, object]) -> None:
    made = rule({"s": {"CommandLine|re": "lsass"}, "f": {"User": "x"}, "condition": "s and not f"})
    verdict = judge(alert(None, **members), own=loaded(tmp_path, made))
    assert "triage.error" not in {each.signal for each in verdict.reasons}


def test_a_rule_that_fails_makes_review_contract_60(tmp_path: Path) -> None:
    class Broken(SigmaRules):
        def found(self, subject: Subject) -> list[tuple[signal.Signal, str]]:
            raise LookupError("bug")

    verdict = judge(alert("whoami"), own=Broken())
    assert verdict.band == "review"
    assert "triage.error" in {each.signal for each in verdict.reasons}


def test_without_pysigma_the_setting_is_an_error_at_the_start_contract_60(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_for_service(None) is None
    with pytest.raises(OperatorError, match=r"TRIAGE_SIGMA_DIR: .* is not a directory"):
        load_for_service(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "sigma.rule", None)
    with pytest.raises(OperatorError, match=r"TRIAGE_SIGMA_DIR: .*EXTRAS=sigma deploy/install\.sh"):
        load_for_service(tmp_path)


def test_check_and_try_take_a_directory_contract_60(tmp_path: Path) -> None:
    vyrox = Vyrox(tmp_path / "nothing")
    directory = tmp_path / "rules"
    directory.mkdir()
    usable = rule({"s": {"CommandLine|contains": "zzzz"}}, title="Usable")
    loaded(directory, usable, rule({"s": {"ParentImage": "x"}}, title="Parent"))
    printed = succeeded(vyrox("triage", "sigma", "check", str(directory)))
    assert "refused\t001.yml\tParent\tit needs what alerts do not have: ParentImage" in printed
    assert printed.endswith("1 loaded, 1 refused, 0 failed\n")
    tried = vyrox(
        "triage", "try", "--sigma", str(directory), "-", stdin=b'{"process_cmdline":"zzzz"}'
    )
    assert "sigma.usable 0.70 \u201cUsable\u201d" in succeeded(tried)
    (directory / "bad.yml").write_text("a: [")
    result = vyrox("triage", "sigma", "check", str(directory), "--json")
    assert result.exit_code == 1
    assert '"file": "bad.yml"' in result.stdout


async def test_the_worker_judges_by_the_rules_contract_60(
    tmp_path: Path, queue: AlertQueue, consumer: AlertConsumer, sqlite: Database
) -> None:
    rules = loaded(tmp_path, rule({"s": {"CommandLine|contains": "zzzz"}}, title="Odd tool"))
    announcer = Announcer(sqlite, DEFAULT, 30, lambda: NOW)
    worker = TriageWorker(True, consumer, sqlite, announcer, "one", lambda: NOW, rules)
    [queued_alert] = await queued(queue, sqlite, new(0, "zzzz"))
    await worker.run()
    query = sa.select(verdicts.c.verdict).where(verdicts.c.alert_id == queued_alert.id)
    stored = await sqlite.read(lambda connection: connection.execute(query).scalar_one())
    verdict = msgspec.json.decode(stored, type=Verdict)
    assert "sigma.odd_tool" in {each.signal for each in verdict.reasons}
    assert verdict.version == f"{VERSION}+{rules.version}"
