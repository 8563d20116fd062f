"""Reads the signals and mitigations that are data (`signals/*.toml`).

A pattern may hold `<name>` for a piece of `places.toml`. Patterns match lower-case text. `unless`
are signs of ordinary work: they count in the command that matched, not in the rest of the line.
`known_hosts = false` does the same for addresses that are all of vendors' installer hosts.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from vyrox.triage.literals import Pattern, Scanner
from vyrox.triage.signal import MAX_MATCH, Family, Mitigation, Signal, Subject
from vyrox.triage.views import Views

_PIECE: Final = re.compile(r"<([a-z_]+)>")
_NOT_FAMILIES: Final = frozenset({"places", "mitigations"})


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: float
    patterns: list[str]
    technique: str | None = None
    unless: list[str] = []
    known_hosts: bool = True


class _Mitigation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    factor: float
    families: list[Family]
    patterns: list[str]


def _read(name: str) -> dict[str, object]:
    return tomllib.loads((files("vyrox.triage.signals") / f"{name}.toml").read_text("utf-8"))


def _expanded(patterns: list[str], places: Mapping[str, str]) -> str:
    text = "|".join(patterns)
    while _PIECE.search(text) and any(f"<{name}>" in text for name in places):
        text = _PIECE.sub(lambda match: places.get(match[1], match[0]), text)
    return text


def _places() -> dict[str, str]:
    read = msgspec.convert(_read("places"), dict[str, list[str]])
    raw = {name: f"(?:{'|'.join(patterns)})" for name, patterns in read.items()}
    return {name: _expanded([text], raw) for name, text in raw.items()}


PLACES: Final = _places()

_URL: Final = re.compile(
    r"://(?:(?<=http://)|(?<=https://)|(?<=ftp://)|(?<=hxxp://))([^\s\"'`|;,)(<>]{1,400})"
)
_FETCHERS: Final = ("curl", "wget", "irm", "iwr")
_FETCHED: Final = re.compile(
    r"\b(?:curl|wget|irm|iwr)(?:\.exe)? (?:-\S{1,20} ){0,4}((?:[a-z0-9-]{1,60}\.){1,5}[a-z]{2,12}"
    r"(?![\w.:@])[^\s\"'`|;,)(<>]{0,400})"
)
_KNOWN: Final = re.compile(
    rf"(?:[a-z0-9-]{{1,60}}\.){{0,4}}{PLACES['known_hosts']}(?::\d{{1,5}})?(?:[/?#\\].{{0,400}})?"
)
_CODE: Final = re.compile(r"raw\.githubusercontent\.com/[^\s?#]{1,200}\.(?:sh|bash|py)")
_INTERNAL: Final = re.compile(
    r"(?:(?:10|127)(?:\.\d{1,3}){3}|192\.168(?:\.\d{1,3}){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2}"
    r"|[a-z0-9-]{1,60}|(?:[a-z0-9-]{1,60}\.){1,4}(?:local|localdomain|lan|internal|intranet|intra|corp|home"
    r"\.arpa)|(?:[a-z0-9-]{1,60}\.){1,3}(?:corp|intra|internal|intranet)\.[a-z]{2,8})"
    r"(?::\d{1,5})?(?:[/?#].{0,400})?"
)
_END: Final = re.compile(r"[&|;]")
_COMMENT: Final = re.compile(r"(?<= )(?:#|rem ).{0,400}$")
_SYSTEM_FOLDER: Final = re.compile(r"^(?:\\\\\?\\)?[a-z]:\\windows\\(?:system32|syswow64)\\")


def only_known_hosts(command: str) -> bool:
    """Return whether every address in `command`, of one or more, is of a known installer host."""
    return _all_addresses(command, _KNOWN)


def only_internal_hosts(command: str) -> bool:
    """Return whether every address in `command`, of one or more, is in the own network."""
    return _all_addresses(command, _INTERNAL)


def only_code_hosts(command: str) -> bool:
    """Return whether every address in `command`, of one or more, is a script of a code host."""
    return _all_addresses(command, _CODE)


def _all_addresses(command: str, allowed: re.Pattern[str]) -> bool:
    found: list[str] = _URL.findall(command)
    if any(each in command for each in _FETCHERS):
        found += _FETCHED.findall(command)
    return bool(found) and all(allowed.fullmatch(address) for address in found)


class Finder:
    """The patterns of one signal or mitigation, over all views of a command line."""

    def __init__(self, entry: _Entry) -> None:
        self.patterns = [Pattern(_expanded([each], PLACES)) for each in entry.patterns]
        self._twin = Pattern(_expanded(entry.unless, PLACES)) if entry.unless else None
        self._known_hosts = entry.known_hosts

    def __call__(self, subject: Subject) -> str | None:
        """Return the first text that matches without a sign of ordinary work in its command."""
        for view, present in zip(subject.views.texts, subject.present, strict=True):
            for pattern in self.patterns:
                if not pattern.may_match(present):
                    continue
                if not subject.work.may_search(view.text):
                    return None
                match = pattern.search(view.text)
                if match is not None and not self._is_ordinary(match):
                    return ("decoded: " if view.decoded else "") + match[0][:MAX_MATCH]
        return None

    def _is_ordinary(self, match: re.Match[str]) -> bool:
        if self._twin is None and self._known_hosts:
            return False
        command = _command_of(match)
        if not self._known_hosts and only_known_hosts(command):
            return True
        return self._twin is not None and self._twin.search(command) is not None


def _command_of(match: re.Match[str]) -> str:
    """Return the match with the rest of its command, up to the separators around it.

    A comment and the folder of a system program are left out: both say nothing of the work.
    """
    before = max(match.string.rfind(each, 0, match.start()) for each in "&|;")
    after = _END.search(match.string, match.end())
    command = match.string[before + 1 : after.start() if after else None].lstrip(" (\"'")
    return _SYSTEM_FOLDER.sub("", _COMMENT.sub("", command))


def _signals() -> Iterator[Signal]:
    for file in sorted(files("vyrox.triage.signals").iterdir(), key=lambda each: each.name):
        family, _, ending = file.name.partition(".")
        if ending != "toml" or family in _NOT_FAMILIES:
            continue
        kind = msgspec.convert(family, Family)
        for name, entry in msgspec.convert(_read(family), dict[str, _Entry]).items():
            yield Signal(
                f"{family}.{name}", kind, entry.weight, Finder(entry), entry.technique, True
            )


def _mitigations() -> Iterator[Mitigation]:
    entries = msgspec.convert(_read("mitigations"), dict[str, _Mitigation])
    for name, entry in entries.items():
        finder = Finder(_Entry(weight=0.0, patterns=entry.patterns))
        yield Mitigation(name, frozenset(entry.families), entry.factor, finder)


SIGNALS: Final = tuple(_signals())
MITIGATIONS: Final = tuple(_mitigations())


class _Index:
    """Which signals can match, by the texts that occur in a command line."""

    def __init__(self) -> None:
        texts: set[str] = set()
        self._always: set[str] = set()
        self._by_text: dict[str, set[str]] = {}
        rules: tuple[Signal | Mitigation, ...] = (*SIGNALS, *MITIGATIONS)
        for rule in rules:
            for pattern in rule.find.patterns if isinstance(rule.find, Finder) else ():
                texts.update(*pattern.clauses)
                for text in pattern.clauses[0] if pattern.clauses else ():
                    self._by_text.setdefault(text, set()).add(rule.name)
                if not pattern.clauses:
                    self._always.add(rule.name)
        self.texts: Final = frozenset(texts)
        self.scanner = Scanner(texts)

    def possible(self, subject: Subject) -> frozenset[str]:
        """Return the names of the signals that may match."""
        found = set(self._always)
        for present in subject.present:
            for text in present:
                found |= self._by_text.get(text, frozenset())
        return frozenset(found)


@cache
def index() -> _Index:
    """Return the index; it reads every pattern, so it is built for the first verdict only."""
    return _Index()


def present(views: Views) -> tuple[frozenset[str], ...]:
    """Return the texts of the patterns that occur in each view."""
    scanner = index().scanner
    return tuple(scanner.scan(view.text) for view in views.texts)
