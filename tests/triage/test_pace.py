"""Ingestion comes first: during a flood of alerts the worker pauses (contract 52)."""

import asyncio
import time
import uuid
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.triage.stored import NOW, TENANT, new, stored_rows
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.triage import judging, pace
from vyrox.triage.judging import store_verdicts
from vyrox.triage.pace import SHARE, WINDOW_S, Pace
from vyrox.triage.score import judge


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


@pytest.mark.parametrize(
    ("a_second", "pauses"),
    [
        pytest.param(500, [], id="as many as the worker must keep up with"),
        pytest.param(800, [0.02 * (SHARE - 1)], id="a flood"),
    ],
)
async def test_the_worker_pauses_during_a_flood_only_contract_52(
    slept: list[float], a_second: int, pauses: list[float]
) -> None:
    now = 100.0
    paced = Pace(lambda: now)
    for _ in range(int(a_second * WINDOW_S)):
        paced.arrived()
    now += WINDOW_S
    await paced.give_way(0.02)
    assert slept == [0, *pauses]

    now += WINDOW_S  # nothing has come meanwhile
    await paced.give_way(0.02)
    assert slept == [0, *pauses, 0]


async def test_no_pause_is_long_however_long_a_disk_stood_still_contract_52(
    slept: list[float],
) -> None:
    now = 100.0
    paced = Pace(lambda: now)
    for _ in range(int(2 * pace.FLOOD_PER_S * WINDOW_S)):
        paced.arrived()
    now += WINDOW_S
    await paced.give_way(30.0)
    assert slept == [0, pace.LONGEST_S]


async def test_little_work_gives_no_way_contract_52(slept: list[float]) -> None:
    paced = Pace()
    await paced.give_way(pace.AT_ONCE_S / 2)
    assert slept == []
    await paced.give_way(pace.AT_ONCE_S / 2)
    assert slept == [0]


async def test_what_holds_up_alerts_counts_not_processor_time_contract_52(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(connection: Connection, table: sa.Table, rows: Sequence[tuple[object, ...]]) -> int:
        time.sleep(0.05)  # as if the disk or the interpreter's lock were busy
        return insert_rows(connection, table, rows)

    monkeypatch.setattr(judging, "insert_rows", slow)
    alert = new(1, "whoami", id=str(uuid.uuid4()))
    await stored_rows(sqlite, [alert])
    stored = await sqlite.write(store_verdicts, TENANT, [(alert, judge(alert))], NOW)
    assert stored.took_s >= 0.05
