"""What an audit entry is, byte for byte, and its hash. Pure (contract 30, 31 and 33).

    hash = hex(SHA-256(previous_hash + "|" + canonical))

`canonical` is the entry without `hash` as RFC 8785 JSON. For an entry, msgspec writes exactly that
if it sorts the names. Names are ASCII, so their bytes sort as RFC 8785's UTF-16 units do. Values
are text, booleans, nulls and whole numbers within 2^53, so no reader rounds a number. Everything
else is refused here, because an entry can never be removed from a chain.

Source: docs/AUDIT_CHAIN.md, which defines the format.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from vyrox.errors import EntryError

GENESIS: Final = "0" * 64
"""The `previous_hash` of the first entry of a chain (contract 30)."""

ACTION_MEMBERS: Final = frozenset({"tenant_id", "action_type", "host", "approved_by", "dry_run"})
"""The members that an entry of the `actions` stream has before it is sealed: exactly these."""

STAMPED_MEMBERS: Final = frozenset({"timestamp", "previous_hash", "hash"})
"""The members that sealing adds to an entry of either stream."""

MAX_ENTRY_BYTES: Final = 65_536
"""Largest sealed entry. Readers accept 262,144 characters, which leaves room for `\\u` escapes."""

MAX_WHOLE: Final = 2**53 - 1
"""Readers that store numbers as doubles would round a larger number. Source: RFC 7493, 2.2."""

MAX_TIMESTAMP: Final = 253_402_300_799
"""The last second of the year 9999: later instants have no `YYYY-MM-DD` to name a daily file."""

Scalar = str | int | bool | None
"""The values that a member may have: no fractions, no nested values."""

_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])
_SCALAR_TYPES: Final = frozenset({str, int, bool, type(None)})
_TEXT_OR_NULL: Final = frozenset({str, type(None)})
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An entry as it is stored and exported.

    Attributes:
        json: The whole entry with its `hash`, in canonical form: one line without a line end.
        hash: The entry's own hash. It is the `previous_hash` of the next entry.
        timestamp: Unix seconds, the same as in `json`.
    """

    json: bytes
    hash: str
    timestamp: int


def seal(members: Mapping[str, Scalar], previous_hash: str, timestamp: int) -> Sealed:
    """Return the entry that follows `previous_hash`, after a check of its bytes against its hash.

    Args:
        members: The entry without `STAMPED_MEMBERS`. With `kind` it is an event, else it has
            exactly `ACTION_MEMBERS`. Text is hashed as it is: neither trimmed nor normalized.
        previous_hash: The hash of the chain's newest entry, or `GENESIS`.
        timestamp: Unix seconds. The writer makes sure that it is not before the newest entry's.

    Raises:
        EntryError: The entry would not verify, or its bytes do not match its hash.
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
    """Read the bytes as any reader does, and check that they match `sealed.hash`.

    One flipped bit in memory is enough to break a chain for ever: it ended the certificate log Yeti
    in 2022. This is the last moment at which such an entry can still be discarded.

    Raises:
        EntryError: The bytes do not match the hash.
    """
    try:
        entry = _decoder.decode(sealed.json)
        stated = entry.pop("hash", None)
        recomputed = _hash(str(entry.get("previous_hash")), _encoder.encode(entry))
    except ValueError as exc:
        raise EntryError("the sealed bytes are not an entry") from exc
    if not sealed.hash == stated == recomputed:
        raise EntryError("the sealed bytes do not hash to the entry's hash")
    if entry.get("timestamp") != sealed.timestamp:
        raise EntryError("the sealed bytes have a different timestamp")


def _hash(previous_hash: str, canonical: bytes) -> str:
    return hashlib.sha256(b"%b|%b" % (previous_hash.encode("ascii"), canonical)).hexdigest()


def _check_members(members: Mapping[str, Scalar]) -> None:
    for name, value in members.items():
        # The exact types: a subclass may compare as one value and encode as another.
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
        raise EntryError("an action entry must have exactly the documented members")
    for name, value in members.items():
        if type(value) is not (bool if name == "dry_run" else str):
            raise EntryError(f"{name} is of type {type(value).__name__}")


def _check_event(members: Mapping[str, Scalar]) -> None:
    for name in members:
        if not name.isascii():
            raise EntryError("a member's name is not ASCII")
        if name in STAMPED_MEMBERS:
            raise EntryError(f"{name} is added by sealing and must not be given")
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
"""`/audit/export` returns `actions`. All other entries are `events`, in a chain of their own."""

SERVICE: Final = ""
"""The tenant of the service's own chain. No tenant can have this id (contract 7)."""


class Draft(msgspec.Struct, frozen=True):
    """An entry before it is sealed: without timestamp, previous_hash and hash.

    Attributes:
        kind: The action type or the kind of event, by which entries are filtered.
        members: Without `tenant_id`, which the writer adds.
        names_previous: A member that gets the hash of the draft before this one, in the same work.
    """

    tenant_id: str
    stream: Stream
    kind: str
    members: dict[str, Scalar]
    names_previous: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """Proof that an entry is committed. The writer makes it; every vendor action needs one."""

    tenant_id: str
    stream: Stream
    sequence: int
    hash: str
