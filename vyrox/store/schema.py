"""The migrations that bring the schema up to date."""

from typing import Final

from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store.locks import lock
from vyrox.store.version import HEAD, read_version

MIGRATION_TIMEOUT_S: Final = 600.0
"""Longest that all migrations together may take. Copying a table takes 10 s or more for each
million rows."""

MIGRATION_ATTEMPTS: Final = 5
"""How often they are begun, as a whole, if a deadlock with a running container ends them."""


def migrate(connection: Connection) -> None:
    """Run the migrations that have not run yet.

    Raises:
        OperatorError: The schema is that of a later version of Vyrox.
    """
    lock(connection, "schema")  # containers that start together migrate one after the other
    if read_version(connection) == HEAD:
        # Another one has. On SQLite this transaction keeps the other one from writing, and may not
        # take as long as it takes to import Alembic.
        return
    if connection.dialect.name == "postgresql":
        # Between two statements Alembic is imported and reads its scripts. On a busy machine that
        # takes longer than a transaction may be idle, and the server would end the connection.
        limit = f"SET LOCAL idle_in_transaction_session_timeout = '{MIGRATION_TIMEOUT_S:.0f}s'"
        connection.exec_driver_sql(limit)
    # Imported here: a command on a current schema would wait a quarter of a second for Alembic.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if not connection.in_transaction():
        connection.begin()  # Alembic would commit by itself
    config = Config()
    config.set_main_option("script_location", "vyrox.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise OperatorError(
            f"a later version of vyrox made this database; run that version: {exc}"
        ) from exc
