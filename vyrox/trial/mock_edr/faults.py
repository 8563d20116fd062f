"""What goes wrong on purpose, at which call, and what an answer then looks like."""

from collections.abc import Callable, Mapping, Set
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from vyrox.trial.mock_edr.exchange import Answer, VendorName

FaultKind = Literal[
    "status",
    "bad_gateway",
    "empty",
    "truncated",
    "errors",
    "enormous",
    "redirect",
    "slow",
    "dribble",
    "cut",
    "reset",
]

ANY_ENDPOINT: Final = "*"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    Attributes:
        kind: `status`: refused with `status`, in the vendor's form. `bad_gateway`: 502 with a page
            of HTML. `empty`: the right status, no body. `truncated`: the right body, cut off in
            its middle. `errors`: the right status, and errors in the body. `enormous`: the right
            answer, filled up with spaces to `size_bytes`. `redirect`: 307 to `location`. `slow`:
            the right answer after `seconds`. `dribble`: the right answer, a byte each `seconds`.
            `cut`: the connection ends in the middle of the right answer. `reset`: the connection
            is reset, and nothing is answered.
        effect: Whether the vendor has carried the request out all the same. Where it has not, the
            answer is still the one it would have given.
        status: For `status`, one of 400 to 599.
        retry_after_s: For status 429: how long the vendor says to wait, where it says so.
        retry_after_unit: For CrowdStrike's 429: the unit of its header, of which both are seen.
        location: Below the mock's own root by default, so that who follows it is recorded.
    """

    kind: FaultKind
    effect: bool
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    retry_after_s: float = 1.0
    retry_after_unit: Literal["s", "ms"] = "s"
    seconds: Annotated[float, Meta(ge=0)] = 1.0
    size_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 64 << 20
    location: str = "/elsewhere"


class PlannedFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault, and where and when it strikes.

    Attributes:
        endpoint: An endpoint's name, or `*` for all of the vendor's, each counted together.
        nth: The call it strikes, once, counted from when it was planned: 1 is the next. None:
            every call.
    """

    vendor: VendorName
    endpoint: str
    fault: Fault
    nth: Annotated[int, Meta(ge=1)] | None = None


class FaultTable:
    """The faults that are still to strike. Of several for one call, the oldest does."""

    def __init__(self, endpoints: Mapping[VendorName, Set[str]]) -> None:
        """`endpoints` are the names that there are."""
        self._endpoints = endpoints
        self._planned: list[tuple[PlannedFault, int]] = []
        """Each with how many calls it has seen."""

    def plan(self, vendor: VendorName, endpoint: str, fault: Fault, nth: int | None = None) -> None:
        """Have `fault` strike; the arguments are those of PlannedFault.

        Raises:
            ValueError: The vendor has no such endpoint.
        """
        if endpoint not in {ANY_ENDPOINT, *self._endpoints[vendor]}:
            known = ", ".join(sorted(self._endpoints[vendor]))
            raise ValueError(f"{vendor} has no endpoint {endpoint!r}; it has {known}")
        self._planned.append((PlannedFault(vendor, endpoint, fault, nth), 0))

    @property
    def planned(self) -> tuple[PlannedFault, ...]:
        """All that are still to strike."""
        return tuple(planned for planned, _ in self._planned)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._planned.clear()

    def take(self, vendor: VendorName, endpoint: str) -> Fault | None:
        """Count one call, and return what strikes it."""
        struck: Fault | None = None
        remaining = []
        for planned, seen in self._planned:
            if (planned.vendor, planned.endpoint) in {(vendor, endpoint), (vendor, ANY_ENDPOINT)}:
                seen += 1
                if planned.nth is None or planned.nth == seen:
                    struck = struck or planned.fault
            if planned.nth is None or seen < planned.nth:
                remaining.append((planned, seen))
        self._planned = remaining
        return struck


_BAD_GATEWAY: Final = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


def garble(fault: Fault, answer: Answer, with_errors: Callable[[Answer], Answer]) -> Answer:
    """Return what becomes of the right answer, as far as that is a matter of its bytes."""
    match fault.kind:
        case "bad_gateway":
            return Answer(502, _BAD_GATEWAY, {"content-type": "text/html"})
        case "empty":
            return Answer(answer.status, b"", answer.headers)
        case "truncated":
            return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)
        case "errors":
            wrong = with_errors(answer)
            return Answer(wrong.status, wrong.body, answer.headers)
        case "redirect":
            return Answer(307, b"", {"location": fault.location})
        case "enormous":
            padding = b" " * (fault.size_bytes - len(answer.body))
            return Answer(answer.status, answer.body + padding, answer.headers)
        case _:  # a matter of how it is delivered
            return answer
