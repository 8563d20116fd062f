#!/usr/bin/env python3
"""Verify a Vyrox audit export without Vyrox: one file, standard library, Python 3.9+.

    python3 -I verify_audit.py [--links-only] [--json] FILE|DIR|-

With or without `-I`, no other file in this file's directory is imported.

FILE is a response of `/audit/export` (a JSON array, or lines). `-` is the same on standard input.
DIR has daily files, `audit-YYYY-MM-DD.jsonl`, with one chain through all of them. The verifier
reads one entry at a time, in order, and checks that

 1. it is one JSON object in UTF-8, and no member occurs twice;
 2. it has the members of its stream, each with the right type: exactly eight for an action;
 3. it has the tenant and the stream of the first entry;
 4. its `hash` is SHA-256 of its `previous_hash`, a bar and its canonical JSON without `hash`;
 5. its `previous_hash` is the `hash` of the entry before it, or 64 zeros for the first;
 6. its `timestamp` is not before that of the entry before it, and in a daily file is on that day;
 7. the export is complete: an array is closed, and nothing follows it.

Exit status: 0: the links hold, and `--links-only` was given. 1: tampered with, or unreadable. 2:
wrong usage, or nothing to check. 3: the links hold, but there is no checkpoint. So it is
not shown that the end is there, or that the chain was not replaced as a whole.

Source: docs/AUDIT_CHAIN.md, format 1. `vyrox.chain.entry` writes these entries. The two modules
share no code, so a mistake in one is not repeated in the other.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # This file is often copied next to an export, where somebody may have put a json.py.
    del sys.path[0]

import argparse
import calendar
import codecs
import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

GENESIS = "0" * 64
MAX_WHOLE = 2**53 - 1
MAX_DIGITS = len(str(-MAX_WHOLE))
MAX_TIMESTAMP = 253_402_300_799
"""The last second of the year 9999."""

MAX_ENTRY_CHARACTERS = 262_144
"""Longest entry. It has at most 65,536 bytes; the rest is for indentation and escapes."""

CHUNK_BYTES = 65_536
DAY_S = 86_400

VERIFIED, TAMPERED, USAGE, NO_CHECKPOINT = range(4)
"""The exit status."""

ACTION_TYPES = {
    "timestamp": int,
    "tenant_id": str,
    "action_type": str,
    "host": str,
    "approved_by": str,
    "dry_run": bool,
    "previous_hash": str,
    "hash": str,
}
EVENT_TYPES = {
    "timestamp": int,
    "tenant_id": str,
    "kind": str,
    "previous_hash": str,
    "hash": str,
}
"""An event also has `request_id`, text or null, and members of its kind."""

_SCALAR_TYPES = frozenset({str, int, bool, type(None)})
_DAILY_FILE = re.compile(r"audit-([0-9]{4}-[0-9]{2}-[0-9]{2})\.jsonl")
_SPACE = " \t\n\r"
"""White space in JSON. `str.strip` alone would remove other characters too."""

_NO_SPACE = re.compile(r"[^ \t\n\r]")
_STRING_OR_END = re.compile(r'["}]|\\.', re.DOTALL)

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
"""With `ensure_ascii=True`, the default, a host that is not ASCII would change the hash."""

_quote: Callable[[Any], str] = json.encoder.encode_basestring

Entry = dict[str, object]


class TamperedError(Exception):
    """The first problem of a chain: an entry that was changed, is missing or cannot be read.

    Attributes:
        number: The number of that entry, from 1. The links of the entries before it hold.
        reason: The problem, always in ASCII.
        file: The name of the file, or None if the entries were given one by one.
        line: The line on which the entry begins, from 1, or None as `file`.
    """

    def __init__(
        self, number: int, reason: str, file: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(number, reason, file, line)
        self.number = number
        self.reason = reason
        self.file = file
        self.line = line


class NothingToCheckError(Exception):
    """There is no file, or it is empty. The text is ASCII."""


@dataclass(frozen=True)
class Report:
    """A description of a chain whose links hold.

    Attributes:
        stream: `actions` or `events`. Stream, tenant and times are None without entries.
        last_hash: `GENESIS` for a chain without entries.
    """

    entries: int
    stream: str | None
    tenant_id: str | None
    first_timestamp: int | None
    last_timestamp: int | None
    last_hash: str


class _RefusedError(ValueError):
    """The text is not the next entry of this chain."""


class Chain:
    """The entries that were added so far. Each is linked to the one before it."""

    def __init__(self) -> None:
        self.entries = 0
        self.last_hash = GENESIS
        self._stream: str | None = None
        self._tenant_id: str | None = None
        self._first_timestamp: int | None = None
        self._last_timestamp: int | None = None

    def add(self, entry: bytes | str) -> None:
        """Verify the next entry, as JSON.

        Raises:
            TamperedError: It is not the next entry, and was not added.
        """
        try:
            self.add_decoded(_decode(entry))
        except _RefusedError as exc:
            raise TamperedError(self.entries + 1, str(exc)) from None

    def add_decoded(self, entry: Entry, day: range | None = None) -> None:
        """Verify the next entry, decoded by this module, and remove its `hash` from it.

        Args:
            day: The seconds of the day, for an entry of a daily file.

        Raises:
            _RefusedError: It is not the next entry, and was not added.
        """
        stream, tenant_id, timestamp = _check_members(entry)
        if self.entries and (stream, tenant_id) != (self._stream, self._tenant_id):
            raise _RefusedError(
                f"it is of tenant {tenant_id!a} ({stream}), "
                f"the chain of {self._tenant_id!a} ({self._stream})"
            )
        stated = entry.pop("hash")
        recomputed = _hash(entry)
        if stated != recomputed:
            raise _RefusedError("its hash is not that of its content: it was changed")
        if entry["previous_hash"] != self.last_hash:
            raise _RefusedError(
                "its previous_hash is not the hash of the entry before it: "
                "entries were removed, added or moved"
                if self.entries
                else "its previous_hash is not 64 zeros: the beginning of the chain is missing"
            )
        if self._last_timestamp is not None and timestamp < self._last_timestamp:
            raise _RefusedError("its timestamp is before that of the entry before it")
        if day is not None and timestamp not in day:
            raise _RefusedError(f"its day is {_utc(timestamp)[:10]}, not that of the file")
        if self.entries == 0:
            self._stream, self._tenant_id, self._first_timestamp = stream, tenant_id, timestamp
        self.entries += 1
        self.last_hash = recomputed
        self._last_timestamp = timestamp

    def report(self) -> Report:
        """Return a description of the entries so far."""
        return Report(
            self.entries,
            self._stream,
            self._tenant_id,
            self._first_timestamp,
            self._last_timestamp,
            self.last_hash,
        )


def _hash(entry: Entry) -> str:
    """Return the hash of an entry without `hash`, whose members were checked."""
    try:
        return hashlib.sha256(f"{entry['previous_hash']}|{_canonical(entry)}".encode()).hexdigest()
    except UnicodeEncodeError:
        raise _RefusedError("it holds a lone surrogate, which UTF-8 cannot encode") from None


def _canonical(entry: Entry) -> str:
    """Return the entry as RFC 8785 JSON. For every valid entry, `_ENCODER` writes that.

    For an action, whose members are known, this function does it in a quarter of the time.
    """
    if "kind" in entry:
        return _ENCODER.encode(entry)
    return (
        f'{{"action_type":{_quote(entry["action_type"])}'
        f',"approved_by":{_quote(entry["approved_by"])}'
        f',"dry_run":{"true" if entry["dry_run"] else "false"}'
        f',"host":{_quote(entry["host"])}'
        f',"previous_hash":{_quote(entry["previous_hash"])}'
        f',"tenant_id":{_quote(entry["tenant_id"])}'
        f',"timestamp":{entry["timestamp"]}}}'
    )


def _check_members(entry: Entry) -> tuple[str, str, int]:
    """Check all members, and return the entry's stream, tenant and timestamp."""
    stream, types = ("events", EVENT_TYPES) if "kind" in entry else ("actions", ACTION_TYPES)
    for name, expected in types.items():
        if name not in entry:
            raise _RefusedError(f"it lacks {name}")
        if type(entry[name]) is not expected:
            raise _RefusedError(f"its {name} is of another type than {expected.__name__}")
    if stream == "events":
        _check_event_members(entry)
    elif len(entry) != len(types):
        raise _RefusedError(f"it has a member too many: {min(entry.keys() - types.keys())!a}")
    timestamp = cast(int, entry["timestamp"])
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise _RefusedError("its timestamp is not within the years 1970 to 9999")
    return stream, cast(str, entry["tenant_id"]), timestamp


def _check_event_members(entry: Entry) -> None:
    if type(entry.get("request_id", 0)) not in (str, type(None)):
        raise _RefusedError("its request_id is neither text nor null")
    if not "".join(entry).isascii():
        raise _RefusedError("the name of a member is not ASCII")
    if not _SCALAR_TYPES.issuperset(map(type, entry.values())):
        raise _RefusedError("a member is neither text, whole number, boolean nor null")


def _pairs(pairs: list[tuple[str, object]]) -> Entry:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        # Some readers use the first of the two, and some the second.
        raise _RefusedError("it has a member twice")
    return entry


def _whole_number(digits: str) -> int:
    # First the length: converting a million digits takes seconds.
    if len(digits) > MAX_DIGITS or not -MAX_WHOLE <= int(digits) <= MAX_WHOLE:
        raise _RefusedError("it has a number beyond 2^53 - 1")
    return int(digits)


def _no_fraction(_digits: str) -> None:
    raise _RefusedError("it has a number that is not whole")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_int=_whole_number,
    parse_float=_no_fraction,
    parse_constant=_no_fraction,
)


def _decode(text: bytes | str) -> Entry:
    try:
        text = (text if isinstance(text, str) else text.decode()).strip(_SPACE)
        entry, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as exc:
        raise _not_json(exc) from None
    if end != len(text):
        raise _RefusedError("there is more on its line")
    if not isinstance(entry, dict):
        raise _RefusedError("it is not a JSON object")
    return entry


def _not_json(exc: ValueError | RecursionError) -> _RefusedError:
    if isinstance(exc, _RefusedError):
        return exc
    if isinstance(exc, json.JSONDecodeError):
        return _RefusedError(f"it is not JSON: {exc.msg.encode('ascii', 'replace').decode()}")
    if isinstance(exc, UnicodeDecodeError):
        return _RefusedError("it is not UTF-8")
    return _RefusedError("it is nested too deeply")


class _Text:
    """The text of a file. At most one entry and one chunk are in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.held = ""
        self.at = 0
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._lines_dropped = 0
        self._problem: str | None = None

    def line(self) -> int:
        """Return the number of the line at `at`, from 1. Only a line feed ends a line."""
        return self._lines_dropped + self.held.count("\n", 0, self.at) + 1

    def read_on(self) -> bool:
        """Drop the text before `at` and read more of the file. Return False at its end."""
        if len(self.held) - self.at > MAX_ENTRY_CHARACTERS:
            raise _RefusedError(f"it is longer than {MAX_ENTRY_CHARACTERS} characters")
        if self._problem is not None:
            raise _RefusedError(self._problem)
        more, ended = self._read_chunk()
        self._lines_dropped += self.held.count("\n", 0, self.at)
        self.held = self.held[self.at :] + more
        self.at = 0
        return not ended

    def _read_chunk(self) -> tuple[str, bool]:
        try:
            chunk = self._file.read(CHUNK_BYTES)
        except OSError as exc:
            raise _RefusedError(f"it cannot be read: {_why(exc)}") from None
        try:
            return self._utf8.decode(chunk, final=not chunk), not chunk
        except UnicodeDecodeError as exc:
            # The text before the bad byte is returned first, because its entries come first.
            self._problem = "it is not UTF-8" if chunk else "the export is cut short within it"
            return exc.object[: exc.start].decode(), False

    def next_mark(self) -> str:
        """Go to the next character that is not white space, and return it; "" at the end."""
        while True:
            found = _NO_SPACE.search(self.held, self.at)
            if found is not None:
                self.at = found.start()
                return found.group()
            self.at = len(self.held)
            if not self.read_on():
                return ""

    def ends_object(self) -> bool:
        """Return whether the object that begins at `at` ends within `held`."""
        in_string = False
        for found in _STRING_OR_END.finditer(self.held, self.at):
            if found.group() == '"':
                in_string = not in_string
            elif found.group() == "}" and not in_string:
                return True
        return False


def _entries(text: _Text) -> Iterator[Entry]:
    """Yield the entries of an array or of lines. Meanwhile `text.at` is the start of the entry."""
    return _array(text) if text.next_mark() == "[" else _lines(text)


def _lines(text: _Text) -> Iterator[Entry]:
    more = True
    while more:
        # Not `splitlines`, which also splits at characters that strings may contain.
        end = text.held.find("\n", text.at)
        if end < 0:
            more = text.read_on()
            if more:
                continue
            end = len(text.held)
        line = text.held[text.at : end].strip(_SPACE)
        if line:
            try:
                entry = _decode(line)
            except _RefusedError:
                if more or line[0] != "{" or text.ends_object():
                    raise
                raise _RefusedError("the export is cut short within it") from None
            yield entry
        text.at = end + 1


def _array(text: _Text) -> Iterator[Entry]:
    text.at += 1
    mark = "]" if text.next_mark() == "]" else ","
    while mark == ",":
        entry, end = _object(text)
        yield entry
        text.at = end
        mark = text.next_mark()
        if mark == ",":
            text.at += 1
    if not mark:
        raise _RefusedError("the export is cut short before it: no closing bracket")
    if mark != "]":
        raise _RefusedError(f"{mark!a} is before it instead of a comma")
    text.at += 1
    if text.next_mark():
        raise _RefusedError("it follows the end of the array")


def _object(text: _Text) -> tuple[Entry, int]:
    """Return the next entry of the array, and its end in `held`."""
    mark = text.next_mark()
    if not mark:
        raise _RefusedError("the export is cut short before it")
    if mark != "{":
        raise _RefusedError("it is not a JSON object")
    while True:
        try:
            entry, end = _DECODER.raw_decode(text.held, text.at)
        except (ValueError, RecursionError) as exc:
            if not isinstance(exc, json.JSONDecodeError) or text.ends_object():
                raise _not_json(exc) from None
            if not text.read_on():
                raise _RefusedError("the export is cut short within it") from None
        else:
            return entry, end


def verify_entries(entries: Iterable[bytes | str]) -> Report:
    """Verify a whole chain, whose entries are given as JSON, and return its description.

    Raises:
        TamperedError: At the first entry that does not follow from those before it.
    """
    chain = Chain()
    for entry in entries:
        chain.add(entry)
    return chain.report()


def verify_path(path: str) -> Report:
    """Verify the chain in a file, in a directory of daily files or on `-`; return its description.

    Raises:
        TamperedError: At the first entry that does not follow from those before it, or that
            cannot be read.
        NothingToCheckError: There is no such file, or it is empty.
    """
    chain = Chain()
    try:
        if path == "-":
            _verify_standard_input(chain)
        elif os.path.isdir(path):
            for name, day in _daily_files(path):
                _verify_daily_file(chain, path, name, day)
        else:
            with open_regular(path, follow=True) as file:
                _verify_file(chain, file, path)
    except (OSError, ValueError) as exc:
        raise NothingToCheckError(f"cannot open {path!a}: {_why(exc)}") from None
    return chain.report()


def open_regular(path: str | os.PathLike[str], *, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading. A pipe or a device could block, or never end.

    Args:
        follow: Whether `path` may be a link.

    Raises:
        OSError: It is not a regular file, or cannot be opened.
    """
    # Systems without these flags do not have such files.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def _verify_standard_input(chain: Chain) -> None:
    if sys.stdin is None:
        raise NothingToCheckError("standard input is closed")
    _verify_file(chain, sys.stdin.buffer, "standard input")


def _daily_files(directory: str) -> list[tuple[str, range]]:
    """Return the names of the daily files, oldest first, with the seconds of their days."""
    days = []
    for name in sorted(os.listdir(directory)):
        if not (name.startswith("audit-") and name.endswith(".jsonl")):
            continue
        found = _DAILY_FILE.fullmatch(name)
        try:
            day = time.strptime(found.group(1) if found else "", "%Y-%m-%d")
        except ValueError:
            raise TamperedError(1, "the file is not named after a day", name, 1) from None
        days.append((name, range(calendar.timegm(day), calendar.timegm(day) + DAY_S)))
    if not days:
        raise NothingToCheckError(f"{directory!a} holds no file audit-YYYY-MM-DD.jsonl")
    return days


def _verify_daily_file(chain: Chain, directory: str, name: str, day: range) -> None:
    before = chain.entries
    try:
        with open_regular(os.path.join(directory, name)) as file:
            _verify_file(chain, file, name, day)
    except OSError as exc:
        raise TamperedError(before + 1, f"it cannot be read: {_why(exc)}", name, 1) from None
    except NothingToCheckError:
        pass
    if chain.entries == before:
        # The file of a day is made with its first entry, so it is never empty.
        raise TamperedError(before + 1, "its file was emptied", name, 1)


def _verify_file(chain: Chain, file: BinaryIO, name: str, day: range | None = None) -> None:
    text = _Text(file)
    try:
        if not text.next_mark():
            raise NothingToCheckError(f"{name!a} is empty")
        for entry in _entries(text):
            chain.add_decoded(entry, day)
    except _RefusedError as exc:
        raise TamperedError(chain.entries + 1, str(exc), name, text.line()) from None


def _why(exc: OSError | ValueError) -> str:
    return (exc.strerror or "failed") if isinstance(exc, OSError) else ascii(str(exc))


def _utc(timestamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the export that the command line names, print the result, return the exit status."""
    parser = argparse.ArgumentParser(
        description="Verify the hash chain of a Vyrox audit export.",
        epilog="exit status: 0 links hold and --links-only was given; 1 tampered with or "
        "unreadable; 2 wrong usage or nothing to check; 3 links hold, no checkpoint was given",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path",
        metavar="FILE|DIR|-",
        help="an export, a directory of daily files, or standard input",
    )
    parser.add_argument(
        "--links-only",
        action="store_true",
        help="exit with 0 if the links hold, without a checkpoint",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    status, result, lines = _run(given.path, given.links_only)
    if given.json:
        lines = [json.dumps({"status": status, **result})]
    (sys.stderr if status == USAGE and not given.json else sys.stdout).write(
        "".join(f"{line}\n" for line in lines)
    )
    return status


def _run(path: str, links_only: bool) -> tuple[int, dict[str, object], list[str]]:
    """Return the exit status, the members of the JSON object, and the lines for people."""
    try:
        report = verify_path(path)
    except NothingToCheckError as exc:
        return USAGE, {"result": "nothing to check", "reason": str(exc)}, [f"NOT CHECKED: {exc}"]
    except TamperedError as exc:
        where = f"{ascii(exc.file)[1:-1]}, line {exc.line}"
        return (
            TAMPERED,
            {
                "result": "tampered",
                "entry": exc.number,
                "file": exc.file,
                "line": exc.line,
                "reason": exc.reason,
            },
            [
                f"TAMPERED WITH OR DAMAGED at entry {exc.number} ({where}): {exc.reason}",
                f"the links of the {exc.number - 1} entries before it hold",
            ],
        )
    return (
        VERIFIED if links_only else NO_CHECKPOINT,
        {"result": "links hold" if report.entries else "empty", **asdict(report)},
        [
            *_shown(report),
            "NOT SHOWN without a checkpoint: that no entries were removed at the end, and that the "
            "chain was not replaced as a whole",
        ],
    )


def _shown(report: Report) -> list[str]:
    if report.first_timestamp is None or report.last_timestamp is None:
        return ["EMPTY: 0 entries, so there are no links to check"]
    return [
        f"{report.entries} entries of tenant {report.tenant_id!a}, stream {report.stream}",
        f"first {_utc(report.first_timestamp)}, last {_utc(report.last_timestamp)}",
        f"last hash {report.last_hash}",
        "LINKS HOLD: every entry follows from the one before it",
    ]


if __name__ == "__main__":
    sys.exit(main())
