"""Leases under any sequence of events, against a model of what is allowed (contract 68, A19).

Postponed at most once, never lifted while frozen or before the end that was approved, never twice,
and never a device that Vyrox did not contain, or whose containment a later one has replaced.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import audit
from tests.approvals.decided import prepared
from tests.approvals.test_leases import HOUR, Site, alert_at, opened_site
from tests.audit import NOW, TENANT
from tests.containment.test_execution import ISOLATION
from tests.quick_files import QUICK_FILES
from tests.tenants.test_guard_rails import set_rails
from vyrox.approvals.lease_rows import Lease
from vyrox.approvals.lease_steps import (
    ASK_S,
    MAX_RETRY_S,
    Facts,
    next_step,
    retry_after_s,
)
from vyrox.containment import execution
from vyrox.containment.contained import is_device_contained
from vyrox.errors import DatabaseUnavailableError, VendorError, VyroxError
from vyrox.ids import new_id
from vyrox.store.database import open_database
from vyrox.tenants.guard_rails import Rails

LEASE: Final = 2 * HOUR

Step = tuple[str, int]
STEP: Final = st.one_of(
    st.tuples(st.just("time"), st.sampled_from([1, 29, 60, 600, 1800, HOUR, 2 * HOUR])),
    st.tuples(
        st.sampled_from(
            [
                *("alert", "freeze", "unfreeze", "contain", "execute", "lift"),
                *("analyst_lifts", "analyst_contains", "away", "back", "crash"),
            ]
        ),
        st.just(0),
    ),
)


class Model:
    """What is allowed, in the plainest form.

    Attributes:
        end: The earliest time at which the device may be lifted by itself; None: never.
        postponed: How often the end was postponed since the last approval.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.end: float | None = None
        self.is_frozen = False
        self.sent = 0
        self.postponed = 0
        self.seen = 0

    @property
    def now(self) -> float:
        return self.site.proxy.clock.now

    async def do(self, step: Step) -> None:
        what, seconds = step
        site, vendor = self.site, self.site.vendor
        site.proxy.clock.now += seconds
        match what:
            case "alert":
                await alert_at(site, self.now)
            case "freeze" | "unfreeze":
                self.is_frozen = what == "freeze"
                await set_rails(
                    site.proxy.database, Rails(frozen_at=self.now if self.is_frozen else None)
                )
            case "contain" | "execute" | "lift":
                await self.act(what)
            case "analyst_lifts":
                vendor.contained.clear()
            case "analyst_contains":
                vendor.contained.add("workstation-01")
            case "away" | "back":
                vendor.lost = VendorError("away") if what == "away" else None
        await self.tick(loses_a_write=what == "crash")

    async def act(self, what: str) -> None:
        """Let a person act. What was refused, or has failed, changes nothing of the end."""
        was_ours = await self.is_ours()
        request = msgspec.structs.replace(ISOLATION, request_id=new_id(), approved_at=int(self.now))
        try:
            if what == "contain":
                stored = await self.site.contain(lease_s=LEASE, required=2)
                shown = await self.site.dispatching.shown(stored)
                is_done = shown.outcome in {"confirmed", "requested"}
            else:
                if what == "lift":
                    request = msgspec.structs.replace(request, action_type="LIFT_HOST_ISOLATION")
                is_done = (await self.site.proxy.execute(request)).status == "executed"
        except VyroxError:
            is_done = False
        if is_done:
            has_sent = len(self.site.vendor.sent) > self.sent
            has_end = what == "contain" and (has_sent or was_ours)
            self.end = self.now + LEASE if has_end else None
            self.postponed = 0
        self.sent = len(self.site.vendor.sent)

    async def is_ours(self) -> bool:
        """Return whether Vyrox counts the device as contained by itself (contract 34)."""
        return await self.site.proxy.database.read(
            is_device_contained, TENANT, "crowdstrike", "workstation-01"
        )

    async def tick(self, *, loses_a_write: bool = False) -> None:
        """Let both containers do what is due, and compare what they sent with the model."""
        database = self.site.proxy.database
        if loses_a_write:
            database.faults[database.writes + 2] = "after"
        for leases in (self.site.leases, self.site.other_container()):
            try:
                await self.site.at(self.now, leases)
            except DatabaseUnavailableError:
                continue
        database.faults.clear()
        await self.count_postponements()
        new = self.site.vendor.sent[self.sent :]
        self.sent += len(new)
        if new:
            assert new == [("lifted", "workstation-01")]
            assert self.end is not None
            assert self.now >= self.end
            assert not self.is_frozen
            self.end = None

    async def count_postponements(self) -> None:
        events = await audit.events(self.site.proxy.database, TENANT, "lease.postponed")
        self.postponed += len(events) - self.seen
        self.seen = len(events)
        assert self.postponed <= 1

    async def finish(self) -> None:
        """In the end, with nothing in the way, what is due is lifted, and no lease is left."""
        self.site.vendor.lost = None
        await self.do(("unfreeze", 0))
        for seconds in (30 * HOUR, HOUR, HOUR + 1, HOUR + 1):
            await self.do(("time", seconds))
        assert await self.site.count() == 0
        if self.end is not None and await self.is_ours():
            assert "workstation-01" not in self.site.vendor.contained


FREEZE_AND_CRASH: Final = [
    *[("contain", 0), ("freeze", 0), ("time", HOUR), ("crash", 0), ("time", HOUR)],
    *[("unfreeze", 0), ("time", 60), ("time", 600)],
]
REPLACED: Final = [("contain", 0), ("time", 60), ("execute", 0), ("time", 2 * HOUR)]
CHANGED: Final = [
    *[("contain", 0), ("analyst_lifts", 0), ("contain", 0), ("lift", 0), ("analyst_contains", 0)],
    *[("contain", 0), ("time", 2 * HOUR)],
]


@settings(max_examples=15)
@example(FREEZE_AND_CRASH)
@example(REPLACED)
@example(CHANGED)
@given(st.lists(STEP, max_size=14))
def test_any_sequence_keeps_to_what_was_approved_contract_68(steps: Sequence[Step]) -> None:
    async def run() -> None:
        with (
            tempfile.TemporaryDirectory(dir=QUICK_FILES) as directory,
            pytest.MonkeyPatch.context() as patch,
        ):
            async with open_database(None, Path(directory)) as database:
                await prepared(database)
                async with opened_site(database) as site:
                    patch.setattr(execution, "RECORD_RETRY_S", 0.01)
                    model = Model(site)
                    for step in steps:
                        await model.do(step)
                    await model.finish()

    asyncio.run(run())


LEASED: Final = Lease(
    proposal_id="550e8400-e29b-41d4-a716-446655440000",
    tenant_id=TENANT,
    vendor="crowdstrike",
    device_id="workstation-01",
    hostname=None,
    action_type="HOST_ISOLATION",
    alert_id=b"a",
    sha256="0" * 64,
    entry_hash="1" * 64,
    token=1,
    lease_s=4 * HOUR,
    since=NOW,
    began_at=NOW,
    ends_at=NOW + 4 * HOUR,
)

TIMES: Final = st.floats(-5 * HOUR, 30 * HOUR)


@given(
    facts=st.builds(Facts, *[st.booleans()] * len(Facts.__struct_fields__)),
    now=TIMES,
    postponed_at=st.none() | TIMES,
    asked_at=st.none() | TIMES,
    waits_since=st.none() | TIMES,
    next_at=TIMES | st.just(1e12),
)
def test_each_step_has_its_reason_contract_68(
    facts: Facts,
    now: float,
    postponed_at: float | None,
    asked_at: float | None,
    waits_since: float | None,
    next_at: float,
) -> None:
    lease = msgspec.structs.replace(
        LEASED,
        postponed_at=postponed_at,
        asked_at=asked_at,
        waits_since=waits_since,
        next_at=NOW + next_at,
    )
    now += NOW
    step = next_step(lease, facts, now)
    if not facts.is_contained:
        assert step == "over"
        return
    if step == "lift":
        assert now >= lease.ends_at
        assert not any((facts.is_frozen, facts.is_renewed, facts.is_lift_checked))
        assert lease.postponed_at is not None or not facts.has_alert
    if step == "postpone":
        assert lease.postponed_at is None
        assert facts.has_alert
        assert now >= lease.ends_at
    if step == "ask":
        assert lease.asked_at is None
        assert lease.ends_at - ASK_S <= now < lease.ends_at
    if step == "wait":
        assert facts.is_frozen
        assert now >= lease.ends_at
    is_ready = now >= max(lease.ends_at, lease.next_at) and facts == Facts()
    assert not is_ready or step == "lift"


@pytest.mark.parametrize(
    ("attempts", "after_s"), [(1, 30), (2, 60), (8, MAX_RETRY_S), (10_000, MAX_RETRY_S)]
)
def test_pauses_grow_to_an_hour_contract_68(attempts: int, after_s: float) -> None:
    assert retry_after_s(attempts) == after_s
