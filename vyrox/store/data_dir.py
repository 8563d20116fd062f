"""The only directory that the service writes to, and the lock on it."""

import fcntl
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vyrox.errors import OperatorError

LOCK_FILE: Final = "serve.lock"

LOOKS: Final = 4
LOOK_S: Final = 0.05
"""How often a service that starts asks for the lock again, and after how long."""

_ROOT: Final = 0

_DATABASE: Final = "vyrox.db"
"""How the names of SQLite's files begin."""

PRIVATE: Final = 0o077
"""The umask: files are 0600 and directories 0700."""


def prepare(path: Path) -> Path:
    """Return `path` as an absolute directory, made if needed.

    From then on, all files that this process and its children make are private to the user (0600,
    0700). The mode of an existing directory is not changed: it may be a mounted volume.

    Raises:
        OperatorError: The directory is a link, or cannot be made or written, or another user owns
            it or a file in it.
    """
    os.umask(PRIVATE)
    try:
        if path.is_symlink():
            raise OperatorError(f"VYROX_DATA_DIR {path} is a link: set it to the directory itself")
        path.mkdir(parents=True, exist_ok=True)
        _check_owners(path)
    except FileExistsError as exc:
        raise OperatorError(f"VYROX_DATA_DIR {path}: Not a directory") from exc
    except OSError as exc:
        raise OperatorError(f"VYROX_DATA_DIR {path}: {exc.strerror}") from exc
    return path.resolve()


def _check_owners(path: Path) -> None:
    _check_owner(path, path.lstat().st_uid)
    if not os.access(path, os.W_OK | os.X_OK):
        raise OperatorError(f"VYROX_DATA_DIR {path}: {_user(os.geteuid())} may not write to it")
    # If other users can write to the directory, Vyrox could read a file of theirs as its own.
    for file in path.iterdir():
        with suppress(FileNotFoundError):  # a running Valkey removed it
            _check_owner(file, file.lstat().st_uid)
            _check_usable(file)


def _check_usable(file: Path) -> None:
    """Check a file that root may own: a command of root's can have made it."""
    needed = os.R_OK | os.W_OK if file.name.startswith(_DATABASE) else os.R_OK
    is_needed = file.suffix == ".key" or file.name.startswith(_DATABASE)
    if is_needed and not os.access(file, needed):
        raise OperatorError(
            f"VYROX_DATA_DIR: {_user(os.geteuid())} may not use {file}, of "
            f"{_user(file.lstat().st_uid)}: change its owner with chown"
        )


def _check_owner(path: Path, owner: int) -> None:
    if owner not in {os.geteuid(), _ROOT}:
        raise OperatorError(
            f"VYROX_DATA_DIR: {path} belongs to {_user(owner)}: run vyrox as that user, not as "
            f"{_user(os.geteuid())}"
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def open_private(path: Path, flags: int) -> int:
    """Open `path`, which must not be a link, and return its descriptor. A new file is 0600.

    Raises:
        OSError: It cannot be opened.
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def is_owned(path: Path) -> bool:
    """Return whether a process has locked the data directory. It makes no file."""
    try:
        descriptor = open_private(path / LOCK_FILE, os.O_WRONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with os.fdopen(descriptor, "wb") as lock:
        return not _try_to_lock(lock.fileno())


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Lock the data directory for this process: two services must not write to the same one.

    The kernel releases the lock when the process ends, also when it is killed.

    Raises:
        OperatorError: Another process has the lock, or the lock file cannot be opened.
    """
    try:
        descriptor = open_private(path / LOCK_FILE, os.O_WRONLY | os.O_CREAT)
    except OSError as exc:
        raise OperatorError(f"{path / LOCK_FILE}: {exc.strerror}") from exc
    with os.fdopen(descriptor, "wb") as lock:
        if not _lock(lock.fileno()):
            raise _in_use(path)
        if not _is_same(path / LOCK_FILE, lock.fileno()):  # `owned_if_used` has removed it just now
            raise _in_use(path)
        yield


@contextmanager
def owned_if_used(path: Path) -> Iterator[None]:
    """As `owned`. If the block fails, a lock file that was made for it goes again.

    Raises:
        OperatorError: As `owned`.
    """
    is_new = not (path / LOCK_FILE).exists()
    with owned(path):
        try:
            yield
        except BaseException:
            if is_new:
                (path / LOCK_FILE).unlink(missing_ok=True)
            raise


def _lock(descriptor: int) -> bool:
    """Return whether the lock is this process's now. A command that looks has it for a moment."""
    for _ in range(LOOKS):
        if _try_to_lock(descriptor):
            return True
        time.sleep(LOOK_S)
    return _try_to_lock(descriptor)


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(path: Path) -> OperatorError:
    return OperatorError(
        f"{path} is in use by another vyrox process: set another VYROX_DATA_DIR for each"
    )


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
