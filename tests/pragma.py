"""What a pragma can do to SQLite: a full disk, a file that is read-only."""

from vyrox.store.database import Database
from vyrox.store.sqlite import Sqlite


async def set_pragma(database: Database, pragma: str) -> None:
    """Set `pragma` on the connection that writes, outside any transaction."""
    assert isinstance(database, Sqlite)

    def run() -> None:
        driver = database._connection().connection.driver_connection
        assert driver is not None
        driver.execute(f"PRAGMA {pragma}").close()

    await database._writer.submit(run)
