"""The worker judges what is queued, on a real Valkey (contract 52)."""

import asyncio
import threading
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.sample_alerts import put_new, queued_ids
from tests.triage.stored import NOW, TENANT, incident, new, numbers_of, stored_rows, waiting
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import GROUP, AlertQueue, QueueEntry, stream_key
from vyrox.errors import QueueUnavailableError
from vyrox.models import NormalizedAlert
from vyrox.notify.outbox import PER_HOUR
from vyrox.notify.timers import DEFAULT
from vyrox.store.agenda import Agenda
from vyrox.store.database import Database
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import catalogue, suppression_life, suppressions
from vyrox.triage import waiting as waiting_alerts
from vyrox.triage import worker as workers
from vyrox.triage.announcement import Announcer
from vyrox.triage.judging import Stored, store_verdicts
from vyrox.triage.memory import Memory, read_memory
from vyrox.triage.pace import Pace
from vyrox.triage.score import Verdict, judge
from vyrox.triage.storms import STORM, WINDOW_S, Storms
from vyrox.triage.suppressing import Asked, suppress
from vyrox.triage.switch import OWN_PREFIX, decide
from vyrox.triage.switches import Disabled, disable
from vyrox.triage.worker import TriageWorker

Batch = Sequence[tuple[NormalizedAlert, Verdict]]


@pytest.fixture
def worker(consumer: AlertConsumer, sqlite: Database) -> TriageWorker:
    announcer = Announcer(sqlite, DEFAULT, PER_HOUR, lambda: NOW)
    return TriageWorker(None, consumer, sqlite, announcer, "one", lambda: NOW)


async def queued(
    queue: AlertQueue, database: Database, *alerts: NormalizedAlert
) -> tuple[NormalizedAlert, ...]:
    """Store alerts and put them into the stream."""
    from vyrox.alerts.intake import delivery

    await stored_rows(database, alerts)
    for alert in alerts:
        made = delivery(alert, alert.id.encode(), alert.timestamp)
        entry = QueueEntry(alert.tenant_id, alert.id, made.alert, made.raw)
        assert await queue.put_batch([entry]) == [b"added"]
    return alerts


async def test_run_judges_every_queued_alert_of_every_tenant_contract_52(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, worker: TriageWorker
) -> None:
    ids = (str(uuid.uuid4()) for _ in range(250))
    found = [new(n, "whoami", id=next(ids)) for n in range(200)]
    found += [new(n, "whoami", id=next(ids), tenant_id="other") for n in range(50)]
    await queued(queue, sqlite, *found)
    while await waiting(sqlite):
        await worker.run()
    assert await queued_ids(client) == []
    assert len(await numbers_of(sqlite, *found)) == 250
    assert (await incident(sqlite, 1)).alerts == 200
    assert (await incident(sqlite, 1, "other")).alerts == 50


async def test_the_patterns_are_read_beside_the_loop_before_the_first_verdict_contract_52(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    index = catalogue.index

    def watched() -> object:
        threads.append(threading.current_thread())
        return index()

    monkeypatch.setattr(catalogue, "index", watched)
    await queued(queue, sqlite, new())
    await worker.run()
    assert threads[0] is not threading.main_thread()
    assert set(threads[1:]) == {threading.main_thread()}


async def test_critical_alerts_do_not_wait_behind_a_backlog_contract_52(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "BATCH", 2)
    many = [new(n, "whoami") for n in range(20)]
    last = new(30, "whoami", vendor_severity="CRITICAL", severity="critical")
    await queued(queue, sqlite, *many, last)
    await worker.run()
    assert await numbers_of(sqlite, last) == [1]
    assert await waiting(sqlite) == 18
    while await waiting(sqlite):
        await worker.run()


async def test_another_container_takes_over_contract_52(
    queue: AlertQueue,
    sqlite: Database,
    consumer: AlertConsumer,
    worker: TriageWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "TAKE_OVER_IDLE_MS", 0)
    [alert] = await queued(queue, sqlite, new())
    assert await consumer.read(TENANT, f"{OWN_PREFIX}dead", 1)
    await worker.run()
    assert await numbers_of(sqlite, alert) == [1]


async def test_the_agenda_wakes_an_idle_worker_contract_92(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker
) -> None:
    """The alert comes through another container: nothing in this process notices it."""
    agenda = Agenda(sqlite, dict, {"triage": (waiting_alerts.is_any(), worker.news)})
    await worker.run()
    idle = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    await agenda.look()
    assert not worker.news.is_set()
    [alert] = await queued(queue, sqlite, new())
    await agenda.look()
    await idle
    assert await numbers_of(sqlite, alert) == [1]


async def test_alerts_that_follow_each_other_are_judged_together_contract_92(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the worker waits, and is in the round of the first."""
    monkeypatch.setattr(workers, "TOGETHER_S", 3600.0)
    sleep = asyncio.sleep
    first, second = new(1, "whoami"), new(2, "whoami")

    async def until_next_round(delay: float) -> None:
        if delay > 1000:
            await queued(queue, sqlite, second)
        else:
            await sleep(delay)

    await worker.run()
    monkeypatch.setattr(asyncio, "sleep", until_next_round)
    await queued(queue, sqlite, first)
    worker.notice(TENANT)
    await worker.run()
    assert len(await numbers_of(sqlite, first, second)) == 2


async def test_the_worker_counts_each_alert_that_is_noticed_contract_52(
    worker: TriageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Pace] = []
    monkeypatch.setattr(Pace, "arrived", lambda each: counted.append(each))
    worker.notice(TENANT)
    worker.notice(TENANT)
    assert len(counted) == 2


async def test_one_tenant_that_fails_does_not_stop_the_others_contract_52(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    worker: TriageWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "TAKE_OVER_IDLE_MS", 0)
    [bad] = await queued(queue, sqlite, new(tenant_id="a-first"))
    [good] = await queued(queue, sqlite, new(tenant_id="b-second"))

    def fails_for_one(connection: Connection, tenant_id: str, now: float) -> Memory:
        if tenant_id == "a-first":
            raise RuntimeError
        return read_memory(connection, tenant_id, now)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "read_memory", fails_for_one)
        await worker.run()
        assert await numbers_of(sqlite, good) == [1]
    worker._take_over_at = 0.0
    await worker.run()
    assert await numbers_of(sqlite, bad) == [1]


async def test_an_alert_that_cannot_be_stored_stays_queued_contract_52(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    worker: TriageWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2)]
    bad, good = await queued(queue, sqlite, *(new(n, id=each) for n, each in enumerate(ids)))

    def fails_for_one(connection: Connection, tenant_id: str, batch: Batch, now: float) -> Stored:
        if any(alert.id == bad.id for alert, _ in batch):
            raise RuntimeError
        return store_verdicts(connection, tenant_id, batch, now)

    monkeypatch.setattr(workers, "store_verdicts", fails_for_one)
    await worker.run()
    assert await numbers_of(sqlite, good) == [1]
    assert await queued_ids(client) == [bad.id]


async def test_an_alert_that_cannot_be_judged_is_for_a_person_contract_52(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_alert: NormalizedAlert) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(workers, "content_of", fails)
    [alert] = await queued(queue, sqlite, new())
    await worker.run()
    assert await numbers_of(sqlite, alert) == [1]
    assert (await incident(sqlite, 1)).band == "review"


async def test_a_store_that_is_away_loses_nothing_contract_52(
    queue: AlertQueue,
    sqlite: Database,
    worker: TriageWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [alert] = await queued(queue, sqlite, new())
    monkeypatch.setattr(workers, "RETRY_S", 0.0)
    with monkeypatch.context() as patch:

        async def away(*_: object) -> None:
            raise QueueUnavailableError("away")

        patch.setattr(worker._consumer, "remove", away)
        with pytest.raises(QueueUnavailableError):
            await worker.run()
    assert await numbers_of(sqlite, alert) == [1]  # the verdict is committed, the entry is left
    await worker.run()
    assert (await incident(sqlite, 1)).alerts == 1


@pytest.mark.parametrize(("setting", "expected"), [(True, True), (False, False), (None, False)])
async def test_decide_leaves_the_queue_to_a_consumer_of_the_customer_contract_52(
    queue: AlertQueue,
    sqlite: Database,
    consumer: AlertConsumer,
    setting: bool | None,
    expected: bool,
) -> None:
    await put_new(queue, sqlite, 1)
    await consumer.read(TENANT, "siem", 1)
    decision = await decide(setting, consumer)
    assert decision.is_on == expected
    if setting is None:
        assert decision.reason is not None
        assert "'siem' reads the queue of acme-corp" in decision.reason


async def test_decide_is_yes_without_a_consumer_of_the_customer_contract_52(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    assert (await decide(None, consumer)).is_on
    await put_new(queue, sqlite, 1)
    await consumer.read(TENANT, f"{OWN_PREFIX}other-container", 1)
    await client.xgroup_create("vyrox:alerts:{other}", GROUP, id="0", mkstream=True)
    assert (await decide(None, consumer)).is_on
    assert await client.exists(stream_key(TENANT))


async def test_a_storm_passes_through_memory_contract_56(
    queue: AlertQueue, sqlite: Database, worker: TriageWorker
) -> None:
    """Each alert of a storm is judged with what people have decided by then."""
    command = "vssadmin delete shadows /all /quiet"

    async def bands() -> set[str]:
        found = [new(n, command, process_name="vssadmin") for n in range(2 * STORM)]
        await queued(queue, sqlite, *found)
        while await waiting(sqlite):
            await worker.run()
        query = sa.select(verdicts.c.band).where(verdicts.c.alert_id.in_([a.id for a in found]))
        return set(await sqlite.read(lambda connection: connection.execute(query).scalars().all()))

    assert await bands() == {"urgent"}
    asked = Asked(
        tenant_id=TENANT,
        program="vssadmin",
        families=("recovery",),
        any_host=True,
        reason="a drill",
        author="ann",
    )
    made = await sqlite.write(suppress, asked, NOW - 1)
    await sqlite.write(suppression_life.confirm, TENANT, made.id, "bob", NOW - 1)
    assert await bands() == {"close"}
    found = await sqlite.read(suppressions.find, TENANT, made.id)
    assert found.hits == 2 * STORM
    await sqlite.write(suppression_life.end, TENANT, made.id, "ann", "over", NOW - 1)
    assert await bands() == {"urgent"}
    await sqlite.write(disable, Disabled(TENANT, "recovery.shadows_deleted", "ann", NOW), "bob")
    assert await bands() == {"close"}


def test_a_storm_is_scored_once_contract_55() -> None:
    storms = Storms()
    verdict = judge(new())
    reused = []
    for n in range(STORM + 10):
        found = storms.verdict(b"one", n)
        reused.append(found is not None)
        if found is None:
            storms.keep(b"one", verdict, n)
    assert reused == [False] * STORM + [True] * 10
    assert storms.verdict(b"two", 0.0) is None
    assert storms.verdict(b"one", WINDOW_S + 1) is None


async def test_an_alert_that_cannot_be_grouped_keeps_no_other_waiting_contract_52(
    queue: AlertQueue,
    sqlite: Database,
    worker: TriageWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await queued(queue, sqlite, *(new(n, "whoami") for n in range(7)))
    bad = found[3]

    def failing(connection: Connection, tenant_id: str, batch: Any, now: float) -> Stored:  # noqa: ANN401
        if any(alert == bad for alert, _ in batch):
            raise ValueError("planted")
        return store_verdicts(connection, tenant_id, batch, now)

    monkeypatch.setattr(workers, "store_verdicts", failing)
    await worker.run()
    assert await waiting(sqlite) == 0
    numbers = await numbers_of(sqlite, *found)
    assert len(set(numbers)) == 2
    alone = await incident(sqlite, numbers[3])
    assert (alone.band, alone.alerts) == ("review", 1)


async def test_an_alert_that_a_person_was_first_on_gets_a_verdict_contract_52(
    sqlite: Database, worker: TriageWorker
) -> None:
    alert = new()
    await stored_rows(sqlite, [alert])
    finish = alerts.update().values(finished_at=NOW, verdict="benign")
    await sqlite.write(lambda connection: connection.execute(finish).rowcount)
    await worker.run()
    assert await numbers_of(sqlite, alert) == [1]
