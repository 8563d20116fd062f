"""The keys that sign checkpoints: from the setting, or from a file in the data directory."""

import fcntl
import logging
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vyrox.chain.notes import public_bytes
from vyrox.errors import OperatorError

logger = logging.getLogger("vyrox.chain.log_keys")

KEY_FILE: Final = "checkpoint.key"
"""The name of the key file in the data directory. It has a key a line; the first one signs."""

MAX_FILE_BYTES: Final = 4096

_OTHERS: Final = 0o007
"""Not the group: Kubernetes lets the group of a volume (`fsGroup`) read all its files."""


class LogKey(msgspec.Struct, frozen=True):
    """A key that signs checkpoints. Its repr shows nothing that is secret."""

    private: Ed25519PrivateKey
    public: bytes


def read_log_keys(texts: Sequence[str]) -> tuple[LogKey, ...]:
    """Return the keys in `texts`, each 32 bytes in URL-safe base64.

    Raises:
        ValueError: One is something else.
    """
    seeds = [urlsafe_b64decode(text) for text in texts]
    private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
    return tuple(LogKey(each, public_bytes(each)) for each in private)


def new_key() -> str:
    """Return a new key as a text."""
    return urlsafe_b64encode(os.urandom(32)).decode()


def open_log_keys(texts: Sequence[str], directory: Path | None, *, make: bool) -> list[LogKey]:
    """Return the keys that sign checkpoints, the first one first; none: checkpoints are off.

    Args:
        texts: Of VYROX_CHECKPOINT_KEY. Without any, the key file is used.
        directory: The data directory; None: containers share a database, so a file of one of them
            would be a key of its own.
        make: Make the file if it is missing.

    Raises:
        OperatorError: The file cannot be read, every user may read it, or it holds no key.
    """
    if texts:
        return list(read_log_keys(texts))
    if directory is None:
        return []
    path = directory / KEY_FILE
    try:
        return list(read_log_keys(_read_file(path, make=make)))
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise OperatorError(f"{path} holds no key: restore it from a backup") from exc


def write_log_keys(directory: Path, texts: Sequence[str]) -> None:
    """Replace the key file. Raises OperatorError if it cannot be written."""
    path = directory / KEY_FILE
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(f"{text}\n" for text in texts))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc


def read_key_file(directory: Path) -> list[str]:
    """Return the lines of the key file; none if there is no file. Raises OSError."""
    try:
        return _read_file(directory / KEY_FILE, make=False)
    except FileNotFoundError:
        return []


def _read_file(path: Path, *, make: bool) -> list[str]:
    flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b" if make else "rb") as file:
        if os.fstat(descriptor).st_mode & _OTHERS:
            raise OperatorError(f"{path} can be read by every user: chmod 600 {path}")
        # If two processes start together, the first makes the key and the second waits for it.
        fcntl.flock(file, fcntl.LOCK_EX if make else fcntl.LOCK_SH)
        lines = file.read(MAX_FILE_BYTES).decode("ascii", "replace").split()
        if lines or not make:
            return lines or [""]
        lines = [new_key()]
        file.write(lines[0].encode() + b"\n")
        file.flush()
        os.fsync(descriptor)
    logger.warning(
        "VYROX_CHECKPOINT_KEY is not set: a key was made in %s. Back it up: an outsider cannot "
        "know another key.",
        path,
    )
    return lines
