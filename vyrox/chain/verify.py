#!/usr/bin/env python3
"""Verify a Vyrox audit export without Vyrox: one file, standard library, Python 3.9+.

    python3 -I verify_audit.py [--links-only] [--json] FILE|DIR|-
    python3 -I verify_audit.py --approvals ACTIONS EVENTS [--keys FILE]

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

With `--approvals` it also checks the proofs of who approved the actions, below "Approvals".

Exit status: 0: all holds, and each stream has a checkpoint; or the links hold, and `--links-only`
was given. 1: tampered with, or unreadable, or a proof or a checkpoint is wrong. 2: wrong usage, or
nothing to check. 3: the links hold, but there is no checkpoint that counts. So it is not shown that
the end is there, or that the chain was not replaced as a whole.

Source: docs/AUDIT_CHAIN.md, format 1. `vyrox.chain.entry` writes these entries. The two modules
share no code, so a mistake in one is not repeated in the other.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # This file is often copied next to an export, where somebody may have put a json.py.
    del sys.path[0]

import argparse
import base64
import calendar
import codecs
import errno
import functools
import hashlib
import html
import itertools
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

GENESIS = "0" * 64
MAX_WHOLE = 2**53 - 1
MAX_DIGITS = len(str(-MAX_WHOLE))
MAX_TIMESTAMP = 253_402_300_799
"""The last second of the year 9999."""

MAX_ENTRY_CHARACTERS = 262_144
"""Longest entry. It has at most 65,536 bytes; the rest is for indentation and escapes."""

ARCHIVED = "chain.archived"
"""The kind of the event that says that events are in an archive, and which were retained."""

RETAINED_FILE = "retained-events.txt"
"""Beside an export of events that begins after an archive: those that were retained."""

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
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(rb"[1-9][0-9]{0,17}")
_PART = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
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
        entry: The entry without its hash, if that hash is wrong and nothing else was found.
        failure: What a check of approvals says of `entry`.
    """

    def __init__(
        self,
        number: int,
        reason: str,
        file: str | None = None,
        line: int | None = None,
        entry: Entry | None = None,
    ) -> None:
        super().__init__(number, reason, file, line)
        self.number = number
        self.reason = reason
        self.file = file
        self.line = line
        self.entry = entry
        self.failure: Failure | None = None


class NothingToCheckError(Exception):
    """There is no file, or it is empty. The text is ASCII."""


@dataclass(frozen=True)
class Report:
    """A description of a chain whose links hold.

    Attributes:
        stream: `actions` or `events`. Stream, tenant and times are None without entries.
        last_hash: `GENESIS` for a chain without entries.
        first_entry: The number of the first entry: more than 1 for a range.
        archived_by: The event that says that the entries before the first one are in an archive.
        retained: How many of those were given, all that this event lists. None: none were given.
    """

    entries: int
    stream: str | None
    tenant_id: str | None
    first_timestamp: int | None
    last_timestamp: int | None
    last_hash: str
    first_entry: int = 1
    archived_by: int | None = None
    retained: int | None = None


class _RefusedError(ValueError):
    """The text is not the next entry of this chain. `entry` is as that of `TamperedError`."""

    def __init__(self, reason: str, entry: Entry | None = None) -> None:
        super().__init__(reason)
        self.entry = entry


class _ApartError(Exception):
    """What was given does not belong together. That is a wrong choice of files, and no fraud."""


class Chain:
    """The entries that were added so far. Each is linked to the one before it.

    Args:
        each: It is called with the number of each entry, the entry without `hash`, and its hash.
        evidence: With it the roots of the tree are kept, and a range may begin after entry 1.
        wanted: The stream that it must be; None: either.

    Attributes:
        before: How many entries of the chain are before the first one that was added.
        archived: The event `chain.archived` that says where those are, and its number; None until
            it was added.
    """

    def __init__(
        self,
        each: Callable[[int, Entry, str], None] | None = None,
        evidence: Evidence | None = None,
        wanted: str | None = None,
    ) -> None:
        self._each = each
        self._evidence = evidence
        self._wanted = wanted
        self._roots: Roots | None = None
        self.before = 0
        self.entries = 0
        self.last_hash = GENESIS
        self.archived: tuple[int, Entry] | None = None
        self._ends: dict[int, str] = {}
        self._said = 0  # up to which entry events say, one after the other, where it is
        self._retained: _Retained | None = None
        self._archive: str | None = None
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
            raise TamperedError(self.next_number(), str(exc), entry=exc.entry) from None

    def add_decoded(self, entry: Entry, day: range | None = None) -> None:
        """Verify the next entry, decoded by this module, and remove its `hash` from it.

        Args:
            day: The seconds of the day, for an entry of a daily file.

        Raises:
            _RefusedError: It is not the next entry, and was not added.
        """
        stream, tenant_id, timestamp = _check_members(entry)
        self._check_archive(stream, tenant_id, entry)
        if self.entries and (stream, tenant_id) != (self._stream, self._tenant_id):
            raise _RefusedError(
                f"it is of tenant {tenant_id!a} ({stream}), "
                f"the chain of {self._tenant_id!a} ({self._stream})"
            )
        stated = entry.pop("hash")
        recomputed = _hash(entry)
        if stated != recomputed:
            raise _RefusedError("its hash is not that of its content: it was changed", entry)
        if self._wanted not in (stream, None):
            raise _ApartError(f"the {self._wanted} are an export of {stream}")
        self._check_link(stream, entry, recomputed)
        self._check_time(timestamp, day)
        if entry.get("kind") == ARCHIVED:
            self._check_archived(entry)
            self._note_archive(self.next_number(), entry, self.before)
        if self.entries == 0:
            self._stream, self._tenant_id, self._first_timestamp = stream, tenant_id, timestamp
        self.entries += 1
        self.last_hash = recomputed
        self._last_timestamp = timestamp
        if self._roots is not None:
            self._roots.add(recomputed)
        if self._each is not None:
            self._each(self.before + self.entries, entry, recomputed)

    def _check_archive(self, stream: str, tenant_id: str, entry: Entry) -> None:
        """Check that an entry after an archive follows it: a wrong choice of files is no fraud."""
        archive, self._archive = self._archive, None
        if archive is None:
            return
        if (stream, tenant_id) != (self._stream, self._tenant_id):
            raise _ApartError(
                f"the archive {archive!a} has events of {self._tenant_id!a}, and what was given "
                f"after it are {stream} of {tenant_id!a}: give the export of its events, or of "
                "both streams"
            )
        if entry["previous_hash"] != self.last_hash:
            raise _ApartError(
                f"what was given after the archive {archive!a} does not begin with entry "
                f"{self.next_number()} of its chain: give all archives before the export, each "
                "once, the oldest first, and none of entries that the export has too. If these are "
                "all, verify each alone: an entry is missing"
            )

    def _check_time(self, timestamp: int, day: range | None) -> None:
        if self._last_timestamp is not None and timestamp < self._last_timestamp:
            raise _RefusedError("its timestamp is before that of the entry before it")
        if day is not None and timestamp not in day:
            raise _RefusedError(f"its day is {_utc(timestamp)[:10]}, not that of the file")

    def begin_after(self, number: int, entry_hash: str) -> None:
        """Begin with the entry after this one: those up to it are in an archive.

        That an event says so is for the caller to check, in `archived`.
        """
        self.before, self.last_hash = number, entry_hash
        self.end_part()

    def end_part(self) -> None:
        """Note that an archive ends here: an event `chain.archived` must name this entry."""
        self._ends[self.before + self.entries] = self.last_hash

    def end_archive(self, directory: str) -> None:
        """Note that an archive ends here, for the entry that follows in another directory.

        Raises:
            _ApartError: It is no archive.
        """
        if self._stream not in ("events", None):
            raise _ApartError(
                f"{directory!a} has {self._stream}, so it is no archive: --archive takes what "
                "`vyrox audit archive` has written, and those are events"
            )
        self.end_part()
        self._archive = directory

    def begin_retained(self) -> None:
        """Expect the events that were retained of those before the first entry."""
        self._retained = _Retained()

    def retain(self, number: int, entry: bytes | str) -> None:
        """Verify one of them, after `begin_retained`. `check_retained` ends it.

        Raises:
            TamperedError: It is no event, was changed, or is not in order.
        """
        retained = cast(_Retained, self._retained)
        try:
            decoded = _decode(entry)
            stream, _, _ = _check_members(decoded)
            stated, recomputed = decoded.pop("hash"), _hash(decoded)
            _refuse_unless(
                stated == recomputed, "its hash is not that of its content: it was changed"
            )
            _refuse_unless(
                stream == "events" and number > retained.last,
                "it is no event, or the one before it has a higher number",
            )
        except _RefusedError as exc:
            raise TamperedError(number, str(exc), entry=exc.entry) from None
        retained.add(number, recomputed)
        self._note_archive(number, decoded)
        if self._each is not None:
            self._each(number, decoded, recomputed)

    def check_retained(self) -> None:
        """Check that the retained events are exactly those that `chain.archived` lists.

        Raises:
            TamperedError: They are not, or no such event was added.
        """
        if self._retained is None:
            return
        event = {} if self.archived is None else self.archived[1]
        found = {"retained": self._retained.number, "retained_sha256": self._retained.hexdigest()}
        is_other = any(event.get(name) != value for name, value in found.items())
        if is_other or self._retained.last > self.before:
            raise TamperedError(
                1,
                "the events that were retained of those in archives are not the ones that an event "
                f"{ARCHIVED} lists",
            )
        if self._said != self.before:
            raise TamperedError(
                self._said + 1, f"it is missing, and no event {ARCHIVED} says that it is elsewhere"
            )

    def _note_archive(self, number: int, event: Entry, most: int = MAX_WHOLE) -> None:
        """Take note of an event, if it says where the next entries are, up to `most`."""
        last = event.get("last")
        if (
            event.get("kind") == ARCHIVED
            and event.get("first") == self._said + 1
            and isinstance(last, int)
            and self._said < last < number
            and last <= most
        ):
            self._said = last

    def _check_archived(self, entry: Entry) -> None:
        last = entry.get("last")
        known = self._ends.get(last) if isinstance(last, int) else None
        if known is None:
            return
        if entry.get("last_hash") != known:
            raise _RefusedError(f"it says that entry {last} has another hash than it has")
        if last == self.before:
            if self.archived is not None:
                raise _RefusedError("an event before it has said where those entries are")
            self.archived = self.next_number(), entry

    def _check_link(self, stream: str, entry: Entry, entry_hash: str) -> None:
        if self._evidence is not None and not self.entries:
            self._roots = self._evidence.begin(stream, entry, entry_hash)
            if self._roots is not None and self._roots.before:
                self.before = self._roots.before
                self.last_hash = cast(str, entry["previous_hash"])
                self.end_part()
        if entry["previous_hash"] != self.last_hash:
            raise _RefusedError(
                "its previous_hash is not the hash of the entry before it: "
                "entries were removed, added or moved"
                if self.entries or self.before
                else "its previous_hash is not 64 zeros: the beginning of the chain is missing"
            )

    def next_number(self) -> int:
        """Return the number of the next entry, from 1."""
        return self.before + self.entries + 1

    def report(self) -> Report:
        """Return a description of the entries so far."""
        return Report(
            self.entries,
            self._stream,
            self._tenant_id,
            self._first_timestamp,
            self._last_timestamp,
            self.last_hash,
            self.before + 1,
            None if self.archived is None else self.archived[0],
            None if self._retained is None else self._retained.number,
        )


class _Retained:
    """What `chain.archived` says of retained events: how many, and one hash of all."""

    def __init__(self) -> None:
        self.number = 0
        self.last = 0
        self._sha256 = hashlib.sha256()

    def add(self, number: int, entry_hash: str) -> None:
        self.number, self.last = self.number + 1, number
        self._sha256.update(f"{number} {entry_hash}\n".encode())

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


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


def verify_path(
    path: str,
    each: Callable[[int, Entry, str], None] | None = None,
    evidence: Evidence | None = None,
    prefix: str = "audit",
    before: Sequence[str] = (),
    retained: str | None = None,
    wanted: str | None = None,
) -> Report:
    """Verify the chain in a file, in a directory of daily files or on `-`; return its description.

    Args:
        each: As for `Chain`.
        evidence: As for `Chain`.
        prefix: How the names of daily files begin.
        before: Directories of archives, in order: the same chain, before what is in `path`.
        retained: A file of events that were retained of those in archives.
        wanted: As for `Chain`.

    Raises:
        TamperedError: At the first entry that does not follow from those before it, or that
            cannot be read.
        NothingToCheckError: There is no such file, it is empty, or is of another stream.
    """
    chain = Chain(each, evidence, wanted)
    try:
        for directory in before:
            _verify_part(chain, directory, "audit")
            chain.end_archive(directory)
        if retained is not None:
            _read_retained(chain, retained)
        _verify_part(chain, path, prefix)
    except _ApartError as exc:
        raise NothingToCheckError(str(exc)) from None
    chain.check_retained()
    return chain.report()


def _verify_part(chain: Chain, path: str, prefix: str) -> None:
    try:
        if path == "-":
            _verify_standard_input(chain)
        elif os.path.isdir(path):
            for name, day in _daily_files(path, prefix):
                _verify_daily_file(chain, path, name, day)
        else:
            with open_regular(path, follow=True) as file:
                _verify_file(chain, file, path)
    except (OSError, ValueError) as exc:
        raise NothingToCheckError(f"cannot open {path!a}: {_why(exc)}") from None


def _read_retained(chain: Chain, path: str) -> None:
    """Add the events of a file in which each line is the number of an event, a space and it."""
    chain.begin_retained()
    at = 0
    try:
        with open_regular(path) as file:
            while line := file.readline(MAX_ENTRY_CHARACTERS):
                at += 1
                number, _, entry = line.rstrip(b"\n").partition(b" ")
                # 0 is the number of no event, so that line is refused.
                chain.retain(int(number) if _NUMBER.fullmatch(number) else 0, entry)
    except TamperedError as exc:
        # Not the number that the file gives: of the entries before it nothing is known.
        reason = f"of event {exc.number}: {exc.reason}"
        raise TamperedError(1, reason, path, at, exc.entry) from None
    except OSError as exc:
        raise NothingToCheckError(f"cannot open {path!a}: {_why(exc)}") from None


def archives_in(path: str) -> list[str]:
    """Return the archives of a directory, the oldest first; the directory itself, if it is one.

    Raises:
        NothingToCheckError: It has no archive.
    """
    names = _names(path)
    if any(is_daily_file(name, "audit") for name in names):
        return [path]
    found = sorted((int(name.partition("-")[0]), name) for name in names if _PART.fullmatch(name))
    if not found:
        raise NothingToCheckError(f"{path!a} holds no archive{_of_tenants(path, names)}")
    return [os.path.join(path, name) for _, name in found]


def _of_tenants(path: str, names: Sequence[str]) -> str:
    """Return what to give for a directory that has the archives of several tenants."""
    below = (os.path.join(path, each) for each in sorted(names))
    found = next((each for each in below if any(map(_PART.fullmatch, _names(each)))), None)
    return "" if found is None else f" itself, but those of each tenant: give one, as {found!a}"


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


def _daily_files(directory: str, prefix: str) -> list[tuple[str, range]]:
    """Return the names of the daily files, oldest first, with the seconds of their days."""
    days = []
    for name in sorted(os.listdir(directory)):
        if not is_daily_file(name, prefix):
            continue
        found = _DAY.fullmatch(name[len(prefix) + 1 : -len(".jsonl")])
        try:
            day = time.strptime(found.group() if found else "", "%Y-%m-%d")
        except ValueError:
            raise TamperedError(1, "the file is not named after a day", name, 1) from None
        days.append((name, range(calendar.timegm(day), calendar.timegm(day) + DAY_S)))
    if not days:
        has = any(_PART.fullmatch(each) for each in os.listdir(directory))
        hint = ". It holds archives: give one of them, or an export, and this with --archive" * has
        raise NothingToCheckError(f"{directory!a} holds no file {prefix}-YYYY-MM-DD.jsonl{hint}")
    return days


def is_daily_file(name: str, prefix: str) -> bool:
    """Return whether a file is a daily file by its name, or pretends to be one."""
    return name.startswith(f"{prefix}-") and name.endswith(".jsonl")


def _verify_daily_file(chain: Chain, directory: str, name: str, day: range) -> None:
    before = chain.entries
    try:
        with open_regular(os.path.join(directory, name)) as file:
            _verify_file(chain, file, name, day)
    except OSError as exc:
        number = chain.next_number()
        raise TamperedError(number, f"it cannot be read: {_why(exc)}", name, 1) from None
    except NothingToCheckError:
        pass
    if chain.entries == before:
        # The file of a day is made with its first entry, so it is never empty.
        raise TamperedError(chain.next_number(), "its file was emptied", name, 1)


def _verify_file(chain: Chain, file: BinaryIO, name: str, day: range | None = None) -> None:
    text = _Text(file)
    try:
        if not text.next_mark():
            raise NothingToCheckError(f"{name!a} is empty")
        for entry in _entries(text):
            chain.add_decoded(entry, day)
    except _RefusedError as exc:
        number = chain.next_number()
        raise TamperedError(number, str(exc), name, text.line(), exc.entry) from None


# Merkle trees. The data of a leaf are the 32 bytes of an entry's hash. Source: RFC 9162, 2.1.

HASH_BYTES = 32


class Tree:
    """The tree of the entries so far, of which only the roots of its whole subtrees are kept.

    Args:
        size: How many entries were before the first that is added.
        subtrees: The roots of their whole subtrees, the largest first.
    """

    def __init__(self, size: int = 0, subtrees: Sequence[bytes] = ()) -> None:
        self.size = size
        self._subtrees = list(subtrees)

    def add(self, entry_hash: str) -> None:
        """Add the next entry."""
        node = hashlib.sha256(b"\0" + bytes.fromhex(entry_hash)).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(b"\1" + self._subtrees.pop() + node).digest()
            size >>= 1
        self._subtrees.append(node)
        self.size += 1

    def subtrees(self) -> list[bytes]:
        """Return the roots of the whole subtrees, the largest first."""
        return self._subtrees[:]

    def root(self) -> bytes:
        """Return the root of all entries so far."""
        if not self._subtrees:
            return hashlib.sha256(b"").digest()
        return functools.reduce(lambda right, left: _node(left, right), reversed(self._subtrees))


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def leaf_hash(entry_hash: str) -> bytes:
    """Return the hash of an entry's leaf."""
    return hashlib.sha256(b"\0" + bytes.fromhex(entry_hash)).digest()


def root_of_path(
    leaf: bytes, index: int, size: int, path: Sequence[bytes]
) -> tuple[bytes, list[bytes]]:
    """Return the root that an inclusion proof leads to, and the subtrees before the leaf.

    These are the roots of the whole subtrees of the first `index` leaves, the largest first.
    Source: RFC 9162, 2.1.3.2.

    Raises:
        RefusedProofError: The path is not one of this leaf in a tree of this size.
    """
    _require(0 <= index < size, "the entry is not within the checkpoint")
    at, last, before = index, size - 1, []
    for node in path:
        _require(last > 0, "the proof is too long")
        if at & 1 or at == last:
            before.append(node)
            leaf = _node(node, leaf)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            leaf = _node(leaf, node)
        at, last = at >> 1, last >> 1
    _require(last == 0, "the proof is too short")
    return leaf, before[::-1]


def check_consistency(
    first: tuple[int, bytes], second: tuple[int, bytes], path: Sequence[bytes]
) -> None:
    """Check that the second tree, a size and a root, begins with the first. RFC 9162, 2.1.4.2.

    Raises:
        RefusedProofError: The path does not show that.
    """
    (size, old_root), (last, new_root) = first, second
    _require(0 < size <= last, "the proof is between sizes that it cannot be between")
    if size == last:
        _require(not path and old_root == new_root, "two roots are of one size, and differ")
        return
    nodes = list(path) if size & (size - 1) else [old_root, *path]
    _require(bool(nodes), "the proof is too short")
    at, last = size - 1, last - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        _require(last > 0, "the proof is too long")
        if at & 1 or at == last:
            old, new = _node(node, old), _node(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = _node(new, node)
        at, last = at >> 1, last >> 1
    _require(last == 0, "the proof is too short")
    _require(old == old_root, "the proof is of another history than the older checkpoint")
    _require(new == new_root, "the proof is of another history than the newer checkpoint")


# Signed notes and checkpoints. Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature.

MAX_NOTE_BYTES = 65_536
MAX_SIGNATURES = 100
STREAMS = ("actions", "events")
SERVICE = "~service"
"""The name of the service's own chain in an origin; its tenant is the empty text."""

ED25519, COSIGNATURE = 1, 4
"""The types of signatures that are checked: of a log, and of a witness with its time."""

_KEY_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_SIGNATURE_LINE = re.compile(r"\u2014 ([^\s+\x00-\x1f]+) ([A-Za-z0-9+/]+={0,2})")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class NoteKey:
    """A verifier key that was checked: `name+id+base64` of the type and the public key.

    Attributes:
        kind: `ED25519` or `COSIGNATURE`.
        key_id: Four bytes, of the name, the kind and the public key.
        numbers: The point.
    """

    name: str
    kind: int
    key_id: bytes
    public_key: bytes
    numbers: tuple[int, int]

    def text(self) -> str:
        """Return the key as C2SP writes it."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public_key)}"


def note_key(name: str, kind: int, public_key: bytes) -> NoteKey:
    """Return the key with its id.

    Raises:
        RefusedProofError: It is weak, or not a key.
    """
    _require(_KEY_NAME.fullmatch(name) is not None, "the name of a key has a space or a plus")
    _require(len(public_key) == HASH_BYTES, "the key's point has not 32 bytes")
    key_id = hashlib.sha256(f"{name}\n".encode() + bytes([kind]) + public_key).digest()[:4]
    return NoteKey(name, kind, key_id, public_key, _edwards_point(public_key))


def read_note_key(text: str) -> NoteKey:
    """Return a verifier key of the two kinds that are checked.

    Raises:
        RefusedProofError: It is another kind, weak, or not a key.
    """
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = _from_base64(encoded, "the verifier key")
    _require(data[:1] in (b"\x01", b"\x04"), "the verifier key is of an unknown kind")
    key = note_key(name, data[0], data[1:])
    _require(key.key_id.hex() == key_id, "the verifier key has the id of another key")
    return key


@dataclass(frozen=True)
class Note:
    """A text and its signatures: for each a name, a key's id, and the bytes after it."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]


def read_note(data: bytes) -> Note:
    """Return a signed note. Nothing is said of its signatures yet.

    Raises:
        RefusedProofError: It is not one.
    """
    _require(len(data) <= MAX_NOTE_BYTES, "the note is too long")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise RefusedProofError("the note is not UTF-8") from None
    _require(
        not any(character < " " and character != "\n" for character in whole),
        "the note has a control character",
    )
    text, blank, block = whole.rpartition("\n\n")
    _require(bool(blank) and block.endswith("\n"), "the note has no signatures, or is cut short")
    lines = block[:-1].split("\n")
    _require(len(lines) <= MAX_SIGNATURES, "the note has more than 100 signatures")
    return Note(f"{text}\n", tuple(map(_signature, lines)))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    found = _SIGNATURE_LINE.fullmatch(line)
    if found is None:
        raise RefusedProofError("a line of the note's signatures is not a signature")
    data = _from_base64(found.group(2), "a signature")
    _require(len(data) > 4, "a signature is too short")
    return found.group(1), data[:4], data[4:]


@dataclass(frozen=True)
class Checkpoint:
    """What a log says: so many entries, and their root."""

    origin: str
    size: int
    root: bytes
    note: Note

    @property
    def log(self) -> tuple[str, str] | None:
        """The tenant and the stream that the origin ends with, if it does."""
        tenant, stream = ["", *self.origin.split("/")][-2:]
        if stream not in STREAMS:
            return None
        return "" if tenant == SERVICE else unquote(tenant), stream


def read_checkpoint(data: bytes) -> Checkpoint:
    """Return a checkpoint. Nothing is said of its signatures yet.

    Raises:
        RefusedProofError: It is not one.
    """
    note = read_note(data)
    lines = note.text.split("\n")
    _require(len(lines) >= 4 and all(lines[:-1]), "the note is not a checkpoint")
    origin, size, root = lines[:3]
    _require(_DECIMAL.fullmatch(size) is not None, "the checkpoint's size is not a number")
    decoded = _from_base64(root, "the checkpoint's root")
    _require(len(decoded) == HASH_BYTES, "the checkpoint's root has not 32 bytes")
    return Checkpoint(origin, int(size), decoded, note)


def log_of(name: str) -> str:
    """Return the log of an origin: all chains of a log are signed with one key."""
    log, tenant, stream = ["", "", *name.rsplit("/", 2)][-3:]
    return log if log and tenant and stream in STREAMS else name


@dataclass(frozen=True)
class Signer:
    """A known key that has signed a checkpoint.

    Attributes:
        is_log: Whether it is the log's own key, else that of a witness.
        time: When, if its signature says so.
    """

    key: NoteKey
    is_log: bool
    time: int | None


def signers(checkpoint: Checkpoint, keys: Iterable[NoteKey]) -> list[Signer]:
    """Return the known keys that have signed the checkpoint, after a check of each signature.

    Signatures by unknown keys are passed over, as the specification has it.

    Raises:
        RefusedProofError: A signature by a known key is wrong.
    """
    origin, known = checkpoint.origin, {}
    for key in keys:
        if key.kind == COSIGNATURE:
            known[key.name, key.key_id] = key, False
        elif log_of(key.name) == log_of(origin):
            for kind in (ED25519, COSIGNATURE):
                own = note_key(origin, kind, key.public_key)
                known[origin, own.key_id] = own, True
    found = []
    for name, key_id, signature in dict.fromkeys(checkpoint.note.signatures):
        if (name, key_id) in known:
            key, is_log = known[name, key_id]
            time_signed = _check_note_signature(checkpoint.note.text, key, signature)
            found.append(Signer(key, is_log, time_signed))
    return found


def _check_note_signature(text: str, key: NoteKey, signature: bytes) -> int | None:
    """Return the time of the signature, if it says one."""
    message, time_signed = text.encode(), None
    if key.kind == COSIGNATURE:
        time_signed, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = f"cosignature/v1\ntime {time_signed}\n".encode() + message
        _require(time_signed <= MAX_TIMESTAMP, f"the signature of {key.name!a} has no valid time")
    _require(_is_eddsa(key.numbers, message, signature), f"the signature of {key.name!a} is wrong")
    return time_signed


def _followed(keys: list[NoteKey], notes: Iterable[object]) -> list[NoteKey]:
    """Return the keys, and those of the log that one of them has named as its successor.

    Raises:
        RefusedProofError: A note is not one, or is signed wrongly by a known key.
    """
    for each in notes:
        note = read_note(each.encode() if isinstance(each, str) else b"")
        kind, log, encoded, *_ = [*note.text.split("\n"), "", ""]
        _require(kind == "vyrox-checkpoint-key-v1", "a note of a new key is of another kind")
        for key in [key for key in keys if key.kind == ED25519 and log_of(key.name) == log]:
            own = note_key(log, ED25519, key.public_key)
            signed = [sig for name, id_, sig in note.signatures if (name, id_) == (log, own.key_id)]
            for signature in signed:
                _check_note_signature(note.text, own, signature)
            if signed:
                data = _from_base64(encoded, "a new key")
                _require(data[:1] == b"\1", "a new key is of an unknown kind")
                keys = [*keys, note_key(log, ED25519, data[1:])]
                break
    return keys


# Evidence: checkpoints, proofs and keys that lie beside an export, or were given with it.

MAX_FILE_BYTES = 1_048_576

Pins = frozenset[tuple[str, str]]
"""Pairs of an approver and a thumbprint, or of `discord` and its public key."""

KEYS_GIVEN, KEYS_BESIDE = "the file of keys", "keys.json beside the export"


@dataclass(frozen=True)
class Kept:
    """A checkpoint that was read.

    Attributes:
        is_kept: Whether it was given with `--checkpoint`. So it comes from elsewhere, and its root
            counts even if no key is known.
    """

    file: str
    checkpoint: Checkpoint
    is_kept: bool

    @property
    def stream(self) -> str | None:
        """The stream that its origin names, if any."""
        return None if self.checkpoint.log is None else self.checkpoint.log[1]


@dataclass(frozen=True)
class Proof:
    """A proof of RFC 9162, and of what.

    Attributes:
        number: That of an entry, or the size of the older tree.
        subject: The hash of the entry, or the root of the older tree.
    """

    kind: str
    tenant_id: str
    stream: str
    number: int
    subject: bytes
    size: int
    root: bytes
    path: list[bytes]


@dataclass(frozen=True)
class Judged:
    """A checkpoint, and what the entries show of it.

    Attributes:
        signers: The known keys that signed it.
        counts: Whether it proves the entries up to its size.
        problem: Why it does not hold, or None.
    """

    kept: Kept
    signers: list[Signer]
    counts: bool
    problem: str | None


class Roots:
    """The roots of a chain at the sizes of its checkpoints. Nothing else of the tree is kept.

    Attributes:
        before: How many entries of the chain are before the first one of the export.
        at: The roots, by the number of entries.
    """

    def __init__(self, sizes: Iterable[int], tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self.before = self.tree.size
        self.at: dict[int, bytes] = {}
        self._sizes = frozenset(sizes)
        self._keep()

    def add(self, entry_hash: str) -> None:
        """Add the next entry."""
        self.tree.add(entry_hash)
        if self.tree.size in self._sizes:
            self._keep()

    def _keep(self) -> None:
        self.at[self.tree.size] = self.tree.root()


class Evidence:
    """All that is known of a log beside its entries.

    Attributes:
        keys: The keys of logs and witnesses that count.
        witnesses: Those of witnesses that were given, so the export does not name them itself.
        pins: The approvers' keys that count, or None if all do.
        named: The approvers' keys that `keys.json` beside the export lists, or None without it.
        source: Where `keys` are from, for people; None without a key of a log.
        problems: What lies beside the export and cannot be read, and why.
        roots: By the stream, for each chain that was read.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.proofs: list[Proof] = []
        self.keys: list[NoteKey] = []
        self.witnesses: list[NoteKey] = []
        self.pins: Pins | None = None
        self.named: Pins | None = None
        self.source: str | None = None
        self.problems: list[str] = []
        self.roots: dict[str, Roots] = {}

    def read_beside(self, path: str, streams: Iterable[str] = STREAMS) -> None:
        """Read what lies beside an export of these streams, or in its directory."""
        if path == "-":
            return
        directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
        for stream in streams:
            for name in ("checkpoint", "cosigned"):
                self._try(self._read_checkpoint, directory, f"{name}-{stream}.txt")
            self._try(self._read_proof, directory, f"proof-{stream}.json")
        self._try(self._read_keys_beside, directory, "keys.json")

    def read_beside_archive(self, directory: str) -> None:
        """Read the checkpoints and the proof of an archive; keys count from the export alone."""
        for name in ("checkpoint", "cosigned"):
            self._try(self._read_checkpoint, directory, f"{name}-events.txt")
        self._try(self._read_proof, directory, "proof-events.json")

    def _try(self, read: Callable[[str], None], directory: str, name: str) -> None:
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            try:
                read(path)
            except RefusedProofError as exc:
                problem = f"{name}: {exc}"
                self.problems += [] if problem in self.problems else [problem]

    def _read_checkpoint(self, path: str) -> None:
        self.kept.append(Kept(os.path.basename(path), read_checkpoint(_whole(path)), False))

    def _read_proof(self, path: str) -> None:
        self.proofs.append(read_proof(_whole(path)))

    def _read_keys_beside(self, path: str) -> None:
        keys = read_keys(_whole(path))
        self.named = keys.pins
        if self.source is None and keys.notes:
            self.keys, self.source = [*self.keys, *keys.notes], KEYS_BESIDE
        self.keys = _followed(self.keys, keys.successions)

    def read_given(
        self, checkpoints: Iterable[str], proofs: Iterable[str], keys: str | None
    ) -> None:
        """Read the files that the command line names.

        Raises:
            NothingToCheckError: One of them is not what it must be.
        """
        path = ""
        try:
            for path in checkpoints:
                self.kept.append(Kept(path, read_checkpoint(_whole(path, follow=True)), True))
            for path in proofs:
                self.proofs.append(read_proof(_whole(path, follow=True)))
            if keys is not None:
                path = keys
                self._read_keys_given(path)
        except RefusedProofError as exc:
            raise NothingToCheckError(f"cannot read {path!a}: {exc}") from None

    def _read_keys_given(self, path: str) -> None:
        data = _whole(path, follow=True)
        keys = read_keys(data) if data.lstrip()[:1] == b"{" else read_key_lines(data)
        self.keys, self.pins = _followed(keys.notes, keys.successions), keys.pins
        self.witnesses = [each for each in self.keys if each.kind == COSIGNATURE]
        if len(self.keys) > len(self.witnesses):
            self.source = KEYS_GIVEN

    def begin(self, stream: str, entry: Entry, entry_hash: str) -> Roots | None:
        """Return where the roots of a chain are kept, from its first entry on.

        Raises:
            _RefusedError: It is not the first of the chain, and no proof shows which one it is.
        """
        tree = None
        if entry["previous_hash"] != GENESIS:
            tree = self._tree_before(stream, entry_hash)
        tenants = {each.tenant_id for each in self.proofs} - {entry["tenant_id"]}
        _refuse_unless(not tenants, "a proof is of another tenant")
        sizes = {each.checkpoint.size for each in self.kept}
        self.roots[stream] = roots = Roots(sizes, tree)
        return roots if sizes or tree else None

    def _tree_before(self, stream: str, entry_hash: str) -> Tree:
        """Return the tree of the entries before the first one of a range."""
        for proof in self._of("inclusion", stream):
            index = proof.number - 1
            try:
                root, before = root_of_path(leaf_hash(entry_hash), index, proof.size, proof.path)
            except RefusedProofError:
                continue
            known = {(each.checkpoint.size, each.checkpoint.root) for each in self.kept}
            if proof.subject.hex() == entry_hash and (proof.size, root) in known:
                _refuse_unless(proof.root == root, "its proof names another root than it leads to")
                return Tree(index, before)
        raise _RefusedError(
            "its previous_hash is not 64 zeros: the beginning of the chain is missing"
            + (", and no proof leads from it to a checkpoint" if self.proofs else "")
        )

    def _of(self, kind: str, stream: str) -> list[Proof]:
        return [each for each in self.proofs if (each.kind, each.stream) == (kind, stream)]

    def judge(self, report: Report, stream: str) -> list[Judged]:
        """Return what the entries of a stream show of each of its checkpoints."""
        return [
            self._judge(each, report, stream) for each in self.kept if each.stream in (stream, None)
        ]

    def _judge(self, kept: Kept, report: Report, stream: str) -> Judged:
        checkpoint = kept.checkpoint
        signed: list[Signer] = []
        try:
            signed = signers(checkpoint, self.keys)
            is_signed = any(each.is_log for each in signed)
            _require(
                is_signed or kept.is_kept or self.source is None,
                f"no key of the log in {self.source} has signed it",
            )
            _require(
                checkpoint.log is None or report.tenant_id in (checkpoint.log[0], None),
                "it is of another tenant",
            )
            self._check_root(checkpoint, report, stream)
        except RefusedProofError as exc:
            return Judged(kept, signed, False, str(exc))
        return Judged(kept, signed, kept.is_kept or is_signed, None)

    def _check_root(self, checkpoint: Checkpoint, report: Report, stream: str) -> None:
        roots, size = self.roots.get(stream) or Roots([0]), checkpoint.size
        end = roots.before + report.entries
        if roots.before and size < roots.before:
            self._check_before(checkpoint, roots, stream)
            return
        _require(
            size <= end,
            f"it has {size} entries, but the export ends at entry {end}: the end is missing",
        )
        _require(
            roots.at.get(size) == checkpoint.root,
            f"entries 1 to {size} are not those of the checkpoint: entries were changed, removed "
            "or added, or the log was replaced",
        )

    def _check_before(self, old: Checkpoint, roots: Roots, stream: str) -> None:
        """Check a checkpoint that ends before the range begins."""
        for proof in self._of("consistency", stream):
            root = roots.at.get(proof.size)
            if proof.number == old.size and root is not None:
                check_consistency((old.size, old.root), (proof.size, root), proof.path)
                named = proof.subject, proof.root
                _require(named == (old.root, root), "the proof names other roots than it is of")
                return
        raise RefusedProofError(
            f"it has {old.size} entries, the export begins at entry {roots.before + 1}, and no "
            "consistency proof was given from the one to the other"
        )

    def forks(self) -> list[tuple[Kept, Kept]]:
        """Return the pairs of checkpoints with which a log contradicts itself.

        Both are signed by a known key of the log, or were given.
        """
        said = [each for each in self.kept if each.is_kept or self._is_signed(each.checkpoint)]
        return [
            (one, other)
            for one, other in itertools.combinations(said, 2)
            if (one.checkpoint.origin, one.checkpoint.size)
            == (other.checkpoint.origin, other.checkpoint.size)
            and one.checkpoint.root != other.checkpoint.root
        ]

    def _is_signed(self, checkpoint: Checkpoint) -> bool:
        try:
            return any(each.is_log for each in signers(checkpoint, self.keys))
        except RefusedProofError:
            return False


def _refuse_unless(holds: bool, reason: str) -> None:
    if not holds:
        raise _RefusedError(reason)


def _whole(path: str, *, follow: bool = False) -> bytes:
    """Return the content of a small file.

    Raises:
        RefusedProofError: It cannot be read, or is not small.
    """
    try:
        with open_regular(path, follow=follow) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise RefusedProofError(_why(exc)) from None
    _require(len(data) <= MAX_FILE_BYTES, "it is too large")
    return data


def read_proof(data: bytes) -> Proof:
    """Return a proof, as `/audit/proof` answers. Nothing is said of its path yet.

    Raises:
        RefusedProofError: It is not one.
    """
    members = _foreign_object(data, "the proof")
    kind = _text_of(members, "kind")
    _require(kind in ("inclusion", "consistency"), "the proof is of an unknown kind")
    if kind == "inclusion":
        number, subject = _number_of(members, "entry"), _from_hex(_text_of(members, "hash"))
    else:
        number, subject = _number_of(members, "old_size"), _hash_of(members.get("old_root"))
    path = members.get("proof")
    _require(isinstance(path, list) and len(path) <= 128, "the proof has no path, or a long one")
    return Proof(
        kind,
        _text_of(members, "tenant_id"),
        _text_of(members, "stream"),
        number,
        subject,
        _number_of(members, "size"),
        _hash_of(members.get("root")),
        [_hash_of(each) for each in cast("list[object]", path)],
    )


def _from_hex(text: str) -> bytes:
    _require(_HEX_KEY.fullmatch(text) is not None, "a hash is not lower-case hex")
    return bytes.fromhex(text)


def _hash_of(value: object) -> bytes:
    node = _from_base64(value if isinstance(value, str) else "", "a hash of the proof")
    _require(len(node) == HASH_BYTES, "a hash of the proof has not 32 bytes")
    return node


@dataclass(frozen=True)
class Keys:
    """What a file of keys has.

    Attributes:
        notes: Of logs and witnesses.
        pins: Of approvers and of Discord; None if the file says nothing of them.
        successions: Notes with which a key of a log names the next one.
    """

    notes: list[NoteKey]
    pins: Pins | None
    successions: list[object] = field(default_factory=list)


def read_keys(data: bytes) -> Keys:
    """Return what `keys.json` has.

    Raises:
        RefusedProofError: It is something else.
    """
    members = _foreign_object(data, "the file of keys")
    pins = {
        (_text_of(each, "approver"), _text_of(each, "thumbprint"))
        for each in _objects(members.get("approvers"))
    }
    pins |= {("discord", _text_of(each, "public_key")) for each in _objects(members.get("discord"))}
    keys = [
        read_note_key(_text_of(each, "key"))
        for name in ("log_keys", "witnesses")
        for each in _objects(members.get(name))
    ]
    successions = members.get("successions")
    has_pins = "approvers" in members or "discord" in members
    return Keys(
        keys,
        frozenset(pins) if has_pins else None,
        successions if isinstance(successions, list) else [],
    )


def read_key_lines(data: bytes) -> Keys:
    """Return the keys of a file with one on each line.

    A line is the key of a log or a witness as C2SP writes it, or a name, white space, and a
    thumbprint or a public key. A thumbprint may be in groups, as the console displays it.
    What `vyrox audit key` prints is such a file too, with the notes that name the next keys.

    Raises:
        RefusedProofError: A line is something else.
    """
    notes, pins = [], set()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise RefusedProofError("it is not UTF-8") from None
    successions: list[object] = [found.group(1) for found in _SUCCESSION.finditer(text)]
    text = _SUCCESSION.sub(lambda found: "\n" * found.group().count("\n"), text)
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        key = "".join(words[1:])
        if words[0] in ("log", *STREAMS) and len(words) == 2 and "+" in key:
            words = [key]
        if len(words) == 1 and "+" in line:
            notes.append(read_note_key(words[0]))
        elif _PIN.fullmatch(key):
            pins.add((words[0], key))
        else:
            raise RefusedProofError(f"line {number} is not a name and a key")
    return Keys(notes, None if notes and not pins else frozenset(pins), successions)


_SUCCESSION = re.compile(
    r"^(?:key [0-9]+ was endorsed by the key before:\n\n)?"
    r"(vyrox-checkpoint-key-v1\n(?:.+\n)+\n(?:\u2014 .+\n)+)",
    re.MULTILINE,
)

_PIN = re.compile(r"[A-Za-z0-9_-]{43}|[0-9a-f]{64}")


# Approvals: who decided on an action, with which proof. docs/AUDIT_CHAIN.md lists the checks.

MAX_BODY_BYTES = 32_768
"""Largest body of a Discord click."""

RSA_BITS = range(2048, 8193)
"""A shorter modulus can be factored; a longer one would let a key delay the verifier."""

MAX_RSA_EXPONENT = 2**32

DRILL = "DRILL"
"""The action of a proposal by which people only show that they can answer."""

FOUR_EYES = "four-eyes"
"""The rule that the person who asked never counts."""

BY_CALLER = "a caller with the shared secret asked for it"
BREAK_GLASS = "break glass, without an approval"
NAMES_PROPOSAL = "approved_by names a proposal, but no event dispatches it"
CLOCKS_APART_S = 300
"""How far the clocks of two containers may be apart: each dates the entries that it writes."""

NAMES_LEASE = "approved_by names a lease, but no event lifts by it"
NAMES_BREAK_GLASS = "approved_by says break glass, but no event records that"

CHANGE_S = 86_400
"""So long a change of who may decide waits for endorsements."""

TWO = 2
"""As many approvers must endorse that a rule ends."""

DISPATCH_S = 60
"""After the last approval that was needed, the action is begun within this time (A10)."""

RESET_S = 86_400 - 300
"""For a day after a reset a person is not one of two. Clocks may differ by five minutes."""


class RefusedProofError(ValueError):
    """A key, a proposal or a proof that a check refuses. The text is ASCII."""


@dataclass(frozen=True)
class Key:
    """A passkey whose numbers were checked.

    Attributes:
        numbers: The point of ES256 and EdDSA, in affine coordinates; n and e of RS256.
        thumbprint: Of RFC 7638, as base64url.
    """

    approver: str
    credential_id: str
    alg: str
    numbers: tuple[int, int]
    rp_id: str
    origin: str
    thumbprint: str


def check_proposal(text: str, proposal_sha256: str) -> Entry:
    """Return a proposal's members, once its text is canonical and has this digest.

    Raises:
        RefusedProofError: It is not, or has not.
    """
    proposal = _canonical_object(text, "the proposal")
    for name in ("id", "tenant_id", "action_type", "host", "requested_by", "reason"):
        _text_of(proposal, name)
    for name in ("v", "required", "created_at", "expires_at", "lease_s"):
        _number_of(proposal, name)
    _require(proposal["v"] == 1, "the proposal is of another version")
    _require(_number_of(proposal, "required") >= 1, "the proposal requires no approver")
    digest = hashlib.sha256(b"vyrox-proposal-v1\n" + text.encode()).hexdigest()
    _require(digest == proposal_sha256, "the proposal's digest is not that of its text")
    return proposal


def check_key(members: Mapping[str, object]) -> Key:
    """Return the key of an `approver.key_added` event, once no weakness of it is found.

    Raises:
        RefusedProofError: It is weak, or not a key.
    """
    alg = _text_of(members, "alg")
    _require(alg in _KEY_CHECKS, f"the key's algorithm {alg!a} is unknown")
    numbers, public = _KEY_CHECKS[alg](members)
    # RFC 7638: the required members, sorted, without white space.
    thumbprint = hashlib.sha256(_ENCODER.encode(public).encode("ascii")).digest()
    credential_id = _text_of(members, "credential_id")
    _require(bool(_from_base64url(credential_id, "credential_id")), "credential_id is empty")
    return Key(
        _text_of(members, "approver"),
        credential_id,
        alg,
        numbers,
        _text_of(members, "rp_id"),
        _text_of(members, "origin"),
        _base64url(thumbprint),
    )


def check_passkey(decided: Mapping[str, object], key: Key) -> None:
    """Check the proof in an `approval.decided` event against the key enrolled at that time.

    Raises:
        RefusedProofError: It does not show that this key decided so on this proposal.
    """
    statement_text = _text_of(decided, "statement")
    _check_statement(_canonical_object(statement_text, "the statement"), decided)
    challenge = hashlib.sha256(b"vyrox-decision-v1\n" + statement_text.encode()).digest()
    _require(key.approver == decided.get("approver"), "the key is of another approver")
    check_assertion(decided, key, challenge)


def check_assertion(members: Mapping[str, object], key: Key, challenge: bytes) -> None:
    """Check what a key has signed.

    Raises:
        RefusedProofError: It does not show that this key answered this challenge.
    """
    client_data = _from_base64url(_text_of(members, "client_data"), "client_data")
    check_client_data(client_data, "webauthn.get", challenge, key.origin)
    authenticator_data = _from_base64url(
        _text_of(members, "authenticator_data"), "authenticator_data"
    )
    _check_authenticator_data(authenticator_data, key.rp_id)
    signature = _from_base64url(_text_of(members, "signature"), "signature")
    signed = authenticator_data + hashlib.sha256(client_data).digest()
    _require(key.credential_id == members.get("credential_id"), "the key has another id")
    _require(_SIGNATURE_CHECKS[key.alg](key.numbers, signed, signature), "the signature is wrong")


Purpose = tuple[bytes, str, Mapping[str, str]]

ENDORSEMENT: Purpose = (b"vyrox-endorsement-v1\n", "change_sha256", {"kind": "endorse"})
ACKNOWLEDGEMENT: Purpose = (b"vyrox-acknowledgement-v1\n", "break_glass_sha256", {})
"""Of a statement that decides on no proposal: its domain, the digest's name, fixed members."""


def check_signed(signed: Mapping[str, object], key: Key, purpose: Purpose) -> None:
    """Check the proof of an endorsement or an acknowledgement as `check_passkey` does.

    Raises:
        RefusedProofError: It does not show that this key signed that.
    """
    domain, digest, fixed = purpose
    text = _text_of(signed, "statement")
    statement = _canonical_object(text, "the statement")
    _check_statement_members(statement, {"tenant_id", digest, *fixed})
    for name in ("tenant_id", digest, "approver", *fixed):
        _check_same(statement, {**signed, **fixed}, name)
    check_assertion(signed, key, hashlib.sha256(domain + text.encode()).digest())


def _check_statement(statement: Entry, decided: Mapping[str, object]) -> None:
    _check_statement_members(statement, {"proposal_sha256", "decision", "comment"})
    _text_of(statement, "comment")
    for name in ("proposal_sha256", "decision", "approver"):
        _check_same(statement, decided, name)


def _check_statement_members(statement: Entry, own: set[str]) -> None:
    _require(
        set(statement) == {"v", "approver", "issued_at", "nonce"} | own,
        "the statement has other members than a statement",
    )
    _require(
        _number_of(statement, "v") == 1 and _number_of(statement, "issued_at") >= 0,
        "the statement is of another version, or of no time",
    )
    nonce = _from_base64url(_text_of(statement, "nonce"), "nonce")
    _require(len(nonce) == 16, "the statement's nonce has not 16 bytes")


def _check_same(statement: Entry, entry: Mapping[str, object], name: str) -> None:
    _require(
        _text_of(statement, name) == _text_of(entry, name), f"the statement has another {name}"
    )


def check_client_data(client_data: bytes, ceremony: str, challenge: bytes, origin: str) -> None:
    """Check what the browser says that it signed.

    Args:
        ceremony: `webauthn.get` or `webauthn.create`.

    Raises:
        RefusedProofError: It is of another ceremony, challenge or origin, or from within a page of
            another origin.
    """
    data = _foreign_object(client_data, "client_data")
    _require(data.get("type") == ceremony, "client_data has another type")
    _require(data.get("challenge") == _base64url(challenge), "client_data has another challenge")
    _require(data.get("origin") == origin, "client_data has another origin than the key")
    _require(data.get("crossOrigin", False) is False, "client_data is crossOrigin")
    _require("topOrigin" not in data, "client_data has a topOrigin")


def _check_authenticator_data(data: bytes, rp_id: str) -> None:
    _require(len(data) >= 37, "authenticator_data is shorter than 37 bytes")
    _require(
        data[:32] == hashlib.sha256(rp_id.encode()).digest(),
        "authenticator_data is of another RP ID than the key",
    )
    flags = data[32]
    _require(flags & 0x01 != 0, "the user was not present (UP)")
    _require(flags & 0x04 != 0, "the user was not verified (UV)")
    _require(flags & 0x18 != 0x10, "a key that cannot be backed up says it is (BS without BE)")


@dataclass(frozen=True)
class Discord:
    """What `discord.configured` says: the ids, and the point of the Ed25519 key."""

    application_id: str
    guild_id: str
    channel_id: str
    bot_user_id: str
    public_key: str
    numbers: tuple[int, int]


def check_discord_configuration(members: Mapping[str, object]) -> Discord:
    """Return the Discord application of a `discord.configured` event.

    Raises:
        RefusedProofError: Its key is weak, or not a key.
    """
    public_key = _text_of(members, "public_key")
    _require(_HEX_KEY.fullmatch(public_key) is not None, "public_key is not lower-case hex")
    return Discord(
        _text_of(members, "application_id"),
        _text_of(members, "guild_id"),
        _text_of(members, "channel_id"),
        _text_of(members, "bot_user_id"),
        public_key,
        _edwards_point(bytes.fromhex(public_key)),
    )


def check_discord(
    decided: Mapping[str, object], proposal: Entry, discord: Discord, user_id: str
) -> None:
    """Check the click in an `approval.decided` event.

    Args:
        user_id: The approver's, at that time.

    Raises:
        RefusedProofError: It does not show that this account decided so under this proposal's text.
    """
    timestamp = _text_of(decided, "signature_timestamp")
    signature = _text_of(decided, "signature")
    _require(_TEN_DIGITS.fullmatch(timestamp) is not None, "signature_timestamp has not 10 digits")
    _require(_HEX_SIGNATURE.fullmatch(signature) is not None, "signature is not lower-case hex")
    body = _from_base64url(_text_of(decided, "body"), "body")
    _require(body[:1] == b"{" and len(body) <= MAX_BODY_BYTES, "body is not a click")
    _require(
        _is_eddsa(discord.numbers, timestamp.encode() + body, bytes.fromhex(signature)),
        "the signature is wrong",
    )
    _require(
        _number_of(proposal, "created_at") <= int(timestamp) <= _number_of(proposal, "expires_at"),
        "the signed time is not within the proposal's life",
    )
    click = _foreign_object(body, "body")
    _check_click(click, decided, discord)
    _check_message(_object_of(click, "message"), _custom_id(decided), proposal, discord)
    user = _object_of(_object_of(click, "member"), "user")
    _require(user.get("id") == user_id, "the click is of another account than the approver's")


def _check_click(click: Entry, decided: Mapping[str, object], discord: Discord) -> None:
    # 3 is a button, 5 a form. The button Reject only opens the form; sending the form rejects.
    kind = 3 if decided.get("decision") == "approve" else 5
    _require(type(click.get("type")) is int and click["type"] == kind, "the click's type is wrong")
    for name in ("application_id", "guild_id", "channel_id"):
        _require(click.get(name) == getattr(discord, name), f"the click has another {name}")
    custom_id = _object_of(click, "data").get("custom_id")
    _require(custom_id == _custom_id(decided), "the click has another custom_id")


def _check_message(message: Entry, custom_id: str, proposal: Entry, discord: Discord) -> None:
    author = _object_of(message, "author")
    _require(author.get("id") == discord.bot_user_id, "the message is of another author")
    _require(custom_id in _custom_ids(message), "the message has no such button")
    content = message.get("content")
    _require(
        isinstance(content, str) and content.endswith(f"```\n{display(proposal)}\n```"),
        "the message does not end with the proposal's text",
    )


def _custom_id(decided: Mapping[str, object]) -> str:
    digest = bytes.fromhex(_text_of(decided, "proposal_sha256"))
    return f"v1:{_text_of(decided, 'decision')[0]}:{_base64url(digest)}"


def _custom_ids(message: Entry) -> Iterator[object]:
    """Yield the ids of the buttons in the rows of a message."""
    for row in _objects(message.get("components")):
        for button in _objects(row.get("components")):
            yield button.get("custom_id")


def _objects(value: object) -> Iterator[Entry]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


# Strict readers: one form for each value, so no other bytes pass as the same.

_HEX_KEY = re.compile(r"[0-9a-f]{64}")
_HEX_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_TEN_DIGITS = re.compile(r"[0-9]{10}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

_FOREIGN_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_whole_number, parse_constant=_no_fraction
)
"""For JSON that browsers and Discord write: its fractions are of no interest."""


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise RefusedProofError(reason)


def _text_of(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if type(value) is not str:
        raise RefusedProofError(f"{name} is not text")
    return value


def _number_of(members: Mapping[str, object], name: str) -> int:
    value = members.get(name)
    if type(value) is not int:
        raise RefusedProofError(f"{name} is not a whole number")
    return value


def _object_of(members: Entry, name: str) -> Entry:
    value = members.get(name)
    if not isinstance(value, dict):
        raise RefusedProofError(f"{name} is not an object")
    return value


def _canonical_object(text: str, name: str) -> Entry:
    """Return the object of a text that is its canonical JSON. Names of members are ASCII."""
    try:
        value = _DECODER.decode(text)
        if isinstance(value, dict) and _ENCODER.encode(value) == text:
            return value
    except (ValueError, RecursionError):
        pass
    raise RefusedProofError(f"{name} is not canonical JSON, or has a member twice")


def _foreign_object(data: bytes, name: str) -> Entry:
    try:
        value = _FOREIGN_DECODER.decode(data.decode())
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError):
        pass
    raise RefusedProofError(f"{name} is not a JSON object, or has a member twice")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str, name: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data = b""
    _require(_base64(data) == text, f"{name} is not base64")
    return data


def _from_base64url(text: str, name: str) -> bytes:
    if _BASE64URL.fullmatch(text) is not None and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if _base64url(data) == text:
            return data
    raise RefusedProofError(f"{name} is not base64url")


# Points of both curves are in projective coordinates, with addition formulas that hold for every
# pair of points, equal ones and the identity included. Nothing here is secret, so time may vary.

Point = tuple[int, ...]

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_P_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    1,
)
"""P-256. Source: SEC 2, 2.4.2."""

_Q = 2**255 - 19
_E_D = -121665 * pow(121666, -1, _Q) % _Q
_E_ORDER = 2**252 + 27742317777372353535851937790883648493
_E_BASE_Y = 4 * pow(5, -1, _Q) % _Q
"""Edwards25519. Source: RFC 8032, 5.1."""


Add = Callable[[Point, Point], Point]


def _combine(add: Add, zero: Point, a: int, p: Point, b: int, q: Point) -> Point:
    """Return a * p + b * q, for factors below 2^256."""
    result = zero
    for factor, point in ((a, p), (b, q)):
        for row in _multiples(add, zero, point):
            result = add(result, row[factor & 15])
            factor >>= 4
    return result


@functools.lru_cache(maxsize=64)
def _multiples(add: Add, zero: Point, point: Point) -> list[list[Point]]:
    """Return 0 to 15 times the point, then 0 to 15 times 16 times the point, and so on.

    With this table a key's second proof needs a third of the time of its first.
    """
    rows = []
    for _ in range(64):
        row = [zero]
        for _ in range(15):
            row.append(add(row[-1], point))
        rows.append(row)
        point = add(row[-1], point)
    return rows


def _add_p256(p: Point, q: Point) -> Point:
    """Return p + q. Source: Renes, Costello, Batina 2016, complete formulas, with a = -3."""
    (x1, y1, z1), (x2, y2, z2) = p, q
    xx, yy, zz = x1 * x2 % _P, y1 * y2 % _P, z1 * z2 % _P
    xy = (x1 * y2 + x2 * y1) % _P
    xz = (x1 * z2 + x2 * z1) % _P
    yz = (y1 * z2 + y2 * z1) % _P
    shift = 3 * (_P_B * zz - xz) % _P
    slope = 3 * (xx - zz) % _P
    rest = 3 * (_P_B * xz - xx - 3 * zz) % _P
    minus, plus = yy - shift, yy + shift
    return (
        (xy * minus - yz * rest) % _P,
        (slope * rest + plus * minus) % _P,
        (yz * plus + xy * slope) % _P,
    )


def _add_edwards(p: Point, q: Point) -> Point:
    """Return p + q. Source: RFC 8032, 5.1.4."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = p, q
    a = (y1 - x1) * (y2 - x2) % _Q
    b = (y1 + x1) * (y2 + x2) % _Q
    c = 2 * _E_D * t1 * t2 % _Q
    d = 2 * z1 * z2 % _Q
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _Q, g * h % _Q, f * g % _Q, e * h % _Q


def _extended(x: int, y: int) -> Point:
    return x, y, 1, x * y % _Q


def _edwards_point(encoded: bytes) -> tuple[int, int]:
    """Return a public key's point. Source: RFC 8032, 5.1.3.

    Raises:
        RefusedProofError: It is not on the curve, not in its only form, or of small order: one
            signature would fit every message.
    """
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    sign = encoded[31] >> 7
    _require(y < _Q, "the key's point is not in its only form")
    u, v = y * y - 1, _E_D * y * y + 1
    x = u * pow(v, 3, _Q) * pow(u * pow(v, 7, _Q), (_Q - 5) // 8, _Q) % _Q
    if (v * x * x - u) % _Q:
        x = x * pow(2, (_Q - 1) // 4, _Q) % _Q
    _require((v * x * x - u) % _Q == 0, "the key's point is not on the curve")
    _require(x != 0, "the key's point is of small order")
    if x & 1 != sign:
        x = _Q - x
    point = _extended(x, y)
    for _ in range(3):
        point = _add_edwards(point, point)
    _require(point[0] != 0 or point[1] != point[2], "the key's point is of small order")
    return x, y


_E_BASE = _extended(*_edwards_point(_E_BASE_Y.to_bytes(32, "little")))


def _es256_key(members: Mapping[str, object]) -> tuple[tuple[int, int], Entry]:
    x, y = (_from_base64url(_text_of(members, name), name) for name in ("x", "y"))
    _require(len(x) == len(y) == 32, "the key's point has not 2 times 32 bytes")
    numbers = int.from_bytes(x, "big"), int.from_bytes(y, "big")
    _require(
        max(numbers) < _P and (numbers[1] ** 2 - numbers[0] ** 3 + 3 * numbers[0] - _P_B) % _P == 0,
        "the key's point is not on the curve",
    )
    return numbers, {"crv": "P-256", "kty": "EC", "x": members["x"], "y": members["y"]}


def _eddsa_key(members: Mapping[str, object]) -> tuple[tuple[int, int], Entry]:
    x = _from_base64url(_text_of(members, "x"), "x")
    _require(len(x) == 32, "the key's point has not 32 bytes")
    return _edwards_point(x), {"crv": "Ed25519", "kty": "OKP", "x": members["x"]}


def _rs256_key(members: Mapping[str, object]) -> tuple[tuple[int, int], Entry]:
    modulus, exponent = (_from_base64url(_text_of(members, name), name) for name in ("n", "e"))
    _require(modulus[:1] != b"\0" != exponent[:1], "the key's n or e begins with a zero")
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    _require(
        n.bit_length() in RSA_BITS and n % 2 == 1, "the key's n has a wrong length, or is even"
    )
    _require(3 <= e < MAX_RSA_EXPONENT and e % 2 == 1, "the key's e is wrong")
    return (n, e), {"e": members["e"], "kty": "RSA", "n": members["n"]}


_KEY_CHECKS: dict[str, Callable[[Mapping[str, object]], tuple[tuple[int, int], Entry]]] = {
    "ES256": _es256_key,
    "EdDSA": _eddsa_key,
    "RS256": _rs256_key,
}


def _is_es256(key: tuple[int, int], message: bytes, signature: bytes) -> bool:
    """Source: FIPS 186-5, 6.4.2."""
    if not 8 <= len(signature) <= 72:
        return False
    # Read as if it were the shortest DER, write that, and compare: any other encoding differs.
    r_end = 4 + signature[3]
    r = int.from_bytes(signature[4:r_end], "big")
    s = int.from_bytes(signature[r_end + 2 :], "big")
    numbers = _der_integer(r) + _der_integer(s)
    if signature != bytes((0x30, len(numbers))) + numbers:
        return False
    if not (0 < r < _P_ORDER and 0 < s < _P_ORDER):
        return False
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, _P_ORDER)
    a, b = digest * inverse % _P_ORDER, r * inverse % _P_ORDER
    x, _, z = _combine(_add_p256, (0, 1, 0), a, _P_BASE, b, (*key, 1))
    return z != 0 and x * pow(z, -1, _P) % _P % _P_ORDER == r


def _der_integer(number: int) -> bytes:
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes((0x02, len(encoded))) + encoded


def _is_eddsa(key: tuple[int, int], message: bytes, signature: bytes) -> bool:
    """Source: RFC 8032, 5.1.7, without the cofactor, as OpenSSL does."""
    if len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= _E_ORDER:
        return False
    public = _edwards_bytes(_extended(*key))
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    k = int.from_bytes(digest, "little") % _E_ORDER
    minus_key = _extended(_Q - key[0], key[1])
    point = _combine(_add_edwards, (0, 1, 1, 0), s, _E_BASE, k, minus_key)
    return _edwards_bytes(point) == signature[:32]


def _edwards_bytes(point: Point) -> bytes:
    inverse = pow(point[2], -1, _Q)
    x, y = point[0] * inverse % _Q, point[1] * inverse % _Q
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _is_rs256(key: tuple[int, int], message: bytes, signature: bytes) -> bool:
    """Source: RFC 8017, 8.2.2: the padded block is built and compared, never parsed."""
    n, e = key
    size = (n.bit_length() + 7) // 8
    s = int.from_bytes(signature, "big")
    if len(signature) != size or s >= n:
        return False
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    end = b"\0" + prefix + hashlib.sha256(message).digest()
    return pow(s, e, n).to_bytes(size, "big") == b"\0\1" + b"\xff" * (size - 2 - len(end)) + end


_SIGNATURE_CHECKS = {"ES256": _is_es256, "EdDSA": _is_eddsa, "RS256": _is_rs256}


# The text that people decide on, in every channel.

MAX_DISPLAY = 1_500


def display(proposal: Entry) -> str:
    """Return the text under which a person decides; `proposal` was checked.

    Raises:
        RefusedProofError: It cannot be displayed.
    """
    process = {} if proposal.get("process") is None else _object_of(proposal, "process")
    before = {
        "Action": proposal["action_type"],
        "Host": proposal["host"],
        "Name": proposal.get("hostname"),
        "Vendor": proposal.get("vendor"),
        "Process": process.get("name"),
        "Process id": process.get("id"),
        "Process start": _shown_time(process.get("start")),
        "State": proposal.get("device_state"),
        "Ends": _shown_end(proposal),
        "Tenant": proposal["tenant_id"],
        "Alert": proposal.get("alert_id"),
        "Asked by": proposal["requested_by"],
        "Asked at": _shown_time(proposal["created_at"]),
        "Decide by": _shown_time(proposal["expires_at"]),
        "Persons": str(proposal["required"]),
    }
    digest = hashlib.sha256(b"vyrox-proposal-v1\n" + _ENCODER.encode(proposal).encode())
    after = {"Id": proposal["id"], "SHA-256": digest.hexdigest()}
    first, last = _labelled(before), _labelled(after)
    room = MAX_DISPLAY - len("\n".join([*first, "Reason: ", *last]))
    reason = _cut_to(_text_of(proposal, "reason"), room)
    return "\n".join([*first, f"Reason: {reason}", *last])


def _shown_end(proposal: Entry) -> str | None:
    lease_s = _number_of(proposal, "lease_s")
    if not lease_s:
        is_containment = proposal["action_type"] in ("HOST_ISOLATION", "NETWORK_QUARANTINE")
        return "never" if is_containment else None
    after = f"{lease_s} s"
    if lease_s % 60 == 0:
        after = f"{lease_s // 3600} h" if lease_s % 3600 == 0 else f"{lease_s // 60} min"
    return (
        f"after {after}; postponed once by 1 h if the device has an alert of the last 30 minutes "
        "in an open incident"
    )


def _labelled(values: Mapping[str, object]) -> list[str]:
    return [
        f"{label}:" if value is None else f"{label}: {_plain(str(value))}"
        for label, value in values.items()
    ]


def _shown_time(timestamp: object) -> str | None:
    if timestamp is None:
        return None
    if type(timestamp) is not int or not 0 <= timestamp <= MAX_TIMESTAMP:
        raise RefusedProofError("the proposal has a time beyond the calendar")
    return _utc(timestamp).replace("T", " ").replace("Z", " UTC")


def _plain(text: str) -> str:
    """Return printable ASCII: all else, backtick and backslash as escaped UTF-16."""
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" ")) if inner else len(text)
    after = len(text) - len(text.rstrip(" ")) if inner else 0
    return "\\u0020" * before + "".join(map(_plain_character, inner)) + "\\u0020" * after


def _plain_character(character: str) -> str:
    if " " <= character <= "~" and character not in "`\\":
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _cut_to(reason: str, room: int) -> str:
    if len(_plain(reason)) <= room:
        return _plain(reason)
    kept = ""
    for character in map(_plain_character, reason):
        if len(kept) + len(character) > room - 3:
            break
        kept += character
    return kept.strip(" ") + "..."


# The events, in order.


@dataclass(frozen=True)
class Action:
    """An entry of the actions that the approvals are checked against."""

    number: int
    timestamp: int
    tenant_id: str
    action_type: str
    host: str
    approved_by: str
    dry_run: bool

    @classmethod
    def of(cls, number: int, entry: Entry) -> Action:
        """Return the action of an entry whose members were checked."""
        names = ("timestamp", "tenant_id", "action_type", "host", "approved_by", "dry_run")
        return cls(number, *[cast(Any, entry[name]) for name in names])


@dataclass(frozen=True)
class Decision:
    """An approval whose proof holds.

    Attributes:
        proof: `passkey` or `Discord`.
        means: The passkey's credential id, or the account at Discord.
        is_requester: Whether the approver also proposed the action.
    """

    approver: str
    proof: str
    means: str
    is_requester: bool


@dataclass(frozen=True)
class Failure:
    """An event that a check refused.

    Attributes:
        event: Its number.
        proposal_id: As the event says, if it says any; so is `approver`.
    """

    event: int
    kind: str
    proposal_id: str | None
    approver: str | None
    reason: str


@dataclass(frozen=True)
class Finding:
    """What the events show of an action.

    Attributes:
        decisions: The approvals that prove it.
        lease_of: The number of the action whose approval also names when this lift follows it.
        not_proven: Why no decision proves it, or None.
    """

    action: Action
    decisions: tuple[Decision, ...]
    lease_of: int | None
    not_proven: str | None


@dataclass
class _Approver:
    """A person on the list, with what the person may decide now."""

    account: str | None
    reset_at: int | None = None
    keys: dict[str, Key] = field(default_factory=dict)
    """By credential id, also those that wait to be confirmed."""
    confirmed: set[str] = field(default_factory=set)

    def may_use(self, means: str) -> bool:
        """Return whether it is a confirmed passkey of the person, or the account."""
        return means in self.confirmed or means == self.account

    def is_reset(self, timestamp: int) -> bool:
        """Return whether it is less than a day after a reset."""
        return self.reset_at is not None and timestamp < self.reset_at + RESET_S


@dataclass
class _Change:
    """A change of who may decide, which approvers endorse.

    Attributes:
        approver: Whose means to decide change, or None.
        until: After this time it does not wait any more.
    """

    digest: str
    kind: str
    subject: str
    approver: object
    until: int
    endorsed_by: set[str] = field(default_factory=set)


@dataclass
class _Glass:
    """A break glass. Several actions may be of one: an attempt may be repeated."""

    acknowledged_by: str | None = None


@dataclass(frozen=True)
class _Lease:
    """A proven containment that ends by itself."""

    action: Action
    lease_s: int
    digest: str


@dataclass
class _Proposal:
    digest: str
    members: Entry
    decided: set[str] = field(default_factory=set)
    approvals: dict[str, Decision] = field(default_factory=dict)
    """By the hash of the event."""
    approved_at: dict[str, int] = field(default_factory=dict)
    """By the same hash."""
    reset: set[str] = field(default_factory=set)
    """Who was reset after the person approved it."""
    is_rejected: bool = False
    state: str | None = None
    """How it ended."""


class Approvals:
    """Follows the events of a tenant, and checks each key, proposal, decision and dispatch.

    Attributes:
        failures: The events that a check refused.
        actions: The actions, by their hashes.
        proven: The decisions that prove an action, by the hash of the action.
        enrolled: All keys that the events have named so far, as pins.
    """

    def __init__(self, actions: Mapping[str, Action], pins: Pins | None) -> None:
        self.failures: list[Failure] = []
        self.proven: dict[str, tuple[Decision, ...]] = {}
        self.actions = actions
        self.enrolled: set[tuple[str, str]] = set()
        self._pins = pins
        self._approvers: dict[str, _Approver] = {}
        self._names: set[str] = set()
        """Of all approvers so far: a name is never used for another person."""
        self._discord: Discord | None = None
        self._has_four_eyes = False
        self._changes: dict[str, _Change] = {}
        self._statements: set[str] = set()
        """Of endorsements: the same change may be asked for again, and needs new ones."""
        self._proposals: dict[str, _Proposal] = {}
        self._leases: dict[str, _Lease] = {}
        """By the id of the proposal."""
        self._lifts: dict[str, tuple[str, str]] = {}
        """The proposal's id and the device's, by the hash of the lift."""
        self._glasses: dict[str, _Glass] = {}
        """By the digest of its text."""
        self._glass_of: dict[str, _Glass] = {}
        """By the hash of the action."""
        self._refused: dict[object, int] = {}
        """The number of the event, by the hash of the action whose dispatch was refused."""
        self._checks: dict[str, Callable[[Entry, str], None]] = {
            "approver.added": self._approver_added,
            "approver.removed": self._approver_removed,
            "approver.reset": self._approver_reset,
            "approver.key_added": self._key_added,
            "approver.key_confirmed": self._key_confirmed,
            "approver.key_removed": self._key_removed,
            "approver.discord_bound": self._discord_bound,
            "discord.configured": self._discord_configured,
            "discord.removed": self._discord_removed,
            "approver.change_asked": self._change_asked,
            "approver.change_endorsed": self._change_endorsed,
            "approval.rule_added": self._rule_added,
            "approval.rule_ended": self._rule_ended,
            "approval.proposed": self._proposed,
            "approval.decided": self._decided,
            "approval.ended": self._ended,
            "approval.dispatched": self._dispatched,
            "lease.lifting": self._lifting,
            "break_glass.used": self._glass_used,
            "break_glass.acknowledged": self._glass_acknowledged,
        }

    def add(self, number: int, entry: Entry, entry_hash: str) -> None:
        """Check the next event, whose link holds. Other kinds of events are passed over."""
        check = self._checks.get(cast(str, entry["kind"]))
        if check is None:
            return
        try:
            check(entry, entry_hash)
        except RefusedProofError as exc:
            kind = cast(str, entry["kind"])
            proposal_id, approver = (
                value if isinstance(value, str) else None
                for value in (entry.get("proposal_id"), entry.get("approver"))
            )
            self.failures.append(Failure(number, kind, proposal_id, approver, str(exc)))
            if kind == "approval.dispatched":
                self._refused[entry.get("action_hash")] = number

    def add_changed(self, error: TamperedError) -> None:
        """Check the event at which the chain breaks, to say more of it than that it was changed."""
        if error.entry is not None and "kind" in error.entry:
            before = len(self.failures)
            self.add(error.number, error.entry, "")
            error.failure = next(iter(self.failures[before:]), None)

    def finding(self, action_hash: str) -> Finding:
        """Return what the events so far show of an action."""
        action = self.actions[action_hash]
        decisions = self.proven.get(action_hash, ())
        if decisions:
            return Finding(action, decisions, None, None)
        if action_hash in self._refused:
            why = f"the check of its dispatch failed at event {self._refused[action_hash]}"
            return Finding(action, (), None, why)
        if action.approved_by.startswith("lease "):
            return self._of_lease(action_hash, action)
        if action.approved_by.startswith("break-glass "):
            return Finding(action, (), None, self._of_break_glass(action_hash))
        is_named = " sha256:" in action.approved_by
        return Finding(action, (), None, NAMES_PROPOSAL if is_named else BY_CALLER)

    def _of_break_glass(self, action_hash: str) -> str:
        glass = self._glass_of.get(action_hash)
        if glass is None:
            return NAMES_BREAK_GLASS
        by = glass.acknowledged_by
        known = "not acknowledged" if by is None else f"acknowledged by passkey ({by!a})"
        return f"{BREAK_GLASS}; {known}"

    def _of_lease(self, action_hash: str, action: Action) -> Finding:
        """Return whether a lift is one that was approved with its containment (A19)."""
        proposal_id, device_id = self._lifts.get(action_hash, ("", ""))
        lease = self._leases.get(proposal_id)
        if not proposal_id:
            return Finding(action, (), None, NAMES_LEASE)
        if lease is None or action.approved_by != f"lease {lease.digest}":
            return Finding(action, (), None, "it names a lease that no proven action has")
        number = lease.action.number
        why: str | None = None
        if action.action_type != f"LIFT_{lease.action.action_type}" or action.host != device_id:
            why = f"it is no lift of the device of action {number}"
        elif action.timestamp + CLOCKS_APART_S < lease.action.timestamp + lease.lease_s:
            why = f"the lease of action {number} had not ended"
        return Finding(action, (), None if why else number, why)

    def _approver_added(self, entry: Entry, _hash: str) -> None:
        name = _text_of(entry, "approver")
        _require(name not in self._names, "the name was used before")
        self._names.add(name)
        account = entry.get("discord_user_id")
        if account is not None:
            self._check_account(name, _text_of(entry, "discord_user_id"))
        self._approvers[name] = _Approver(cast("str | None", account))

    def _check_account(self, name: str, account: str) -> None:
        # Persons count, so an account that is of two approvers would be one person twice.
        others = (each.account for other, each in self._approvers.items() if other != name)
        _require(account not in others, "another approver has this account")

    def _approver(self, entry: Entry) -> _Approver:
        approver = self._approvers.get(_text_of(entry, "approver"))
        if approver is None:
            raise RefusedProofError("there is no such approver at this time")
        return approver

    def _approver_removed(self, entry: Entry, _hash: str) -> None:
        self._approver(entry)
        del self._approvers[cast(str, entry["approver"])]

    def _approver_reset(self, entry: Entry, _hash: str) -> None:
        # An event removes each key afterwards. None of them decides any more, and what the person
        # has approved does not count again, whatever the person is given later.
        keys, name = self._approver(entry).keys, cast(str, entry["approver"])
        for proposal in self._proposals.values():
            if name in proposal.decided:
                proposal.reset.add(name)
        self._approvers[name] = _Approver(None, cast(int, entry["timestamp"]), keys)

    def _key_added(self, entry: Entry, _hash: str) -> None:
        approver, key = self._approver(entry), check_key(entry)
        others = [other for each in self._approvers.values() for other in each.keys.values()]
        _require(
            all(
                key.credential_id != other.credential_id and key.thumbprint != other.thumbprint
                for other in others
            ),
            "the key is enrolled already",
        )
        approver.keys[key.credential_id] = key
        self.enrolled.add((key.approver, key.thumbprint))

    def _key(self, entry: Entry) -> Key:
        key = self._approver(entry).keys.get(_text_of(entry, "credential_id"))
        if key is None:
            raise RefusedProofError("the approver has no such key")
        return key

    def _key_confirmed(self, entry: Entry, _hash: str) -> None:
        key = self._key(entry)
        _require(entry.get("thumbprint") == key.thumbprint, "the key has another thumbprint")
        self._approver(entry).confirmed.add(key.credential_id)

    def _key_removed(self, entry: Entry, _hash: str) -> None:
        approver, key = self._approver(entry), self._key(entry)
        del approver.keys[key.credential_id]
        approver.confirmed.discard(key.credential_id)

    def _discord_bound(self, entry: Entry, _hash: str) -> None:
        approver, account = self._approver(entry), _text_of(entry, "discord_user_id")
        self._check_account(cast(str, entry["approver"]), account)
        approver.account = account

    def _discord_configured(self, entry: Entry, _hash: str) -> None:
        self._discord = None
        self._discord = check_discord_configuration(entry)
        self.enrolled.add(("discord", self._discord.public_key))

    def _discord_removed(self, _entry: Entry, _hash: str) -> None:
        self._discord = None

    def _rule_added(self, entry: Entry, _hash: str) -> None:
        # Which devices need two persons is in the proposal: only the vendor knows their tags.
        self._has_four_eyes |= _text_of(entry, "rule") == FOUR_EYES

    def _rule_ended(self, entry: Entry, _hash: str) -> None:
        rule, timestamp = _text_of(entry, "rule"), cast(int, entry["timestamp"])
        endorsed = [
            {name for name in change.endorsed_by if self._may_endorse(name, timestamp)}
            for change in self._changes.values()
            if (change.kind, change.subject) == ("end_rule", rule) and timestamp < change.until
        ]
        _require(any(len(names) >= TWO for names in endorsed), "two approvers have not endorsed it")
        self._has_four_eyes &= rule != FOUR_EYES
        self._changes = {
            id_: change for id_, change in self._changes.items() if change.subject != rule
        }

    def _may_endorse(self, name: str, timestamp: int) -> bool:
        approver = self._approvers.get(name)
        return approver is not None and bool(
            approver.confirmed and not approver.is_reset(timestamp)
        )

    def _change_asked(self, entry: Entry, _hash: str) -> None:
        text = _text_of(entry, "change")
        change = _canonical_object(text, "the change")
        digest = hashlib.sha256(b"vyrox-change-v1\n" + text.encode()).hexdigest()
        _require(
            entry.get("change_sha256") == digest, "the change's digest is not that of its text"
        )
        change_id = _text_of(entry, "change_id")
        _require(change_id not in self._changes, "the change was asked for before")
        kind, subject = _text_of(change, "kind"), _text_of(change, "subject")
        until = cast(int, entry["timestamp"]) + CHANGE_S + CLOCKS_APART_S
        self._changes[change_id] = _Change(digest, kind, subject, change.get("approver"), until)

    def _change_endorsed(self, entry: Entry, _hash: str) -> None:
        change, approver = self._changes.get(_text_of(entry, "change_id")), self._approver(entry)
        if change is None:
            raise RefusedProofError("no such change was asked for before it")
        name = cast(str, entry["approver"])
        _require(entry.get("change_sha256") == change.digest, "the digest is of another change")
        _require(cast(int, entry["timestamp"]) < change.until, "the change had ended before")
        _require(name != change.approver, "the person endorses a change of the person's own means")
        _require(name not in change.endorsed_by, "the person has endorsed it before")
        statement = _text_of(entry, "statement")
        _require(statement not in self._statements, "the statement was used before")
        key = self._confirmed_key(entry, approver)
        check_signed(entry, key, ENDORSEMENT)
        self._check_pin(key.approver, key.thumbprint)
        _require(
            self._may_endorse(name, cast(int, entry["timestamp"])),
            "the person was reset within a day",
        )
        self._statements.add(statement)
        change.endorsed_by.add(name)

    def _proposed(self, entry: Entry, _hash: str) -> None:
        proposal_id, digest = _text_of(entry, "proposal_id"), _text_of(entry, "proposal_sha256")
        members = check_proposal(_text_of(entry, "proposal"), digest)
        _require(members["id"] == proposal_id, "the proposal has another id")
        _require(members["tenant_id"] == entry["tenant_id"], "the proposal is of another tenant")
        _require(proposal_id not in self._proposals, "the proposal was proposed before")
        self._proposals[proposal_id] = _Proposal(digest, members)

    def _decided(self, entry: Entry, entry_hash: str) -> None:
        proposal, approver = self._proposal(entry), self._approver(entry)
        name, decision = cast(str, entry["approver"]), _text_of(entry, "decision")
        _require(
            entry.get("proposal_sha256") == proposal.digest, "the digest is of another proposal"
        )
        _require(decision in ("approve", "reject"), "the decision is neither approve nor reject")
        _require(name not in proposal.decided, "the person has decided before")
        timestamp = cast(int, entry["timestamp"])
        created_at = _number_of(proposal.members, "created_at")
        expires_at = _number_of(proposal.members, "expires_at")
        _require(created_at <= timestamp <= expires_at, "it is not within the proposal's life")
        proof, means = self._check_proof(entry, proposal.members, approver)
        is_requester = self._check_right(entry, proposal.members, proof)
        _require(
            decision == "reject"
            or proposal.members["required"] == 1
            or not approver.is_reset(timestamp),
            "the person was reset within a day, and is not one of two yet",
        )
        proposal.decided.add(name)
        if decision == "reject":
            proposal.is_rejected = True
        else:
            proposal.approvals[entry_hash] = Decision(name, proof, means, is_requester)
            proposal.approved_at[entry_hash] = timestamp

    def _check_right(self, entry: Entry, proposal: Entry, proof: str) -> bool:
        """Return whether the person also asked, after checking that this is allowed (A7)."""
        asked = _text_of(proposal, "requested_by").strip().casefold()
        is_requester = cast(str, entry["approver"]).casefold() == asked
        _require(
            (entry.get("by_requester") is True) == is_requester,
            "by_requester does not say whether the same person proposed it",
        )
        is_alone = proposal["required"] == 1 and proof == "passkey" and not self._has_four_eyes
        _require(
            not is_requester or is_alone or proposal["action_type"] == DRILL,
            "the person proposed it, and does not count",
        )
        return is_requester

    def _proposal(self, entry: Entry) -> _Proposal:
        proposal = self._proposals.get(_text_of(entry, "proposal_id"))
        if proposal is None:
            raise RefusedProofError("there is no valid proposal with this id before it")
        _require(proposal.state is None, f"its proposal has ended before: {proposal.state}")
        return proposal

    def _check_proof(self, entry: Entry, proposal: Entry, approver: _Approver) -> tuple[str, str]:
        """Return the kind of a valid proof, and the key or the account that it is of."""
        proof = _text_of(entry, "proof")
        if proof == "webauthn":
            key = self._confirmed_key(entry, approver)
            check_passkey(entry, key)
            self._check_pin(key.approver, key.thumbprint)
            return "passkey", key.credential_id
        _require(proof == "discord", f"the proof {proof!a} is unknown")
        if self._discord is None:
            raise RefusedProofError("no valid key of Discord is known at this time")
        if approver.account is None:
            raise RefusedProofError("the person has no account at Discord at this time")
        check_discord(entry, proposal, self._discord, approver.account)
        self._check_pin("discord", self._discord.public_key)
        return "Discord", approver.account

    def _confirmed_key(self, entry: Entry, approver: _Approver) -> Key:
        key = approver.keys.get(_text_of(entry, "credential_id"))
        if key is None or key.credential_id not in approver.confirmed:
            raise RefusedProofError("the person has no valid, confirmed key with this id now")
        return key

    def _check_pin(self, name: str, value: str) -> None:
        is_pinned = self._pins is None or (name, value) in self._pins
        _require(is_pinned, f"the key {value} of {name!a} is not in the file of keys")

    def _ended(self, entry: Entry, _hash: str) -> None:
        self._end(self._proposal(entry), ascii(_text_of(entry, "state")))

    def _end(self, proposal: _Proposal, state: str) -> None:
        proposal.state, proposal.members = state, {}

    def _dispatched(self, entry: Entry, _hash: str) -> None:
        proposal = self._proposal(entry)
        action_hash = _text_of(entry, "action_hash")
        members = proposal.members
        rejected = proposal.is_rejected
        self._end(proposal, "dispatched")
        hashes = _text_of(entry, "decisions").split(",")
        _require(members["action_type"] != DRILL, "a drill has no action")
        _require(not rejected, "its proposal was rejected")
        _require(
            len(set(hashes)) == len(hashes) and proposal.approvals.keys() >= set(hashes),
            "it names a decision that is no valid approval of its proposal before it",
        )
        # The clock of another container may have dated an event in between.
        until = max(proposal.approved_at[each] for each in hashes) + DISPATCH_S + CLOCKS_APART_S
        _require(cast(int, entry["timestamp"]) < until, "the approvals had lapsed long before")
        decisions = tuple(proposal.approvals[each] for each in hashes)
        persons = len({each.approver for each in decisions})
        required = _number_of(members, "required")
        _require(persons >= required, f"{persons} of {required} persons approved")
        _require(
            required == 1 or any(each.proof == "passkey" for each in decisions),
            "no passkey is among the proofs, and two persons need one",
        )
        _require(
            all(
                each.approver in self._approvers
                and self._approvers[each.approver].may_use(each.means)
                and each.approver not in proposal.reset
                for each in decisions
            ),
            "a person who approved, or the key or account used, was removed before it",
        )
        _require(
            not (self._has_four_eyes and any(each.is_requester for each in decisions)),
            "the person who asked does not count any more",
        )
        _require(action_hash not in self.proven, "its action was dispatched before")
        self._check_action(action_hash, members, proposal.digest)
        self.proven[action_hash] = decisions
        action, lease_s = self.actions[action_hash], _number_of(members, "lease_s")
        if lease_s and not action.dry_run:
            lease = _Lease(action, lease_s, proposal.digest)
            self._leases[cast(str, entry["proposal_id"])] = lease

    def _lifting(self, entry: Entry, _hash: str) -> None:
        lift = _text_of(entry, "proposal_id"), _text_of(entry, "device_id")
        self._lifts[_text_of(entry, "action_hash")] = lift

    def _glass_used(self, entry: Entry, _hash: str) -> None:
        text = _text_of(entry, "break_glass")
        glass = _canonical_object(text, "the break glass")
        digest = hashlib.sha256(b"vyrox-break-glass-v1\n" + text.encode()).hexdigest()
        _require(entry.get("break_glass_sha256") == digest, "the digest is not that of its text")
        action = self.actions.get(_text_of(entry, "action_hash"))
        if action is None:
            raise RefusedProofError("no action has its action_hash: export the actions last")
        for name in ("action_type", "host", "tenant_id"):
            _require(getattr(action, name) == glass.get(name), f"its action has another {name}")
        _require(glass.get("request_id") == entry.get("break_glass_id"), "its text has another id")
        known = self._glasses.setdefault(digest, _Glass())
        self._glass_of[cast(str, entry["action_hash"])] = known

    def _glass_acknowledged(self, entry: Entry, _hash: str) -> None:
        approver = self._approver(entry)
        glass = self._glasses.get(_text_of(entry, "break_glass_sha256"))
        if glass is None:
            raise RefusedProofError("no such break glass was used before it")
        key = self._confirmed_key(entry, approver)
        check_signed(entry, key, ACKNOWLEDGEMENT)
        self._check_pin(key.approver, key.thumbprint)
        glass.acknowledged_by = key.approver

    def _check_action(self, action_hash: str, proposal: Entry, digest: str) -> None:
        action = self.actions.get(action_hash)
        if action is None:
            raise RefusedProofError("no action has its action_hash: export the actions last")
        for name in ("action_type", "host", "tenant_id"):
            _require(getattr(action, name) == proposal[name], f"its action has another {name}")
        _require(
            action.approved_by.endswith(f" sha256:{digest}"),
            "its action's approved_by does not name the proposal",
        )


@dataclass(frozen=True)
class ApprovalsReport:
    """What the actions and the events of a tenant show together.

    Attributes:
        is_range: Whether an export begins later than entry 1. Who approved is not checked then.
    """

    actions: Report
    events: Report
    failures: list[Failure]
    findings: list[Finding]
    is_range: bool = False


def verify_approvals(
    actions_path: str,
    events_path: str,
    pins: Pins | None = None,
    evidence: Evidence | None = None,
    before: Sequence[str] = (),
) -> ApprovalsReport:
    """Verify both chains, then who decided on each action.

    Args:
        pins: Only these keys count.
        evidence: What is compared with the roots of both chains.
        before: Archives of the events before those of the export.

    Raises:
        TamperedError: In one of the two chains.
        NothingToCheckError: There is no such file, it is empty, or it is of another stream.
    """
    actions: dict[str, Action] = {}

    def keep(number: int, entry: Entry, entry_hash: str) -> None:
        actions[entry_hash] = Action.of(number, entry)

    actions_report = _verify_of_two(actions_path, "actions", keep, evidence)
    approvals = Approvals(actions, pins)
    try:
        events_report = _verify_of_two(events_path, "events", approvals.add, evidence, before)
    except TamperedError as exc:
        approvals.add_changed(exc)
        raise
    tenants = {actions_report.tenant_id, events_report.tenant_id} - {None}
    if len(tenants) > 1:
        raise NothingToCheckError("the actions and the events are of different tenants")
    has_events = events_report.first_entry == 1 or events_report.retained is not None
    if actions_report.first_entry > 1 or not has_events:
        return ApprovalsReport(actions_report, events_report, [], [], is_range=True)
    if evidence is not None and not (evidence.named or frozenset()) <= approvals.enrolled:
        evidence.problems.append("keys.json: it names a key of an approver that no event enrolled")
    findings = [approvals.finding(action_hash) for action_hash in actions]
    return ApprovalsReport(actions_report, events_report, approvals.failures, findings)


def _verify_of_two(
    path: str,
    stream: str,
    each: Callable[[int, Entry, str], None],
    evidence: Evidence | None = None,
    before: Sequence[str] = (),
) -> Report:
    """Verify a chain as `verify_path` does, with the whole path of a file in its error."""
    prefix = "events" if stream == "events" and is_whole(path) else "audit"
    if is_whole(path) and not any(is_daily_file(name, prefix) for name in _names(path)):
        return Chain().report()  # a checkpoint shows whether it ever had entries
    retained = _retained_beside(path) if stream == "events" and not before else None
    try:
        report = verify_path(path, each, evidence, prefix, before, retained, stream)
    except TamperedError as exc:
        if os.path.isdir(path):
            exc.file = os.path.join(path, exc.file or "")
        raise
    if report.first_entry > 1 and report.retained is None and not is_whole(path):
        raise NothingToCheckError(f"the {stream} are a range: who approved needs whole chains")
    return report


def _retained_beside(path: str) -> str | None:
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    found = os.path.join(directory, RETAINED_FILE)
    return found if path != "-" and os.path.lexists(found) else None


def is_whole(path: str) -> bool:
    """Return whether a path is a directory with the export of both streams."""
    names = _names(path)
    return any(is_daily_file(name, "events") for name in names) or all(
        f"checkpoint-{stream}.txt" in names for stream in STREAMS
    )


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (OSError, ValueError):
        return []  # it is a file, or the attempt to read it says why it cannot be read


def _why(exc: OSError | ValueError) -> str:
    return (exc.strerror or "failed") if isinstance(exc, OSError) else ascii(str(exc))


def _utc(timestamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))


# The command line.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Verify a Vyrox audit export: its chain, its checkpoints, who approved what.",
        epilog="exit status: 0 verified against a checkpoint, or links hold and --links-only was "
        "given; 1 tampered with or unreadable, or a check of a checkpoint or an approval failed; "
        "2 wrong usage or nothing to check; 3 links hold, there is no checkpoint",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path",
        nargs="?",
        metavar="FILE|DIR|-",
        help="an export, a directory of daily files, or standard input",
    )
    parser.add_argument(
        "--approvals",
        nargs=2,
        metavar=("ACTIONS", "EVENTS"),
        help="check who decided on each action: exports of both streams of a tenant",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that you have kept; may be given several times",
    )
    parser.add_argument(
        "--proof",
        action="append",
        default=[],
        metavar="FILE",
        help="a proof, for an export that begins later than entry 1; may be given several times",
    )
    parser.add_argument(
        "--archive",
        action="append",
        default=[],
        metavar="DIR",
        help="an archive of the events before those of the export, or a directory of archives; may "
        "be given several times, the oldest first",
    )
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="only these keys count: keys.json, or on each line the key of the log or a witness, "
        "or an approver and a thumbprint, or discord and its public key",
    )
    parser.add_argument(
        "--links-only",
        action="store_true",
        help="exit with 0 if the links hold, without a checkpoint",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="also write a page to read and print")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the exports that the command line names, print the result, return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.path is None) == (given.approvals is None):
        parser.error("give either one export, or --approvals with two")
    try:
        outcome = _outcome(given)
        if given.html is not None:
            made_at = int(time.time())  # noqa: TID251  (this file imports nothing of Vyrox)
            _write(given.html, html_page(outcome, made_at))
    except NothingToCheckError as exc:
        outcome = _not_verified(exc)
    lines = [json.dumps(outcome.document())] if given.json else outcome.lines
    (sys.stderr if outcome.status == USAGE and not given.json else sys.stdout).write(
        "".join(f"{line}\n" for line in lines)
    )
    return outcome.status


def _outcome(given: argparse.Namespace) -> Outcome:
    evidence = Evidence()
    evidence.read_given(given.checkpoint, given.proof, given.keys)
    before = [each for path in given.archive for each in archives_in(path)]
    for each in before:
        evidence.read_beside_archive(each)
    paths = given.approvals or ([given.path, given.path] if is_whole(given.path) else None)
    try:
        if paths is None:
            return _of_one(given.path, evidence, given.links_only, before)
        return _of_two(paths, evidence, given.links_only, before)
    except TamperedError as exc:
        return _not_verified(exc)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii", errors="xmlcharrefreplace") as file:
            file.write(text)
    except (OSError, ValueError) as exc:
        raise NothingToCheckError(f"cannot write {path!a}: {_why(exc)}") from None


# The result, for people and for programs.

Members = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a verification has found.

    Attributes:
        members: For programs.
        lines: For people.
        shown: What is proven, in sentences.
        not_shown: What is not, in sentences.
    """

    status: int
    members: Members
    lines: list[str]
    shown: list[str] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)

    def document(self) -> Members:
        """Return the JSON object."""
        texts = {"proven": self.shown, "not_proven": self.not_shown} if self.not_shown else {}
        return {"status": self.status, **self.members, **texts}


def _of_one(path: str, evidence: Evidence, links_only: bool, before: Sequence[str] = ()) -> Outcome:
    evidence.read_beside(path)
    report = verify_path(path, evidence=evidence, before=before)
    streams = STREAMS if report.stream is None else (report.stream,)
    for kept in evidence.kept:
        if kept.is_kept and kept.stream not in (*streams, None):
            raise NothingToCheckError(f"{kept.file!a} is of the {kept.stream}, the export is not")
    judged = [each for stream in streams for each in evidence.judge(report, stream)]
    found = _Found(evidence, [(report, judged)])
    result = ("verified" if found.is_covered() else "links hold") if report.entries else "empty"
    return found.outcome(
        links_only,
        {"result": "checkpoint refused" if found.refused() else result, **asdict(report)},
        _shown(report),
        [],
    )


def _of_two(
    paths: Sequence[str], evidence: Evidence, links_only: bool, before: Sequence[str] = ()
) -> Outcome:
    for number, stream in enumerate(STREAMS):
        evidence.read_beside(paths[number], (stream,))
    report = verify_approvals(paths[0], paths[1], evidence.pins, evidence, before)
    chains = {"actions": report.actions, "events": report.events}
    found = _Found(
        evidence, [(chains[each], evidence.judge(chains[each], each)) for each in chains]
    )
    source = (
        "those of the file of keys" if evidence.pins is not None else "as the log itself names them"
    )
    of = len(report.findings)
    not_proven = sum(1 for each in report.findings if each.not_proven is not None)
    held = "checkpoint refused" if found.refused() else "approvals hold"
    members: Members = {
        "result": "approval refused" if report.failures else held,
        "keys": source,
        "actions": [_named(finding) for finding in report.findings],
        "failures": [asdict(failure) for failure in report.failures],
        "chains": {name: asdict(chain) for name, chain in chains.items()},
    }
    lines = [
        *_shown(report.actions),
        *_shown(report.events),
        f"keys: {source}",
        "who an approver is, and which Discord account is whose: as the log says",
        *itertools.chain.from_iterable(map(_action_lines, report.findings)),
        *itertools.chain.from_iterable(map(_failure_lines, report.failures)),
        f"{of - not_proven} of {of} actions are proven or follow from a proven lease, "
        f"{not_proven} are not",
        f"{len(report.failures)} checks failed",
    ]
    if report.is_range:
        members["result"] = "checkpoint refused" if found.refused() else "range holds"
        lines = [*_shown(report.actions), *_shown(report.events)]
    outcome = found.outcome(links_only, members, lines, report.failures)
    if report.is_range:
        outcome.not_shown.append(RANGE)
        outcome.lines.append(f"NOT PROVEN: {RANGE}")
    return outcome


RANGE = "who approved the actions: that needs an export of all entries"
NOT_SHOWN = (
    "NOT SHOWN without a checkpoint: that no entries were removed at the end, and that the "
    "chain was not replaced as a whole"
)


@dataclass(frozen=True)
class _Found:
    """What the entries of one or two chains show of the checkpoints."""

    evidence: Evidence
    chains: list[tuple[Report, list[Judged]]]

    def refused(self) -> list[str]:
        """Return what does not hold, in sentences."""
        return [
            *self.evidence.problems,
            *(
                f"{_name(each.kept)}: {each.problem}"
                for _, judged in self.chains
                for each in judged
                if each.problem is not None
            ),
        ]

    def is_covered(self) -> bool:
        """Return whether a checkpoint proves entries of each chain."""
        return all(
            any(
                each.counts and (each.kept.checkpoint.size or not report.entries) for each in judged
            )
            for report, judged in self.chains
        )

    def outcome(
        self, links_only: bool, members: Members, lines: list[str], failures: list[Failure]
    ) -> Outcome:
        """Return the whole outcome, with what the checkpoints add to it."""
        forks = self.evidence.forks()
        status = VERIFIED if links_only or self.is_covered() else NO_CHECKPOINT
        if failures or forks or self.refused():
            status = TAMPERED
        judged = [each for _, of_chain in self.chains for each in of_chain]
        members["checkpoints"] = [_judged(each) for each in judged]
        members["checkpoint_problems"] = self.refused()
        members["forks"] = [[_note_text(each) for each in pair] for pair in forks]
        shown = [each for chain in self.chains for each in self._proven(*chain)]
        not_shown = [each for chain in self.chains for each in self._not_proven(*chain)]
        not_shown += [each for report, _ in self.chains for each in _in_archive(report)]
        not_shown = list(dict.fromkeys(not_shown)) + self._of_keys()
        return Outcome(
            status,
            members,
            [
                *lines,
                *itertools.chain.from_iterable(map(_judged_lines, judged)),
                *(f"FAILED: {each}" for each in self.evidence.problems),
                *itertools.chain.from_iterable(map(_fork_lines, forks)),
                *(f"PROVEN: {each}" for each in shown),
                *(each if each == NOT_SHOWN else f"NOT PROVEN: {each}" for each in not_shown),
            ],
            shown,
            not_shown,
        )

    def _newest(self, judged: list[Judged]) -> Judged | None:
        counting = [each for each in judged if each.counts]
        return max(counting, key=lambda each: each.kept.checkpoint.size, default=None)

    def _proven(self, report: Report, judged: list[Judged]) -> list[str]:
        newest = self._newest(judged)
        if newest is None or not newest.kept.checkpoint.size:
            return []
        first, size = report.first_entry, newest.kept.checkpoint.size
        return [
            f"the {report.stream} {first} to {size} are those of {_name(newest.kept)}: "
            "none was changed, removed or added since it was made"
        ]

    def _not_proven(self, report: Report, judged: list[Judged]) -> list[str]:
        newest, end = self._newest(judged), report.first_entry - 1 + report.entries
        if newest is None or (report.entries and not newest.kept.checkpoint.size):
            return [NOT_SHOWN]
        size, stream = newest.kept.checkpoint.size, report.stream or newest.kept.stream
        if size < end:
            return [
                f"the {stream} {size + 1} to {end}: the newest checkpoint has {size} entries. "
                "Their links hold, but a missing end or a replacement would look the same"
            ]
        elsewhere = [each.kept.checkpoint.size for each in judged if self._is_elsewhere(each)]
        if elsewhere and max(elsewhere) >= end:
            return [f"which {stream} followed after entry {end}"]
        which = f"{stream} {max(elsewhere) + 1} to {end}" if elsewhere else stream
        return [
            f"that the {which} were not replaced before this export was made, by a person who "
            "holds the log's key: keep the checkpoint, and give it the next time with --checkpoint"
        ]

    def _is_elsewhere(self, judged: Judged) -> bool:
        """Return whether it holds, and a person with the log's key could not have made it now."""
        by_witness = any(each.key in self.evidence.witnesses for each in judged.signers)
        return judged.counts and (judged.kept.is_kept or by_witness)

    def _of_keys(self) -> list[str]:
        if self.evidence.source is None and self.evidence.kept and not self.is_covered():
            return [
                "that a key of the log has signed a checkpoint: no key is known. Give what "
                "`vyrox audit key` prints with --keys"
            ]
        if self.evidence.source != KEYS_BESIDE:
            return []
        return [
            "that the log's key is Vyrox's own: the export itself names it. Compare it with "
            "`vyrox audit key`, or give --keys"
        ]


def _name(kept: Kept) -> str:
    return _shortened(kept.file)


def _note_text(kept: Kept) -> str:
    lines = [
        f"\u2014 {name} {_base64(key_id + sig)}"
        for name, key_id, sig in kept.checkpoint.note.signatures
    ]
    return "\n".join([kept.checkpoint.note.text, *lines, ""])


def _judged(judged: Judged) -> Members:
    checkpoint = judged.kept.checkpoint
    return {
        "file": judged.kept.file,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": _base64(checkpoint.root),
        "is_kept": judged.kept.is_kept,
        "counts": judged.counts,
        "problem": judged.problem,
        "signers": [
            {
                "name": each.key.name,
                "key": each.key.text(),
                "is_log": each.is_log,
                "time": each.time,
            }
            for each in judged.signers
        ],
    }


def _judged_lines(judged: Judged) -> list[str]:
    checkpoint = judged.kept.checkpoint
    holds = "HOLDS" if judged.problem is None else "DOES NOT HOLD"
    return [
        f"CHECKPOINT {holds}: {_name(judged.kept)}, of size {checkpoint.size}",
        f"    log {_shortened(checkpoint.origin)}",
        *([] if judged.problem is None else [f"    {judged.problem}"]),
        *(f"    {_signed_by(each)}" for each in judged.signers),
        *([] if judged.signers else ["    no known key has signed it"]),
    ]


def _signed_by(signer: Signer) -> str:
    at = "" if signer.time is None else f" at {_utc(signer.time)}"
    if signer.is_log:
        return f"signed by the log, key {signer.key.key_id.hex()}{at}"
    return f"co-signed by {_shortened(signer.key.name)}, key {signer.key.key_id.hex()}{at}"


def _fork_lines(pair: tuple[Kept, Kept]) -> list[str]:
    return [
        f"FORK: {_name(pair[0])} and {_name(pair[1])} are of one log and one size, and differ. "
        "Keep both: with the signatures of the log they prove that it showed two histories",
        *(f"    {_plain(line)}" for kept in pair for line in _note_text(kept).split("\n")[:-1]),
    ]


def _not_verified(exc: NothingToCheckError | TamperedError) -> Outcome:
    if isinstance(exc, NothingToCheckError):
        members: Members = {"result": "nothing to check", "reason": str(exc)}
        return Outcome(USAGE, members, [f"NOT CHECKED: {exc}"])
    where = f"{ascii(exc.file)[1:-1]}, line {exc.line}"
    failure = {} if exc.failure is None else {"failure": asdict(exc.failure)}
    return Outcome(
        TAMPERED,
        {
            "result": "tampered",
            "entry": exc.number,
            "file": exc.file,
            "line": exc.line,
            "reason": exc.reason,
            **failure,
        },
        [
            f"TAMPERED WITH OR DAMAGED at entry {exc.number} ({where}): {exc.reason}",
            *([] if exc.failure is None else _failure_lines(exc.failure)),
            f"the links of the {exc.number - 1} entries before it hold",
        ],
    )


def _named(finding: Finding) -> dict[str, object]:
    action = finding.action
    return {
        "entry": action.number,
        "timestamp": action.timestamp,
        "action_type": action.action_type,
        "host": action.host,
        "approved_by": action.approved_by,
        "dry_run": action.dry_run,
        "proven": [asdict(decision) for decision in finding.decisions],
        "lease_of": finding.lease_of,
        "not_proven": finding.not_proven,
    }


def _action_lines(finding: Finding) -> list[str]:
    action = finding.action
    what = f"{action.action_type} {action.host}"
    first = f"action {action.number}, {_utc(action.timestamp)}, {_shortened(what)}"
    lines = [f"{first} (dry run)" if action.dry_run else first]
    if finding.decisions:
        proofs = [f"{each.proof} ({_shortened(each.approver)})" for each in finding.decisions]
        lines.append(f"    PROVEN by {' and '.join(proofs)}")
        if any(each.is_requester for each in finding.decisions):
            lines.append("    proposed and approved by the same person")
    elif finding.lease_of is not None:
        lines.append(f"    APPROVED with the lease of action {finding.lease_of}, which ended")
    else:
        by = ", as the caller wrote it" if finding.not_proven == BY_CALLER else ""
        lines.append(f"    NOT PROVEN: {finding.not_proven}")
        lines.append(f"    approved_by{by}: {_shortened(action.approved_by)}")
    return lines


def _in_archive(report: Report) -> list[str]:
    if report.archived_by is None:
        return []
    events = f"the events 1 to {report.first_entry - 1}"
    if report.retained is not None:
        return [
            f"that of {events} no other says who may decide or who decided than the "
            f"{report.retained} that lie here: event {report.archived_by} says so. Give the "
            "archive with --archive"
        ]
    return [f"what {events} say: they are in an archive. Give it with --archive"]


def _failure_lines(failure: Failure) -> list[str]:
    by = "" if failure.approver is None else f" by {_shortened(failure.approver)}"
    of = "" if failure.proposal_id is None else f"    of proposal {_shortened(failure.proposal_id)}"
    first = f"FAILED at event {failure.event}, {failure.kind}{by}"
    return [first, *([of] if of else []), f"    {failure.reason}"]


def _shortened(text: str) -> str:
    """Return printable ASCII of at most 100 characters."""
    shown = ascii(text)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def _shown(report: Report) -> list[str]:
    if report.first_timestamp is None or report.last_timestamp is None:
        return ["EMPTY: 0 entries, so there are no links to check"]
    return [
        f"{report.entries} entries of tenant {report.tenant_id!a}, stream {report.stream}",
        f"first {_utc(report.first_timestamp)}, last {_utc(report.last_timestamp)}",
        f"last hash {report.last_hash}",
        "LINKS HOLD: every entry follows from the one before it",
        *(
            [
                f"entries 1 to {report.first_entry - 1} are in an archive, as event "
                f"{report.archived_by} says"
            ]
            if report.archived_by is not None
            else []
        ),
    ]


# The page for an auditor: one file without a script. All text in it is escaped.

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --page: #fff; --line: #c9ced6; --soft: #5b6470;
  --good: #176b3a; --bad: #a81e1e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --page: #14171b; --line: #3a414b;
  --soft: #a3adba; --good: #6fd39a; --bad: #ff8d8d; --warn: #f0be63; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 64rem; margin: 0 auto; padding: 2rem 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.verdict { border: 2px solid; border-radius: .4rem; padding: .8rem 1rem; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0;
  border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; } td:last-child, .soft { overflow-wrap: anywhere; }
@media (max-width: 40rem) { thead { display: none; } tr { display: block; padding: .5rem 0;
  border-bottom: 1px solid var(--line); } td { display: block; border: 0; padding: 0; } }
.soft { color: var(--soft); } pre { white-space: pre-wrap; font-size: .85rem;
  border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; }
@media print { :root { --ink: #000; --page: #fff; --line: #999; --soft: #333; --good: #000;
  --bad: #000; --warn: #000; } body { max-width: none; padding: 0; font-size: 10pt; }
  tr, pre, .verdict { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_VERDICTS = {
    VERIFIED: ("good", "Verified. Nothing that was checked is wrong."),
    TAMPERED: ("bad", "Not verified. A check failed: see below."),
    NO_CHECKPOINT: ("warn", "The links hold, but there is no checkpoint: see what is not proven."),
}


def html_page(outcome: Outcome, made_at: int) -> str:
    """Return the outcome as a page that can be read and printed."""
    members = outcome.members
    tone, verdict = _VERDICTS.get(outcome.status, ("bad", "Nothing was checked."))
    if outcome.status == VERIFIED and not outcome.shown:
        tone, verdict = _VERDICTS[NO_CHECKPOINT]
    chains = members.get("chains", {"": members} if "entries" in members else {})
    tenant = next((each["tenant_id"] for each in chains.values() if each["tenant_id"]), None)
    parts = [
        f"<h1>Audit log{'' if tenant is None else ' of ' + _html(tenant)}</h1>",
        f'<p class="verdict {tone}">{verdict}</p>',
        *([_html_problem(members)] if "reason" in members else []),
        _html_list("Failed", members.get("checkpoint_problems", [])),
        _html_failures(members.get("failures", [])),
        _html_list("Proven", outcome.shown),
        _html_list("Not proven", [each.replace("NOT SHOWN ", "") for each in outcome.not_shown]),
        _html_actions(members),
        _html_checkpoints(members.get("checkpoints", [])),
        *(
            "<h2>Proof of a fork</h2>" + "".join(f"<pre>{_html(note)}</pre>" for note in pair)
            for pair in members.get("forks", [])
        ),
        _html_chains(chains),
        f'<p class="soft">Made on {_shown_time(made_at)} by verify_audit.py from an '
        "export, without Vyrox. To repeat it: <code>python3 -I verify_audit.py DIR</code></p>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit log{'' if tenant is None else ' of ' + _html(tenant)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _html(value: object) -> str:
    """Return text that neither a browser nor a printer takes for anything else."""
    text = "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in str(value)
    )
    return html.escape(text)


def _html_list(title: str, sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_html(each)}</li>" for each in sentences)
    return f"<h2>{title}</h2>\n<ul>{items}</ul>" if items else ""


def _html_problem(members: Members) -> str:
    at = f"At entry {members['entry']}: " if "entry" in members else ""
    file = f' <span class="soft">({_html(members["file"])})</span>' if members.get("file") else ""
    return f'<p class="bad">{at}{_html(members["reason"])}{file}</p>'


def _html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<h2>{title}</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table>"
    )


def _html_actions(members: Members) -> str:
    actions = members.get("actions", [])
    rows = [
        [
            str(each["entry"]),
            _shown_time(each["timestamp"]) or "",
            _html(each["action_type"])
            + (' <span class="soft">(dry run)</span>' if each["dry_run"] else "")
            + f"<br>{_html(each['host'])}",
            _html_proof(each),
        ]
        for each in actions
    ]
    table = _html_table("Who approved what", ("Entry", "When", "Action", "How it is proven"), rows)
    if not table:
        return ""
    not_proven = sum(each["not_proven"] is not None for each in actions)
    return (
        f"{table}\n<p>{len(actions) - not_proven} of {len(actions)} actions are proven, or follow "
        f"from a proven one; {not_proven} are not. The keys of the persons are "
        f"{_html(members['keys'])}; who a person is, the log says.</p>"
    )


def _html_proof(action: Members) -> str:
    if action["proven"]:
        names = " and ".join(
            f"{_html(each['approver'])} ({_html(each['proof'])})" for each in action["proven"]
        )
        same = any(each["is_requester"] for each in action["proven"])
        also = "<br>proposed and approved by the same person" if same else ""
        return f'<span class="good">Proven:</span> {names}{also}'
    if action["lease_of"] is not None:
        return (
            f'<span class="good">Approved</span> with the lease of action {action["lease_of"]}, '
            "which ended"
        )
    return (
        f'<span class="warn">Not proven:</span> {_html(action["not_proven"])}'
        f'<br><span class="soft">approved_by: {_html(action["approved_by"])}</span>'
    )


def _html_failures(failures: Sequence[Members]) -> str:
    rows = [
        [
            str(each["event"]),
            _html(each["kind"]),
            _html(each["approver"] or ""),
            f'<span class="bad">{_html(each["reason"])}</span>',
        ]
        for each in failures
    ]
    return _html_table("Failed checks of approvals", ("Event", "Kind", "Person", "Why"), rows)


def _html_checkpoints(checkpoints: Sequence[Members]) -> str:
    rows = [
        [
            f'{_html(each["file"])}<br><span class="soft">{_html(each["origin"])}</span>',
            f'{each["size"]}<br><span class="soft">{_html(each["root"])}</span>',
            "<br>".join(_html_signer(signer) for signer in each["signers"]) or "no known key",
            '<span class="good">holds</span>'
            if each["problem"] is None
            else f'<span class="bad">{_html(each["problem"])}</span>',
        ]
        for each in checkpoints
    ]
    return _html_table(
        "Checkpoints", ("File and log", "Entries and root", "Signed by", "Result"), rows
    )


def _html_signer(signer: Members) -> str:
    at = "" if signer["time"] is None else f" at {_utc(signer['time'])}"
    who = "the log" if signer["is_log"] else _html(signer["name"])
    return f'{who}{at}<br><span class="soft">{_html(signer["key"])}</span>'


def _html_chains(chains: Mapping[str, Members]) -> str:
    rows = [
        [
            _html(each["stream"] or name),
            f"{each['first_entry']} to {each['first_entry'] - 1 + each['entries']}",
            "<br>".join(
                _shown_time(each[when]) or "" for when in ("first_timestamp", "last_timestamp")
            ),
            _html(each["last_hash"]),
        ]
        for name, each in chains.items()
    ]
    return _html_table("What was read", ("Stream", "Entries", "From, to", "Last hash"), rows)


if __name__ == "__main__":
    sys.exit(main())
