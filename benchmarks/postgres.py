"""A PostgreSQL for the benchmarks: as in the tests, but with fsync."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg

from tests.postgres import Postgres


@contextmanager
def postgres() -> Iterator[Callable[[], str]]:
    """Run a server; yield a function that creates a database and returns its URL."""
    numbers = itertools.count()
    with Postgres(fsync=True) as server:

        def new_database() -> str:
            return asyncio.run(create(server, f"bench_{next(numbers)}"))

        yield new_database


async def create(server: Postgres, name: str) -> str:
    """Create a database and return its URL."""
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return server.url(name)
