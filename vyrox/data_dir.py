"""The one directory the service writes to, and who owns it at the moment."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vyrox.errors import OperatorError

LOCK_FILE = "serve.lock"


def prepare(path: Path) -> Path:
    """Return `path` as an absolute directory that only its owner can enter (0700), made if needed.

    Raises:
        OperatorError: It cannot be made, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except FileExistsError as exc:
        raise OperatorError(f"VYROX_DATA_DIR {path}: Not a directory") from exc
    except OSError as exc:
        raise OperatorError(f"VYROX_DATA_DIR {path}: {exc.strerror}") from exc
    return path.resolve()


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Hold the data directory for this process: two services on one would be two writers.

    The kernel frees the lock when the process ends, however it ends.

    Raises:
        OperatorError: Another process holds it, or the lock file cannot be opened.
    """
    try:
        opened = (path / LOCK_FILE).open("w")
    except OSError as exc:
        raise OperatorError(f"{path / LOCK_FILE}: {exc.strerror}") from exc
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OperatorError(
                f"{path} is in use by another vyrox process; give each its own VYROX_DATA_DIR"
            ) from exc
        yield
