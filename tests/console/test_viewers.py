"""Who may see a tenant (contract 76)."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.alerts.test_finding import plans
from tests.console.running import TENANT, Running
from vyrox.approvals import approvers
from vyrox.clock import wall_clock
from vyrox.console import viewers
from vyrox.console.sessions import begin_by_link, find, list_sessions
from vyrox.console.viewers import MAX_VIEWERS, list_viewers, places_of
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.database import open_database
from vyrox.store.tables import audit_log


async def test_adding_and_removing_are_events_of_the_tenant_contract_76(opened: Running) -> None:
    now = wall_clock()
    write = opened.database.write
    await write(viewers.add, TENANT, "vic", None, "operator", now)
    await write(viewers.remove, TENANT, "vic", "root", now)
    c = audit_log.c
    query = audit_log.select().where(c.tenant_id == TENANT, c.kind.like("viewer.%"))
    rows = await opened.database.read(
        lambda connection: list(connection.execute(query.order_by(c.sequence)))
    )
    found = [json.loads(row.entry) for row in rows]
    assert [(each["kind"], each["viewer"], each["home"], each["by"]) for each in found] == [
        ("viewer.added", "vic", None, "operator"),
        ("viewer.removed", "vic", None, "root"),
    ]


async def test_a_viewer_may_be_added_again_contract_76(opened: Running) -> None:
    write, now = opened.database.write, wall_clock()
    await write(viewers.add, TENANT, "vic", None, "operator", now)
    with pytest.raises(NotPossibleError, match="already"):
        await write(viewers.add, TENANT, "vic", None, "operator", now)
    await write(viewers.remove, TENANT, "vic", "operator", now)
    assert await opened.database.read(places_of, "vic") == []
    with pytest.raises(NotFoundError):
        await write(viewers.remove, TENANT, "vic", "operator", now)
    await write(viewers.add, TENANT, "vic", None, "operator", now)
    [viewer] = await opened.database.read(list_viewers, TENANT)
    assert viewer.removed_at is None


async def test_each_request_reads_by_index_contract_76(data_dir: Path) -> None:
    """Also with very many people and sessions."""
    async with open_database(None, data_dir) as database:
        session_id = await database.write(begin_by_link, "vic", [TENANT], 1.0)

        def read(connection: Connection) -> list[str]:
            with plans(connection) as found:
                places_of(connection, "vic")
                find(connection, session_id, 1.0)
                list_sessions(connection, [TENANT], "vic", 1.0)
            return found

        steps = await database.read(read)
    assert [each for each in steps if not each.startswith("SEARCH")] == []
    assert len(steps) == 6


async def test_who_cannot_be_a_viewer_contract_76(opened: Running) -> None:
    write, now = opened.database.write, wall_clock()
    await write(approvers.add, TENANT, "ann", "operator", now)
    with pytest.raises(NotPossibleError, match="may look already"):
        await write(viewers.add, TENANT, "ann", None, "operator", now)
    with pytest.raises(InvalidRequestError):
        await write(viewers.add, TENANT, "Ann <b>", None, "operator", now)
    with pytest.raises(InvalidRequestError):
        await write(viewers.add, TENANT, "ann", TENANT, "operator", now)
    with pytest.raises(NotFoundError, match="home-org has no approver ann"):
        await write(viewers.add, TENANT, "ann", "home-org", "operator", now)


async def test_a_tenant_has_a_bounded_number_of_viewers_contract_76(opened: Running) -> None:
    now = wall_clock()

    def fill(connection: object) -> None:
        for number in range(MAX_VIEWERS):
            viewers.add(connection, TENANT, f"v{number}", None, "op", now)  # type: ignore[arg-type]

    await opened.database.write(fill)
    with pytest.raises(NotPossibleError, match="the most"):
        await opened.database.write(viewers.add, TENANT, "one-more", None, "op", now)
