"""Every fault at every call of every client at the mocked vendors, on a real socket.

Reliability rows 76 to 78 and 84: each fault changes a host at most once, and an error that says
that nothing has happened is true.
"""

import asyncio
import traceback
from typing import Final

import msgspec
import pytest

from tests.edr.operations import ACTIONS, LOOKS, VENDORS, Field, Operation, Spot
from vyrox.edr.client import ActionResult
from vyrox.edr.crowdstrike import rtr
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.trial.mock_edr.faults import Fault

WAITING: Final = frozenset({"slow", "dribble"})
"""Faults that a client ends only at its deadline."""

WAITED_S: Final = (2.0, 20.0)
"""Deadlines of an operation with such a fault: far longer than the calls before it take.

On a busy machine the first one can pass before the call that the fault is meant for. The trial
is then made once more, with the second one. So it is if the fault met the client while it tidied
up after a call whose time had passed.
"""

DEADLINES_S: Final = (30.0, 60.0)
"""The same for the other faults, which end at once: on a busy machine not even a connection may be
made in the time that the client has for it."""

BYTES_IN_TIME: Final = 4
"""Bytes of a dribbled answer that arrive before the deadline, whichever it is: never all of them.

An answer that arrived whole would be no fault, and the client would be right to believe it.
"""

MAX_TRIALS: Final = 16
"""Trials at one time."""


def faults() -> list[Fault]:
    made = [
        Fault("status", effect=False, status=status)
        for status in (400, 401, 403, 404, 409, 405, 413)
    ]
    made += [
        Fault("status", effect=False, status=429, retry_after_s=2.0, retry_after_unit=unit)
        for unit in ("s", "ms")
    ]
    made += [
        Fault("status", effect=effect, status=status)
        for status in (408, 500, 503)
        for effect in (False, True)
    ]
    made += [
        Fault(kind, effect=effect, size_bytes=2 << 20, seconds=60.0)
        for kind in (
            "bad_gateway",
            "empty",
            "truncated",
            "enormous",
            "redirect",
            "slow",
            "dribble",
            "cut",
            "reset",
        )
        for effect in (False, True)
    ]
    return [*made, Fault("errors", effect=False)]


def label(fault: Fault) -> str:
    status = f"-{fault.status}" if fault.kind == "status" else ""
    unit = f"-{fault.retry_after_unit}" if fault.status == 429 else ""
    return f"{fault.kind}{status}{unit}{'-after-effect' if fault.effect else ''}"


_spots: dict[Operation, list[Spot]] = {}


async def spots_of(field: Field, operation: Operation) -> list[Spot]:
    """Return every call that an operation makes; the operation is performed once for all tests."""
    if operation not in _spots:
        site = field.site(operation)
        await operation.perform(site, 30)
        made = site.endpoints
        _spots[operation] = [
            (name, nth) for name in dict.fromkeys(made) for nth in range(1, made.count(name) + 1)
        ]
    return _spots[operation]


class Trial:
    """One operation, with one fault at one of its calls."""

    def __init__(self, field: Field, operation: Operation, spot: Spot, fault: Fault) -> None:
        self.field = field
        self.operation = operation
        self.spot = spot
        self.fault = fault

    def check(self, is_as_it_should_be: bool, what: str) -> None:
        if not is_as_it_should_be:
            self.problems.append(f"{self.operation} at {self.spot}: {what}")

    async def run(self) -> list[str]:
        """Return all that is wrong about what came of it."""
        for seconds in WAITED_S if self.fault.kind in WAITING else DEADLINES_S:
            await self._run_within(seconds)
            has_struck = any(request.fault for request in self.site.mock.requests)
            if has_struck and not self.ran_out_before:
                break
        return self.problems

    async def _run_within(self, seconds: float) -> None:
        self.site = self.field.site(self.operation)
        fault = self.fault
        if fault.kind == "dribble":
            fault = msgspec.structs.replace(fault, seconds=seconds / BYTES_IN_TIME)
        self.site.mock.faults.plan(self.operation.vendor, self.spot[0], fault, self.spot[1])
        self.problems: list[str] = []
        self.ran_out_before = False
        try:
            await self.operation.perform(self.site, seconds)
        except VendorError as exc:
            self._judge_failure(exc)
        else:
            self.check(tuple(self.site.changes) == self.operation.changes, "done, and is not")
            self.check(
                self.spot not in self.operation.acting or self._is_settled,
                "believed, and nothing was done",
            )
        struck = [request for request in self.site.mock.requests if request.fault]
        self.check(len(struck) == 1, f"struck {len(struck)} times")
        if self.operation.acting and self.operation.name != "kill":
            await self._ask_again()

    @property
    def _is_settled(self) -> bool:
        """Whether the vendor has said that nothing was done, so that it is asked once more."""
        return self.fault.kind == "status" and self.fault.status in {401, 409, 429}

    @property
    def _proves_nothing(self) -> bool:
        """Whether the answer to the call that acts leaves open what was done."""
        if self.spot not in self.operation.acting:
            return False
        if self.spot[0] == "rtr_responder_command_read":
            return True
        refusals = {400, 401, 403, 404, 429} | (
            {409} if self.operation.vendor == "crowdstrike" else set()
        )
        is_refusal = self.fault.kind == "status" and self.fault.status in refusals
        return not is_refusal and self.fault.kind != "errors"

    def _judge_failure(self, error: VendorError) -> None:
        changes = tuple(self.site.changes)
        unknown = isinstance(error, VendorOutcomeUnknownError)
        self.ran_out_before = unknown and self.spot not in self.operation.acting
        self.check(unknown or not self._proves_nothing, "known, and nothing proves it")
        if unknown:
            self.check(self.spot in self.operation.acting, "unknown without a call that acts")
            self.check(changes in {(), self.operation.changes}, f"changed {changes}")
        else:
            self.check(changes == (), f"changed {changes}, and says that nothing was")
        told = "".join(traceback.format_exception(error))
        self.check(self.site.credentials.secret not in told, "the secret is told")
        authorizations = [
            value
            for request in self.site.mock.requests
            for name, value in request.headers
            if name == "authorization"
        ]
        tokens = {value.partition(" ")[2] for value in authorizations}
        self.check(not any(token in told for token in tokens), "a token is told")

    async def _ask_again(self) -> None:
        self.site.mock.faults.clear()
        done = await self.operation.perform(self.site, 30)
        self.check(isinstance(done, ActionResult), "asked again, and not done")
        self.check(tuple(self.site.changes) == self.operation.changes, "done twice, or never")


async def run_all(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run trials, a few at a time; return their problems.

    A trial's deadline runs in real time. Too many trials at once would share one event loop, and
    the deadline would pass before the call that the fault is meant for.
    """
    if trials[0].fault.kind in WAITING:
        monkeypatch.setattr(rtr, "CLEANUP_S", WAITED_S[0])
    turns = asyncio.Semaphore(MAX_TRIALS)

    async def run(trial: Trial) -> list[str]:
        async with turns:
            return await trial.run()

    results = await asyncio.gather(*map(run, trials))
    return [problem for problems in results for problem in problems]


@pytest.mark.parametrize("fault", faults(), ids=label)
async def test_fault_at_the_call_that_contains(
    field: Field, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One representative of the matrix below for each fault and vendor."""
    trials = [
        Trial(field, operation, operation.acting[0], fault)
        for operation in ACTIONS
        if operation.name == "contain"
    ]
    assert len(trials) == len(VENDORS)
    assert await run_all(trials, monkeypatch) == []


@pytest.mark.long
@pytest.mark.parametrize("fault", faults(), ids=label)
async def test_fault_at_every_call_of_every_operation(
    field: Field, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [
        Trial(field, operation, spot, fault)
        for operation in (ACTIONS if fault.effect else (*ACTIONS, *LOOKS))
        for spot in await spots_of(field, operation)
    ]
    assert len(trials) > 25
    assert await run_all(trials, monkeypatch) == []
