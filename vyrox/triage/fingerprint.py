"""Which alerts are the same event again: alerts of one fingerprint are one line of a timeline."""

import re
from hashlib import sha256
from typing import Final

import msgspec

from vyrox.models import NormalizedAlert

MAX_SHAPED: Final = 4096
"""Characters of a command line that its shape is made of."""

_VARYING: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{12,}|\d+"
)
_SPACES: Final = re.compile(r"[\s\x00-\x1f]+")


def shape_of(command_line: str | None) -> str:
    """Return a command line in lower case, with `#` for each number, hash and UUID."""
    text = _SPACES.sub(" ", (command_line or "")[:MAX_SHAPED].casefold()).strip()
    return _VARYING.sub("#", text)


def fingerprint_of(alert: NormalizedAlert) -> bytes:
    """Return 16 bytes that are equal for alerts with the same host, program, shape and severity.

    Two such alerts may deserve different verdicts: the shape leaves out numbers and the end of a
    long command line.
    """
    parts = (
        alert.tenant_id,
        alert.source,
        alert.device_id or "",
        alert.hostname or "",
        alert.process_name or "",
        alert.username or "",
        alert.technique or "",
        alert.vendor_severity or "",
        shape_of(alert.process_cmdline),
    )
    text = "\0".join(part.replace("\0", " ") for part in parts)
    return sha256(text.encode("utf-8", "replace")).digest()[:16]


def content_of(alert: NormalizedAlert) -> bytes:
    """Return 32 bytes that are equal for alerts that differ in their ids and times alone."""
    same = msgspec.structs.replace(
        alert,
        id="",
        raw_id="",
        timestamp=0.0,
        process_id=None,
        process_start=None,
        vendor_process_id=None,
    )
    return sha256(msgspec.json.encode(same)).digest()
