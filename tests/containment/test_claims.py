"""Claims: one containment per request_id (contract 19, 21, 22, 24 and 27)."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, Entry, entries, events, running_writer
from tests.conftest import ready_postgres_database
from tests.postgres import Postgres
from tests.vendor import give_credentials, take_credentials
from vyrox.chain.writer import ChainWriter
from vyrox.containment import claims
from vyrox.containment.admission import Claimed, NotSupported
from vyrox.containment.attempt import Attempt, AttemptResult, Outcome
from vyrox.containment.claims import RESULT_KEPT_S, ClaimResult, InFlight, Replayed, Reused
from vyrox.models import ActionType, ContainmentRequest
from vyrox.store import tables
from vyrox.store.database import Database, open_database

LEASE_S = 60.0
REQUEST = ContainmentRequest(
    request_id="550e8400-e29b-41d4-a716-446655440000",
    tenant_id=TENANT,
    alert_id="alt_abc123",
    action_type="HOST_ISOLATION",
    host="workstation-01",
    approved_by="jane.smith#1234",
    approved_at=int(NOW),
)
KILL = msgspec.structs.replace(REQUEST, action_type="PROCESS_KILL")

_owners: Iterator[int] = itertools.count()


def attempt(
    request: ContainmentRequest = REQUEST,
    now: float = NOW,
    *,
    dry_run: bool = False,
) -> Attempt:
    """Return an attempt with a new owner."""
    number = next(_owners)
    return Attempt(request, f"owner-{number}", f"trace-{number}", dry_run, LEASE_S, now)


async def claim(writer: ChainWriter, wanted: Attempt) -> tuple[ClaimResult, str]:
    """Return the result of the claim and the hash of its entry, or "" if there is no entry."""
    committed = await writer.commit(claims.claim, wanted)
    hashes = [r.hash for r in committed.receipts if r.stream == "actions"]
    assert len(hashes) == isinstance(committed.result, Claimed)
    result = committed.result
    if isinstance(result, Claimed):
        result = msgspec.structs.replace(result, known=None)  # in a dry run: contract 43
    return result, "".join(hashes)


async def claimed(
    writer: ChainWriter, request: ContainmentRequest = REQUEST, now: float = NOW
) -> tuple[Attempt, str]:
    """Claim `request`, which must be free. Return the attempt and the hash of its entry."""
    wanted = attempt(request, now)
    result, entry_hash = await claim(writer, wanted)
    assert result == Claimed()
    return wanted, entry_hash


async def record(
    writer: ChainWriter, mine: tuple[Attempt, str | None], outcome: Outcome, now: float = NOW + 1
) -> bool:
    result = AttemptResult(mine[0], mine[1], outcome, now, f"reason of {mine[0].owner}")
    return (await writer.commit(claims.record, result)).result


async def result_at(writer: ChainWriter, request: ContainmentRequest, now: float) -> ClaimResult:
    """Return the result of a claim at `now`."""
    return (await claim(writer, attempt(request, now)))[0]


def outcomes(recorded: Sequence[Entry]) -> list[tuple[object, object]]:
    """Return (hash of the entry, outcome) of each outcome event."""
    return [(entry["entry"], entry["outcome"]) for entry in recorded]


def owners(connection: Connection) -> dict[bytes, str]:
    """Return the owner of each claim."""
    query = sa.select(tables.claims.c.request_id, tables.claims.c.owner)
    return {row.request_id: row.owner for row in connection.execute(query)}


async def test_claim_is_committed_with_one_entry_as_sent_contract_27(database: Database) -> None:
    async with running_writer(database) as writer:
        wanted, entry_hash = await claimed(writer)
    [entry] = await entries(database)
    assert entry["hash"] == entry_hash
    assert (entry["tenant_id"], entry["action_type"]) == (TENANT, "HOST_ISOLATION")
    assert (entry["host"], entry["approved_by"]) == ("workstation-01", "jane.smith#1234")
    assert entry["dry_run"] is False
    assert await database.read(owners) == {REQUEST.request_id.encode(): wanted.owner}
    assert await events(database) == []


async def test_claim_64_at_once_of_one_id_one_gets_it_contract_19(database: Database) -> None:
    async with running_writer(database) as writer:
        results = await asyncio.gather(*(claim(writer, attempt()) for _ in range(64)))
    assert Counter(result for result, _ in results) == {Claimed(): 1, InFlight(): 63}
    assert len(await entries(database)) == 1


async def test_claim_while_the_lease_runs_is_in_flight_contract_22(database: Database) -> None:
    async with running_writer(database) as writer:
        await claimed(writer)
        for now in (NOW, NOW + LEASE_S - 0.001):
            assert await result_at(writer, REQUEST, now) == InFlight()
    assert len(await entries(database)) == 1


SOMETHING_ELSE = {
    "reject_other_tenant": {"tenant_id": "other-corp"},
    "reject_other_alert": {"alert_id": "alt_abc124"},
    "reject_other_action": {"action_type": "NETWORK_QUARANTINE"},
    "reject_other_host": {"host": "workstation-02"},
    "reject_other_case": {"host": "Workstation-01"},
}


@pytest.mark.parametrize("outcome", [None, "confirmed", "outcome_unknown"])
async def test_claim_id_of_another_request_is_reused_contract_21(
    database: Database, outcome: Outcome | None
) -> None:
    first = KILL if outcome == "outcome_unknown" else REQUEST
    async with running_writer(database) as writer:
        mine = await claimed(writer, first)
        if outcome is not None:
            assert await record(writer, mine, outcome)
        for name, change in SOMETHING_ELSE.items():
            other = msgspec.structs.replace(first, **change)
            assert await result_at(writer, other, NOW + 2) == Reused(), name
    assert len(await entries(database)) == 1
    assert await entries(database, "other-corp") == []


async def test_claim_fields_are_never_confused_contract_21(
    database: Database,
) -> None:
    shifted = msgspec.structs.replace(REQUEST, alert_id="alt_abc123HOST", host="_ISOLATION")
    assert claims.fingerprint(shifted) != claims.fingerprint(REQUEST)
    assert len(claims.fingerprint(REQUEST)) == 32


@pytest.mark.parametrize("dry_run", [True, False])
async def test_claim_signed_again_is_replayed_with_the_first_dry_run_contract_21_and_24(
    database: Database, dry_run: bool
) -> None:
    async with running_writer(database) as writer:
        first = attempt(dry_run=dry_run)
        _, entry_hash = await claim(writer, first)
        assert await record(writer, (first, entry_hash), "dry_run" if dry_run else "confirmed")
        resigned = msgspec.structs.replace(REQUEST, approved_by="joe", approved_at=int(NOW) + 400)
        again = attempt(resigned, NOW + 400, dry_run=not dry_run)
        assert await claim(writer, again) == (Replayed(dry_run), "")
    assert len(await entries(database)) == 1


async def test_claim_answer_is_kept_600_s_contract_19(database: Database) -> None:
    async with running_writer(database) as writer:
        await record(writer, await claimed(writer), "confirmed", NOW + 5)
        last = NOW + 5 + RESULT_KEPT_S
        assert await result_at(writer, REQUEST, last - 0.001) == Replayed(False)
        assert await result_at(writer, REQUEST, last) == Claimed()
    assert len(await entries(database)) == 2


async def test_claim_of_what_the_vendor_cannot_do_writes_nothing_contract_25(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        await give_credentials(database, [TENANT], "defender")
        assert await claim(writer, attempt(KILL)) == (
            NotSupported("defender has no process kill"),
            "",
        )
        assert await database.read(owners) == {}
        await take_credentials(database, TENANT)
        mine = await claimed(writer, KILL)
        await give_credentials(database, [TENANT], "defender")
        assert await claim(writer, attempt(KILL)) == (InFlight(), "")
        await record(writer, mine, "confirmed")
        assert await claim(writer, attempt(KILL)) == (Replayed(False), "")
    assert len(await entries(database)) == 1


@pytest.mark.parametrize("request_", [REQUEST, KILL])
async def test_record_failed_releases_the_claim_and_records_why_contract_27(
    database: Database, request_: ContainmentRequest
) -> None:
    async with running_writer(database) as writer:
        mine = await claimed(writer, request_)
        assert await record(writer, mine, "failed")
        assert await result_at(writer, request_, NOW + 1) == Claimed()
    [recorded] = await events(database)
    assert recorded["kind"] == "execute.outcome"
    assert recorded["request_id"] == mine[0].trace_id
    assert recorded["execution"] == request_.request_id
    assert (recorded["entry"], recorded["outcome"]) == (mine[1], "failed")
    assert recorded["reason"] == f"reason of {mine[0].owner}"
    assert len(await entries(database)) == 2


@pytest.mark.parametrize("action_type", ["HOST_ISOLATION", "NETWORK_QUARANTINE"])
async def test_record_unknown_releases_what_changes_nothing_the_second_time_contract_22(
    database: Database, action_type: ActionType
) -> None:
    request = msgspec.structs.replace(REQUEST, action_type=action_type)
    async with running_writer(database) as writer:
        mine = await claimed(writer, request)
        assert await record(writer, mine, "outcome_unknown")
        assert await result_at(writer, request, NOW + 1) == Claimed()
    assert outcomes(await events(database)) == [(mine[1], "outcome_unknown")]


async def test_record_unknown_keeps_a_kill_for_600_s_contract_22(database: Database) -> None:
    async with running_writer(database) as writer:
        mine = await claimed(writer, KILL)
        assert await record(writer, mine, "outcome_unknown", NOW + 1)
        last = NOW + 1 + RESULT_KEPT_S
        assert await result_at(writer, KILL, last - 0.001) == InFlight()
        assert await result_at(writer, KILL, last) == Claimed()
    assert outcomes(await events(database)) == [(mine[1], "outcome_unknown")]


@pytest.mark.parametrize("lapsed_first", [True, False])
async def test_claim_after_a_crash_may_act_again_when_the_lease_is_over_contract_22(
    database: Database, lapsed_first: bool
) -> None:
    async with running_writer(database) as writer:
        _, entry_hash = await claimed(writer)
        if lapsed_first:
            await writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S)
        assert await result_at(writer, REQUEST, NOW + LEASE_S) == Claimed()
        assert (await writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S)).result == 0
    assert outcomes(await events(database)) == [(entry_hash, "outcome_unknown")]
    assert len(await entries(database)) == 2


@pytest.mark.parametrize("lapsed_first", [True, False])
async def test_claim_of_a_kill_after_a_crash_is_refused_for_600_s_more_contract_22(
    database: Database, lapsed_first: bool
) -> None:
    async with running_writer(database) as writer:
        _, entry_hash = await claimed(writer, KILL)
        if lapsed_first:
            await writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S)
        last = NOW + LEASE_S + RESULT_KEPT_S
        assert await result_at(writer, KILL, last - 0.001) == InFlight()
        assert await result_at(writer, KILL, last) == Claimed()
        assert (await writer.commit(claims.mark_lapsed_unknown, last)).result == 0
    assert outcomes(await events(database)) == [(entry_hash, "outcome_unknown")]


@pytest.mark.parametrize("outcome", ["confirmed", "failed", "outcome_unknown"])
async def test_record_by_one_whose_lease_was_too_short_changes_nothing_contract_22(
    database: Database, outcome: Outcome
) -> None:
    async with running_writer(database) as writer:
        stale = await claimed(writer)
        second = await claimed(writer, now=NOW + LEASE_S)
        assert not await record(writer, stale, outcome, NOW + LEASE_S + 1)
        assert await result_at(writer, REQUEST, NOW + LEASE_S + 2) == InFlight()
        assert await record(writer, second, "confirmed", NOW + LEASE_S + 3)
        assert await result_at(writer, REQUEST, NOW + LEASE_S + 4) == Replayed(False)
    assert outcomes(await events(database)) == [
        (stale[1], "outcome_unknown"),
        (stale[1], outcome),
        (second[1], "confirmed"),
    ]


async def test_record_after_the_claim_became_unknown_corrects_it_contract_22(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        slow = await claimed(writer, KILL)
        await writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S)
        assert await record(writer, slow, "confirmed", NOW + LEASE_S + 1)
        assert await result_at(writer, KILL, NOW + LEASE_S + 2) == Replayed(False)
    assert outcomes(await events(database)) == [
        (slow[1], "outcome_unknown"),
        (slow[1], "confirmed"),
    ]


async def test_record_again_after_a_commit_that_was_not_seen_writes_one_event(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        mine = await claimed(writer)
        for now in (NOW + 1, NOW + 2):
            assert await record(writer, mine, "confirmed", now)
        assert await result_at(writer, REQUEST, NOW + 1 + RESULT_KEPT_S) == Claimed()
    assert outcomes(await events(database)) == [(mine[1], "confirmed")]


async def test_record_of_a_claim_whose_commit_was_not_seen_releases_it_if_it_is_there(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        assert not await record(writer, (attempt(KILL), None), "failed")
        there, entry_hash = await claimed(writer, KILL)
        assert await record(writer, (there, None), "failed")
        assert not await record(writer, (there, None), "failed")
        assert await result_at(writer, KILL, NOW + 2) == Claimed()
    assert outcomes(await events(database)) == [(entry_hash, "failed")]


async def test_mark_lapsed_unknown_writes_one_event_for_each_orphan_contract_22(
    database: Database,
) -> None:
    requests = [
        msgspec.structs.replace(REQUEST, request_id=f"{number}", tenant_id=f"tenant-{number % 2}")
        for number in range(6)
    ]
    async with running_writer(database) as writer:
        claims_ = [await claimed(writer, request) for request in requests]
        await record(writer, claims_[0], "confirmed")
        await record(writer, claims_[1], "failed")
        live = await claimed(writer, now=NOW + 1)
        lapsed_first = await asyncio.gather(
            *(writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S) for _ in range(3))
        )
        assert sum(committed.result for committed in lapsed_first) == 4
        assert (await writer.commit(claims.mark_lapsed_unknown, NOW + LEASE_S + 0.5)).result == 0
        assert await record(writer, live, "confirmed")
    for tenant in range(2):
        recorded = await events(database, f"tenant-{tenant}")
        unknown = [entry for entry in recorded if entry["outcome"] == "outcome_unknown"]
        assert Counter((entry["execution"], entry["entry"]) for entry in unknown) == Counter(
            (mine.request.request_id, entry_hash)
            for number, (mine, entry_hash) in enumerate(claims_)
            if number >= 2 and number % 2 == tenant
        )
        assert {entry["request_id"] for entry in unknown} == {None}
        assert {(entry["alert_id"], entry["force"]) for entry in unknown} == {("alt_abc123", False)}


async def test_delete_expired_deletes_claims_that_no_retry_needs(
    database: Database,
) -> None:
    requests = [msgspec.structs.replace(KILL, request_id=name) for name in "abc"]
    async with running_writer(database) as writer:
        done, unknown, orphan = [await claimed(writer, request) for request in requests]
        await record(writer, done, "confirmed", NOW + 10)
        await record(writer, unknown, "outcome_unknown", NOW + 20)
        for now, left in (
            (NOW + 10 + RESULT_KEPT_S - 0.001, {b"a", b"b", b"c"}),
            (NOW + 10 + RESULT_KEPT_S, {b"b", b"c"}),
            (NOW + 20 + RESULT_KEPT_S, {b"c"}),
            # Its outcome is not an event yet.
            (NOW + LEASE_S + RESULT_KEPT_S, {b"c"}),
        ):
            before = await database.read(owners)
            deleted = await database.write(claims.delete_expired, now)
            assert set(await database.read(owners)) == left
            assert deleted == len(before) - len(left)
        assert (await writer.commit(claims.mark_lapsed_unknown, now)).result == 1
        assert await database.write(claims.delete_expired, now) == 1
    assert outcomes(await events(database)) == [
        (done[1], "confirmed"),
        (unknown[1], "outcome_unknown"),
        (orphan[1], "outcome_unknown"),
    ]


HOSTILE_IDS = {
    "allow_nul": "\0",
    "allow_256_characters": "x" * 256,
    "allow_256_characters_of_four_bytes": "\U0010ffff" * 256,
    "allow_sql": "'; DROP TABLE claims; --",
    "allow_control_characters": "\u202e\u2028\x1b[2J",
    "allow_placeholders": "%s :key {0}",
}


async def test_claim_hostile_request_id_is_stored_as_data_contract_20(database: Database) -> None:
    async with running_writer(database) as writer:
        for name, request_id in HOSTILE_IDS.items():
            request = msgspec.structs.replace(REQUEST, request_id=request_id)
            mine = await claimed(writer, request)
            assert await result_at(writer, request, NOW) == InFlight(), name
            assert await record(writer, mine, "confirmed")
            assert await result_at(writer, request, NOW + 2) == Replayed(False), name
    recorded = [entry["execution"] for entry in await events(database)]
    assert recorded == list(HOSTILE_IDS.values())


async def test_claim_same_ids_in_two_containers_in_different_orders_each_once_contract_19(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    requests = [msgspec.structs.replace(REQUEST, request_id=f"{number}") for number in range(200)]
    async with (
        open_database(url, data_dir) as one,
        open_database(url, data_dir) as other,
        running_writer(one) as first,
        running_writer(other) as second,
    ):
        results = await asyncio.gather(
            *(claim(first, attempt(request)) for request in requests),
            *(claim(second, attempt(request)) for request in reversed(requests)),
        )
        assert Counter(result for result, _ in results) == {Claimed(): 200, InFlight(): 200}
        assert len(await entries(one)) == 200


async def test_claim_and_record_across_two_containers_never_deadlock(
    postgres: Postgres, data_dir: Path
) -> None:
    """Each container records its claims while it gets retries of the other container's claims."""
    url = await ready_postgres_database(postgres)
    async with (
        open_database(url, data_dir) as one,
        open_database(url, data_dir) as other,
        running_writer(one) as first,
        running_writer(other) as second,
    ):
        for turn in range(10):
            now = NOW + turn
            requests = [
                msgspec.structs.replace(REQUEST, request_id=f"{turn}-{number}")
                for number in range(40)
            ]
            mine = [await asyncio.gather(*(claimed(first, r, now) for r in requests[::2]))]
            mine += [await asyncio.gather(*(claimed(second, r, now) for r in requests[1::2]))]
            await asyncio.gather(
                *(record(first, each, "confirmed") for each in mine[0]),
                *(claim(first, attempt(request, now)) for request in requests[1::2]),
                *(record(second, each, "failed") for each in reversed(mine[1])),
                *(claim(second, attempt(request, now)) for request in requests[::2]),
                first.commit(claims.mark_lapsed_unknown, now),
                one.write(claims.delete_expired, now),
                other.write(claims.delete_expired, now + RESULT_KEPT_S + LEASE_S),
            )


@dataclass
class Known:
    """The state of a request_id in the model."""

    attempt: Attempt
    entry_hash: str
    state: str
    lease_until: float
    expires_at: float


REQUESTS = st.builds(
    ContainmentRequest,
    request_id=st.sampled_from(["a", "b"]),
    tenant_id=st.just(TENANT),
    alert_id=st.just("alt_abc123"),
    action_type=st.sampled_from(["PROCESS_KILL", "HOST_ISOLATION"]),
    host=st.sampled_from(["workstation-01"] * 4 + ["workstation-02"]),
    approved_by=st.sampled_from(["jane", "joe"]),
    approved_at=st.integers(0, 9),
)


class ClaimsMachine(RuleBasedStateMachine):
    """Attempts at a few containments. Their owners die, are slow, or end normally.

    The model is a dictionary. Also checked: two attempts at one request_id are never alive at the
    same time, each attempt with a claim has one entry, and each outcome is one event.
    """

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.now = NOW
        self.known: dict[str, Known] = {}
        self.attempts: list[tuple[Attempt, str]] = []
        self.alive: list[Attempt] = []
        self.recorded: list[tuple[object, object]] = []

    @initialize()
    def begin(self) -> None:
        def clear(connection: Connection) -> None:
            connection.execute(tables.claims.delete())

        self.runner.run(self.database.write(clear))
        self.tenant_id = f"example-{next(_owners)}"

    def expected(self, request: ContainmentRequest, supported: bool) -> ClaimResult:
        known = self.known.get(request.request_id)
        free = Claimed() if supported else NotSupported("defender has no process kill")
        if known is None or known.expires_at <= self.now:
            return free
        first = known.attempt.request
        if (first.action_type, first.host) != (request.action_type, request.host):
            return Reused()
        if known.state == "done":
            return Replayed(known.attempt.dry_run)
        alive = known.state == "in_flight" and self.now < known.lease_until
        return InFlight() if alive or first.action_type == "PROCESS_KILL" else free

    @rule(request=REQUESTS, dry_run=st.booleans(), may_kill=st.sampled_from([True, True, False]))
    def claim(self, request: ContainmentRequest, dry_run: bool, may_kill: bool) -> None:
        async def act() -> tuple[ClaimResult, str]:
            if not supported:
                await give_credentials(self.database, [self.tenant_id], "defender")
            async with running_writer(self.database) as writer:
                result = await claim(writer, wanted)
            await take_credentials(self.database, self.tenant_id)
            return result

        of_example = msgspec.structs.replace(request, tenant_id=self.tenant_id)
        supported = may_kill or request.action_type != "PROCESS_KILL"
        wanted = attempt(of_example, self.now, dry_run=dry_run)
        expected = self.expected(request, supported)
        result, entry_hash = self.runner.run(act())
        assert result == expected
        if result != Claimed():
            return
        before = self.known.get(request.request_id)
        if before is not None and before.state == "in_flight":
            self.recorded.append((before.entry_hash, "outcome_unknown"))
        lease_until = self.now + LEASE_S
        self.known[request.request_id] = Known(
            wanted, entry_hash, "in_flight", lease_until, lease_until + RESULT_KEPT_S
        )
        self.attempts.append((wanted, entry_hash))
        self.alive.append(wanted)

    @precondition(lambda self: self.attempts)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["confirmed", "dry_run", "failed", "outcome_unknown"]),
    )
    def record(self, data: st.DataObject, outcome: Outcome) -> None:
        async def act() -> bool:
            async with running_writer(self.database) as writer:
                return await record(writer, (mine, entry_hash), outcome, self.now)

        # The latest first, because the earlier ones are stale.
        mine, entry_hash = data.draw(st.sampled_from(self.attempts[::-1]))
        request_id = mine.request.request_id
        known = self.known.get(request_id)
        is_owner = known is not None and known.attempt.owner == mine.owner
        assert self.runner.run(act()) == is_owner
        self.alive = [each for each in self.alive if each.owner != mine.owner]
        if known is None or not is_owner:
            self.recorded.append((entry_hash, outcome))
        elif known.state != "done":
            self.recorded.append((entry_hash, outcome))
            kill = mine.request.action_type == "PROCESS_KILL"
            if outcome == "failed" or (outcome == "outcome_unknown" and not kill):
                del self.known[request_id]
            else:
                known.state = "unknown" if outcome == "outcome_unknown" else "done"
                known.expires_at = self.now + RESULT_KEPT_S

    @rule()
    def mark_lapsed_unknown(self) -> None:
        async def act() -> int:
            async with running_writer(self.database) as writer:
                return (await writer.commit(claims.mark_lapsed_unknown, self.now)).result

        lapsed = [
            known
            for known in self.known.values()
            if known.state == "in_flight" and known.lease_until <= self.now
        ]
        assert self.runner.run(act()) == len(lapsed)
        for known in lapsed:
            known.state = "unknown"
            self.recorded.append((known.entry_hash, "outcome_unknown"))

    @rule()
    def delete_expired(self) -> None:
        gone = [
            request_id
            for request_id, known in self.known.items()
            if known.state != "in_flight" and known.expires_at <= self.now
        ]
        deleting = self.database.write(claims.delete_expired, self.now)
        assert self.runner.run(deleting) == len(gone)
        for request_id in gone:
            del self.known[request_id]

    @rule(
        seconds=st.sampled_from(
            [0.5, 1.0, LEASE_S - 1, LEASE_S, RESULT_KEPT_S - LEASE_S, RESULT_KEPT_S]
        )
    )
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def at_most_one_attempt_is_alive(self) -> None:
        self.alive = [each for each in self.alive if self.now < each.now + LEASE_S]
        alive = [each.request.request_id for each in self.alive]
        assert len(alive) == len(set(alive))

    def teardown(self) -> None:
        async def act() -> None:
            hashes = [entry["hash"] for entry in await entries(self.database, self.tenant_id)]
            assert hashes == [entry_hash for _, entry_hash in self.attempts]
            recorded = outcomes(await events(self.database, self.tenant_id))
            assert Counter(recorded) == Counter(self.recorded)
            rows = await self.database.read(owners)
            assert rows == {
                request_id.encode(): known.attempt.owner for request_id, known in self.known.items()
            }

        self.runner.run(act())


def run_machine(database_url: str | None, data_dir: Path) -> None:
    opened = AsyncExitStack()
    with asyncio.Runner() as runner:
        database = runner.run(opened.enter_async_context(open_database(database_url, data_dir)))

        class Machine(ClaimsMachine):
            def __init__(self) -> None:
                super().__init__(runner, database)

        run_state_machine_as_test(Machine, settings=settings(stateful_step_count=25, deadline=None))
        runner.run(opened.aclose())


async def test_claims_agree_with_their_model_contract_22(
    database_url: str | None, data_dir: Path
) -> None:
    # In a thread, because hypothesis is not asynchronous: its steps run an event loop there.
    await asyncio.to_thread(run_machine, database_url, data_dir)
