"""An alert as a Sigma event: which fields it has, under the names that Sigma rules use."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from vyrox.triage.literals import Scanner
from vyrox.triage.signal import Subject, Work
from vyrox.triage.views import MAX_CHARACTERS

Field = Literal["line", "windows_image", "unix_image", "image", "user", "host", "hashes", "sha256"]

FIELDS: Final[Mapping[str, Field]] = {
    "commandline": "line",
    "image": "image",
    "user": "user",
    "computer": "host",
    "computername": "host",
    "hostname": "host",
    "hashes": "hashes",
    "sha256": "sha256",
}
"""Sigma's names, in lower case, of what an alert has."""

IMAGES: Final[frozenset[Field]] = frozenset({"image", "windows_image", "unix_image"})

MAX_VALUE: Final = 1024
"""Characters of a field that is no command line."""


class Event(msgspec.Struct, frozen=True):
    """An alert as the rules see it.

    Attributes:
        values: Of each field every form in which it may be written; none if the alert lacks it.
        lower: The same in lower case.
        line_texts: Which texts of the rules occur in the command line.
        image_texts: Which texts of the rules occur in a form of the image.
        work: What regular expressions have read so far.
    """

    values: Mapping[Field, tuple[str, ...]]
    lower: Mapping[Field, tuple[str, ...]]
    line_texts: frozenset[str]
    image_texts: frozenset[str]
    work: Work


def event_of(subject: Subject, lines: Scanner, images: Scanner) -> Event:
    """Return the event; `lines` and `images` find the texts of all rules."""
    alert = subject.alert
    windows = tuple(dict.fromkeys(_images(subject, "\\")))
    unix = tuple(dict.fromkeys(_images(subject, "/")))
    hashes = _value(alert.sha256)
    values: dict[Field, tuple[str, ...]] = {
        "line": _value(alert.process_cmdline, MAX_CHARACTERS),
        "windows_image": windows,
        "unix_image": unix,
        "image": windows + unix,
        "user": _value(alert.username),
        "host": _value(alert.hostname),
        "sha256": hashes,
        "hashes": tuple(f"SHA256={each}" for each in hashes),
    }
    lower = {field: tuple(map(str.lower, texts)) for field, texts in values.items()}
    return Event(
        values,
        lower,
        lines.scan("\n".join(lower["line"])),
        images.scan("\n".join(lower["image"])),
        Work(),
    )


def _value(text: str | None, longest: int = MAX_VALUE) -> tuple[str, ...]:
    if not text:
        return ()
    # A lone surrogate has no UTF-8, which RE2 reads.
    return (text[:longest].encode("utf-8", "replace").decode(),)


def _images(subject: Subject, separator: str) -> Iterator[str]:
    """Yield how Sigma may write the image: its path, or its name below an unknown directory."""
    programs = subject.views.programs
    name = subject.alert.process_name
    if name and ("\\" in name or "/" in name):
        yield from _value(name)
        return
    if not name and programs:
        yield from _paths(programs[0].path, separator)
    elif name:
        plain = name.lower().removesuffix(".exe")
        path = next((each.path for each in programs if each.name == plain), name)
        yield from _paths(path, separator)
        yield from _paths(name, separator)


def _paths(path: str, separator: str) -> Iterator[str]:
    for text in _value(path):
        whole = text if "\\" in text or "/" in text else separator + text
        yield whole
        if separator == "\\" and "." not in whole.rpartition("\\")[2]:
            yield f"{whole}.exe"
