"""Puts an export of events that begin after an archive behind an earlier export (contract 97).

The earlier one goes back further. That its entries are those before is shown by their hashes: each
names the one before it, and so does the first new entry. What does not fit is left as it is: it may
be the only proof of a change.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from vyrox.chain import verify as verifier
from vyrox.chain.entry import GENESIS
from vyrox.chain.evidence import RETAINED_NAME
from vyrox.chain.keys_file import KeysInForce
from vyrox.cli.audit_source import MAX_LINE_BYTES
from vyrox.store.data_dir import open_private

_FRESH: Final = ".joined"


class Joined(msgspec.Struct, frozen=True):
    """What an export is after it was joined.

    Attributes:
        first: The number of its first entry.
        kept: Daily files of the earlier export that stay as they are, the oldest first.
    """

    first: int
    kept: Sequence[Path] = ()


class _Link(msgspec.Struct):
    previous_hash: str


class _Dated(msgspec.Struct):
    timestamp: int


class _Proof(msgspec.Struct):
    entry: int


_dated_decoder: Final = msgspec.json.Decoder(_Dated)


def join_earlier(fresh: Path, directory: Path, prefix: str, first: int) -> Joined:
    """Put the entries in `directory` that are before `first` before those in `fresh`.

    Nothing is changed unless `directory` ends right before them, or goes on with them, and was
    itself whole, or began after an archive.
    """
    names = sorted(path.name for path in fresh.glob(f"{prefix}-*.jsonl"))
    alone = Joined(first)
    if first == 1 or not names:
        return alone
    begins = fresh / names[0]
    with begins.open("rb") as file:
        line = file.readline()
    there = sorted(p for p in directory.glob(f"{prefix}-*.jsonl") if p.name <= names[0])
    try:
        begin, number, offset = _verified(there, prefix, begins.name, line)
        if number == 0 or not _is_beginning(directory, begin, first - number):
            return alone
    except (verifier.TamperedError, ValueError):
        return alone
    if there[-1].name == begins.name:
        _put_before(there.pop(), offset, begins)
    return Joined(first - number, there)


def _verified(there: Sequence[Path], prefix: str, last: str, line: bytes) -> tuple[str, int, int]:
    """Verify the entries before `line`, which is in the file named `last` or after all of them.

    Return the hash that the first of them names, how many there are, and the length of those in
    the last file.

    Raises:
        TamperedError, ValueError: They are no chain that `line` goes on with.
    """
    chain, begin, offset = verifier.Chain(), "", 0
    for path in there:
        offset, before = 0, chain.entries
        for each in _lines_before(path, line if path.name == last else b""):
            if not begin:
                begin = _previous(each)
                chain.begin_after(0, begin)
            chain.add(each)
            offset += len(each)
            if path.stem.removeprefix(prefix + "-") != day_of(each):
                raise ValueError
        if chain.entries == before and path.name != last:
            raise ValueError  # it was emptied
    if _previous(line) != chain.last_hash:
        raise ValueError
    return begin, chain.entries, offset


def _lines_before(path: Path, line: bytes) -> Iterator[bytes]:
    with verifier.open_regular(path) as file:
        while each := file.readline(verifier.MAX_ENTRY_CHARACTERS):
            if each == line:
                return
            if not each.endswith(b"\n"):
                raise ValueError  # it was cut, so nothing may follow it
            yield each


def day_of(line: bytes) -> str | None:
    """Return the UTC day of an entry; None if it has no readable time."""
    try:
        timestamp = _dated_decoder.decode(line).timestamp
    except ValueError:
        return None
    if not 0 <= timestamp <= verifier.MAX_TIMESTAMP:
        return None
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


def _previous(line: bytes) -> str:
    return msgspec.json.decode(line, type=_Link).previous_hash


def _is_beginning(directory: Path, begin: str, first: int) -> bool:
    """Return whether an export may begin so: with entry 1, or as it said, after an archive."""
    if first == 1 or begin == GENESIS:
        return first == 1 and begin == GENESIS
    proof = directory / "proof-events.json"
    if not (proof.exists() and (directory / RETAINED_NAME).exists()):
        return False
    with verifier.open_regular(proof) as file:
        return msgspec.json.decode(file.read(MAX_LINE_BYTES), type=_Proof).entry == first


def _put_before(earlier: Path, length: int, path: Path) -> None:
    joined = path.with_name(_FRESH)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        os.fdopen(open_private(joined, flags), "wb") as to,
        verifier.open_regular(earlier) as before,
        path.open("rb") as after,
    ):
        while length > 0 and (chunk := before.read(min(length, verifier.CHUNK_BYTES))):
            to.write(chunk)
            length -= len(chunk)
        shutil.copyfileobj(after, to)
    joined.replace(path)


def keys_in_force(fresh: Path, directory: Path, prefix: str, joined: Joined) -> KeysInForce:
    """Return whose key decides, as the events of an export say it, after `join_earlier`."""
    found = KeysInForce()
    retained = next((p for d in (fresh, directory) if (p := d / RETAINED_NAME).exists()), None)
    if retained is not None and joined.first > 1:
        with verifier.open_regular(retained) as file:
            for line in file:
                found.add_retained(line)
    for path in [*joined.kept, *sorted(fresh.glob(f"{prefix}-*.jsonl"))]:
        with verifier.open_regular(path) as file:
            for line in file:
                found.add(line)
    return found
