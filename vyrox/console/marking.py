"""Marks in a command line what triage found, also in what was encoded in it (contract 78).

The person who runs a command chooses all of it: what is read here is bounded.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from vyrox.triage.score import Reason
from vyrox.triage.views import views

MAX_SHOWN: Final = 1200
"""Characters of a form of a command line that are shown."""

MAX_READ: Final = 4096
"""Characters of a command line that are decoded for a page."""

MAX_DECODED: Final = 3
"""Texts that were encoded in a command line and are shown."""

_MAX_MARKS: Final = 40
_DECODED: Final = "decoded: "


class Piece(msgspec.Struct, frozen=True):
    """A part of a text, and whether it is what a signal matched."""

    text: str
    is_marked: bool


class Form(msgspec.Struct, frozen=True):
    """One form of a command line: `sent`, `plain` (without quoting tricks) or `decoded`."""

    kind: str
    pieces: tuple[Piece, ...]
    is_cut: bool


def forms_of(command_line: str | None, reasons: Sequence[Reason]) -> tuple[Form, ...]:
    """Return the command line as it was sent, and what was hidden in it, with marks.

    The plain form is left out if it shows nothing that the first does not.
    """
    if not command_line:
        return ()
    texts = {each.text for each in reasons if each.family not in {"vendor", "technique", "triage"}}
    found = sorted(text.removeprefix(_DECODED).lower() for text in texts)
    sent = _form("sent", command_line, found)
    read = views(command_line[:MAX_READ]).texts
    plain = tuple(_form("plain", each.text, found) for each in read[:1])
    decoded = [_form("decoded", each.text, found) for each in read[1:]]
    is_new = any(_marks(each) > _marks(sent) for each in plain)
    strongest = sorted(decoded, key=_marks, reverse=True)[:MAX_DECODED]
    return (sent, *(plain if is_new else ()), *strongest)


def _form(kind: str, text: str, found: Sequence[str]) -> Form:
    shown = text[:MAX_SHOWN]
    return Form(kind, marked(shown, found), len(text) > len(shown))


def _marks(form: Form) -> int:
    return sum(len(each.text) for each in form.pieces if each.is_marked)


def marked(text: str, found: Sequence[str]) -> tuple[Piece, ...]:
    """Return `text` in pieces; those that equal one of `found`, in any case, are marked."""
    # A character whose lower case is longer would move all that follow.
    lower = "".join(low if len(low := each.lower()) == 1 else each for each in text)
    is_marked = bytearray(len(text))
    marks = 0
    for each in found:
        at = lower.find(each) if each else -1
        while at >= 0 and marks < _MAX_MARKS:
            is_marked[at : at + len(each)] = b"\1" * len(each)
            marks += 1
            at = lower.find(each, at + len(each))
    pieces: list[Piece] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or is_marked[end] != is_marked[start]:
            pieces.append(Piece(text[start:end], bool(is_marked[start])))
            start = end
    return tuple(pieces)
