"""A tenant's whole audit log as one archive, made while it is sent (contract 80).

It has both chains as `/audit/export` returns them as lines, what belongs beside them (97), the
verifier, and how to use it.
"""

import asyncio
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from importlib.resources import files
from typing import IO, Final

from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.evidence import (
    KEYS_NAME,
    RETAINED_NAME,
    beside,
    keys_beside,
    retained_beside,
)
from vyrox.chain.export import pages, read_parts
from vyrox.chain.keys_file import KeysInForce
from vyrox.chain.live import STREAMS
from vyrox.store.database import Database

VERIFIER_NAME: Final = "verify_audit.py"

README: Final = """\
The audit log of {tenant_id}, as Vyrox has stored it.

actions.ndjson    what Vyrox was asked to do on devices, one entry a line
events.ndjson     everything else, such as proposals and who has decided on them
checkpoint-*.txt  how many entries each has, and their root, signed by Vyrox
keys.json         the keys of Vyrox, of its witnesses and of the people who decide
verify_audit.py   checks all of it, without Vyrox: it needs Python 3.9 or later, and nothing else

Check that no entry was changed, removed or added, and who has approved which action, with the
proofs of their passkeys:

    python3 -I verify_audit.py --approvals actions.ndjson events.ndjson

Write the result to a page that can be read and printed:

    python3 -I verify_audit.py --html report.html --approvals actions.ndjson events.ndjson

It exits with 0 if all holds, and with 3 if all holds and there is no checkpoint. Keep the
checkpoints: with --checkpoint FILE they show the next time that nothing before them was replaced.
Take verify_audit.py and the key of Vyrox (vyrox audit key) from elsewhere if you do not trust the
sender of this archive, and give the key with --keys.
"""

_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""Of each file in the archive: the entries have their own times."""


class _Sink(io.RawIOBase):
    """Where the archive is written to: it keeps the bytes until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()

    def writable(self) -> bool:
        """It is; it cannot be read, and not go back."""
        return True

    def write(self, data: object) -> int:
        """Keep some bytes."""
        part = bytes(data)  # type: ignore[call-overload]
        self._bytes += part
        return len(part)

    def take(self) -> bytes:
        """Return the bytes since the last call."""
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


async def archive(
    database: Database, tenant_id: str, checkpoints: Checkpoints | None
) -> AsyncGenerator[bytes]:
    """Yield the archive, a page of entries at a time.

    Raises:
        DatabaseUnavailableError: The archive is incomplete, and no program opens it.
    """
    sink, in_force = _Sink(), KeysInForce()
    parts = await database.read(read_parts, tenant_id, STREAMS, 0)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in (
            ("README.txt", README.format(tenant_id=tenant_id).encode()),
            (VERIFIER_NAME, files("vyrox.chain").joinpath("verify.py").read_bytes()),
        ):
            whole.writestr(_info(name), data)
        retained = await retained_beside(database, (tenant_id, "events"), parts["events"])
        async for _ in _add_retained(whole, retained, in_force):
            yield sink.take()
        for stream in STREAMS:
            with whole.open(_info(f"{stream}.ndjson"), "w", force_zip64=True) as file:
                async for page in pages(database, tenant_id, stream, parts[stream]):
                    await asyncio.to_thread(_add, file, page, in_force)
                    yield sink.take()
        for stream in STREAMS:
            chain, part = (tenant_id, stream), parts[stream]
            for name, data in (await beside(database, checkpoints, chain, part)).items():
                whole.writestr(_info(name), data)
        keys = await keys_beside(database, checkpoints, tenant_id, in_force, ())
        if keys is not None:
            whole.writestr(_info(KEYS_NAME), keys)
    yield sink.take()


async def _add_retained(
    whole: zipfile.ZipFile, retained: AsyncIterator[bytes] | None, in_force: KeysInForce
) -> AsyncIterator[None]:
    if retained is None:
        return
    with whole.open(_info(RETAINED_NAME), "w", force_zip64=True) as file:
        async for lines in retained:
            in_force.add_retained(lines)
            await asyncio.to_thread(file.write, lines)
            yield


def _add(file: IO[bytes], page: Iterable[bytes], in_force: KeysInForce) -> None:
    for entry in page:
        in_force.add(entry)
        file.write(entry + b"\n")


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
