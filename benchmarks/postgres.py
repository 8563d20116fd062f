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
            name = f"bench_{next(numbers)}"
            asyncio.run(_create(server.url("postgres"), name))
            return server.url(name)

        yield new_database


async def _create(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
