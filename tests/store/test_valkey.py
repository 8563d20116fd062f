"""The embedded Valkey: a real server that keeps its data when it is killed."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from tests.polling import until
from vyrox.errors import OperatorError
from vyrox.store import data_dir as data_dirs
from vyrox.store import valkey
from vyrox.store.valkey import (
    MAX_SOCKET_PATH,
    embedded_valkey,
    is_running,
    server_path,
    socket_path,
    socket_url,
)

LONG = "x" * 120


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def info(url: str, section: str) -> dict[str, Any]:
    async with redis.asyncio.Redis.from_url(url) as client:
        found: dict[str, Any] = await client.info(section)
        return found


async def pid_of(url: str) -> int:
    return int((await info(url, "server"))["process_id"])


async def has_loaded(url: str) -> bool:
    """Return whether the server has read its data. It listens, and rejects commands, before."""
    return bool((await info(url, "persistence"))["loading"] == 0)


async def write(url: str, value: str) -> None:
    """Write, and return when it is on the disk: a killed Valkey may forget its last two seconds."""
    await until(partial(has_loaded, url))
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.set("key", value)
        on_disk, _ = await client.execute_command("WAITAOF", 1, 0, 0)  # type: ignore[no-untyped-call]
        assert on_disk == 1


async def read(url: str) -> object:
    await until(partial(has_loaded, url))
    async with redis.asyncio.Redis.from_url(url) as client:
        return await client.get("key")


async def serves(url: str, not_pid: int) -> bool:
    """Return whether a new process, not `not_pid`, serves at `url` and has loaded its data."""
    try:
        return await pid_of(url) != not_pid and await has_loaded(url)
    except redis.exceptions.ConnectionError:
        return False


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def is_gone(data_dir: Path) -> bool:
    return not await is_running(data_dir)


@contextmanager
def removed_later(path: Path) -> Iterator[None]:
    """Remove the short directory of a socket, which is outside the data directory."""
    yield
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        path.rmdir()


async def test_embedded_valkey_directories_are_the_owners_alone(data_dir: Path) -> None:
    async with embedded_valkey(data_dir):
        assert mode_of(data_dir / "valkey") == 0o700
        assert mode_of(data_dir / "valkey" / "valkey.sock") == 0o700


async def test_embedded_valkey_writes_a_log_of_every_command_and_listens_on_no_port(
    data_dir: Path,
) -> None:
    async with embedded_valkey(data_dir) as url, redis.asyncio.Redis.from_url(url) as client:
        settings = await client.config_get("appendonly", "appendfsync", "port", "maxmemory-policy")
        assert settings == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "port": "0",
            "maxmemory-policy": "noeviction",
        }
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = (await client.config_get("maxmemory"))["maxmemory"]
        assert 0 < int(limit or 0) <= machine // 2
        server = await info(url, "server")
        listeners = [server[name]["name"] for name in server if name.startswith("listener")]
        assert listeners == ["unix"]


async def test_embedded_valkey_stops_at_the_end_and_starts_with_its_data(data_dir: Path) -> None:
    async with embedded_valkey(data_dir) as url:
        pid = await pid_of(url)
        await write(url, "kept")
    assert not exists(pid)
    assert not await is_running(data_dir)
    async with embedded_valkey(data_dir) as url:
        assert await read(url) == b"kept"


async def test_embedded_valkey_stops_when_the_block_fails(data_dir: Path) -> None:
    async def fail() -> None:
        async with embedded_valkey(data_dir):
            raise LookupError  # before any other task has run

    with pytest.raises(LookupError):
        await fail()
    assert not await is_running(data_dir)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with space", id="allow_space"),
        pytest.param("'quoted' \"twice\"", id="allow_quotes"),
        pytest.param("50% #1? a&b", id="allow_characters_of_urls"),
        pytest.param("back\\slash", id="allow_backslash"),
        pytest.param("\u00fcml\u00e4ut", id="allow_beyond_ascii"),
        pytest.param("new\nline", id="allow_newline"),
    ],
)
async def test_embedded_valkey_in_a_directory_of_any_name(data_dir: Path, name: str) -> None:
    directory = data_dir / name
    directory.mkdir()
    async with embedded_valkey(directory) as url:
        await write(url, "kept")
    async with embedded_valkey(directory) as url:
        assert await read(url) == b"kept"
    assert os.listdir(data_dir) == [name]
    assert (directory / "valkey" / "appendonlydir").is_dir()
    assert (directory / "valkey" / "valkey.log").is_file()


async def test_embedded_valkey_killed_is_started_again_with_its_data_contract_17(
    data_dir: Path,
) -> None:
    async with embedded_valkey(data_dir) as url:
        for number in range(2):
            pid = await pid_of(url)
            await write(url, str(number))
            os.kill(pid, signal.SIGKILL)
            await until(partial(serves, url, pid))
            assert await read(url) == str(number).encode()
        last = await pid_of(url)
    assert not exists(last)


async def test_embedded_valkey_that_does_not_start_again_is_tried_until_it_does_contract_17(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def logged() -> bool:
        return "valkey.not_started" in caplog.messages

    async with embedded_valkey(data_dir) as url:
        await write(url, "kept")
        pid = await pid_of(url)
        manifest = data_dir / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
        good = manifest.read_bytes()
        manifest.write_bytes(b"damaged\n")
        os.kill(pid, signal.SIGKILL)
        await until(logged)
        manifest.write_bytes(good)
        await until(partial(serves, url, pid))
        assert await read(url) == b"kept"


async def test_embedded_valkey_that_ends_during_a_restart_leaves_no_process(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def died() -> bool:
        return "valkey.died" in caplog.messages

    async with embedded_valkey(data_dir) as url:
        os.kill(await pid_of(url), signal.SIGKILL)
        await until(died)
    assert not await is_running(data_dir)


async def test_embedded_valkey_that_cannot_start_names_its_log(data_dir: Path) -> None:
    files = data_dir / "valkey" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_bytes(b"damaged\n")
    with pytest.raises(OperatorError, match=r"valkey\.log"):
        async with embedded_valkey(data_dir):
            pass
    assert not await is_running(data_dir)


async def test_embedded_valkey_whose_directory_cannot_be_made_names_it(data_dir: Path) -> None:
    (data_dir / "valkey").write_bytes(b"")
    with pytest.raises(OperatorError, match=rf"^{data_dir}/valkey: File exists$"):
        async with embedded_valkey(data_dir):
            pass


async def test_embedded_valkey_that_does_not_begin_to_serve_is_ended(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "START_TIMEOUT_S", 0.0)
    with pytest.raises(OperatorError, match="no reply"):
        async with embedded_valkey(data_dir):
            pass
    assert not await is_running(data_dir)


async def test_embedded_valkey_that_does_not_stop_is_killed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "STOP_TIMEOUT_S", 0.1)
    async with embedded_valkey(data_dir) as url:
        pid = await pid_of(url)
        os.kill(pid, signal.SIGSTOP)
    assert not exists(pid)


OWNER = """
import asyncio, sys
from pathlib import Path
from vyrox.store.data_dir import owned
from vyrox.store.valkey import embedded_valkey

async def main():
    with owned(Path(sys.argv[1])):
        async with embedded_valkey(Path(sys.argv[1])):
            print("serving", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def owner(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that owns the data directory and its Valkey."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OWNER,
        str(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"serving\n"
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if await is_running(data_dir):
            os.kill(await pid_of(socket_url(data_dir)), signal.SIGKILL)
            await until(partial(is_gone, data_dir))
            socket_path(data_dir).unlink()


async def test_embedded_valkey_left_by_a_killed_owner_is_replaced_and_its_data_found_contract_17(
    data_dir: Path,
) -> None:
    async with owner(data_dir) as process:
        orphan = await pid_of(socket_url(data_dir))
        await write(socket_url(data_dir), "kept")
        process.kill()
        await process.wait()
        assert await is_running(data_dir)
        with data_dirs.owned(data_dir):
            async with embedded_valkey(data_dir) as url:
                assert await pid_of(url) != orphan
                assert await read(url) == b"kept"
        assert not await is_running(data_dir)


async def test_embedded_valkey_of_a_killed_owner_that_does_not_stop_is_an_error(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "STOP_TIMEOUT_S", 0.2)
    async with owner(data_dir) as process:
        orphan = await pid_of(socket_url(data_dir))
        process.kill()
        await process.wait()
        os.kill(orphan, signal.SIGSTOP)
        try:
            with pytest.raises(OperatorError, match="does not stop"):
                async with embedded_valkey(data_dir):
                    pass
        finally:
            os.kill(orphan, signal.SIGCONT)


async def test_owned_by_another_process_is_refused(data_dir: Path) -> None:
    async with owner(data_dir):
        with pytest.raises(OperatorError, match="in use by another"), data_dirs.owned(data_dir):
            pass


def test_socket_path_is_in_the_data_directory_where_it_fits(data_dir: Path) -> None:
    assert socket_path(data_dir) == data_dir / "valkey" / "valkey.sock"
    room = MAX_SOCKET_PATH - len("/valkey/valkey.sock")
    assert socket_path(Path("/" + "x" * (room - 1))).is_relative_to("/" + "x" * (room - 1))
    assert not socket_path(Path("/" + "x" * room)).is_relative_to("/" + "x" * room)
    # Bytes count, not characters.
    assert not socket_path(Path("/" + "\u00fc" * (room // 2))).is_relative_to("/\u00fc")


def test_socket_path_of_each_long_directory_is_its_own(data_dir: Path) -> None:
    paths = {socket_path(data_dir / LONG / str(number)) for number in range(5)}
    assert len(paths) == 5
    for path in paths:
        assert len(os.fsencode(path)) <= MAX_SOCKET_PATH
        assert path.is_relative_to(tempfile.gettempdir())


async def test_embedded_valkey_in_a_long_directory_listens_in_a_short_one(data_dir: Path) -> None:
    directory = data_dir / LONG
    directory.mkdir()
    short = socket_path(directory).parent
    with removed_later(short):
        async with embedded_valkey(directory) as url:
            await write(url, "kept")
            assert mode_of(short) == 0o700
        async with embedded_valkey(directory) as url:  # the short directory is there already
            assert await read(url) == b"kept"
        assert (directory / "valkey" / "appendonlydir").is_dir()


async def test_embedded_valkey_makes_the_short_directory_its_owners_alone(data_dir: Path) -> None:
    directory = data_dir / LONG
    directory.mkdir()
    short = socket_path(directory).parent
    short.mkdir(mode=0o755)
    with removed_later(short):
        async with embedded_valkey(directory):
            assert mode_of(short) == 0o700


async def refused(directory: Path) -> None:
    with pytest.raises(OperatorError, match="belongs to another user"):
        async with embedded_valkey(directory):
            pass


@pytest.mark.parametrize(
    "kind", [pytest.param(name, id=f"reject_{name}") for name in ("link", "dangling", "file")]
)
async def test_embedded_valkey_short_directory_that_is_something_else_is_refused(
    data_dir: Path, kind: str
) -> None:
    """Another user could make it first in the shared temporary directory, and read the queue."""
    directory = data_dir / LONG
    directory.mkdir()
    short = socket_path(directory).parent
    with removed_later(short):
        if kind == "file":
            short.touch()
        else:
            target = data_dir / "target"
            if kind == "link":
                target.mkdir()
            short.symlink_to(target)
        await refused(directory)
        assert not (data_dir / "target" / "valkey.sock").exists()


async def test_embedded_valkey_short_directory_of_somebody_else_is_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = data_dir / LONG
    directory.mkdir()
    short = socket_path(directory).parent
    short.mkdir(mode=0o700)
    with removed_later(short):
        uid = os.getuid()
        # Without root the owner of a directory cannot change, so the user's number does.
        monkeypatch.setattr(valkey, "socket_path", lambda _: short / "valkey.sock")
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
        await refused(directory)


async def test_embedded_valkey_inherits_nothing_of_the_environment(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment holds the service's secrets, and Valkey may show its own to clients."""
    seen, binary = data_dir / "seen", data_dir / "valkey-server"
    binary.write_text(f'#!/bin/sh\nexport -p > {seen}\nexec {server_path()} "$@"\n')
    binary.chmod(0o700)
    monkeypatch.setattr(valkey, "server_path", lambda: binary)
    monkeypatch.setenv("VYROX_HMAC_SECRET", "canary")
    async with embedded_valkey(data_dir):
        assert "canary" not in seen.read_text()


async def test_embedded_valkey_on_a_machine_without_one_says_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(OperatorError, match="riscv64: set REDIS_URL"):
        async with embedded_valkey(data_dir):
            pass
