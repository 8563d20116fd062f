"""What the mock remembers: each request as it came in, and each change that one has made."""

from dataclasses import dataclass, field

import msgspec

from vyrox.trial.mock_edr.exchange import VendorName
from vyrox.trial.mock_edr.faults import FaultKind


@dataclass
class RecordedRequest:
    """One request as it came in; credentials are in it, so they are not in its repr.

    Attributes:
        number: From 1.
        vendor: None for a path outside every vendor's base URL.
        endpoint: None where the vendor has no such call.
        path: The whole of it, decoded.
        headers: Names in lower case, in the order sent.
        status: Of the answer; None before there is one, and where the connection was reset.
        fault: What went wrong on purpose.
    """

    number: int
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    vendor: VendorName | None = None
    endpoint: str | None = None
    status: int | None = None
    fault: FaultKind | None = None


class Effect(msgspec.Struct, frozen=True):
    """One change of a device at a vendor. What changes nothing is none, however often it is asked.

    Attributes:
        sequence: From 1, over all vendors.
        what: `contain`, `lift_containment`, `kill`; `disconnect`, `connect`; `isolate`,
            `unisolate`.
        detail: PID and name of a killed process; the threat; the machine action.
        request: The number of the request that did it, or None for what was queued.
        at: Unix seconds of the mock's clock.
    """

    sequence: int
    vendor: VendorName
    device_id: str
    what: str
    detail: str
    request: int | None
    at: float
