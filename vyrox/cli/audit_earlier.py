"""Puts an export of events that begin after an archive behind an earlier export (contract 97).

The earlier one goes back further. That its entries are those before is shown by the link: the first
new entry names the hash of the last one before it.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from vyrox.chain import verify as verifier
from vyrox.chain.evidence import RETAINED_NAME
from vyrox.chain.keys_file import KeysInForce
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


class _Linked(msgspec.Struct):
    hash: str
    previous_hash: str


def join_earlier(fresh: Path, directory: Path, prefix: str, first: int) -> Joined:
    """Put the entries in `directory` that are before `first` before those in `fresh`.

    Nothing is changed if `directory` does not end right before them, or goes on with them.
    """
    names = sorted(path.name for path in fresh.glob(f"{prefix}-*.jsonl"))
    alone = Joined(first)
    if first == 1 or not names:
        return alone
    begins = fresh / names[0]
    with begins.open("rb") as file:
        line = file.readline()
    there = sorted(p for p in directory.glob(f"{prefix}-*.jsonl") if p.name <= names[0])
    number, last, offset = 0, b"", 0
    for path in there:
        offset = 0
        for each in _lines_before(path, line):
            number, last, offset = number + 1, each, offset + len(each)
    if not 0 < number < first or not _is_link(last, line):
        return alone
    if there[-1].name == begins.name:
        _put_before(there.pop(), offset, begins)
    return Joined(first - number, there)


def _lines_before(path: Path, line: bytes) -> Iterator[bytes]:
    with verifier.open_regular(path) as file:
        for each in file:
            if each == line:
                return
            yield each


def _is_link(last: bytes, line: bytes) -> bool:
    try:
        before, after = (msgspec.json.decode(each, type=_Linked) for each in (last, line))
    except ValueError:
        return False
    return before.hash == after.previous_hash


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
