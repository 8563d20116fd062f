"""Reads the signals and mitigations that are data (`signals/*.toml`).

A pattern may hold `<name>` for a piece of `places.toml`. All patterns of a signal are one regular
expression over lower-case text. `needs` are texts of which one occurs in every match: they are
tried first, because they cost little.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import msgspec

from vyrox.triage.signal import MAX_MATCH, Family, Find, Mitigation, Signal, Subject

_PIECE: Final = re.compile(r"<([a-z_]+)>")
_NOT_FAMILIES: Final = frozenset({"places", "mitigations"})


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: float
    patterns: list[str]
    technique: str | None = None
    needs: list[str] = []
    unless: list[str] = []


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


def _finder(entry: _Entry) -> Find:
    regex = re.compile(_expanded(entry.patterns, PLACES))
    twin = re.compile(_expanded(entry.unless, PLACES)) if entry.unless else None
    needs = tuple(entry.needs)

    def find(subject: Subject) -> str | None:
        for view in subject.views.texts:
            text = view.text
            if needs and not any(part in text for part in needs):
                continue
            match = regex.search(text)
            if match is None or (twin is not None and twin.search(text)):
                continue
            return ("decoded: " if view.decoded else "") + match[0][:MAX_MATCH]
        return None

    return find


def _signals() -> tuple[Signal, ...]:
    found = []
    for file in sorted(files("vyrox.triage.signals").iterdir(), key=lambda each: each.name):
        family, _, ending = file.name.partition(".")
        if ending != "toml" or family in _NOT_FAMILIES:
            continue
        entries = msgspec.convert(_read(family), dict[str, _Entry])
        kind = msgspec.convert(family, Family)
        found += [
            Signal(f"{family}.{name}", kind, entry.weight, _finder(entry), entry.technique)
            for name, entry in entries.items()
        ]
    return tuple(found)


def _mitigations() -> tuple[Mitigation, ...]:
    entries = msgspec.convert(_read("mitigations"), dict[str, _Mitigation])
    return tuple(
        Mitigation(
            name,
            frozenset(entry.families),
            entry.factor,
            _finder(_Entry(weight=0.0, patterns=entry.patterns)),
        )
        for name, entry in entries.items()
    )


SIGNALS: Final = _signals()
MITIGATIONS: Final = _mitigations()
