"""From a table of where the fields of a form are to an alert (contract 70)."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from vyrox.adapters.forms.payload import Node
from vyrox.adapters.forms.severities import Graded
from vyrox.adapters.forms.times import first_time, seconds_of
from vyrox.errors import NormalizationError
from vyrox.ids import new_id
from vyrox.models import EdrVendor, NormalizedAlert, Tenant

Fields = Mapping[str, tuple[str, ...]]
"""Alert field -> the paths where a form may have it, the best one first."""


class Ignored(NamedTuple):
    """A known event that is not a detection.

    Attributes:
        what: The vendor's name of its kind.
    """

    what: str


class Reading(NamedTuple):
    """Who sent a payload, and when.

    Attributes:
        received_at: Unix seconds; the alert's time if the payload has none.
        notes: What was replaced to read the payload.
    """

    source: EdrVendor
    tenant: Tenant
    received_at: float
    notes: tuple[str, ...] = ()


SEVERAL: Final = "several device ids, so none is used"

_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_MITRE: Final = re.compile(r"\bT[0-9]{4}(?:\.[0-9]{3})?\b")
_PID: Final = re.compile(r"0*[1-9][0-9]{0,9}")
_SEPARATOR: Final = re.compile(r"[\\/]")
_SUFFIX: Final = re.compile(r" \((?:CLI [0-9a-fA-F]+|interactive session)\)$")
"""What SentinelOne appends to the name of a process that has no file of its own."""


def build(
    node: Node,
    fields: Fields,
    graded: Graded,
    reading: Reading,
    *,
    raw_id: str | None = None,
    times: Iterable[str] = (),
) -> NormalizedAlert:
    """Return the alert whose fields are at the paths of `fields` in `node`.

    Args:
        node: An object of the payload.
        fields: Where the fields are in it.
        graded: The alert's severity.
        reading: Who sent the payload, and when.
        raw_id: The detection's identifier, if `node` has none.
        times: When it happened, if these are better than what `node` has.

    Raises:
        NormalizationError: The payload has no identifier of the detection.
    """
    found = read_fields(node, fields)
    named = found.pop("raw_id", raw_id)
    if named is None:
        raise NormalizationError("the payload has no identifier of the detection")
    device_id, several = _device(node, fields.get("device_id", ()))
    time = first_time([*times, *node.all(*fields["timestamp"])], reading.received_at)
    return NormalizedAlert(
        id=new_id(),
        tenant_id=reading.tenant.tenant_id,
        source=reading.source,
        raw_id=named,
        timestamp=time.seconds,
        device_id=device_id,
        process_start=_start(node.all(*fields.get("process_start", ()))),
        vendor_severity=graded.vendor,
        severity=graded.severity,
        notes=(*reading.notes, *time.notes, *graded.notes, *several),
        **found,
    )


def read_fields(node: Node, fields: Fields) -> dict[str, str]:
    """Return the text of each field that is there, except the device's id."""
    found = {
        field: text
        for field, read in _READERS.items()
        if (text := read(node, fields.get(field, ()))) is not None
    }
    for field, plural in (("hostname", "hostnames"), ("username", "usernames")):
        if field not in found and (several := node.listed(*fields.get(plural, ()))):
            found[field] = several[0]
    return found


def file_name(path: str) -> str | None:
    """Return the last part of a path of Windows or Unix."""
    name = _SEPARATOR.split(path.rstrip("\\/"))[-1]
    return _SUFFIX.sub("", name) or None


def technique_in(texts: Iterable[str]) -> str | None:
    """Return the first identifier of a MITRE technique in `texts`, or else the first text."""
    some = list(texts)
    ids = (match[0] for text in some if (match := _MITRE.search(text)))
    return next(ids, some[0] if some else None)


def sha256_in(texts: Iterable[str]) -> str | None:
    """Return the first of `texts` that is a SHA-256; all zeros are none."""
    return next((text for text in texts if _SHA256.fullmatch(text) and text.strip("0")), None)


def _process(node: Node, paths: tuple[str, ...]) -> str | None:
    return next((name for text in node.all(*paths) if (name := file_name(text))), None)


def _pid(node: Node, paths: tuple[str, ...]) -> str | None:
    return next((text for text in node.all(*paths) if _PID.fullmatch(text)), None)


def _device(node: Node, paths: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return the id at the first path that has any. Several are none, with a note.

    An action must not meet the wrong host.
    """
    found = (set(node.listed(path)) for path in paths)
    ids = next((some for some in found if some), set())
    return (None, (SEVERAL,)) if len(ids) > 1 else (next(iter(ids), None), ())


def _start(texts: Iterable[str]) -> float | None:
    return next((time for text in texts if (time := seconds_of(text)) is not None), None)


def _text(node: Node, paths: tuple[str, ...]) -> str | None:
    return node.first(*paths)


_READERS: Final[Mapping[str, Callable[[Node, tuple[str, ...]], str | None]]] = {
    "raw_id": _text,
    "hostname": _text,
    "username": _text,
    "process_name": _process,
    "process_cmdline": _text,
    "sha256": lambda node, paths: sha256_in(node.listed(*paths)),
    "tactic": lambda node, paths: next(iter(node.listed(*paths)), None),
    "technique": lambda node, paths: technique_in(node.listed(*paths)),
    "vendor_group": _text,
    "process_id": _pid,
    "vendor_process_id": _text,
}
