"""The directories of archives: made, moved into place, verified, and of this user alone."""

import io
import os
import stat
from contextlib import redirect_stdout
from pathlib import Path

import msgspec

from vyrox.chain import verify as verifier
from vyrox.errors import OperatorError
from vyrox.store.backups.files import sync


def verify_directory(directory: Path) -> dict[str, object]:
    """Verify an archive as an outsider does; return what the verifier prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        verifier.main(["--json", "--", str(directory)])
    return msgspec.json.decode(printed.getvalue(), type=dict[str, object])


def move(fresh: Path, target: Path) -> None:
    """Give a directory its name, when all of it is on disk. Raises OSError."""
    for file in fresh.iterdir():
        sync(file)
    sync(fresh)
    fresh.rename(target)
    for parent in target.parents[:2]:
        sync(parent)


def make_directory(directory: Path) -> None:
    """Make the directory, if it is missing, so that it is there after a loss of power.

    Raises:
        OperatorError: As `require_own`.
        OSError: It cannot be made.
    """
    made = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in made:
        sync(each.parent)
    require_own(directory)


def require_own(directory: Path) -> None:
    """Return if it is a directory of this user's. Another user could replace what is in it.

    Raises:
        OperatorError: It is not, or missing.
    """
    try:
        found = directory.lstat()
    except FileNotFoundError:
        raise OperatorError(
            f"there is no archive {directory}: give --out as before. Nothing was removed"
        ) from None
    # Volumes are the root's, who may do anything anyway. In one with the sticky bit, as /tmp has,
    # others cannot move what is in it.
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid in {0, os.geteuid()}
    if not is_own or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
        raise OperatorError(
            f"{directory} is a link, no directory, another user's, or one that everybody may write"
        )
