"""What the mock records: each request, and each change of a device."""

from dataclasses import dataclass, field

import msgspec

from vyrox.trial.mock_edr.exchange import VendorName
from vyrox.trial.mock_edr.faults import FaultKind


@dataclass
class RecordedRequest:
    """One received request. The repr shows no headers and no body: they contain credentials.

    Attributes:
        number: From 1.
        vendor: None if the path is below no vendor's base URL.
        endpoint: None if the vendor has no such endpoint.
        path: The whole path, decoded.
        headers: Names in lower case, in the order sent.
        status: The status of the response. None before it is sent, and after a reset.
        fault: The fault that affected the request.
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
    """One change of a device at a vendor. A request that changes nothing has no effect.

    Attributes:
        sequence: From 1, over all vendors.
        what: `contain`, `lift_containment`, `kill`; `disconnect`, `connect`; `isolate`,
            `unisolate`.
        detail: PID and name of a killed process; the threat; the machine action.
        request: The number of the request, or None if a queued command made the change.
        at: Unix seconds of the mock's clock.
    """

    sequence: int
    vendor: VendorName
    device_id: str
    what: str
    detail: str
    request: int | None
    at: float
