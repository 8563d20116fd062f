"""A witness keeps the last checkpoint of a log, and co-signs only what extends it (contract 95).

Source: C2SP tlog-witness and tlog-cosignature. A witness is for one tenant of one log. Its
directory holds its own key, the key of the log, and of each stream the last checkpoint, co-signed.
"""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from vyrox.chain.entry import Stream
from vyrox.chain.identity import NEW_KEY
from vyrox.chain.log_keys import LogKey, new_key, read_log_keys
from vyrox.chain.notes import (
    NOTE,
    TIMED,
    Checkpoint,
    Key,
    Note,
    NoteError,
    Signature,
    check,
    read_checkpoint,
    read_key,
    read_note,
    sign_time,
)
from vyrox.chain.reading import STREAMS
from vyrox.chain.tree import consistency_holds
from vyrox.clock import Clock
from vyrox.errors import OperatorError, VyroxError

KEY_FILE: Final = "witness.key"
LOG_KEY_FILE: Final = "log-key.txt"
MAX_PROOF: Final = 63

_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MAX_FILE: Final = 65_536


class RewrittenError(VyroxError):
    """The log says another thing than before. The text is for people, with both checkpoints."""


class RefusedError(VyroxError):
    """What was sent is not co-signed.

    Attributes:
        answer: The status, and the size of the last checkpoint if that is of use.
    """

    def __init__(self, status: int, reason: str, size: int | None = None) -> None:
        """`status` is that of C2SP tlog-witness."""
        super().__init__(reason)
        self.answer = (status, size)


class Added(msgspec.Struct, frozen=True):
    """What was sent to a witness."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note


def read_added(body: bytes) -> Added:
    """Return what is in the body of `add-checkpoint`.

    Raises:
        RefusedError: It has another form.
    """
    head, _, note = body.partition(b"\n\n")
    refused = RefusedError(400, "not a request of add-checkpoint")
    try:
        first, *lines = head.decode("ascii").split("\n")
        proof = tuple(b64decode(line, validate=True) for line in lines)
        read = read_note(note)
    except (ValueError, NoteError):
        raise refused from None
    matched = _OLD.fullmatch(first)
    if matched is None or len(proof) > MAX_PROOF or any(len(each) != 32 for each in proof):
        raise refused
    return Added(int(matched[1]), proof, read)


def write_added(added: Added) -> bytes:
    """Return the body of `add-checkpoint`."""
    lines = [f"old {added.old_size}", *(b64encode(each).decode() for each in added.proof)]
    return "\n".join(lines).encode() + b"\n\n" + added.note.encode()


class Witness:
    """The witness of one tenant's log. Its methods write to files, and do not wait."""

    def __init__(self, directory: Path, name: str, tenant: str, clock: Clock) -> None:
        """Open the directory, made if needed, with the witness's key.

        Args:
            name: Of the witness's key, such as `witness.example.com/vyrox`.
            tenant: The tenant as origins write it.

        Raises:
            OperatorError: The directory cannot be used.
        """
        self._directory = directory
        self._name = name
        self._tenant = tenant
        self._clock = clock
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own = self._own_key()
            self._log = self._read_log_key()
            self._last = {stream: self._read_last(stream) for stream in STREAMS}
        except (OSError, ValueError, NoteError) as exc:
            raise OperatorError(f"{directory}: {exc}") from exc

    @property
    def key(self) -> Key:
        """The key that verifies the co-signatures."""
        return Key(self._name, self._own.public, TIMED)

    @property
    def log_key(self) -> Key | None:
        """The key of the log, under the log's name; None: not known yet."""
        return self._log

    def know(self, key: Key, endorsements: Sequence[bytes] = (), *, force: bool = False) -> bool:
        """Know the key of the log from now on; return whether it is new.

        Args:
            key: Of a chain of the log.
            endorsements: The notes with which each key names the next one, the oldest first. They
                must lead from the key that is known to this one.
            force: The operator says so.

        Raises:
            RewrittenError: Another key or log is known, and nothing says that this one follows.
        """
        log = Key(key.name.rsplit("/", 2)[0], key.public)
        if self._log == log:
            return False
        if self._log is not None and not force:
            _check_endorsed(self._log, log, endorsements)
        self._log = log
        _write(self._directory / LOG_KEY_FILE, f"{log}\n".encode())
        return True

    def last(self, stream: Stream) -> Note | None:
        """Return the last checkpoint that was co-signed, with its signatures."""
        return self._last.get(stream)

    def last_size(self, stream: Stream) -> int:
        """Return its size; 0 if no checkpoint was co-signed."""
        note = self._last.get(stream)
        return 0 if note is None else read_checkpoint(note).size

    def stream_of(self, note: Note) -> Stream:
        """Return which stream of the log the checkpoint is of, once its signature is checked.

        Raises:
            RefusedError: It is of another log, or the log has not signed it.
        """
        try:
            origin = read_checkpoint(note).origin
        except NoteError as exc:
            raise RefusedError(400, str(exc)) from exc
        if self._log is None:
            raise RefusedError(404, "the key of the log is not known yet")
        for stream in STREAMS:
            if origin == f"{self._log.name}/{self._tenant}/{stream}":
                try:
                    check(note, Key(origin, self._log.public, NOTE))
                except NoteError as exc:
                    raise RefusedError(403, str(exc)) from exc
                return stream
        raise RefusedError(404, f"unknown log {origin!a}")

    def extend(self, added: Added) -> Signature:
        """Return the co-signature of a checkpoint that extends the last one, once that is on disk.

        Raises:
            RefusedError: It is not signed by the log, or not shown to extend the last one.
            RewrittenError: The log has signed two checkpoints of one size.
            OSError: It cannot be stored, so it is not co-signed.
        """
        stream = self.stream_of(added.note)
        new, last = read_checkpoint(added.note), self._last.get(stream)
        old = Checkpoint(new.origin, 0, b"") if last is None else read_checkpoint(last)
        if last is not None and new.size == old.size and new.root != old.root:
            raise RewrittenError(self.evidence(stream, added.note, "two logs of one size"))
        if added.old_size > new.size:
            raise RefusedError(400, "the old size is larger than the checkpoint")
        if added.old_size != old.size:
            raise RefusedError(409, "the old size is not that of the last checkpoint", old.size)
        if not _extends(old, new, added.proof):
            raise RefusedError(422, "the proof does not hold")
        return self._sign(stream, added.note)

    def evidence(self, stream: Stream, note: Note, what: str) -> str:
        """Store what the log has said before and says now; return what it shows."""
        last = self._last.get(stream)
        before = "" if last is None else last.encode().decode()
        text = (
            f"{what}\n\nBEFORE, co-signed by {self._name}:\n\n{before}\nNOW:\n\n"
            f"{note.encode().decode()}"
        )
        path = self._directory / f"evidence-{stream}-{int(self._clock())}.txt"
        with suppress(OSError):  # what is printed matters more
            _write(path, text.encode())
            text += f"\nstored in {path}\n"
        return text

    def _sign(self, stream: Stream, note: Note) -> Signature:
        own = self._own
        signature = sign_time(note.text, self._name, own.private, own.public, int(self._clock()))
        signed = Note(note.text, (*(s for s in note.signatures if s.name != self._name), signature))
        _write(self._directory / f"checkpoint-{stream}.txt", signed.encode())
        self._last[stream] = signed
        return signature

    def _own_key(self) -> LogKey:
        path = self._directory / KEY_FILE
        if not path.exists():
            _write(path, f"{new_key()}\n".encode())
        [key] = read_log_keys(_read(path).decode("ascii", "replace").split())
        return key

    def _read_log_key(self) -> Key | None:
        path = self._directory / LOG_KEY_FILE
        return read_key(_read(path).decode()) if path.exists() else None

    def _read_last(self, stream: Stream) -> Note | None:
        path = self._directory / f"checkpoint-{stream}.txt"
        if not path.exists():
            return None
        note = read_note(_read(path))
        check(note, self.key)  # a changed file must not become what the log is compared with
        return note


def _extends(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> bool:
    if old.size == 0:
        return not proof
    return consistency_holds(old.size, new.size, old.root, new.root, proof)


def _check_endorsed(known: Key, new: Key, endorsements: Sequence[bytes]) -> None:
    last = known
    for each in endorsements:
        last = _named_by(last, each) or last
        if last == new:
            return
    raise RewrittenError(
        f"another log or key than before, and the key before has not named it.\nBEFORE: {known}\n"
        f"NOW:    {new}\nIf the operator of the log says why, go on with --log-key"
    )


def _named_by(known: Key, endorsement: bytes) -> Key | None:
    """Return the key that `known` names as the next one of the same log; None if it does not."""
    try:
        note = read_note(endorsement)
        check(note, known)
        first, log, encoded, _, _ = note.text.split("\n")
        public = b64decode(encoded, validate=True)
    except (NoteError, ValueError):
        return None
    if (first, log, public[:1]) != (NEW_KEY, known.name, bytes([NOTE])):
        return None
    return Key(log, public[1:])


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read(_MAX_FILE)


def _write(path: Path, content: bytes) -> None:
    """Replace the file, so that after a crash it is the old or the new one."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
