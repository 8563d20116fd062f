"""Signed notes, checkpoints and co-signatures, byte for byte. Pure (contract 93 and 95).

Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature. docs/AUDIT_CHAIN.md has the forms.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vyrox.errors import VyroxError

NOTE: Final = 1
"""The type of a signature over a note's text."""

TIMED: Final = 4
"""The type of a signature over a checkpoint's text and a time: `cosignature/v1`."""

MAX_NOTE_BYTES: Final = 65_536
MAX_SIGNATURES: Final = 100

MAX_SIZE: Final = 2**63 - 1

_NAME: Final = re.compile(r"[^\s+\x00-\x20\x7f]+")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class NoteError(VyroxError):
    """A note, a key or a signature is not what it must be."""


class Key(msgspec.Struct, frozen=True):
    """A verifier key: whose signatures count, under which name.

    Attributes:
        kind: NOTE or TIMED.
    """

    name: str
    public: bytes
    kind: int = NOTE

    @property
    def id(self) -> bytes:
        """Return the four bytes that a signature begins with."""
        return key_id(self.name, self.public, self.kind)

    def __str__(self) -> str:
        """Return the key as C2SP writes it: `name+hash+key`."""
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"


class Signature(msgspec.Struct, frozen=True):
    """One signature of a note, not verified."""

    name: str
    key_id: bytes
    content: bytes

    def line(self) -> str:
        """Return its line in a note."""
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


class Note(msgspec.Struct, frozen=True):
    """A text with signatures, not verified. The text ends with a line feed."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Return the note as it is stored and sent."""
        return f"{self.text}\n{''.join(each.line() for each in self.signatures)}".encode()


class Checkpoint(msgspec.Struct, frozen=True):
    """What a note's text says about a log, if it is a checkpoint."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_id(name: str, public: bytes, kind: int) -> bytes:
    """Return the four bytes that name a key in a signature."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of its public key."""
    return key.public_key().public_bytes_raw()


def read_key(text: str) -> Key:
    """Return a verifier key, `name+hash+key`, of type 1 or 4.

    Raises:
        NoteError: It is not one.
    """
    name, *parts = text.strip().split("+", 2)
    if len(parts) != 2 or not _NAME.fullmatch(name):
        raise NoteError("a verifier key is NAME+HASH+KEY")
    encoded = _decode(parts[1])
    if len(encoded) != 33 or encoded[0] not in {NOTE, TIMED}:
        raise NoteError("the key is not an Ed25519 key of type 1 or 4")
    key = Key(name, encoded[1:], encoded[0])
    if key.id.hex() != parts[0]:
        raise NoteError("the key's hash does not match its name and its bytes")
    return key


def sign_note(text: str, name: str, key: Ed25519PrivateKey, public: bytes) -> Signature:
    """Return a signature over `text`, of the type NOTE."""
    return Signature(name, key_id(name, public, NOTE), key.sign(text.encode()))


def sign_time(text: str, name: str, key: Ed25519PrivateKey, public: bytes, at: int) -> Signature:
    """Return a signature over the checkpoint `text` and a time, of the type TIMED."""
    signed = key.sign(_timed(text, at))
    return Signature(name, key_id(name, public, TIMED), at.to_bytes(8, "big") + signed)


def read_note(encoded: bytes) -> Note:
    """Return the note in `encoded`, not verified.

    Raises:
        NoteError: It is not a signed note.
    """
    if len(encoded) > MAX_NOTE_BYTES:
        raise NoteError("the note is too long")
    try:
        whole = encoded.decode()
    except UnicodeDecodeError:
        raise NoteError("the note is not UTF-8") from None
    if _CONTROLS.search(whole):
        raise NoteError("the note has a control character")
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise NoteError("the note has no signatures, or its last line has no end")
    return Note(text + "\n", read_signatures(lines))


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Return the signatures in one or more lines, each ended by a line feed.

    Raises:
        NoteError: A line is not a signature, or there are too many.
    """
    found = lines.split("\n")
    if found.pop() or not 0 < len(found) <= MAX_SIGNATURES:
        raise NoteError(f"between 1 and {MAX_SIGNATURES} signatures are expected")
    return tuple(_read_signature(line) for line in found)


def read_checkpoint(note: Note) -> Checkpoint:
    """Return what the note says, which is not verified. Its text may have further lines.

    Raises:
        NoteError: It is not a checkpoint.
    """
    lines = note.text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise NoteError("a checkpoint has three lines or more, and none is empty")
    origin, size, encoded = lines[:3]
    root = _decode(encoded)
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE or len(root) != 32:
        raise NoteError("a checkpoint's second line is a size, and its third one a hash")
    return Checkpoint(origin, int(size), root)


def check(note: Note, key: Key) -> int | None:
    """Return the time that a signature of `key` names; None if its type has no time.

    If several are right, the latest time counts.

    Raises:
        NoteError: No signature is of this key, or one that claims to be is wrong.
    """
    own = [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.id)]
    if not own:
        raise NoteError(f"the note has no signature of {key.name}")
    return max((_check(note.text, each, key) for each in own), key=lambda at: at or 0)


def _check(text: str, signature: Signature, key: Key) -> int | None:
    public = Ed25519PublicKey.from_public_bytes(key.public)
    try:
        if key.kind == NOTE:
            public.verify(signature.content, text.encode())
            return None
        at = int.from_bytes(signature.content[:8], "big")
        public.verify(signature.content[8:], _timed(text, at))
    except InvalidSignature:
        raise NoteError(f"the signature of {key.name} is wrong") from None
    return at


def _timed(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _read_signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    content = _decode(encoded)
    if dash != "\u2014" or not _NAME.fullmatch(name) or len(content) <= 4:
        raise NoteError("a line is not a signature")
    return Signature(name, content[:4], content[4:])


def _decode(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NoteError("a value is not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise NoteError("a value is not base64 in its one form")
    return decoded
