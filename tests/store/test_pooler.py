"""PostgreSQL behind a real PgBouncer, in session and in transaction mode (contract 102)."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.conftest import new_postgres_database
from tests.outbound import certificate
from tests.polling import PATIENCE_S
from tests.ports import free_port
from tests.postgres import Postgres
from tests.store.queries import insert_tenant, run, tenants
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import open_database
from vyrox.store.postgres import execute_postgres, has_pooler

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"

CONFIGURATION = """
[databases]
* = host={socket} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
server_reset_query_always = 0
logfile = {directory}/log
"""


@contextmanager
def pgbouncer(
    postgres: Postgres, name: str, directory: Path, mode: str, more: str = ""
) -> Iterator[str]:
    """Run PgBouncer in front of the database `name`, with `more` settings; yield the URL."""
    port = free_port()
    file = directory / "pgbouncer.ini"
    settings = CONFIGURATION.format(
        socket=postgres.socket_directory,
        port=port,
        mode=mode,
        directory=directory,
        # A session stays with its client until it leaves; a store takes up to 15.
        size=20 if mode == "session" else 3,
    )
    file.write_text(settings + more)
    as_user: list[str] = []
    if os.geteuid() == 0:  # which it refuses to run as; the server's user can reach the server
        as_user = ["-u", postgres.socket_directory.owner()]
        for each in (directory, *directory.parents):
            each.chmod(each.stat().st_mode | 0o005)
        directory.chmod(0o777)
    with subprocess.Popen([PROGRAM, "-q", *as_user, str(file)]) as process:
        url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not is_listening(port) and time.monotonic() < deadline:
                time.sleep(0.02)  # there is no event of another process
            yield url
        finally:
            process.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def new_database(postgres: Postgres) -> str:
    return str(sa.make_url(await new_postgres_database(postgres)).database)


def settings(connection: Connection) -> list[object]:
    names = ("synchronous_commit", "idle_in_transaction_session_timeout", "transaction_isolation")
    return [run(connection, f"SHOW {name}") for name in names]


@pytest.mark.debian
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_the_store_works_behind_a_pooler_contract_102(
    postgres: Postgres, tmp_path: Path, data_dir: Path, mode: str
) -> None:
    """Migrations, both kinds of statements, and what each transaction relies on."""

    def insert(connection: Connection, number: int) -> int:
        insert_tenant(connection, f"tenant-{number}", number)
        query = "SELECT count(*) FROM tenant_credentials WHERE tenant_id = $1"
        return int(execute_postgres(connection, query, [f"tenant-{number}"])[0][0])

    name = await new_database(postgres)
    with pgbouncer(postgres, name, tmp_path, mode) as url:
        assert await has_pooler(url)
        async with open_database(url, data_dir) as database:
            assert await database.read(settings) == ["on", "5s", "read committed"]
            # More at once than PgBouncer has sessions, so that they are passed around.
            stored = await asyncio.gather(
                *(database.write(insert, each, timeout_s=PATIENCE_S) for each in range(12))
            )
            assert stored == [1] * 12
            assert len(await database.read(tenants)) == 12


@pytest.mark.debian
async def test_what_one_transaction_sets_does_not_reach_another_client_contract_102(
    postgres: Postgres, tmp_path: Path, data_dir: Path
) -> None:
    name = await new_database(postgres)
    with pgbouncer(postgres, name, tmp_path, "transaction") as url:
        async with open_database(url, data_dir) as database:
            await database.read(settings)
        other = await asyncpg.connect(url, statement_cache_size=0)
        await other.execute("BEGIN")
        assert await other.fetchval("SHOW idle_in_transaction_session_timeout") == "0"
        await other.close()


@pytest.mark.debian
async def test_a_pooler_without_transactions_is_named_contract_102(
    postgres: Postgres, tmp_path: Path, data_dir: Path
) -> None:
    name = await new_database(postgres)
    refused = pytest.raises(DatabaseUnavailableError, match="statement pooling mode")
    with pgbouncer(postgres, name, tmp_path, "statement") as url, refused:
        await open_database(url, data_dir).__aenter__()


async def test_a_server_without_a_pooler_is_known_as_such_contract_102(postgres: Postgres) -> None:
    assert not await has_pooler(await new_postgres_database(postgres))


@pytest.mark.debian
async def test_tls_checks_the_certificate_as_the_url_says_contract_102(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Without `sslmode` to another machine, TLS is required: see `test_postgres_url`."""
    good, key = certificate(tmp_path, "localhost")
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other", "localhost")
    os.chmod(key, 0o644)
    files = {"sslmode": "require", "cert_file": good, "key_file": key}
    tls = "\n".join(f"client_tls_{each} = {value}" for each, value in files.items())
    name = await new_database(postgres)
    with pgbouncer(postgres, name, tmp_path, "transaction", tls) as plain:
        url = plain.replace("127.0.0.1", "localhost")
        assert await has_pooler(f"{url}?sslmode=require")
        assert await has_pooler(f"{url}?sslmode=verify-full&sslrootcert={good}")
        for refused in (
            f"{url}?sslmode=disable",
            f"{url}?sslmode=verify-full&sslrootcert={other}",
            f"{plain}?sslmode=verify-full&sslrootcert={good}",  # another name
            f"{url}?sslmode=verify-full&sslrootcert=system",
        ):
            with pytest.raises(DatabaseUnavailableError):
                await has_pooler(refused)
