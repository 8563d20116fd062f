"""Devices against a model of a vendor: Vyrox can lift what it has contained, after any fault.

Attempts overtake each other, end too late, die, and end twice. Their actions take effect later, or
never. No other client acts on the devices. Contract 34, 36 and 37.
"""

from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from vyrox.containment import confirmation, contained, devices, settlement
from vyrox.containment.attempt import DeviceLease, Outcome
from vyrox.containment.confirmation import _COLUMNS, _Due, _Settled
from vyrox.containment.devices import Blocked, LeaseRequest
from vyrox.edr.client import Target
from vyrox.models import Device
from vyrox.store import tables

LEASE_S: Final = 70.0

PLACES: Final = (("acme", "one"), ("acme", "two"), ("other", "one"))

State = Literal["contained", "containing", "normal", "lifting"]

REACHED: Final[dict[Target, State]] = {"contained": "contained", "lifted": "normal"}
IN_PROGRESS: Final[dict[Target, State]] = {"contained": "containing", "lifted": "lifting"}


class Attempt(msgspec.Struct):
    lease: DeviceLease
    place: tuple[str, str]
    ended: Outcome = "failed"
    changed: bool = False
    acted: bool = False


class Site(RuleBasedStateMachine):
    """Two devices of one tenant, and a device of another tenant with the same id."""

    attempts = Bundle("attempts")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.engine = sa.create_engine("sqlite://")
        tables.metadata.create_all(self.engine)
        self.now = 1000.0
        self.number = 0
        self.states: dict[tuple[str, str], State] = dict.fromkeys(PLACES, "normal")
        self.latest: dict[tuple[str, str], tuple[int, float]] = {}
        self.in_progress: dict[tuple[str, str], str] = {}
        self.succeeded: set[str] = set()
        self.may_have_contained: set[tuple[tuple[str, str], str]] = set()

    def teardown(self) -> None:
        """Let time pass. In the end nothing is leased or pending, and what is recorded is true."""
        self.now += LEASE_S
        for place in PLACES:
            self.arrive(place)
        for _ in range(len(PLACES) * self.number + 1):
            self.check(2 * devices.CONFIRM_FOR_S, by_reference=False)
        with self.engine.begin() as connection:
            pending = sa.select(tables.confirmations).where(~tables.confirmations.c.is_settled)
            assert connection.execute(pending).all() == []
        self.what_vyrox_may_lift()
        self.engine.dispose()

    @rule(
        target=attempts,
        place=st.sampled_from(PLACES),
        wanted=st.sampled_from(["contained", "contained", "lifted", "lifted", "killed"]),
        force=st.booleans(),
        after_the_lease=st.booleans(),
    )
    def acquire(
        self, place: tuple[str, str], wanted: Target, *, force: bool, after_the_lease: bool
    ) -> object:
        self.now += LEASE_S if after_the_lease else 1.0
        self.number += 1
        name = f"{wanted}-{self.number}"
        request = LeaseRequest(
            place[0],
            "crowdstrike",
            Device(place[1]),
            name,
            name,
            name,
            wanted,
            self.now + LEASE_S,
            self.now,
            force,
        )
        with self.engine.begin() as connection:
            [outcome] = devices.acquire(connection, [request])
        match outcome.result:
            case DeviceLease() as lease:
                self.latest[place] = (lease.token, request.lease_until)
                if wanted == "contained":
                    self.may_have_contained.add((place, name))
                return Attempt(lease, place)
            case Blocked():
                assert self.states[place] not in {"contained", "containing"}
            case None:
                assert self.latest[place][1] > self.now
        return multiple()

    @rule(
        attempt=attempts,
        reported=st.sampled_from(["confirmed", "requested", "outcome_unknown"]),
        arrives=st.booleans(),
    )
    def act(self, attempt: Attempt, reported: Outcome, *, arrives: bool) -> None:
        token, lease_until = self.latest[attempt.place]
        if attempt.acted or token != attempt.lease.token or lease_until <= self.now:
            return  # the deadline of an action ends before its lease
        wanted = attempt.lease.target
        attempt.acted = True
        state = self.states[attempt.place]
        if wanted == "killed":
            attempt.ended, attempt.changed = reported, True
        elif state == REACHED[wanted]:
            attempt.ended, attempt.changed = "confirmed", False
        elif state == IN_PROGRESS[wanted]:
            attempt.ended, attempt.changed = "requested", False
        else:
            attempt.ended, attempt.changed = reported, True
            if reported != "outcome_unknown" or arrives:
                self.states[attempt.place] = IN_PROGRESS[wanted]
                self.in_progress[attempt.place] = attempt.lease.entry_hash
            if reported == "confirmed":
                self.arrive(attempt.place)

    @rule(target=ended, attempt=consumes(attempts))
    def end(self, attempt: Attempt) -> Attempt:
        self.end_again(attempt)
        return attempt

    @rule(attempt=ended)
    def end_again(self, attempt: Attempt) -> None:
        """The attempt has not seen its commit, so it ends again."""
        if attempt.ended == "failed" or not attempt.changed:
            self.may_have_contained.discard((attempt.place, attempt.lease.entry_hash))
        with self.engine.begin() as connection:
            devices.release(
                connection, attempt.lease, attempt.ended, None, attempt.changed, self.now
            )

    @rule(attempt=consumes(attempts))
    def die(self, attempt: Attempt) -> None:
        """Its process is killed, so the attempt never ends."""

    @rule(attempt=consumes(attempts))
    def abandon(self, attempt: Attempt) -> None:
        if not attempt.acted:
            name = attempt.lease.entry_hash
            self.may_have_contained.discard((attempt.place, name))
            with self.engine.begin() as connection:
                devices.abandon(connection, attempt.place[0], name, name)

    @rule(place=st.sampled_from(PLACES))
    def arrive(self, place: tuple[str, str]) -> None:
        arrived: dict[State, State] = {"containing": "contained", "lifting": "normal"}
        if self.states[place] in arrived:
            self.states[place] = arrived[self.states[place]]
            self.succeeded.add(self.in_progress[place])

    @rule(wait_s=st.sampled_from([1.0, LEASE_S, devices.CONFIRM_FOR_S]), by_reference=st.booleans())
    def check(self, wait_s: float, *, by_reference: bool) -> None:
        """Check by the state of the device, or by the vendor's record of the action itself."""
        self.now += wait_s
        due = sa.select(*_COLUMNS).where(
            settlement.is_latest(), tables.confirmations.c.next_at <= self.now
        )
        with self.engine.begin() as connection:
            for row in connection.execute(due).all():
                each = _Due(*row)
                state = self.states[each.tenant_id, each.device_id]
                found = (
                    each.entry_hash in self.succeeded
                    if by_reference
                    else each.target == "killed" or state == REACHED[each.target]
                )
                if found:
                    confirmation.settle(connection, [_Settled(each, "confirmed", None)])
                elif self.now >= each.until_at:
                    confirmation.settle(connection, [_Settled(each, "outcome_unknown", None)])

    @invariant()
    def what_vyrox_may_lift(self) -> None:
        may_be = {place for place, _ in self.may_have_contained}
        with self.engine.begin() as connection:
            for place, state in self.states.items():
                found = contained.is_host_contained(connection, place[0], "crowdstrike", place[1])
                assert found or state not in {"contained", "containing"}
                assert not found or place in may_be


TestSite = Site.TestCase
TestSite.settings = settings(stateful_step_count=25, deadline=None)
