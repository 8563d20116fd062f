"""Signs of ordinary work: those that are data, and those that are functions."""

from typing import Final

from vyrox.triage import catalogue
from vyrox.triage.signal import MAX_MATCH, Family, Mitigation, Subject

_ORDINARY: Final[frozenset[Family]] = frozenset({"proxy", "persistence", "evasion", "discovery"})


def _only_program_files(subject: Subject) -> str | None:
    programs = subject.views.programs
    first = programs[0].path if programs else ""
    is_installed = first.startswith(("c:\\program files\\", "c:\\program files (x86)\\"))
    return first[:MAX_MATCH] if is_installed else None


def _known_hosts(subject: Subject) -> str | None:
    texts = subject.views.texts
    is_known = bool(texts) and all(catalogue.only_known_hosts(each.text) for each in texts)
    return "each address is of a known installer host" if is_known else None


def _code_hosts(subject: Subject) -> str | None:
    texts = [each.text for each in subject.views.texts]
    is_shell = bool(texts) and not any("iex" in each or "powershell" in each for each in texts)
    if is_shell and all(catalogue.only_code_hosts(each) for each in texts):
        return "each script comes from a public code host"
    return None


def _internal_hosts(subject: Subject) -> str | None:
    texts = subject.views.texts
    is_internal = bool(texts) and all(catalogue.only_internal_hosts(each.text) for each in texts)
    return "each address is in the own network" if is_internal else None


MITIGATIONS: Final[tuple[Mitigation, ...]] = (
    Mitigation("installer.known_host", frozenset({"download", "evasion"}), 0.3, _known_hosts),
    Mitigation(
        "address.internal",
        frozenset({"download", "evasion", "exfiltration", "proxy"}),
        0.18,
        _internal_hosts,
    ),
    Mitigation("installer.code_host", frozenset({"download"}), 0.2, _code_hosts),
    *catalogue.MITIGATIONS,
    Mitigation("place.program_files", _ORDINARY, 0.35, _only_program_files),
)
