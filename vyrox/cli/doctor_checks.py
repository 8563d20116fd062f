"""The checks of `vyrox doctor` on this machine (contract 99): what is well, doubtful or wrong."""

import platform
import stat
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from vyrox.cli.config import KEY_FILES
from vyrox.errors import OperatorError, VyroxError
from vyrox.http.listener import bind
from vyrox.lifespan.fatal import FATAL, free_bytes
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings
from vyrox.settings.shown import ShownSettings
from vyrox.store import data_dir
from vyrox.store.database import SQLITE_FILE

State = Literal["FAIL", "WARN", "OK"]

LOW_FREE_BYTES: Final = 2**30

MIN_DIFFERENT: Final = 10
"""Different bytes in a secret: a random one of 32 bytes has more."""

_GUESSED: Final = ("change", "secret", "passw", "example", "vyrox", "12345678", "test")

_OTHERS_WRITE: Final = stat.S_IWOTH
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Check(msgspec.Struct, frozen=True):
    """What one check has found. `do`: what to do; empty if nothing."""

    state: State
    what: str
    text: str
    do: str = ""


def of_settings(found: ShownSettings) -> Iterator[Check]:
    """Return what the environment sets."""
    for each in found.unknown:
        yield Check("WARN", "settings", each.text, "correct the name, or remove the variable")
    if found.problem is not None:
        yield Check("FAIL", "settings", found.problem, "see: vyrox config")
    else:
        number = sum(each.source != "default" for each in found.settings)
        yield Check("OK", "settings", f"{number} set, each of them valid")


def fatal(settings: Settings) -> Iterator[Check]:
    """Return what would stop the start."""
    if not settings.data_dir.exists():
        text = f"{settings.data_dir.absolute()} does not exist"
        yield Check("WARN", "data directory", text, "start the service there, or VYROX_DATA_DIR")
    for name, check in FATAL.items():
        if name in {"data directory", "disk"} and not settings.data_dir.exists():
            continue
        try:
            yield Check("OK", name, check(settings))
        except VyroxError as exc:
            yield Check("FAIL", name, str(exc), "the service does not start until this is right")


def of_this_machine(settings: Settings) -> Iterator[Check]:
    """Return how secrets, files, ports and the disk are."""
    yield Check("OK", "versions", f"vyrox {version('vyrox')}, Python {platform.python_version()}")
    yield from _secrets(settings)
    if settings.data_dir.exists():
        yield from _files(settings.data_dir)
        if free_bytes(settings.data_dir) < LOW_FREE_BYTES:
            yield Check("WARN", "disk", "less than 1 GiB is free", "free some, or add some")
        yield from _ports(settings, is_running=data_dir.is_owned(settings.data_dir))
    yield from _origin(settings)
    if settings.database_url is not None and not settings.checkpoints.keys:
        text = "none: VYROX_CHECKPOINT_KEY is not set, so outsiders cannot verify the log"
        do = "vyrox generate-key; set it in every container"
        yield Check("WARN", "checkpoints", text, do)


def _secrets(settings: Settings) -> Iterator[Check]:
    secrets: dict[str, bytes] = {
        **{name: each.encode() for name, each in settings.private_secrets().items()},
        **{f"{each.upper()}_WEBHOOK_SECRET": s for each, s in settings.default_secrets.items()},
    }
    weak = [name for name, secret in secrets.items() if _is_weak(secret)]
    for name in weak:
        do = "make another: openssl rand -hex 32"
        yield Check("WARN", "secrets", f"{name} can be guessed: it does not look random", do)
    if secrets and not weak:
        yield Check("OK", "secrets", f"{len(secrets)} in the environment, and they look random")


def _is_weak(secret: bytes) -> bool:
    text = secret.decode("utf-8", "replace").lower()
    return len(set(secret)) < MIN_DIFFERENT or any(word in text for word in _GUESSED)


def _files(directory: Path) -> Iterator[Check]:
    found = []
    if directory.stat().st_mode & _OTHERS_WRITE:
        text = f"every user can write to {directory}"
        found.append(Check("WARN", "files", text, f"chmod o-w {directory}"))
    for name in (*KEY_FILES.values(), SQLITE_FILE):
        file = directory / name
        if file.exists() and file.stat().st_mode & _OTHERS:
            text, do = f"other users can read {file}", f"chmod 600 {file}"
            found.append(Check("WARN", "files", text, do))
    yield from found or [Check("OK", "files", "only their user can read them")]


def _ports(settings: Settings, *, is_running: bool) -> Iterator[Check]:
    console = DEFAULT_CONSOLE_PORT if settings.console_port is None else settings.console_port
    wanted = {
        "INGESTION_PORT": (settings.ingestion_host, settings.ingestion_port),
        "PROXY_PORT": (settings.proxy_host, settings.proxy_port),
    }
    if not settings.console_on_public:
        wanted["CONSOLE_PORT"] = (settings.console_host, console)
    for name, (host, port) in wanted.items():
        try:
            bind(host, port, name).close()
        except OperatorError as exc:
            ours = f"{name} {port}: in use, and a service runs on this data directory"
            do = f"stop the other program, or set {name}"
            yield Check("OK", "port", ours) if is_running else Check("FAIL", "port", str(exc), do)
        else:
            yield Check("OK", "port", f"{name} {port}: free")


def _origin(settings: Settings) -> Iterator[Check]:
    origin = settings.console_origin
    if origin is None or urlsplit(origin).scheme != "https":
        text = "passkeys work on this machine alone, and messages have no link to the console"
        do = "set CONSOLE_ORIGIN=https://NAME, with TLS in front"
        yield Check("WARN", "passkey origin", text, do)
    else:
        yield Check("OK", "passkey origin", origin)
