"""What lies beside an export: a checkpoint of exactly its entries, a proof, keys (contract 97)."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from vyrox.chain.archived import archived_up_to, read_retained, retained_lines
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosignatures import add_cosignatures, read_cosigned
from vyrox.chain.export import Part
from vyrox.chain.identity import list_keys
from vyrox.chain.keys_file import NAME, KeysInForce, keys_file
from vyrox.chain.nodes import BrokenChainError, Chain
from vyrox.chain.notes import Note, read_checkpoint
from vyrox.store.database import Database

KEYS_NAME: Final = NAME
RETAINED_NAME: Final = "retained-events.txt"

PAGE: Final = 1000
"""Retained events that one transaction reads."""


async def beside(
    database: Database, checkpoints: Checkpoints | None, chain: Chain, part: Part
) -> dict[str, bytes]:
    """Return the files by their names; none without a key, or if the rows are broken.

    Raises:
        DatabaseUnavailableError: The database cannot be read.
    """
    if checkpoints is None:
        return {}
    stream = chain[1]
    files: dict[str, bytes] = {}
    try:
        note = await checkpoints.at(*chain, part.last)
        if 1 < part.first <= part.last:
            proof = await checkpoints.inclusion(*chain, part.first, part.last)
            files[f"proof-{stream}.json"] = msgspec.json.encode(proof)
    except BrokenChainError:
        return {}  # the verifier finds at which entry
    note = await database.read(add_cosignatures, chain, note)
    files[f"checkpoint-{stream}.txt"] = note.encode()
    older = await database.read(read_cosigned, chain)
    files |= {f"cosigned-{stream}.txt": each.encode() for each in _within(older, note, part)[:1]}
    return files


async def retained_beside(
    database: Database, chain: Chain, part: Part
) -> AsyncIterator[bytes] | None:
    """Return pages of the file of the events that were retained of those in archives (103).

    None unless `part` begins right after them.

    Raises:
        DatabaseUnavailableError: The database cannot be read.
    """
    tenant_id, stream = chain
    if stream != "events" or part.first == 1:
        return None
    last = await database.read(archived_up_to, tenant_id)
    return retained_pages(database, tenant_id, last) if part.first == last + 1 else None


async def retained_pages(database: Database, tenant_id: str, last: int) -> AsyncIterator[bytes]:
    """Yield the lines of the events up to `last` that are retained. Raises as `beside`."""
    after = 0
    while page := await database.read(read_retained, tenant_id, after, last, PAGE):
        yield retained_lines(page)
        after = page[-1].sequence


def _within(older: Sequence[Note], note: Note, part: Part) -> list[Note]:
    """Return the co-signed checkpoints that the entries of `part` can be compared with."""
    return [
        each
        for each in older
        if each.text != note.text and part.first <= read_checkpoint(each).size <= part.last
    ]


async def keys_beside(
    database: Database,
    checkpoints: Checkpoints | None,
    tenant_id: str,
    in_force: KeysInForce | None,
    witnesses: Sequence[str],
) -> bytes | None:
    """Return `keys.json`, or None if no key is known.

    Raises:
        DatabaseUnavailableError: The database cannot be read.
    """
    if checkpoints is None:
        return keys_file(tenant_id, in_force, None, (), ())
    known = await database.read(list_keys)
    return keys_file(tenant_id, in_force, checkpoints.signer, known, witnesses)
