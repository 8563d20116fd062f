"""Signals about how a line is written and where its program lies, as functions (T1027, T1036)."""

import re
from collections.abc import Callable
from typing import Final

from vyrox.triage.catalogue import PLACES
from vyrox.triage.signal import MAX_MATCH, Signal, Subject

_SYSTEM_NAMES: Final = frozenset(
    {
        "audiodg",
        "certutil",
        "cmd",
        "conhost",
        "csrss",
        "ctfmon",
        "dllhost",
        "dwm",
        "explorer",
        "fontdrvhost",
        "kthreadd",
        "kworker",
        "lsass",
        "lsm",
        "msdtc",
        "mshta",
        "powershell",
        "regsvr32",
        "rundll32",
        "runtimebroker",
        "searchindexer",
        "services",
        "sihost",
        "smss",
        "spoolsv",
        "svchost",
        "systemd-journald",
        "taskhostw",
        "wininit",
        "winlogon",
        "wudfhost",
    }
)
_WRITABLE: Final = re.compile(PLACES["writable"])
_ORDINARY_PLACE: Final = re.compile(
    r"\\appdata\\local\\(?:programs\\|microsoft\\(?:teams|onedrive|windowsapps|edgeupdate)|google\\"
    r"chrome|slack|discord|zoom|gitkraken|postman|figma|spotify|whatsapp|githubdesktop|temp\\"
    r"(?:vscode|is-|gum\w{2,6}\.tmp|nsis|chocolatey|_mei|npm|pip))|\\appdata\\roaming\\(?:zoom|spotify|npm)|"
    r"\\programdata\\(?:microsoft\\windows defender|chocolatey|package cache|docker|anaconda|"
    r"miniconda|scoop|ssh|amazon|nvidia|dell|lenovo|hp|citrix)|\\downloads\\[^\\]{0,60}"
    r"(?:setup|install)|/tmp/(?:ansible|pip-|npm-|go-build|vagrant|hsperf)|_work\\_temp|"
    r"\\temp\\\{[0-9a-f-]{3,40}\}\\\.(?:cr|be)\\|/tmp/\.mount_\w{3,20}/",
)
_INSTALLED_BY_USER: Final = re.compile(
    r"\\appdata\\local\\(?!temp\\)[^\\]{1,60}\\[^\\]{1,60}\\|\\source\\repos\\"
)
_RANDOM: Final = re.compile(
    r"^(?=[a-z0-9]*\d)(?=[a-z0-9]*[a-z])[a-z0-9]{8,32}$|^[a-z]\d?$|^[0-9a-f]{6,32}$"
)


def _runs_from_writable(subject: Subject) -> str | None:
    named = (subject.alert.process_name or "").lower()
    for path in (*(program.path for program in subject.views.programs), named):
        if _is_foreign(path) and not _INSTALLED_BY_USER.search(path):
            return path[:MAX_MATCH]
    return None


def _runs_from_profile(subject: Subject) -> str | None:
    """A program that a user installed for themselves, two folders deep or more."""
    for program in subject.views.programs:
        if _is_foreign(program.path) and _INSTALLED_BY_USER.search(program.path):
            return program.path[:MAX_MATCH]
    return None


def _is_foreign(path: str) -> bool:
    return bool(_WRITABLE.search(path)) and not _ORDINARY_PLACE.search(path)


def _service_name(subject: Subject) -> str | None:
    """A system process that Windows starts itself, with arguments that Windows never gives it."""
    programs = subject.views.programs
    if not programs or programs[0].name not in {"svchost", "lsass", "services", "csrss"}:
        return None
    text = subject.views.texts[0].text
    arguments = text.partition(" ")[2]
    usual = " -k " in f" {arguments} " or "objectdirectory=" in arguments
    return text[:MAX_MATCH] if arguments and not usual else None


_SHELLS: Final = frozenset(
    {"cmd", "powershell", "pwsh", "sh", "bash", "wscript", "cscript", "mshta", "whoami", "certutil"}
)
_SERVERS: Final = re.compile(
    r"^(?:w3wp|httpd|nginx|tomcat\d{0,2}|php-cgi|php-fpm|umworkerprocess|sqlservr|winword|excel|"
    r"powerpnt|outlook|onenote|mspub|acrord32|eqnedt32|spoolsv|dns)$"
)


_DRIVE_ROOT: Final = re.compile(
    r"^[d-z]:\\(?!setup|install|autorun|update)[^\\]{1,80}\.(?:exe|scr|com|pif|lnk|js|vbs|hta)$"
)


def _drive_root(subject: Subject) -> str | None:
    """A program at the root of a drive that is not the system's: an image or a stick."""
    paths = (program.path for program in subject.views.programs[:4])
    return next((path[:MAX_MATCH] for path in paths if _DRIVE_ROOT.match(path)), None)


def _server_runs_shell(subject: Subject) -> str | None:
    """A web server, database or office program whose line is that of a shell."""
    process = re.split(r"[\\/]", (subject.alert.process_name or "").lower())[-1]
    programs = subject.views.programs
    process = process.removesuffix(".exe")
    if programs and _SERVERS.match(process) and programs[0].name in _SHELLS:
        return f"{process} runs a line of {programs[0].name}"[:MAX_MATCH]
    return None


def _masquerade(subject: Subject) -> str | None:
    for program in subject.views.programs:
        if program.name in _SYSTEM_NAMES and _WRITABLE.search(program.path):
            return program.path[:MAX_MATCH]
    return None


def _renamed(subject: Subject) -> str | None:
    """The process's name is not that of the program in its line: a renamed or hollowed program."""
    process = re.split(r"[\\/]", (subject.alert.process_name or "").lower())[-1]
    process = process.removesuffix(".exe")
    if not process or not subject.views.programs or not process.isascii():
        return None
    first = subject.views.programs[0].name
    if process in _SYSTEM_NAMES and first in _SYSTEM_NAMES and process != first and len(first) > 2:
        return f"{process} runs a line of {first}"
    return None


def _random_name(subject: Subject) -> str | None:
    for program in subject.views.programs[:4]:
        if _RANDOM.match(program.name) and _WRITABLE.search(program.path):
            return program.path[:MAX_MATCH]
    return None


def _marked(mark: str) -> Callable[[Subject], str | None]:
    def find(subject: Subject) -> str | None:
        return mark.replace("_", " ") if mark in subject.views.marks else None

    return find


_MARKS: Final = {
    "hidden_characters": 0.6,
    "broken_words": 0.42,
    "substring": 0.6,
    "encoded": 0.12,
    "flooded": 0.6,
    "padded": 0.4,
    "truncated": 0.3,
}

SIGNALS: Final[tuple[Signal, ...]] = (
    Signal("evasion.runs_from_writable", "evasion", 0.55, _runs_from_writable, "T1204.002"),
    Signal("evasion.runs_from_profile", "evasion", 0.2, _runs_from_profile, "T1204.002"),
    Signal("evasion.service_name", "evasion", 0.6, _service_name, "T1036.005"),
    Signal("evasion.server_runs_shell", "evasion", 0.72, _server_runs_shell, "T1505.003"),
    Signal("evasion.drive_root", "evasion", 0.52, _drive_root, "T1204.002"),
    Signal("evasion.masquerade", "evasion", 0.85, _masquerade, "T1036.005"),
    Signal("evasion.renamed", "evasion", 0.45, _renamed, "T1036.003"),
    Signal("evasion.random_name", "evasion", 0.6, _random_name, "T1036"),
    *(
        Signal(f"evasion.{mark}", "evasion", weight, _marked(mark), "T1027")
        for mark, weight in _MARKS.items()
    ),
)
