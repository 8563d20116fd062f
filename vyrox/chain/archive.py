"""A tenant's whole audit log as one archive, made while it is sent (contract 80).

It has both chains as `/audit/export` returns them as lines, the verifier, and how to use it.
"""

import asyncio
import io
import zipfile
from collections.abc import AsyncGenerator
from importlib.resources import files
from typing import Final

from vyrox.chain.export import pages
from vyrox.chain.live import STREAMS
from vyrox.store.database import Database

VERIFIER_NAME: Final = "verify_audit.py"

README: Final = """\
The audit log of {tenant_id}, as Vyrox has stored it.

actions.ndjson    what Vyrox was asked to do on devices, one entry a line
events.ndjson     everything else, such as proposals and who has decided on them
verify_audit.py   checks both, without Vyrox: it needs Python 3.9 or later, and nothing else

Check that no entry was changed, removed or added in between:

    python3 -I verify_audit.py actions.ndjson
    python3 -I verify_audit.py events.ndjson

Check who has approved which action, with the proofs of their passkeys:

    python3 -I verify_audit.py --approvals actions.ndjson events.ndjson

It exits with 3 if all holds. It cannot show that no entries are missing at the end, or that the
log was not replaced as a whole: compare the last hash with one that you have noted before. Take
verify_audit.py from Vyrox's sources if you do not trust the sender of this archive.
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


async def archive(database: Database, tenant_id: str) -> AsyncGenerator[bytes]:
    """Yield the archive, a page of entries at a time.

    Raises:
        DatabaseUnavailableError: The archive is incomplete, and no program opens it.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in (
            ("README.txt", README.format(tenant_id=tenant_id).encode()),
            (VERIFIER_NAME, files("vyrox.chain").joinpath("verify.py").read_bytes()),
        ):
            whole.writestr(_info(name), data)
        for stream in STREAMS:
            with whole.open(_info(f"{stream}.ndjson"), "w", force_zip64=True) as file:
                async for page in pages(database, tenant_id, stream):
                    lines = b"".join(entry + b"\n" for entry in page)
                    await asyncio.to_thread(file.write, lines)
                    yield sink.take()
    yield sink.take()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
