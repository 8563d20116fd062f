"""The files of a backup: private, written once, compared with the manifest when they are read."""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from vyrox.errors import OperatorError
from vyrox.store.backups.facts import Facts
from vyrox.store.data_dir import open_private

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1

MAX_MANIFEST_BYTES: Final = 64 << 20
MAX_KEY_BYTES: Final = 4096
_PART_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class File(msgspec.Struct, frozen=True):
    """A file of the backup."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds.

    Attributes:
        made_at: In UTC.
        vyrox: The version that made it.
        database: With PostgreSQL the database itself is not in it.
        readable: How many of the secrets the key in use decrypts; None: there was no key.
    """

    format: int
    made_at: str
    vyrox: str
    database: Literal["sqlite", "postgresql"]
    files: list[File]
    facts: Facts
    readable: int | None


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Make a directory (0700) for a backup; if the block fails, remove what it made.

    Raises:
        OperatorError: It cannot be made, or something is in it already.
    """
    path = path.absolute()
    try:
        was_there = path.exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_symlink() or any(path.iterdir()):
            raise OperatorError(f"{path} is not empty: name a new directory")
        if was_there and path.stat().st_uid != os.geteuid():
            # Its owner could replace what is written there.
            raise OperatorError(f"{path} belongs to another user: name a new directory")
        path.chmod(0o700)
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    try:
        yield path
    except BaseException:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        raise
    sync(path)


def write_new(path: Path, content: bytes) -> None:
    """Write a new file (0600), on disk when this returns. Raises OperatorError."""
    try:
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc


def sync(path: Path) -> None:
    """Return when a file or a directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(directory: Path, names: list[str]) -> list[File]:
    """Return size and hash of files."""
    found = []
    for name in names:
        with opened(directory / name) as file:
            found.append(_described(name, file, None))
    return found


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a backup.

    Raises:
        OperatorError: It is missing, or not one of this format.
    """
    path = directory / MANIFEST
    if not path.exists():
        raise OperatorError(f"{directory} is not a backup: it has no {MANIFEST}")
    content = read_small(path, MAX_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as exc:
        raise OperatorError(f"{path} is not a manifest: {exc}") from exc
    names = [file.name for file in manifest.files]
    if manifest.format != FORMAT:
        raise OperatorError(f"{path} has format {manifest.format}: use a later version of vyrox")
    if not all(map(_NAME.fullmatch, names)) or len(set(names)) < len(names):
        raise OperatorError(f"{path} names files that a backup cannot have")
    return manifest


def check_files(directory: Path, expected_files: Iterable[File]) -> None:
    """Return if each file is as the manifest has it. Raises OperatorError."""
    for expected in expected_files:
        with opened(directory / expected.name) as file:
            _check(expected, _described(expected.name, file, None))


def copy_checked(directory: Path, expected: File, target: Path) -> None:
    """Copy a file to `target`, a new file. What was copied is what the manifest has.

    Raises:
        OperatorError: It is another file, or cannot be copied.
    """
    with opened(directory / expected.name) as file:
        try:
            descriptor = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(descriptor, "wb") as copy:
                found = _described(expected.name, file, copy)
                copy.flush()
                os.fsync(copy.fileno())
        except OSError as exc:
            raise OperatorError(f"{target}: {exc.strerror}") from exc
    _check(expected, found)


def _check(expected: File, found: File) -> None:
    if found != expected:
        raise OperatorError(f"{expected.name} is not the file that the manifest describes")


def _described(name: str, file: BinaryIO, copy: BinaryIO | None) -> File:
    digest, size = hashlib.sha256(), 0
    while part := file.read(_PART_BYTES):
        digest.update(part)
        size += len(part)
        if copy is not None:
            copy.write(part)
    return File(name, size, digest.hexdigest())


def read_small(path: Path, largest: int) -> bytes:
    """Return the content of a file of at most `largest` bytes. Raises OperatorError."""
    with opened(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OperatorError(f"{path} is larger than {largest} bytes")
    return content


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file, not a link. Raises OperatorError."""
    try:
        descriptor = open_private(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OperatorError(f"{path} is not a regular file")
        yield file
