"""What a service, its Valkey and its database use: processor time, rows, bytes, written log."""

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.servers import process_cpu_s
from tests.postgres import Postgres
from vyrox.store.database import SQLITE_FILE

IDLE_S: Final = 5.0

Numbers = dict[str, float]

_SQLITE_BYTES: Final = (
    "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat('main', 1) d "
    "JOIN sqlite_master m ON m.name = d.name WHERE m.tbl_name NOT LIKE 'sqlite_%' GROUP BY 1"
)
_POSTGRES_BYTES: Final = (
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


@dataclass
class Used:
    """What was used, between two moments or for one of what was counted.

    Attributes:
        cpu_s: Processor time by part.
        wal: Bytes of the write-ahead log.
        rows: By table.
        bytes: By table, its indexes included.
    """

    cpu_s: Numbers = field(default_factory=dict)
    wal: float = 0.0
    rows: Numbers = field(default_factory=dict)
    bytes: Numbers = field(default_factory=dict)

    def minus(self, other: "Used", times: float = 1.0) -> "Used":
        """Return what was used beside `times` times the other."""
        return self._with(other, lambda one, two: one - times * two)

    def each(self, count: float) -> "Used":
        """Return what each of `count` has used."""
        return self._with(self, lambda one, _: one / count)

    def _with(self, other: "Used", of: Callable[[float, float], float]) -> "Used":
        return Used(
            _joined(self.cpu_s, other.cpu_s, of),
            of(self.wal, other.wal),
            _joined(self.rows, other.rows, of),
            _joined(self.bytes, other.bytes, of),
        )


def _joined(one: Numbers, other: Numbers, of: Callable[[float, float], float]) -> Numbers:
    names = [*one, *(other.keys() - one.keys())]
    return {name: of(one.get(name, 0.0), other.get(name, 0.0)) for name in names}


def tree_cpu_s(pid: int, *, children: bool) -> float:
    """Return the processor time of a process, with that of its children if it is asked for."""
    process = Path(f"/proc/{pid}")
    used = process_cpu_s(process)
    if children:
        used += ended_children_cpu_s(process)
        for child in (process / "task" / process.name / "children").read_text().split():
            with _unless_ended():
                used += process_cpu_s(Path("/proc", child))
    return used


@contextmanager
def _unless_ended() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def ended_children_cpu_s(process: Path) -> float:
    """Return the processor time of children that have ended and were waited for."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / 100


class Meter(ABC):
    """Reads what the parts have used, from beside them."""

    def __init__(self, cpu: dict[str, Callable[[], float]]) -> None:
        self._cpu = cpu

    def before(self) -> Used:
        """Return what has been used so far; the processor time is read last."""
        wal, tables = self.wal(), self._tables()
        return Used(self._cpu_s(), wal, *tables)

    def after(self) -> Used:
        """Return what has been used so far; the processor time is read first."""
        cpu = self._cpu_s()
        return Used(cpu, self.wal(), *self._tables())

    def _cpu_s(self) -> Numbers:
        return {name: read() for name, read in self._cpu.items()}

    @abstractmethod
    def wal(self) -> float:
        """Return how many bytes of log have been written."""

    @abstractmethod
    def _tables(self) -> tuple[Numbers, Numbers]:
        """Return the rows of each table, and its bytes with its indexes."""

    @contextmanager
    def keeping_the_log(self) -> Iterator[None]:
        """Let the log only grow, so that its size is what was written."""
        yield


class SqliteMeter(Meter):
    """Of the file in a data directory."""

    def __init__(self, data_dir: Path, cpu: dict[str, Callable[[], float]]) -> None:
        super().__init__(cpu)
        self._file = data_dir / SQLITE_FILE

    def wal(self) -> float:
        """Return the size of the file, which `keeping_the_log` makes the same."""
        return float(self._file.with_name(f"{SQLITE_FILE}-wal").stat().st_size)

    def _tables(self) -> tuple[Numbers, Numbers]:
        with closing(sqlite3.connect(self._file)) as connection:
            sizes = dict(connection.execute(_SQLITE_BYTES).fetchall())
            query = " UNION ALL ".join(map(_count, sizes))
            return dict(connection.execute(query).fetchall()), sizes

    @contextmanager
    def keeping_the_log(self) -> Iterator[None]:
        """Hold a reader open, which the log's beginning waits for."""
        with closing(sqlite3.connect(self._file, isolation_level=None)) as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                time.sleep(0.05)  # the service reads; there is no event of that
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield


class PostgresMeter(Meter):
    """Of one database of a server."""

    def __init__(self, url: str, cpu: dict[str, Callable[[], float]]) -> None:
        super().__init__(cpu)
        self._url = url

    def wal(self) -> float:
        """Return how many bytes of log the server has written."""
        [[found]] = self._ask("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return float(found)

    def _tables(self) -> tuple[Numbers, Numbers]:
        sizes = dict(self._ask(_POSTGRES_BYTES))
        query = " UNION ALL ".join(map(_count, sizes))
        return dict(self._ask(query)), sizes

    def _ask(self, sql: str) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self._url)
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(ask())


def _count(table: str) -> str:
    return f"SELECT '{table}', count(*) FROM \"{table}\""  # noqa: S608  (of the database itself)


def postmaster(server: Postgres) -> int:
    """Return the process that all others of a PostgreSQL are children of."""
    return int((server.socket_directory / "postmaster.pid").read_text().split()[0])
