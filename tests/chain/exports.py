"""Exports with checkpoints, proofs and keys, as the service writes them (contract 96)."""

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.audit import TENANT
from vyrox.chain.entry import Stream
from vyrox.chain.notes import NOTE, TIMED, Checkpoint, Key, Note, public_bytes, sign_note, sign_time
from vyrox.chain.tree import consistency_ranges, inclusion_ranges, root_of

LOG: Final = "vyrox/0123456789abcdef"
NOW: Final = 1_704_100_000

Lines = dict[Stream, list[bytes]]


def hashes(lines: Sequence[bytes]) -> list[bytes]:
    return [bytes.fromhex(json.loads(line)["hash"]) for line in lines]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Witness:
    def __init__(self, name: str, seed: int) -> None:
        self.name, self.private = name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = public_bytes(self.private)
        self.key = str(Key(name, self.public, TIMED))


class Log:
    """A log that signs with one key."""

    def __init__(self, seed: int = 1, name: str = LOG) -> None:
        self.name, self.private = name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = public_bytes(self.private)
        self.key = str(Key(name, self.public))
        self.successions: list[str] = []

    def sign(
        self,
        stream: Stream,
        size: int,
        root: bytes,
        witnesses: Iterable[Witness] = (),
        at: int | None = None,
    ) -> bytes:
        origin = f"{self.name}/{TENANT}/{stream}"
        text = Checkpoint(origin, size, root).text()
        signatures = [sign_note(text, origin, self.private, self.public)]
        if at is not None:
            signatures.append(sign_time(text, origin, self.private, self.public, at))
        signatures += [sign_time(text, w.name, w.private, w.public, NOW) for w in witnesses]
        return Note(text, tuple(signatures)).encode()

    def checkpoint(
        self,
        stream: Stream,
        lines: Sequence[bytes],
        witnesses: Iterable[Witness] = (),
        at: int | None = None,
    ) -> bytes:
        return self.sign(stream, len(lines), root_of(hashes(lines)), witnesses, at)

    def succeeded_by(self, other: "Log") -> str:
        """Return the note with which this key names the next one."""
        text = f"vyrox-checkpoint-key-v1\n{self.name}\n{b64(bytes([NOTE]) + other.public)}\n{NOW}\n"
        signature = sign_note(text, self.name, self.private, self.public)
        return Note(text, (signature,)).encode().decode()

    def keys(self, witnesses: Iterable[Witness] = (), **more: object) -> bytes:
        members = {
            "log_keys": [{"key": self.key, "since": NOW, "until": None}],
            "witnesses": [{"key": each.key} for each in witnesses],
            "successions": self.successions,
            **more,
        }
        return json.dumps(members).encode()

    def write(self, directory: Path, lines: Lines, witnesses: Sequence[Witness] = ()) -> str:
        """Write what `vyrox audit export` writes; return the directory."""
        directory.mkdir(exist_ok=True)
        for stream, of_stream in lines.items():
            prefix = "audit" if stream == "actions" else "events"
            if of_stream:
                path = directory / f"{prefix}-2024-01-01.jsonl"
                path.write_bytes(b"".join(line + b"\n" for line in of_stream))
            note = self.checkpoint(stream, of_stream, witnesses)
            (directory / f"checkpoint-{stream}.txt").write_bytes(note)
        (directory / "keys.json").write_bytes(self.keys(witnesses))
        return str(directory)


def _root(leaves: Sequence[bytes], start: int, end: int) -> str:
    return b64(root_of(leaves[start:end]))


def inclusion(stream: Stream, lines: Sequence[bytes], entry: int) -> bytes:
    leaves, size = hashes(lines), len(lines)
    ranges = inclusion_ranges(entry - 1, size)
    members = {
        "kind": "inclusion",
        "tenant_id": TENANT,
        "stream": stream,
        "entry": entry,
        "hash": leaves[entry - 1].hex(),
        "size": size,
        "root": b64(root_of(leaves)),
        "proof": [_root(leaves, *each) for each in ranges],
    }
    return json.dumps(members).encode()


def consistency(stream: Stream, lines: Sequence[bytes], old_size: int) -> bytes:
    leaves, size = hashes(lines), len(lines)
    members = {
        "kind": "consistency",
        "tenant_id": TENANT,
        "stream": stream,
        "old_size": old_size,
        "old_root": b64(root_of(leaves[:old_size])),
        "size": size,
        "root": b64(root_of(leaves)),
        "proof": [_root(leaves, *each) for each in consistency_ranges(old_size, size)],
    }
    return json.dumps(members).encode()
