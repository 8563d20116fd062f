"""The data directory: it is made private, and one process at a time owns it."""

import fcntl
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.service import ROOT
from vyrox.errors import OperatorError
from vyrox.store.data_dir import LOCK_FILE, is_owned, owned, prepare


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Start with a umask that hides nothing, and restore this process's umask at the end."""
    before = os.umask(0)
    yield
    os.umask(before)


def change_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make another user than the current one the owner of `path`; return the owner's number."""
    user = os.geteuid()
    if user == 0:
        os.chown(path, OTHER_USER, -1, follow_symlinks=False)
        return OTHER_USER
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    return user


OTHER_USER: Final = 47_110


def test_prepare_makes_a_directory_for_its_owner_alone_contract_48(data_dir: Path) -> None:
    path = prepare(data_dir / "a" / "b")

    assert path == (data_dir / "a" / "b").resolve()
    assert (mode(path), mode(path.parent)) == (0o700, 0o700)


def test_prepare_leaves_the_mode_of_a_directory_and_hides_what_is_made_contract_48(
    data_dir: Path,
) -> None:
    """The platform sets the mode of a mounted volume."""
    data_dir.chmod(0o775)
    (data_dir / "vyrox.db").write_bytes(b"kept")

    assert mode(prepare(data_dir)) == 0o775
    assert (data_dir / "vyrox.db").read_bytes() == b"kept"
    (data_dir / "file").touch()
    (data_dir / "directory").mkdir()
    with owned(data_dir):
        found = [mode(data_dir / name) for name in ("file", LOCK_FILE, "directory")]
    assert found == [0o600, 0o600, 0o700]


def test_prepare_refuses_what_belongs_to_another_user_contract_48(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = change_owner(data_dir, monkeypatch)
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    said = rf"^VYROX_DATA_DIR: {data_dir} belongs to {name}: run vyrox as that user, not as "
    with pytest.raises(OperatorError, match=said):
        prepare(data_dir)


def test_prepare_refuses_a_file_of_another_user_in_it_contract_48(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, one command as root would make files that the service cannot open."""
    (data_dir / "vyrox.db").touch()
    change_owner(data_dir / "vyrox.db", monkeypatch)
    with pytest.raises(OperatorError, match=" belongs to "):
        prepare(data_dir)


def test_prepare_takes_a_directory_of_roots_if_it_may_write_contract_48(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Platforms mount volumes like this for a group."""
    of_root = os.lstat("/")
    monkeypatch.setattr(Path, "lstat", lambda _path: of_root)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    assert prepare(data_dir) == data_dir.resolve()
    monkeypatch.setattr(os, "access", lambda _path, _wanted: False)
    said = rf"^VYROX_DATA_DIR {data_dir}: user {OTHER_USER} may not write to it$"
    with pytest.raises(OperatorError, match=said):
        prepare(data_dir)


def test_a_file_that_root_has_made_is_named_contract_48(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "unable to open database file". What Vyrox does not use may be root's, as lost+found."""
    (data_dir / "lost+found").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _wanted: path == data_dir)
    assert prepare(data_dir) == data_dir.resolve()
    for name in ("vyrox.db", "vyrox.db-wal", "encryption.key"):
        (data_dir / name).touch()
        with pytest.raises(OperatorError, match=f"may not use {data_dir / name}, of .*: change"):
            prepare(data_dir)
        (data_dir / name).unlink()


def test_prepare_refuses_a_link_contract_48(data_dir: Path) -> None:
    link = data_dir / "link"
    link.symlink_to(data_dir)
    said = rf"^VYROX_DATA_DIR {link} is a link: set it to the directory itself$"
    with pytest.raises(OperatorError, match=said):
        prepare(link)


def test_owned_follows_no_link_contract_48(data_dir: Path) -> None:
    target = data_dir / "target"
    target.write_bytes(b"kept")
    (data_dir / LOCK_FILE).symlink_to(target)
    with pytest.raises(OperatorError), owned(data_dir):
        pass
    assert target.read_bytes() == b"kept"


def test_prepare_gives_an_absolute_path(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_dir)

    assert prepare(Path("state")) == (data_dir / "state").resolve()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("file", "Not a directory", id="reject_file"),
        pytest.param("file/below", "Not a directory", id="reject_below_a_file"),
        pytest.param("n" * 256, "File name too long", id="reject_long_name"),
    ],
)
def test_prepare_names_the_variable_and_the_reason(data_dir: Path, name: str, reason: str) -> None:
    (data_dir / "file").touch()

    with pytest.raises(OperatorError) as caught:
        prepare(data_dir / name)

    assert str(caught.value) == f"VYROX_DATA_DIR {data_dir / name}: {reason}"


def test_owned_names_a_lock_file_that_cannot_be_opened(data_dir: Path) -> None:
    (data_dir / LOCK_FILE).mkdir()
    said = rf"^{data_dir}/{LOCK_FILE}: Is a directory$"
    with pytest.raises(OperatorError, match=said), owned(data_dir):
        pass


def test_owned_refuses_a_second_owner_until_the_first_is_done(data_dir: Path) -> None:
    said = rf"^{data_dir} is in use by another vyrox process"
    with owned(data_dir), pytest.raises(OperatorError, match=said), owned(data_dir):
        raise AssertionError("two owners")

    with owned(data_dir):
        pass


def test_owned_does_not_empty_or_remove_the_lock_file(data_dir: Path) -> None:
    # A lock on a removed file would not stop another process.
    with owned(data_dir):
        held = (data_dir / LOCK_FILE).stat().st_ino

    assert (data_dir / LOCK_FILE).stat().st_ino == held


_OWNER = """
import sys
from pathlib import Path
from vyrox.store.data_dir import owned

with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.readline()
"""


def test_owned_ends_with_its_process_however_that_ends(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(OperatorError), owned(data_dir):
            raise AssertionError("two owners")
        owner.send_signal(signal.SIGKILL)
        owner.wait()

        with owned(data_dir):
            pass


def test_owned_is_not_handed_to_child_processes(data_dir: Path) -> None:
    # Else a Valkey that outlives its killed service would prevent the next start.
    with owned(data_dir):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with child:
        with owned(data_dir):
            pass
        assert child.poll() is None
        child.communicate()


def test_a_command_that_looks_does_not_stop_a_start_contract_48(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owned(data_dir):
        pass
    look = os.open(data_dir / LOCK_FILE, os.O_WRONLY)
    fcntl.flock(look, fcntl.LOCK_EX)
    monkeypatch.setattr(time, "sleep", lambda _s: os.close(look))  # the look ends meanwhile
    with owned(data_dir):
        assert is_owned(data_dir)
    assert not is_owned(data_dir)
