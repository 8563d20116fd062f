"""What lies beside an export: a checkpoint of exactly its entries, a proof, keys (contract 97)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosignatures import add_cosignatures, read_cosigned
from vyrox.chain.export import Part
from vyrox.chain.identity import list_keys
from vyrox.chain.keys_file import NAME, KeysInForce, keys_file
from vyrox.chain.nodes import BrokenChainError, Chain
from vyrox.chain.notes import Note, read_checkpoint
from vyrox.store.database import Database

KEYS_NAME: Final = NAME


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
