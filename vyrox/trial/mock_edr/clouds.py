"""The vendors together: their clock, their faults, and what has happened at them."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from vyrox.clock import Clock
from vyrox.trial.mock_edr import crowdstrike, defender, fleet, sentinelone
from vyrox.trial.mock_edr.exchange import Answer, Call, Change, VendorName
from vyrox.trial.mock_edr.faults import Fault, FaultTable
from vyrox.trial.mock_edr.recording import Effect, RecordedRequest
from vyrox.trial.mock_edr.state import CrowdStrike, Defender, SentinelOne
from vyrox.trial.mock_edr.vendor import Vendor

START_AT: Final = 1_767_225_600.0
"""The first instant of 2026: the time of the mock without another clock."""

ELSEWHERE: Final = "/elsewhere"
"""The target of faulty redirects."""


AnyVendor = Vendor[CrowdStrike] | Vendor[SentinelOne] | Vendor[Defender]


class MockClock:
    """The mock's own time. It moves with the clock below it, and with `advance`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._advanced_s = 0.0

    def now(self) -> float:
        """Return the present as Unix seconds."""
        return self._clock() + self._advanced_s

    def advance(self, seconds: float) -> None:
        """Move the time forward by `seconds`."""
        self._advanced_s += seconds


class Clouds:
    """The clouds of all three vendors.

    Attributes:
        clock: For the expiry of tokens, sessions and secrets.
        endpoint_names: The endpoints of each vendor, as faults and `requests` name them.
        faults: The faults that are planned.
        requests: Every request to a vendor, in the order of arrival.
        effects: Every change of a device.
        violations: Requests that Vyrox must never send. Tests assert that it is empty.
    """

    def __init__(self, clock: Clock = lambda: START_AT) -> None:
        self.clock = MockClock(clock)
        self.requests: list[RecordedRequest] = []
        self.effects: list[Effect] = []
        self.violations: list[str] = []
        now = self.clock.now()
        self._crowdstrike = Vendor(crowdstrike.API, fleet.crowdstrike(now))
        self._sentinelone = Vendor(sentinelone.API, fleet.sentinelone(now))
        self._defender = Vendor(defender.API, fleet.defender(now))
        self._vendors: dict[str, AnyVendor] = {
            "crowdstrike": self._crowdstrike,
            "sentinelone": self._sentinelone,
            "defender": self._defender,
        }
        self.endpoint_names = {
            vendor.api.vendor: vendor.endpoint_names for vendor in self._vendors.values()
        }
        self.faults = FaultTable(self.endpoint_names)

    @property
    def crowdstrike(self) -> CrowdStrike:
        """The state of CrowdStrike. Tests may change it."""
        return self._crowdstrike.state

    @property
    def sentinelone(self) -> SentinelOne:
        """The state of SentinelOne. Tests may change it."""
        return self._sentinelone.state

    @property
    def defender(self) -> Defender:
        """The state of Defender. Tests may change it."""
        return self._defender.state

    @property
    def states(self) -> dict[str, msgspec.Struct]:
        """The state of each vendor."""
        return {name: vendor.state for name, vendor in self._vendors.items()}

    def patch(self, changes: Mapping[VendorName, dict[str, object]]) -> None:
        """Change the states by JSON merge patch (RFC 7396): null removes a member.

        Raises:
            msgspec.ValidationError: A state would not be valid. Nothing has changed.
        """
        for commit in [self._vendors[name].patched(patch) for name, patch in changes.items()]:
            commit()

    def tick(self, seconds: float = 0.0) -> None:
        """Move the time forward, and complete what is pending at the vendors."""
        self.clock.advance(seconds)
        now = self.clock.now()
        for vendor in self._vendors.values():
            self._note(vendor.api.vendor, vendor.settle(now), request=None)

    def answer(self, request: RecordedRequest) -> tuple[Fault | None, Answer]:
        """Record `request`; return the fault to deliver it with, and the response."""
        self.requests.append(request)
        name, _, path = request.path.removeprefix("/").partition("/")
        vendor = self._vendors.get(name)
        if vendor is None:
            if request.path.startswith(ELSEWHERE):
                self.violations.append(f"{request.method} {request.path}: followed a redirect")
            return None, Answer(404)
        call = Call(
            method=request.method,
            path=f"/{path}",
            params={},
            query=tuple(parse_qsl(request.query, keep_blank_values=True)),
            headers=request.headers,
            body=request.body,
            number=request.number,
            now=self.clock.now(),
        )
        request.endpoint, fault, answer = vendor.answer(call, self.faults)
        request.vendor = vendor.api.vendor
        request.fault = fault.kind if fault else None
        self._note(request.vendor, answer.changes, request.number)
        if answer.violation is not None:
            self.violations.append(f"{request.vendor}: {answer.violation}")
        return fault, answer

    def _note(self, vendor: VendorName, changes: tuple[Change, ...], request: int | None) -> None:
        for change in changes:
            self.effects.append(
                Effect(
                    sequence=len(self.effects) + 1,
                    vendor=vendor,
                    device_id=change.device_id,
                    what=change.what,
                    detail=change.detail,
                    request=request,
                    at=self.clock.now(),
                )
            )
