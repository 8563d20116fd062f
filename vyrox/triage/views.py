"""Readable forms of one command line: what an attacker hides in it, made plain and bounded.

The person who runs a command chooses everything in it. So the bytes that are read, the decodings
and their sizes are limited, and every pattern here has bounded repetition.
"""

import binascii
import gzip
import io
import re
import unicodedata
import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_CHARACTERS: Final = 32 * 1024
"""Length of a command line that is read; the rest is ignored, and the verdict says so."""

MAX_DECODED: Final = 64 * 1024
"""Total characters that are decoded out of one command line, over all levels."""

MAX_DEPTH: Final = 3
"""Encodings inside encodings that are opened."""

MAX_PARTS: Final = 64
"""Commands of one line that are read one by one."""

_B64: Final = r"[A-Za-z0-9+/_-]{8,}={0,2}"

_HIDDEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_DASHES: Final = re.compile("[\u2010-\u2015\u2212]")
_CARET: Final = re.compile(r"\^(?=\S)")
_TICK: Final = re.compile(r"(?<=[A-Za-z])`(?=[A-Za-z])")
_JOIN: Final = re.compile(r"""(['"])\s{0,4}\+\s{0,4}\1""")
_FORMAT: Final = re.compile(
    r"""\(?\s{0,4}["']((?:\{\d\}){2,40})["']\s{0,4}-f\s{0,4}"""
    r"""((?:["'][^"']{0,60}["']\s{0,4},?\s{0,4}){1,40})\)?""",
    re.I,
)
_PIECE: Final = re.compile(r"""["']([^"']{0,60})["']""")
_EMPTY_QUOTES: Final = re.compile(r"""(?<=\w)(?:""|'')(?=\w)|(?<=\w)(?:""|'')(?=\s|$)""")
_WORD_QUOTE: Final = re.compile(r"""(?<=[\w-])["'](?=\w)""")
_QUOTED_WORD: Final = re.compile(r"""(["'])([^\s"']{1,200})\1(?=[\s,;|&)]|$)""")
_CONTINUED: Final = re.compile(r"[\\^`]\r?\n")
_LINES: Final = re.compile(r"\s{0,40}[\r\n][\r\n\s]{0,400}")
_SPACES: Final = re.compile(r"[\s\x00-\x1f]+")
_SUBSTRING: Final = re.compile(r"%[a-z_]{1,40}:~-?\d{1,3}(?:,-?\d{1,3})?%", re.I)
_CHARACTERS: Final = re.compile(
    r"(?:\[char\]\s{0,2}(?:0x[0-9a-f]{1,4}|\d{1,4})\W{0,4}){3,200}", re.I
)
_CHARACTER: Final = re.compile(r"\[char\]\s{0,2}(0x[0-9a-f]{1,4}|\d{1,4})", re.I)
_ESCAPES: Final = re.compile(r"(?:\\x[0-9a-f]{2}){4,4000}", re.I)

_ENCODED: Final = (
    # -e, -ec, -enc ... any prefix of EncodedCommand; Base64 of UTF-16
    re.compile(rf"[-/](?:e|ec|en[codemand]{{0,12}})\s{{1,8}}[\"']?({_B64})", re.I),
    re.compile(rf"frombase64string\s{{0,4}}\(\s{{0,4}}[\"']({_B64})[\"']", re.I),
    re.compile(
        rf"(?:echo|printf)\s{{1,4}}(?:-[ne]\s{{1,4}})?[\"']?({_B64})[\"']?\s{{0,4}}\|"
        rf"[^|]{{0,40}}(?:base64\s{{1,4}}-{{1,2}}d|openssl\s{{1,4}}(?:enc|base64))",
        re.I,
    ),
    re.compile(rf"\{{echo,({_B64})\}}\s{{0,4}}\|\s{{0,4}}\{{base64,-{{1,2}}d", re.I),
    re.compile(rf"base64\s{{1,4}}-{{1,2}}d(?:ecode)?\s{{0,4}}<<<\s{{0,4}}[\"']?({_B64})", re.I),
    re.compile(rf"b64decode\s{{0,4}}\(\s{{0,4}}b?[\"']({_B64})[\"']", re.I),
    re.compile(rf"atob\s{{0,4}}\(\s{{0,4}}[\"']({_B64})[\"']", re.I),
)
_HEXED: Final = (
    re.compile(r"fromhex\s{0,4}\(\s{0,4}[\"']([0-9a-f]{8,})[\"']", re.I),
    re.compile(r"echo\s{1,4}[\"']?([0-9a-f]{8,})[\"']?\s{0,4}\|[^|]{0,20}xxd\s{1,4}-r", re.I),
)
_SEPARATOR: Final = re.compile(r"&&|\|\||[;|&\n]")
_WRAPPED: Final = re.compile(
    r"^(?:.{0,200}?[\\/])?(?:cmd(?:\.exe)?\s.{0,40}?[-/][ckr]|(?:ba|da|z|k|a)?sh\s{1,4}-\w{0,4}c"
    r"|(?:powershell|pwsh)(?:\.exe)?\s.{0,120}?-c(?:o(?:m(?:m(?:a(?:nd?)?)?)?)?)?"
    r"|sudo(?:\s-\w{1,4})?|nohup|wsl(?:\.exe)?|env\s\w{1,40}=\S{1,80})\s{1,4}[\"']?",
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
            `encoded`, `broken_words`.
    """

    texts: tuple[View, ...] = ()
    programs: tuple[Program, ...] = ()
    marks: frozenset[str] = frozenset()


def views(command_line: str | None) -> Views:
    """Return the forms of `command_line`, in bounded time whatever it holds."""
    if not command_line:
        return Views()
    marks: set[str] = set()
    if len(command_line) > MAX_CHARACTERS:
        marks.add("truncated")
    first = _plain(command_line[:MAX_CHARACTERS], marks)
    texts = [View(first.lower())]
    room = MAX_DECODED
    level = [first]
    for _ in range(MAX_DEPTH):
        inner: list[str] = []
        for text in level:
            for decoded in _decode(text):
                if room <= 0:
                    break
                plain = _plain(decoded[:room], marks)
                room -= len(decoded)
                inner.append(plain)
                texts.append(View(plain.lower(), decoded=True))
        if not inner:
            break
        marks.add("encoded")
        level = inner
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
    return _SPACES.sub(" ", _LINES.sub(";", undone)).strip(" ;")


def _ascii(text: str, marks: set[str]) -> str:
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


def _decode(text: str) -> Iterator[str]:
    """Yield each text that `text` holds encoded."""
    for pattern in _ENCODED:
        for match in pattern.finditer(text):
            decoded = _from_base64(match[1])
            if decoded is not None:
                yield decoded
    for pattern in _HEXED:
        for match in pattern.finditer(text):
            raw = match[1][: len(match[1]) // 2 * 2]
            yield bytes.fromhex(raw).decode("latin-1")


def _from_base64(text: str) -> str | None:
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    raw = _inflated(raw)
    if not raw:
        return None
    zeros = raw[1::2].count(0)
    if zeros * 3 > len(raw):
        return raw.decode("utf-16-le", "replace")
    decoded = raw.decode("utf-8", "replace")
    readable = sum(character.isprintable() or character in "\r\n\t" for character in decoded)
    return decoded if readable * 10 >= len(decoded) * 8 else None


def _inflated(raw: bytes) -> bytes:
    if raw[:2] == b"\x1f\x8b":
        try:
            return gzip.GzipFile(fileobj=io.BytesIO(raw)).read(MAX_DECODED)
        except (OSError, EOFError, zlib.error):
            return raw
    for bits in (-zlib.MAX_WBITS, zlib.MAX_WBITS):
        try:
            inflated = zlib.decompressobj(bits).decompress(raw, MAX_DECODED)
        except zlib.error:
            continue
        if len(inflated) > 8:
            return inflated
    return raw


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
