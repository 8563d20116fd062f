"""One mocked vendor: its API and its state, and the response to a request."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Generic, TypeVar

import msgspec

from vyrox.trial.mock_edr.exchange import Answer, Api, Call, Change, Endpoint, RefusedError
from vyrox.trial.mock_edr.faults import Fault, FaultTable, garble

S = TypeVar("S", bound=msgspec.Struct)


class Vendor(Generic[S]):
    """A mocked vendor.

    Attributes:
        state: May be changed in place, and replaced.
    """

    def __init__(self, api: Api[S], state: S) -> None:
        self.api = api
        self.state = state

    @property
    def endpoint_names(self) -> frozenset[str]:
        """The names that faults may use."""
        return frozenset(endpoint.name for endpoint in self.api.endpoints)

    def patched(self, patch: dict[str, object]) -> Callable[[], None]:
        """Return the function that applies a JSON merge patch (RFC 7396) to the state.

        Raises:
            msgspec.ValidationError: The patched state would not be valid.
        """
        present = msgspec.to_builtins(self.state, str_keys=True)
        state = msgspec.convert(_merged(present, patch), type(self.state), strict=False)

        def commit() -> None:
            self.state = state

        return commit

    def settle(self, now: float) -> tuple[Change, ...]:
        """Complete what is pending, and return the changes."""
        return self.api.settle(self.state, now)

    def answer(self, call: Call, faults: FaultTable) -> tuple[str | None, Fault | None, Answer]:
        """Return the endpoint's name, the fault, and the response to `call`.

        If a fault has no effect, the request changes a copy of the state, which is discarded.
        """
        endpoint, params = self._find(call)
        if endpoint is None:
            return None, None, self._refused(call, 404)
        if endpoint.method != call.method:
            return None, None, self._refused(call, 405)
        call = replace(call, params=params)
        fault = faults.take(self.api.vendor, endpoint.name)
        if fault is None:
            return endpoint.name, None, self._answered(self.state, endpoint, call)
        state = self.state if fault.effect else copy.deepcopy(self.state)
        answer = self._answered(state, endpoint, call)
        spoiled = self._spoiled(fault, call, answer)
        changes = answer.changes if fault.effect else ()
        return endpoint.name, fault, replace(spoiled, changes=changes, violation=answer.violation)

    def _find(self, call: Call) -> tuple[Endpoint[S] | None, dict[str, str]]:
        """Return the endpoint of `call`, or one with another method, and the path's parameters."""
        found: Endpoint[S] | None = None
        for endpoint in self.api.endpoints:
            match = _pattern(endpoint.path).fullmatch(call.path)
            if match is not None:
                found = endpoint
                if endpoint.method == call.method:
                    return endpoint, match.groupdict()
        return found, {}

    def _answered(self, state: S, endpoint: Endpoint[S], call: Call) -> Answer:
        try:
            answer = endpoint.answer(state, call)
        except RefusedError as exc:
            answer = exc.answer
        return self.api.complete(state, call, answer)

    def _refused(self, call: Call, status: int) -> Answer:
        return self.api.complete(self.state, call, self.api.refuse(self.state, call, status))

    def _spoiled(self, fault: Fault, call: Call, answer: Answer) -> Answer:
        if fault.kind != "status":
            return garble(fault, answer, self.api.with_errors)
        refused = self._refused(call, fault.status)
        if fault.status == 429:
            return self.api.limit(refused, call.now, fault.retry_after_s, fault.retry_after_unit)
        return refused


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template)))


def _merged(present: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    merged = dict(present) if isinstance(present, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
