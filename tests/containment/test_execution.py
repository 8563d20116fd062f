"""A containment from its claim to its record (contract 19, 22 to 25, 27 and 32)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, Clock, FaultyDatabase, entries, events, noted
from tests.loop_time import set_loop_time
from tests.polling import until
from tests.vendor import (
    FakeVendor,
    add_alert,
    clients_of,
    forget_alert,
    give_credentials,
    take_credentials,
)
from vyrox import log
from vyrox.chain.entry import Receipt
from vyrox.chain.events import write_events
from vyrox.chain.writer import ChainWriter
from vyrox.containment import claims, execution
from vyrox.containment.claims import RESULT_KEPT_S
from vyrox.containment.execution import Containment, Executed
from vyrox.containment.vendor_action import CLIENT_GRACE_S, lease_s
from vyrox.errors import (
    ActionNotSupportedError,
    InFlightError,
    OverloadedError,
    RequestReusedError,
    UnavailableError,
    VendorError,
    VendorOutcomeUnknownError,
)
from vyrox.models import ContainmentRequest
from vyrox.store import group_commit, tables
from vyrox.store.database import Database, open_database
from vyrox.store.tables import audit_log

DEADLINE_S = 30.0
LEASE_S = lease_s(DEADLINE_S)
ISOLATION = ContainmentRequest(
    request_id="550e8400-e29b-41d4-a716-446655440000",
    tenant_id=TENANT,
    alert_id="alt_abc123",
    action_type="HOST_ISOLATION",
    host="workstation-01",
    approved_by="jane.smith#1234",
    approved_at=int(NOW),
)
KILL = msgspec.structs.replace(ISOLATION, action_type="PROCESS_KILL")

EXECUTED = Executed("executed", dry_run=False)
REPLAYED = Executed("replayed", dry_run=False)


class Proxy:
    """A containment with its database, its vendor and its clock."""

    def __init__(
        self,
        database: Database,
        *,
        dry_run: bool,
        deadline_s: float,
        vendor: FakeVendor | None = None,
    ) -> None:
        self.database = FaultyDatabase(database)
        self.clock = Clock()
        self.acting = vendor or FakeVendor()
        self.writer = ChainWriter(self.database, self.clock)
        self.containment = Containment(
            self.writer,
            self.database,
            clients_of(self.acting),
            self.clock,
            self.check_clock,
            dry_run=dry_run,
            deadline_s=deadline_s,
        )

    def check_clock(self, approved_at: float, lease_until: float) -> None:
        """Replace the clock guard, which has tests of its own."""
        if self.clock() >= lease_until:
            raise VendorError("the lease is over")

    async def execute(self, request: ContainmentRequest = ISOLATION) -> Executed:
        return await self.containment.execute(request, "trace-1")

    def start(self, request: ContainmentRequest = ISOLATION) -> "asyncio.Task[Executed]":
        return asyncio.create_task(self.execute(request))


@asynccontextmanager
async def running(
    database: Database,
    *,
    dry_run: bool = False,
    deadline_s: float = DEADLINE_S,
    vendor: FakeVendor | None = None,
) -> AsyncIterator[Proxy]:
    proxy = Proxy(database, dry_run=dry_run, deadline_s=deadline_s, vendor=vendor)
    await give_credentials(database, [TENANT])
    await add_alert(database, TENANT, "alt_abc123")
    running = asyncio.create_task(proxy.writer.run())
    try:
        yield proxy
        await proxy.containment.drain()
    finally:
        running.cancel()
        await asyncio.wait([running])


def states(connection: Connection) -> list[object]:
    """Return the state of each claim."""
    return list(connection.execute(sa.select(tables.claims.c.state)).scalars())


async def outcomes(database: Database) -> list[tuple[object, object]]:
    """Return (hash of the entry, outcome) of each outcome event of the tenant."""
    found = await events(database, kind="execute.outcome")
    return [(entry["entry"], entry["outcome"]) for entry in found]


async def hashes(database: Database) -> list[object]:
    """Return the hash of each entry of the tenant's export."""
    return [entry["hash"] for entry in await entries(database)]


async def test_execute_dry_run_does_all_but_the_vendors_call_contract_19(
    database: Database,
) -> None:
    async with running(database, dry_run=True) as proxy:
        assert await proxy.execute() == Executed("dry_run", dry_run=True)
        assert await proxy.execute() == Executed("replayed", dry_run=True)
        assert proxy.acting.did == []
    [entry] = await entries(database)
    assert entry["dry_run"] is True
    assert await outcomes(database) == [(entry["hash"], "dry_run")]


async def test_execute_dry_run_needs_no_vendor_contract_25(database: Database) -> None:
    async with running(database, dry_run=True) as proxy:
        await take_credentials(database, TENANT)
        nowhere = msgspec.structs.replace(ISOLATION, alert_id="alt_none")
        assert await proxy.execute(nowhere) == Executed("dry_run", dry_run=True)


async def test_execute_calls_the_vendor_once_and_answers_repeats_from_memory_contract_24(
    database: Database,
) -> None:
    async with running(database) as proxy:
        assert await proxy.execute() == EXECUTED
        proxy.clock.now += 400
        retry = msgspec.structs.replace(ISOLATION, approved_at=int(NOW) + 400, approved_by="joe")
        assert await proxy.execute(retry) == REPLAYED
        assert proxy.acting.did == [("contained", "workstation-01")]
    [entry] = await entries(database)
    assert entry["dry_run"] is False
    assert entry["approved_by"] == "jane.smith#1234"
    assert await outcomes(database) == [(entry["hash"], "confirmed")]
    [recorded] = await events(database)
    assert (recorded["request_id"], recorded["execution"]) == ("trace-1", ISOLATION.request_id)


def stored_hash(connection: Connection, receipt: Receipt) -> object:
    c = audit_log.c
    query = sa.select(c.hash).where(
        c.tenant_id == receipt.tenant_id,
        c.stream == receipt.stream,
        c.sequence == receipt.sequence,
    )
    return connection.execute(query).scalar()


async def test_execute_entry_is_committed_before_the_vendor_is_called_contract_32(
    database_url: str | None, data_dir: Path
) -> None:
    seen: list[object] = []
    async with (
        open_database(database_url, data_dir) as database,
        open_database(database_url, data_dir) as other,
        running(database) as proxy,
    ):

        async def look() -> None:
            seen.append(await other.read(stored_hash, proxy.acting.asked[0][2]))

        proxy.acting.acting = look
        await proxy.execute()
        assert seen == [proxy.acting.asked[0][2].hash] == await hashes(other)


async def test_execute_64_at_once_of_one_id_one_acts_contract_19(database: Database) -> None:
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        tasks = [proxy.start() for _ in range(64)]
        await proxy.acting.began.wait()
        refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while len(refused) < 63:
            refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        proxy.acting.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results if isinstance(result, Executed)] == [EXECUTED]
        assert sum(isinstance(result, InFlightError) for result in results) == 63
        assert await proxy.execute() == REPLAYED
        assert len(proxy.acting.did) == 1
    assert await outcomes(database) == [(entry, "confirmed") for entry in await hashes(database)]
    assert len(await hashes(database)) == 1


@pytest.mark.parametrize("request_", [ISOLATION, KILL])
async def test_execute_vendor_error_releases_the_claim_and_keeps_the_entry_contract_19(
    database: Database, request_: ContainmentRequest
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = VendorError("no such host")
        with pytest.raises(VendorError, match="no such host"):
            await proxy.execute(request_)
        assert [entry["reason"] for entry in await events(database)] == ["no such host"]
        proxy.acting.failure = None
        assert await proxy.execute(request_) == EXECUTED
    first, second = await hashes(database)
    assert await outcomes(database) == [(first, "failed"), (second, "confirmed")]


async def test_execute_vendor_error_with_a_hostile_text_is_recorded_all_the_same(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = VendorError("\ud800\0\n" * 100_000)
        with pytest.raises(VendorError):
            await proxy.execute()
        proxy.acting.failure = None
        assert await proxy.execute() == EXECUTED
    assert [outcome for _, outcome in await outcomes(database)] == ["failed", "confirmed"]


UNKNOWN = [
    pytest.param(VendorOutcomeUnknownError("reset after sending"), id="reject_reset"),
    pytest.param(TimeoutError(), id="reject_timeout_of_the_clients_own"),
    pytest.param(LookupError("a mistake"), id="reject_mistake_in_the_client"),
    pytest.param(UnavailableError("of something else"), id="reject_another_error_of_ours"),
]


@pytest.mark.parametrize("error", UNKNOWN)
async def test_execute_unknown_outcome_of_a_kill_is_in_flight_for_600_s_contract_22(
    database: Database, error: Exception
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = error
        with pytest.raises(VendorOutcomeUnknownError):
            await proxy.execute(KILL)
        proxy.acting.failure = None
        proxy.clock.now += RESULT_KEPT_S - 0.001
        with pytest.raises(InFlightError):
            await proxy.execute(KILL)
        assert len(proxy.acting.did) == 1
        assert await outcomes(database) == [(*await hashes(database), "outcome_unknown")]
        proxy.clock.now += 0.001
        assert await proxy.execute(KILL) == EXECUTED


@pytest.mark.parametrize("error", UNKNOWN)
async def test_execute_unknown_outcome_of_an_isolation_may_be_repeated_contract_22(
    database: Database, error: Exception
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = error
        with pytest.raises(VendorOutcomeUnknownError):
            await proxy.execute()
        proxy.acting.failure = None
        assert await proxy.execute() == EXECUTED
    first, second = await hashes(database)
    assert await outcomes(database) == [(first, "outcome_unknown"), (second, "confirmed")]


async def test_execute_mistake_in_a_vendors_client_is_logged(database: Database) -> None:
    logged = log.counts["execute.vendor_failed"]
    async with running(database) as proxy:
        proxy.acting.failure = LookupError("secret-token")
        with pytest.raises(VendorOutcomeUnknownError):
            await proxy.execute()
    assert log.counts["execute.vendor_failed"] == logged + 1
    [recorded] = await events(database)
    assert recorded["reason"] == "LookupError in the client"


async def test_execute_mistake_before_anything_is_sent_releases_the_claim_contract_19(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.lost = LookupError("secret-token")
        with pytest.raises(LookupError):
            await proxy.execute()
        [recorded] = await events(database)
        assert (recorded["outcome"], recorded["reason"]) == (
            "failed",
            "LookupError; nothing was sent",
        )
        proxy.acting.lost = None
        assert await proxy.execute() == EXECUTED
    assert len(proxy.acting.did) == 1


@pytest.mark.parametrize("request_", [ISOLATION, KILL])
async def test_execute_vendor_that_never_answers_ends_with_the_deadline_contract_22(
    database: Database, monkeypatch: pytest.MonkeyPatch, request_: ContainmentRequest
) -> None:
    offset = set_loop_time(monkeypatch)

    async def never_responds() -> None:
        offset[0] = DEADLINE_S + CLIENT_GRACE_S
        await asyncio.Event().wait()

    async with running(database) as proxy:
        proxy.acting.acting = never_responds
        with pytest.raises(VendorOutcomeUnknownError, match="no response before the deadline"):
            await proxy.execute(request_)
        assert await outcomes(database) == [(*await hashes(database), "outcome_unknown")]


async def test_execute_lease_outlasts_the_deadline_contract_22(database: Database) -> None:
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        acting = proxy.start()
        await proxy.acting.began.wait()
        proxy.clock.now += LEASE_S - 0.001
        with pytest.raises(InFlightError):
            await proxy.execute()
        await proxy.writer.commit(claims.mark_lapsed_unknown, proxy.clock())
        proxy.acting.gate.set()
        assert await acting == EXECUTED
    assert [outcome for _, outcome in await outcomes(database)] == ["confirmed"]


async def test_execute_slower_than_its_lease_does_not_disturb_the_next_attempt_contract_22(
    database: Database,
) -> None:
    logged = log.counts["execute.claim_lost"]
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        slow = proxy.start()
        await proxy.acting.began.wait()
        proxy.clock.now += LEASE_S
        proxy.acting.began.clear()
        next_attempt = proxy.start()
        await proxy.acting.began.wait()
        proxy.acting.failure = VendorError("too late")
        proxy.acting.gate.set()
        for ended in (slow, next_attempt):
            with pytest.raises(VendorError, match="too late"):
                await ended
        proxy.acting.failure = None
        assert await proxy.execute() == EXECUTED
    assert log.counts["execute.claim_lost"] == logged + 1
    first, second, third = await hashes(database)
    assert sorted(await outcomes(database), key=str) == sorted(
        [
            (first, "outcome_unknown"),
            (first, "failed"),
            (second, "failed"),
            (third, "confirmed"),
        ],
        key=str,
    )


async def test_execute_without_a_vendor_is_an_error_and_released_contract_25(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await take_credentials(database, TENANT)
        with pytest.raises(VendorError, match="no vendor credentials") as caught:
            await proxy.execute(KILL)
        assert not isinstance(caught.value, VendorOutcomeUnknownError)
        await give_credentials(database, [TENANT])
        assert await proxy.execute(KILL) == EXECUTED
    assert [outcome for _, outcome in await outcomes(database)] == ["failed", "confirmed"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_execute_action_that_the_vendor_cannot_do_writes_nothing_contract_25(
    database: Database, dry_run: bool
) -> None:
    async with running(database, dry_run=dry_run) as proxy:
        await forget_alert(database, "alt_abc123")
        with pytest.raises(ActionNotSupportedError):
            await proxy.execute(KILL)
        assert proxy.acting.did == []
    assert await hashes(database) == []
    assert await events(database) == []
    assert await database.read(states) == []


async def test_execute_known_answer_comes_before_what_the_vendor_can_do_contract_19(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await proxy.execute(KILL)
        await forget_alert(database, "alt_abc123")
        assert await proxy.execute(KILL) == REPLAYED


async def test_execute_reused_id_learns_nothing_of_the_first_contract_21(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        first, second = proxy.start(), proxy.start(KILL)
        with pytest.raises(RequestReusedError):
            await second
        with pytest.raises(RequestReusedError):
            await proxy.execute(msgspec.structs.replace(ISOLATION, host="workstation-02"))
        proxy.acting.gate.set()
        assert await first == EXECUTED
        assert proxy.acting.did == [("contained", "workstation-01")]
    assert len(await hashes(database)) == 1


async def test_execute_database_away_does_nothing_and_then_works_contract_19(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.database.always = "before"
        with pytest.raises(UnavailableError):
            await proxy.execute()
        assert proxy.acting.did == []
        proxy.database.always = None
        assert await proxy.execute() == EXECUTED


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record again after 10 ms instead of a second."""
    monkeypatch.setattr(execution, "RECORD_RETRY_S", 0.01)


async def outcomes_are(database: Database, expected: Sequence[object]) -> None:
    """Return when these outcomes, and no others, are recorded."""

    async def are_recorded() -> bool:
        return [outcome for _, outcome in await outcomes(database)] == expected

    await until(are_recorded)


@pytest.mark.parametrize("request_", [ISOLATION, KILL])
async def test_execute_commit_that_fails_calls_no_vendor_and_nothing_remains_contract_32(
    database: Database, soon: None, request_: ContainmentRequest
) -> None:
    async with running(database) as proxy:
        proxy.database.faults = {1: "before"}
        with pytest.raises(UnavailableError):
            await proxy.execute(request_)
        assert proxy.acting.did == []
        assert await hashes(database) == []
        assert await proxy.execute(request_) == EXECUTED
        assert len(proxy.acting.did) == 1
    assert await outcomes(database) == [(*await hashes(database), "confirmed")]


@pytest.mark.parametrize("request_", [ISOLATION, KILL])
async def test_execute_commit_that_was_not_seen_calls_no_vendor_and_is_released_contract_32(
    database: Database, soon: None, request_: ContainmentRequest
) -> None:
    """The entry stays, its outcome is `failed`, and a retry may act immediately."""
    async with running(database) as proxy:
        proxy.database.faults = {1: "after"}
        with pytest.raises(UnavailableError):
            await proxy.execute(request_)
        await outcomes_are(database, ["failed"])
        assert proxy.acting.did == []
        assert await proxy.execute(request_) == EXECUTED
    first, second = await hashes(database)
    assert await outcomes(database) == [(first, "failed"), (second, "confirmed")]


@pytest.mark.parametrize("request_", [ISOLATION, KILL])
async def test_execute_commit_that_hangs_calls_no_vendor_even_if_it_succeeds_later_contract_32(
    database: Database, soon: None, monkeypatch: pytest.MonkeyPatch, request_: ContainmentRequest
) -> None:
    async with running(database) as proxy:
        proxy.database.gate.clear()
        with monkeypatch.context() as patch:
            patch.setattr(execution, "COMMIT_TIMEOUT_S", 0.05)
            with pytest.raises(UnavailableError, match="no commit seen"):
                await proxy.execute(request_)
        proxy.database.gate.set()
        await outcomes_are(database, ["failed"])
        assert proxy.acting.did == []
        assert await proxy.execute(request_) == EXECUTED
    assert len(await hashes(database)) == 2


async def test_execute_that_is_not_even_queued_leaves_nothing_to_do_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING", 1)
    async with running(database) as proxy:
        proxy.database.gate.clear()
        writing = asyncio.create_task(proxy.writer.commit(write_events, (noted(1),)))
        await proxy.database.began.wait()
        waiting = asyncio.create_task(proxy.writer.commit(write_events, (noted(2),)))
        with pytest.raises(OverloadedError):
            await proxy.execute()
        proxy.database.gate.set()
        await asyncio.gather(writing, waiting)
    assert proxy.database.writes == 2
    assert await hashes(database) == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("before", id="reject_nothing_committed"),
        pytest.param("after", id="reject_committed_unseen"),
    ],
)
@pytest.mark.parametrize("error", [None, VendorError("no such host")])
async def test_execute_record_that_fails_still_returns_the_result_and_is_recorded_later_contract_22(
    database: Database, soon: None, fault: Literal["before", "after"], error: VendorError | None
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = error
        proxy.database.faults = {3: fault}
        if error is None:
            assert await proxy.execute(KILL) == EXECUTED
        else:
            with pytest.raises(VendorError, match="no such host"):
                await proxy.execute(KILL)

        async def recorded() -> bool:
            return await database.read(states) == ([] if error else ["done"])

        async def recorded_later() -> bool:
            return proxy.database.writes == 4

        await until(recorded)
        if fault == "after":
            await until(recorded_later)
            await proxy.writer.commit(write_events, ())  # after it
    outcome = "failed" if error else "confirmed"
    assert await outcomes(database) == [(*await hashes(database), outcome)]


async def test_execute_record_that_goes_on_failing_keeps_the_claim_until_its_lease_ends_contract_22(
    database: Database, soon: None
) -> None:
    logged = log.counts["execute.result_not_recorded"]
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        acting = proxy.start(KILL)
        await proxy.acting.began.wait()
        proxy.database.always = "before"
        proxy.acting.gate.set()
        assert await acting == EXECUTED

        async def tried_again() -> bool:
            return log.counts["execute.result_not_recorded"] >= logged + 3

        await until(tried_again)
        assert await database.read(states) == ["in_flight"]

        async def has_stopped_trying() -> bool:
            return not proxy.containment._recording_later

        proxy.clock.now += LEASE_S
        await until(has_stopped_trying)
        proxy.database.always = None
        await proxy.writer.commit(claims.mark_lapsed_unknown, proxy.clock())
        with pytest.raises(InFlightError):
            await proxy.execute(KILL)
    assert await outcomes(database) == [(*await hashes(database), "outcome_unknown")]


async def test_drain_waits_for_what_is_in_progress_contract_23(database: Database) -> None:
    async with running(database) as proxy:
        await proxy.containment.drain()
        proxy.acting.gate.clear()
        tasks = [
            proxy.start(msgspec.structs.replace(ISOLATION, request_id=name, host=name))
            for name in "abc"
        ]
        while len(proxy.acting.did) < 3:
            await proxy.acting.began.wait()
            proxy.acting.began.clear()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        draining = asyncio.create_task(proxy.containment.drain())
        done, _ = await asyncio.wait([draining], timeout=0.05)
        assert not done
        proxy.acting.gate.set()
        await draining
        assert [outcome for _, outcome in await outcomes(database)] == ["confirmed"] * 3


async def test_drain_ends_although_a_result_cannot_be_recorded(database: Database) -> None:
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        acting = proxy.start()
        await proxy.acting.began.wait()
        proxy.database.always = "before"
        proxy.acting.gate.set()
        assert await acting == EXECUTED
        await proxy.containment.drain()
        proxy.database.always = None
    assert await outcomes(database) == []
    assert await database.read(states) == ["in_flight"]


async def _device_is_looked_up(proxy: Proxy) -> None:
    proxy.acting.found.clear()
    await proxy.acting.looking.wait()


async def _claim_is_written(proxy: Proxy) -> None:
    proxy.database.gate.clear()
    await proxy.database.began.wait()


async def _vendor_acts(proxy: Proxy) -> None:
    proxy.acting.gate.clear()
    await proxy.acting.began.wait()


async def _outcome_is_recorded(proxy: Proxy) -> None:
    await _vendor_acts(proxy)
    proxy.database.began.clear()
    proxy.database.gate.clear()
    proxy.acting.gate.set()
    await proxy.database.began.wait()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(_claim_is_written, id="while_the_claim_is_written"),
        pytest.param(_device_is_looked_up, id="while_the_device_is_looked_up"),
        pytest.param(_vendor_acts, id="while_the_vendor_acts"),
        pytest.param(_outcome_is_recorded, id="while_the_outcome_is_recorded"),
    ],
)
async def test_execute_caller_that_disconnects_does_not_stop_it_after_the_claim_contract_23(
    database: Database, reached: Callable[[Proxy], Awaitable[None]], turns: int
) -> None:
    async with running(database) as proxy:
        task = proxy.start()
        async with asyncio.timeout(30):
            await reached(proxy)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        proxy.acting.found.set()
        proxy.database.gate.set()
        proxy.acting.gate.set()
        await proxy.containment.drain()
        assert await proxy.execute() == REPLAYED
        assert len(proxy.acting.did) == 1
    assert await outcomes(database) == [(*await hashes(database), "confirmed")]


async def test_execute_cancelled_after_any_number_of_turns_acts_wholly_or_not_at_all_contract_23(
    database: Database,
) -> None:
    """Cancelled after more and more turns of the event loop, until it ends before that."""
    ended_by_itself = False
    turns = 0
    async with running(database) as proxy:
        while not ended_by_itself:
            before = len(proxy.acting.did)
            request = msgspec.structs.replace(ISOLATION, request_id=f"after {turns}")
            task = proxy.start(request)
            for _ in range(turns):
                await asyncio.sleep(0)
            ended_by_itself = task.done()
            task.cancel()
            await asyncio.wait([task])
            await proxy.containment.drain()
            acted = len(proxy.acting.did) - before
            assert await proxy.execute(request) == (REPLAYED if acted else EXECUTED)
            assert len(proxy.acting.did) == before + 1
            turns += 1 + turns // 4
    assert await outcomes(database) == [(entry, "confirmed") for entry in await hashes(database)]
    assert len(await hashes(database)) == len(proxy.acting.did)
