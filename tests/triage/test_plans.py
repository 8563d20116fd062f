"""What the worker asks again and again reads an index, however many alerts there are (contract 82).

On SQLite, whose plan does not depend on how much there is.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.plans import plans_of
from vyrox.notify.timers import Intervals
from vyrox.store.database import open_database
from vyrox.triage import announcement, totals, waiting
from vyrox.triage.totals import Counted, Total


def count(connection: Connection) -> None:
    totals.add(connection, "acme", Counted(count=totals.Changes([Total(1, "band", "urgent")])))


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (
            partial(waiting.decided, now=1e9, limit=9),
            "alerts_verdict (verdict=? AND received_at>?)",
        ),
        (partial(waiting.severe, limit=9), "alerts_severe_waiting"),
        (partial(waiting.dead, limit=9), "alerts_dead"),
        (partial(announcement._due_tenants, now=1e9), "incidents_due (due_at<?)"),
        (count, "sqlite_autoindex_daily_totals_1 (tenant_id=? AND day=? AND name=? AND key=?)"),
    ],
    ids=["decided", "severe", "dead", "due", "totals"],
)
async def test_the_worker_reads_an_index_contract_82(
    data_dir: Path, ask: Callable[[Connection], object], index: str
) -> None:
    async with open_database(None, data_dir) as database:
        first, *_ = await database.write(plans_of, ask)
    assert f"INDEX {index}" in first


async def test_due_announcements_are_read_from_their_index_contract_82(data_dir: Path) -> None:
    intervals = Intervals(group_wait_s=30, group_interval_s=300, repeat_s=9000)
    ask = partial(announcement.announce, tenant_id="acme", now=1e9, intervals=intervals, per_hour=9)
    async with open_database(None, data_dir) as database:
        plans = await database.write(plans_of, ask)
    assert any("INDEX incidents_due (due_at<?)" in each for each in plans)
