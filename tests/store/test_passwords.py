"""The stores get other passwords as the page says, without a moment without one (contract 104)."""

import re
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.postgres import Postgres
from vyrox.alerts.queue import AlertQueue
from vyrox.errors import QueueUnavailableError
from vyrox.store.database import open_database
from vyrox.store.redis import connect
from vyrox.tenants.containers import Container

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()

OWNED_BY_FIRST = """
DO $$ DECLARE each record; BEGIN
  FOR each IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER TABLE %I OWNER TO vyrox', each.tablename);
  END LOOP;
END $$;
GRANT CREATE ON SCHEMA public TO vyrox
"""


def run(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


async def test_a_second_user_of_postgresql_takes_over_contract_104(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Both work meanwhile, also if the new one migrates; then the first may not log in."""
    found = re.search(r"```sql\n(CREATE ROLE vyrox_2 .*?)-- [^\n]*\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    url = await ready_postgres_database(postgres)
    admin = await asyncpg.connect(url)
    await admin.execute(f"CREATE ROLE vyrox LOGIN; {OWNED_BY_FIRST}")
    try:
        old, new = (url.replace("//postgres@", f"//{name}@") for name in ("vyrox", "vyrox_2"))
        assert old != url

        async def report(as_user: str) -> None:
            async with open_database(as_user, tmp_path) as database:
                container = Container(database, lambda: 0.0, lambda: None, is_dry_run=True)
                await container.start()

        await admin.execute(found[1])
        async with open_database(new, tmp_path) as database:  # as a migration does
            await database.write(run, "ALTER TABLE alerts ADD newer TEXT")
            await database.write(run, "CREATE TABLE newer (id TEXT)")
        async with open_database(old, tmp_path) as database:
            await database.write(run, "INSERT INTO newer VALUES ('1')")
        await report(old)
        await admin.execute(found[2])
        await report(new)
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(old)
    finally:
        await admin.execute("DROP OWNED BY vyrox CASCADE; DROP ROLE vyrox_2; DROP ROLE vyrox")
        await admin.close()


async def test_a_user_of_redis_has_two_passwords_meanwhile_contract_104(redis_url: str) -> None:
    words = re.findall(r"`ACL SETUSER vyrox ([><]\w+)`", PAGE)
    assert words == [">NEW", "<OLD"]

    async def works(password: str) -> bool:
        url = redis_url.replace("unix://", f"unix://some:{password}@")
        async with connect(url) as other:
            try:
                await AlertQueue(other, 1).probe()
            except QueueUnavailableError:
                return False
            return True

    async with redis.asyncio.Redis.from_url(redis_url) as client:

        async def acl(*words: str) -> None:
            await client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]

        await acl("SETUSER", "some", "reset", "on", ">OLD", "+@all", "~*")
        try:
            assert [await works(each) for each in ("OLD", "NEW")] == [True, False]
            await acl("SETUSER", "some", words[0])
            assert [await works(each) for each in ("OLD", "NEW")] == [True, True]
            await acl("SETUSER", "some", words[1])
            assert [await works(each) for each in ("OLD", "NEW")] == [False, True]
        finally:
            await acl("DELUSER", "some")
