"""What a pragma can do to SQLite: a full disk, a file that is read-only."""

import asyncio

from vyrox.store.database import Database
from vyrox.store.sqlite import Sqlite


async def set_pragma(database: Database, pragma: str) -> None:
    """Set `pragma` on the connection that writes, outside any transaction."""
    assert isinstance(database, Sqlite)

    def run() -> None:
        assert database._connection is not None
        driver = database._connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"PRAGMA {pragma}").close()

    if database._connection is None:
        await database.write(lambda _: None)  # the first write opens it
    await asyncio.get_running_loop().run_in_executor(database._writer, run)
