"""Lists read an index, not the table (contract 50)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.sample_alerts import new_alert
from vyrox.alerts.device_history import read_history
from vyrox.alerts.finding import AlertFilter, find_alerts, is_possible_id, parse_place, place_text
from vyrox.alerts.intake import delivery, store
from vyrox.errors import InvalidRequestError
from vyrox.store.database import open_database
from vyrox.store.tables import alerts


@contextmanager
def plans(connection: Connection) -> Iterator[list[str]]:
    """Fill the list with SQLite's plan of each query inside the block."""
    found: list[str] = []

    def explain(_1: object, cursor: object, query: str, parameters: object, *_: object) -> None:
        rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters)  # type: ignore[attr-defined]
        found.extend(row[-1] for row in rows)

    sa.event.listen(connection, "before_cursor_execute", explain)
    yield found
    sa.event.remove(connection, "before_cursor_execute", explain)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (AlertFilter(), "alerts_received"),
        (AlertFilter("acme"), "alerts_tenant"),
        (AlertFilter(severities=("critical",)), "alerts_severe_received"),
        (AlertFilter("acme", hostname="dc-01", delivery="done"), "alerts_hostname"),
        (AlertFilter("acme", username="jane", delivery="done"), "alerts_username"),
        (AlertFilter("acme", hostname="dc-01", delivery="queued"), "alerts_unfinished"),
        (AlertFilter(delivery="queued"), "alerts_unfinished"),
        (AlertFilter(delivery="dead"), "alerts_dead_received"),
        (AlertFilter(verdict="benign"), "alerts_verdict"),
        (AlertFilter(since=1.0), "alerts_received"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_lists_use_the_index_of_their_filter_contract_50(
    data_dir: Path, wanted: AlertFilter, index: str
) -> None:
    def plan(connection: Connection) -> list[str]:
        with plans(connection) as found:
            find_alerts(connection, wanted, None, 50)
            find_alerts(connection, wanted, (1.0, "x"), 50)
        return found

    async with open_database(None, data_dir) as database:
        steps = await database.read(plan)
    used = [step for step in steps if "INDEX" in step]
    assert len(used) == 2
    assert all(f"INDEX {index} " in f"{step} " for step in used), steps


async def test_a_name_in_any_tenant_is_read_from_the_index_of_each_contract_50(
    data_dir: Path,
) -> None:
    def plan(connection: Connection) -> list[str]:
        store(connection, [delivery(new_alert(each), each.encode(), 1.0) for each in "abc"], 9.0)
        is_other = alerts.c.tenant_id != "c"
        connection.execute(alerts.update().where(is_other).values(finished_at=2.0))
        with plans(connection) as found:
            assert (
                len(find_alerts(connection, AlertFilter(hostname="workstation-01"), None, 9)) == 3
            )
        return found

    async with open_database(None, data_dir) as database:
        steps = await database.write(plan)
    assert (
        len([step for step in steps if "INDEX alerts_hostname (tenant_id=? AND hos" in step]) == 3
    )
    assert not [step for step in steps if step.startswith("SCAN")], steps


async def test_what_was_done_on_a_device_is_read_from_an_index_contract_50(data_dir: Path) -> None:
    def plan(connection: Connection) -> list[str]:
        with plans(connection) as found:
            read_history(connection, new_alert())
        return found

    async with open_database(None, data_dir) as database:
        outcomes, actions = await database.read(plan)
    assert "INDEX audit_log_outcomes (tenant_id=?)" in outcomes
    assert "(tenant_id=? AND stream=?)" in actions


@given(
    at=st.floats(min_value=0, max_value=1e11),
    alert_id=st.text(st.characters(max_codepoint=127), min_size=1),
)
def test_a_place_is_read_as_it_was_written_contract_50(at: float, alert_id: str) -> None:
    if is_possible_id(alert_id):
        assert parse_place(place_text((at, alert_id))) == (at, alert_id)


@given(text=st.text())
def test_any_text_is_a_place_or_refused_contract_50(text: str) -> None:
    try:
        at, alert_id = parse_place(text)
    except InvalidRequestError:
        return
    assert is_possible_id(alert_id)
    assert at == at
