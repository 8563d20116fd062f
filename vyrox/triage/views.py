"""Readable forms of one command line: what an attacker hides in it, made plain and bounded.

The person who runs a command chooses everything in it. So the bytes that are read, the decodings
and their sizes are limited, and every pattern here has bounded repetition.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from vyrox.triage.encodings import encoded

MAX_CHARACTERS: Final = 32 * 1024
"""Length of a command line that is read; the rest is ignored, and the verdict says so."""

MAX_DECODED: Final = 64 * 1024
"""Total characters that are decoded out of one command line, over all levels."""

MAX_DEPTH: Final = 3
"""Encodings inside encodings that are opened."""

MAX_ATTEMPTS: Final = 64
"""Texts of one command line that are opened as encoded ones, over all levels, also in vain."""

MAX_PARTS: Final = 64
"""Commands of one line that are read one by one."""

_HIDDEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_DASHES: Final = re.compile("[\u2010-\u2015\u2212]")
_CARET: Final = re.compile(r"\^(?=\S)")
_TICK: Final = re.compile(r"`(?<=[A-Za-z]`)(?=[A-Za-z])")
_JOIN: Final = re.compile(r"""(['"])\s{0,4}\+\s{0,4}\1""")
_FORMAT: Final = re.compile(
    r"""["']((?:\{\d\}){2,40})["']\s{0,4}-f\s{0,4}"""
    r"""((?:["'][^"']{0,60}["']\s{0,4},?\s{0,4}){1,40})""",
    re.I,
)
_PIECE: Final = re.compile(r"""["']([^"']{0,60})["']""")
_EMPTY_QUOTES: Final = re.compile(r"""""(?<=\w"")(?=[\w\s]|$)|''(?<=\w'')(?=[\w\s]|$)""")
_WORD_QUOTE: Final = re.compile(r"""["'](?<=[\w-]["'])(?=\w)""")
_QUOTED_WORD: Final = re.compile(r"""(["'])([^\s"']{1,200})\1(?=[\s,;|&)]|$)""")
_CONTINUED: Final = re.compile(r"[\\^`]\r?\n")
_LINES: Final = re.compile(r"[\r\n][\r\n\s]{0,400}")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1f]")
_PADDING: Final = " " * 60
_SUBSTRING: Final = re.compile(r"%[a-z_]{1,40}:~-?\d{1,3}(?:,-?\d{1,3})?%", re.I)
_CHARACTERS: Final = re.compile(
    r"(?:\[char\]\s{0,2}(?:0x[0-9a-f]{1,4}|\d{1,4})[^\w\[]{0,4}){3,200}", re.I
)
_CHARACTER: Final = re.compile(r"\[char\]\s{0,2}(0x[0-9a-f]{1,4}|\d{1,4})", re.I)
_ESCAPES: Final = re.compile(r"(?:\\x[0-9a-f]{2}){4,4000}", re.I)

_SEPARATOR: Final = re.compile(r"&&|\|\||[;|&\n]")
_WRAPPED: Final = re.compile(
    r"^(?:.{0,200}?[\\/])?(?:cmd(?:\.exe)?[\"']?\s.{0,40}?[-/][ckr]|(?:ba|da|z|k|a)?sh\s{1,4}-\w{0,4}c"
    r"|(?:powershell|pwsh)(?:\.exe)?[\"']?\s.{0,120}?-c(?:o(?:m(?:m(?:a(?:nd?)?)?)?)?)?"
    r"|(?:sudo|doas)(?:\s-\w{1,4}(?:\s(?:root|www-data|\w{2,20}(?=\s[/\w-]{1,40}\s)))?){0,5}"
    r"|nohup|setsid|exec|time|busybox|wsl(?:\.exe)?(?:\s(?:-e|--|-d\s\S{1,40}(?:\s--)?|-u\s\S{1,40})){0,3}"
    r"|timeout\s\d{1,4}\w?|env(?:\s\w{1,40}=\S{1,80}){1,8}|(?:\w{1,40}=\S{1,80}\s){1,8}(?=\S)"
    r"|start(?:\s[-/]\w{1,8})*|conhost(?:\.exe)?\s--headless)\s{0,4}(?<=[\s=])[\"'&{]{0,3}\s{0,2}",
    re.I,
)
_PROGRAM: Final = re.compile(
    r"""^\s{0,4}(?:"([^"]{1,260})"|'([^']{1,260})'"""
    r"""|([a-z]:\\[^"'|&;<>*?]{1,200}?\.(?:exe|com|bat|cmd|scr))(?=[\s"'(]|$)|(\S{1,260}))"""
)
_ASSIGNMENT: Final = re.compile(r"\$[\w:]{1,40}\s{0,2}=")


class View(msgspec.Struct, frozen=True):
    """One text that patterns are matched against.

    Attributes:
        text: Lower case, without quoting tricks.
        decoded: Whether it was encoded in the command line.
    """

    text: str
    decoded: bool = False


class Program(msgspec.Struct, frozen=True):
    """A program that the line starts.

    Attributes:
        name: Lower case, without directory and `.exe`.
        path: As it is written, lower case.
    """

    name: str
    path: str


class Views(msgspec.Struct, frozen=True):
    """All forms of one command line.

    Attributes:
        texts: The plain one first, then what was decoded.
        marks: Facts about how it was written: `truncated`, `hidden_characters`, `substring`,
            `encoded`, `broken_words`, `padded`, `flooded`.
    """

    texts: tuple[View, ...] = ()
    programs: tuple[Program, ...] = ()
    marks: frozenset[str] = frozenset()


class _Room:
    """What may still be decoded out of one command line."""

    def __init__(self) -> None:
        self.characters = MAX_DECODED
        self.attempts = MAX_ATTEMPTS

    def open(self, level: Iterable[str], marks: set[str]) -> Iterator[str]:
        """Yield what the texts of one level hold encoded, in plain form."""
        for text in level:
            for attempt in encoded(text):
                if self.characters <= 0 or self.attempts <= 0:
                    marks.add("flooded")
                    return
                self.attempts -= 1
                decoded = attempt(self.characters)
                if decoded:
                    self.characters -= len(decoded)
                    yield _plain(decoded, marks)


def views(command_line: str | None) -> Views:
    """Return the forms of `command_line`, in bounded time whatever it holds."""
    if not command_line:
        return Views()
    marks: set[str] = set()
    if len(command_line) > MAX_CHARACTERS:
        marks.add("truncated")
    if _PADDING in command_line[:MAX_CHARACTERS]:
        marks.add("padded")
    level = [_plain(command_line[:MAX_CHARACTERS], marks)]
    texts = [View(level[0].lower()[:MAX_CHARACTERS])]
    room = _Room()
    for _ in range(MAX_DEPTH):
        level = list(room.open(level, marks))
        if not level:
            break
        marks.add("encoded")
        texts += [View(text.lower(), decoded=True) for text in level]
    return Views(tuple(texts), tuple(_programs(texts)), frozenset(marks))


def _plain(text: str, marks: set[str]) -> str:
    """Return `text` with its quoting tricks undone; the case is kept, Base64 needs it."""
    if not text.isascii():
        text = _ascii(text, marks)
    if "%" in text and _SUBSTRING.search(text):
        marks.add("substring")
    text = _CONTINUED.sub("", text).replace('\\"', '"')
    undone = text
    for needed, pattern, replacement in _TRICKS:
        if needed in undone.lower():
            undone = pattern.sub(replacement, undone)
    if len(undone) < len(text) - 2:
        marks.add("broken_words")
    undone = _QUOTED_WORD.sub(r"\2", undone)
    if "\n" in undone or "\r" in undone:
        undone = _LINES.sub(";", undone)
    return " ".join(_CONTROLS.sub(" ", undone).split()).strip(" ;")


def _ascii(text: str, marks: set[str]) -> str:
    text = text.encode("utf-8", "replace").decode()
    text = unicodedata.normalize("NFKC", text)[:MAX_CHARACTERS]
    if _HIDDEN.search(text):
        marks.add("hidden_characters")
        text = _HIDDEN.sub("", text)
    return _DASHES.sub("-", text)


def _filled(match: re.Match[str]) -> str:
    pieces = _PIECE.findall(match[2])
    order = [int(number) for number in re.findall(r"\d", match[1])]
    return "".join(pieces[i] for i in order if i < len(pieces))


def _from_characters(match: re.Match[str]) -> str:
    codes = [int(code, 0) for code in _CHARACTER.findall(match[0])]
    return "".join(chr(code) for code in codes if 0 < code < 0xD800)


def _from_escapes(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("\\x", "").replace("\\X", "")).decode("latin-1")


_TRICKS: Final = (
    ("^", _CARET, ""),
    ("`", _TICK, ""),
    ("-f", _FORMAT, _filled),
    ("[char]", _CHARACTERS, _from_characters),
    ("\\x", _ESCAPES, _from_escapes),
    ("+", _JOIN, ""),
    ('""', _EMPTY_QUOTES, ""),
    ("''", _EMPTY_QUOTES, ""),
    ('"', _WORD_QUOTE, ""),
    ("'", _WORD_QUOTE, ""),
)
"""For each trick: a text that it needs, its form, and the plain text for it."""


def _programs(texts: list[View]) -> Iterator[Program]:
    count = 0
    for view in texts:
        for part in _SEPARATOR.split(view.text):
            command = part.strip().lstrip("(@\"'")
            for _ in range(3):
                count += 1
                if count > MAX_PARTS:
                    return
                found = _PROGRAM.match(command)
                if found is None or _ASSIGNMENT.match(command):
                    break
                path = next(filter(None, found.groups()))
                name = re.split(r"[\\/]", path)[-1].removesuffix(".exe")
                yield Program(name, path)
                wrapped = _WRAPPED.match(command)
                if wrapped is None:
                    break
                command = command[wrapped.end() :]
