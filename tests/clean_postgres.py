"""PostgreSQL databases that are used again: to make and remove one costs more than most tests.

A database that a test has finished with is emptied in a few milliseconds. It is used again only if
nothing but rows has changed: neither the schema, nor the rights, nor the planner's statistics.
"""

from typing import Final

import asyncpg

GROWTH_LIMIT: Final = 4 * 1024 * 1024
"""A database that has grown by more bytes than this is not used again."""

_STATE: Final = """
WITH catalog AS (
    SELECT 'class' AS kind, oid::text AS id, concat(xmin, ' ', reltuples) AS state
        FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
    UNION ALL SELECT 'column', concat(attrelid, ' ', attnum), xmin::text
        FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL SELECT 'default', oid::text, xmin::text FROM pg_attrdef
    UNION ALL SELECT 'trigger', oid::text, concat(xmin, tgenabled) FROM pg_trigger
    UNION ALL SELECT 'constraint', oid::text, xmin::text FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT 'function', oid::text, xmin::text FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'schema', oid::text, concat(xmin, nspacl) FROM pg_namespace
        WHERE nspname NOT LIKE 'pg_%'
    UNION ALL SELECT 'extension', oid::text, xmin::text FROM pg_extension
    UNION ALL SELECT 'rights', oid::text, xmin::text FROM pg_default_acl
    UNION ALL SELECT 'statistics', concat(starelid, ' ', staattnum), ''
        FROM pg_statistic WHERE starelid >= 16384
    UNION ALL SELECT 'sequence', seqrelid::text, pg_sequence_last_value(seqrelid)::text
        FROM pg_sequence
    UNION ALL SELECT 'setting', concat(setrole), setconfig::text FROM pg_db_role_setting
        JOIN pg_database AS own ON own.oid = setdatabase WHERE datname = current_database()
    UNION ALL SELECT 'database', '', concat(datdba, datacl, datconnlimit, datallowconn)
        FROM pg_database WHERE datname = current_database()
)
SELECT md5(string_agg(concat(kind, ' ', id, ' ', state), ',' ORDER BY kind, id)),
    (SELECT sum(pg_relation_size(oid))::bigint FROM pg_class
        WHERE oid >= 16384 AND relkind IN ('r', 'i', 't'))
FROM catalog
"""

_TABLES: Final = """
SELECT oid::regclass::text FROM pg_class
WHERE oid >= 16384 AND relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND pg_relation_size(oid) > 0
"""

_DISCONNECT: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Clean:
    """What a new database holds, so that a used one can be made the same again."""

    def __init__(self, state: str, size: int, rows: dict[str, str]) -> None:
        """Keep the state of the catalogs, the size, and the rows of the tables that have any."""
        self._state = state
        self._size = size
        self._rows = rows

    @classmethod
    async def read(cls, url: str) -> "Clean":
        """Read the database at `url`, to which no test has written."""
        connection = await asyncpg.connect(url)
        state, size = await connection.fetchrow(_STATE)
        rows = {
            table: await connection.fetchval(f"SELECT json_agg(t) FROM {table} t")  # noqa: S608
            for (table,) in await connection.fetch(_TABLES)
        }
        await connection.close()
        return cls(state, size, {table: text for table, text in rows.items() if text})

    async def restore(self, url: str) -> bool:
        """Remove what tests have written to the database at `url`.

        Returns:
            Whether it is as a new one; if not, it has to be removed.
        """
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_DISCONNECT)
            state, size = await connection.fetchrow(_STATE)
            if state != self._state or size > self._size + GROWTH_LIMIT:
                return False
            tables = [table for (table,) in await connection.fetch(_TABLES)]
            async with connection.transaction():
                # Without triggers: some rows may not be deleted, and the order does not matter.
                await connection.execute("SET LOCAL session_replication_role = replica")
                for table in tables:
                    await connection.execute(f"DELETE FROM {table}")  # noqa: S608
                for table, rows in self._rows.items():
                    source = f"json_populate_recordset(NULL::{table}, $1::json)"
                    await connection.execute(f"INSERT INTO {table} SELECT * FROM {source}", rows)  # noqa: S608
            return True
        finally:
            await connection.close()
