"""What stops the start, before a port is opened: no store is asked, and no vendor (contract 99)."""

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vyrox.errors import OperatorError, SettingsError
from vyrox.lifespan.collecting import check_installed
from vyrox.settings import Settings
from vyrox.store import data_dir

MIN_FREE_BYTES: Final = 16 * 1024 * 1024
"""With less, neither an alert nor an action could be recorded for long."""


def check_fatal(settings: Settings) -> None:
    """Return if nothing stops the start.

    Raises:
        OperatorError: What does, and what to do.
    """
    for check in FATAL.values():
        check(settings)


def _secret(settings: Settings) -> str:
    settings.require_hmac_secret()
    return "VYROX_HMAC_SECRET is set"


def _ports(settings: Settings) -> str:
    names = {
        "INGESTION_PORT (or PORT)": settings.ingestion_port,
        "PROXY_PORT": settings.proxy_port,
        "CONSOLE_PORT": None if settings.console_on_public else settings.console_port,
    }
    for (name, port), (other, same) in itertools.combinations(names.items(), 2):
        if port == same and port:
            raise SettingsError(f"{name} and {other} must not be the same")
    return "each listener has its own port"


def _directory(settings: Settings) -> str:
    return str(data_dir.prepare(settings.data_dir))


def _disk(settings: Settings) -> str:
    free = free_bytes(settings.data_dir)
    if free < MIN_FREE_BYTES:
        raise OperatorError(f"VYROX_DATA_DIR {settings.data_dir}: the disk is full; free some")
    return f"{free / 2**30:,.1f} GiB free"


def free_bytes(directory: Path) -> int:
    """Return how much an unprivileged user may still write there."""
    return shutil.disk_usage(directory).free


FATAL: Final[Mapping[str, Callable[[Settings], str]]] = {
    "private secret": _secret,
    "ports": _ports,
    "data directory": _directory,
    "disk": _disk,
    "traces": check_installed,
}
"""By what is checked: a function that returns what is well, or raises OperatorError."""
