"""What an audit entry is, byte for byte, and its hash. Pure (contract 30, 31 and 33).

    hash = hex(SHA-256(previous_hash + "|" + canonical))

`canonical` is the entry without `hash` as RFC 8785 JSON. For what an entry may hold, that is what
msgspec writes with sorted names: names are ASCII (so bytes sort as RFC 8785's UTF-16 units do),
values are text, booleans, nulls and whole numbers within 2^53 (so no number is ever rounded by a
reader). Everything else is refused here, so that it never reaches a chain that only appends.

Source: docs/AUDIT_CHAIN.md, which states the format for outsiders.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from vyrox.errors import EntryError

GENESIS: Final = "0" * 64
"""What the first entry of a chain names as the hash before it (contract 30)."""

ACTION_MEMBERS: Final = frozenset({"tenant_id", "action_type", "host", "approved_by", "dry_run"})
"""What the caller gives for an entry of the `actions` stream: these, and no others."""

STAMPED_MEMBERS: Final = frozenset({"timestamp", "previous_hash", "hash"})
"""What sealing adds to an entry of either stream."""

MAX_ENTRY_BYTES: Final = 65_536
"""Of a sealed entry. Readers take 262,144 characters, which leaves room for `\\u` escapes."""

MAX_WHOLE: Final = 2**53 - 1
"""Beyond this, readers that hold numbers as doubles see another number. Source: RFC 7493, 2.2."""

MAX_TIMESTAMP: Final = 253_402_300_799
"""The last second of the year 9999: later instants have no `YYYY-MM-DD` to name a daily file."""

Scalar = str | int | bool | None
"""What a member may hold. No fraction, no nesting."""

_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])
_SCALAR_TYPES: Final = frozenset({str, int, bool, type(None)})
_TEXT_OR_NULL: Final = frozenset({str, type(None)})
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An entry as it is stored and exported.

    Attributes:
        json: The whole entry, `hash` included, in canonical form: one line without its end.
        hash: The entry's own hash, which the next entry names as its `previous_hash`.
        timestamp: Unix seconds, as stamped.
    """

    json: bytes
    hash: str
    timestamp: int


def seal(members: Mapping[str, Scalar], previous_hash: str, timestamp: int) -> Sealed:
    """Return the entry that follows `previous_hash`, its bytes checked against its hash.

    Args:
        members: The entry without what is stamped here. With `kind` it is an event, else it has
            exactly `ACTION_MEMBERS`. Text is hashed as given: neither trimmed nor normalized.
        previous_hash: The head's hash, or `GENESIS`.
        timestamp: Unix seconds, not before the head's: that is the writer's to see to.

    Raises:
        EntryError: The entry would not verify, or its bytes do not hash to its hash.
    """
    _check_members(members)
    _check_stamps(previous_hash, timestamp)
    entry = {**members, "timestamp": timestamp, "previous_hash": previous_hash}
    try:
        entry_hash = _hash(previous_hash, _encoder.encode(entry))
    except UnicodeEncodeError as exc:
        raise EntryError("a member holds a lone surrogate, which UTF-8 cannot encode") from exc
    entry["hash"] = entry_hash
    sealed = Sealed(_encoder.encode(entry), entry_hash, timestamp)
    if len(sealed.json) > MAX_ENTRY_BYTES:
        raise EntryError(f"the entry has {len(sealed.json)} bytes, {MAX_ENTRY_BYTES} are allowed")
    check_sealed(sealed)
    return sealed


def check_sealed(sealed: Sealed) -> None:
    """Check that the bytes to be written hash to `sealed.hash`, read as any reader reads them.

    `seal` has done so; a writer that holds entries for long may do so again. One flipped bit in
    memory is enough to end a chain for good (it ended a certificate log, Yeti 2022), and this is
    the last moment at which such an entry can still be thrown away.

    Raises:
        EntryError: They do not.
    """
    try:
        entry = _decoder.decode(sealed.json)
        stated = entry.pop("hash", None)
        recomputed = _hash(str(entry.get("previous_hash")), _encoder.encode(entry))
    except ValueError as exc:
        raise EntryError("the sealed bytes are no entry") from exc
    if not sealed.hash == stated == recomputed:
        raise EntryError("the sealed bytes do not hash to the entry's hash")
    if entry.get("timestamp") != sealed.timestamp:
        raise EntryError("the sealed bytes have another timestamp")


def _hash(previous_hash: str, canonical: bytes) -> str:
    return hashlib.sha256(b"%b|%b" % (previous_hash.encode("ascii"), canonical)).hexdigest()


def _check_members(members: Mapping[str, Scalar]) -> None:
    for name, value in members.items():
        # The exact types: a subclass may encode as something else than it compares as.
        if type(value) not in _SCALAR_TYPES:
            raise EntryError(f"{name} is of type {type(value).__name__}")
        if type(value) is int and not -MAX_WHOLE <= value <= MAX_WHOLE:
            raise EntryError(f"{name} is beyond 2^53 - 1")
    if "kind" in members:
        _check_event(members)
    else:
        _check_action(members)


def _check_action(members: Mapping[str, Scalar]) -> None:
    if members.keys() != ACTION_MEMBERS:
        raise EntryError("an action entry has other members than the documented ones")
    for name, value in members.items():
        if type(value) is not (bool if name == "dry_run" else str):
            raise EntryError(f"{name} is of type {type(value).__name__}")


def _check_event(members: Mapping[str, Scalar]) -> None:
    for name in members:
        if not name.isascii():
            raise EntryError("a member's name is not ASCII")
        if name in STAMPED_MEMBERS:
            raise EntryError(f"{name} is stamped, not given")
    for name in ("tenant_id", "kind"):
        if type(members.get(name)) is not str:
            raise EntryError(f"{name} is not text")
    if "request_id" not in members or type(members["request_id"]) not in _TEXT_OR_NULL:
        raise EntryError("request_id is neither text nor null")


def _check_stamps(previous_hash: str, timestamp: int) -> None:
    if _HASH.fullmatch(previous_hash) is None:
        raise EntryError("previous_hash is not 64 lower-case hexadecimal digits")
    if type(timestamp) is not int or not 0 <= timestamp <= MAX_TIMESTAMP:
        raise EntryError("timestamp is not a number of whole seconds up to the year 9999")


Stream = Literal["actions", "events"]
"""`actions` is what `/audit/export` gives; `events` is everything else, in a chain of its own."""

SERVICE: Final = ""
"""The tenant of the service's own chain; no tenant can have this name (contract 7)."""


class Draft(msgspec.Struct, frozen=True):
    """An entry before it has its place: all its members but timestamp, previous_hash and hash.

    Attributes:
        kind: The action type or the kind of event, for whoever filters.
        members: Without `tenant_id`, which is added.
    """

    tenant_id: str
    stream: Stream
    kind: str
    members: dict[str, Scalar]


class Receipt(msgspec.Struct, frozen=True):
    """Proof that an entry is committed. Only this module makes one; acting on a host takes one."""

    tenant_id: str
    stream: Stream
    sequence: int
    hash: str
