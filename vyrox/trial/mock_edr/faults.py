"""Planned faults, the requests that they affect, and the responses that result."""

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
    """One fault.

    Attributes:
        kind: `status`: refused with `status`, in the vendor's form. `bad_gateway`: 502 with a page
            of HTML. `empty`: the right status, no body. `truncated`: the first half of the right
            body. `errors`: the right status, and errors in the body. `enormous`: the right
            response, padded with spaces to `size_bytes`. `redirect`: 307 to `location`. `slow`:
            the right response after `seconds`. `dribble`: the right response, one byte every
            `seconds`. `cut`: the connection ends in the middle of the right response. `reset`:
            the connection is reset without a response.
        effect: Whether the vendor carries out the request. If not, the response is based on the
            one that it would have sent.
        status: For `status`, one of 400 to 599.
        retry_after_s: For status 429: the pause that the vendor requests.
        retry_after_unit: For CrowdStrike's 429: the unit of its header. Both units exist.
        location: Below the mock's own root by default, so that the mock records a client that
            follows the redirect.
    """

    kind: FaultKind
    effect: bool = False
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    retry_after_s: float = 1.0
    retry_after_unit: Literal["s", "ms"] = "s"
    seconds: Annotated[float, Meta(ge=0)] = 1.0
    size_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 64 << 20
    location: str = "/elsewhere"


class PlannedFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault, and the requests that it affects.

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
    """The planned faults. Of several for one request, the oldest takes effect."""

    def __init__(self, endpoints: Mapping[VendorName, Set[str]]) -> None:
        """`endpoints` are the names of each vendor's endpoints."""
        self._endpoints = endpoints
        self._planned: list[tuple[PlannedFault, int]] = []
        """Each with the number of requests that it has counted."""

    def plan(self, vendor: VendorName, endpoint: str, fault: Fault, nth: int | None = None) -> None:
        """Plan `fault`. The arguments are those of PlannedFault.

        Raises:
            ValueError: The vendor has no such endpoint.
        """
        if endpoint not in {ANY_ENDPOINT, *self._endpoints[vendor]}:
            known = ", ".join(sorted(self._endpoints[vendor]))
            raise ValueError(f"{vendor} has no endpoint {endpoint!r}; it has {known}")
        self._planned.append((PlannedFault(vendor, endpoint, fault, nth), 0))

    @property
    def planned(self) -> tuple[PlannedFault, ...]:
        """All faults that are still planned."""
        return tuple(planned for planned, _ in self._planned)

    def clear(self) -> None:
        """Remove all faults."""
        self._planned.clear()

    def take(self, vendor: VendorName, endpoint: str) -> Fault | None:
        """Count one request, and return the fault that affects it, if any."""
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


def garble(fault: Fault, response: Answer, with_errors: Callable[[Answer], Answer]) -> Answer:
    """Return the right response with the fault applied, if the fault changes its bytes."""
    match fault.kind:
        case "bad_gateway":
            return Answer(502, _BAD_GATEWAY, {"content-type": "text/html"})
        case "empty":
            return Answer(response.status, b"", response.headers)
        case "truncated":
            return Answer(
                response.status, response.body[: len(response.body) // 2], response.headers
            )
        case "errors":
            wrong = with_errors(response)
            return Answer(wrong.status, wrong.body, response.headers)
        case "redirect":
            return Answer(307, b"", {"location": fault.location})
        case "enormous":
            padding = b" " * (fault.size_bytes - len(response.body))
            return Answer(response.status, response.body + padding, response.headers)
        case _:  # `deliver` applies the other faults
            return response
