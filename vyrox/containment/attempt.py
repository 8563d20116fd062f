"""One attempt at a containment, the device that it leases, and its result. No SQL."""

from typing import Literal, Protocol

import msgspec
from sqlalchemy import Connection

from vyrox.chain.entry import Draft, Receipt
from vyrox.containment.responder import Responder
from vyrox.edr.client import Deadline, Target
from vyrox.models import ContainmentRequest, Device, EdrVendor, NormalizedAlert

Outcome = Literal["dry_run", "requested", "confirmed", "failed", "outcome_unknown"]
"""`requested`: the vendor accepted the action. `confirmed`: the device is in the target state."""


class Sent(msgspec.Struct, frozen=True):
    """What would be sent to the vendor now.

    Attributes:
        device: As the vendor names it; None if it was not asked yet.
    """

    request: ContainmentRequest
    vendor: EdrVendor | None
    device: Device | None
    alert: NormalizedAlert | None


class Approval(Protocol):
    """The approved proposal, or the end of its lease, that an attempt carries out (62 and 68).

    Attributes:
        until: After this time, by the clock of leases, no changing call may be sent.
    """

    until: float

    def find_objection(
        self, connection: Connection, sent: Sent, now: float, *, is_begun: bool
    ) -> str | None:
        """Return why `sent` may not be sent, or None. It writes nothing.

        Args:
            is_begun: Whether `begin` was committed.
        """
        ...

    def begin(self, connection: Connection, now: float) -> Draft:
        """Use the proposal up, for ever, in the transaction of the claim; return its event."""
        ...

    def note_device(
        self, connection: Connection, lease: "DeviceLease", device: Device, now: float
    ) -> None:
        """Store that the action is about to be sent, in the transaction that leases `device`."""
        ...


class Attempt(msgspec.Struct, frozen=True):
    """One attempt at a containment.

    Attributes:
        owner: A random token that only this attempt knows.
        trace_id: The id of the HTTP request, for the events.
        now: Unix seconds.
        device: The device that the vendor named, if it was asked before the claim (NeedsDevice).
        approval: The approved proposal, if there is one.
        needs_approval: Whether a request without an approved proposal is refused.
    """

    request: ContainmentRequest
    owner: str
    trace_id: str
    dry_run: bool
    lease_s: float
    now: float
    device: Device | None = None
    approval: Approval | None = None
    needs_approval: bool = False

    @property
    def send_until(self) -> float:
        """No changing call may be sent after this time, in Unix seconds."""
        if self.approval is None:
            return self.lease_until
        return min(self.lease_until, self.approval.until)

    @property
    def lease_until(self) -> float:
        """The end of the claim's lease, in Unix seconds."""
        return self.now + self.lease_s


class ClaimedAttempt(msgspec.Struct, frozen=True):
    """An attempt whose claim and audit entry are committed, so the vendor may be called.

    Attributes:
        receipt: Of the audit entry.
        deadline: For the whole action at the vendor.
    """

    attempt: Attempt
    responder: Responder
    receipt: Receipt
    deadline: Deadline


class DeviceLease(msgspec.Struct, frozen=True):
    """A device that one attempt has leased.

    Attributes:
        entry_hash: Of the attempt's audit entry.
        token: Higher than that of every earlier lease of the device.
    """

    tenant_id: str
    vendor: EdrVendor
    device_id: str
    entry_hash: str
    target: Target
    token: int


class Known(msgspec.Struct, frozen=True):
    """What Vyrox knows about a request without a request to the vendor (contract 43).

    The attributes are the members of a dry run's event.

    Attributes:
        alert_device: The device that the alert names.
        alert_host: The host name in the alert.
        guard_rails: Their verdict on both, or on the request's host if the alert names neither.
        per_hour: The tenant's limit, if it has one.
        begun_in_hour: How much of the limit is used without this request.
        vendor: The vendor that manages the host.
        credentials_stored: Whether the tenant has credentials for this vendor.
    """

    alert_known: bool
    alert_device: str | None
    alert_host: str | None
    guard_rails: str
    per_hour: int | None
    begun_in_hour: int | None
    vendor: EdrVendor | None
    credentials_stored: bool


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        entry_hash: Of its audit entry. None if the attempt has not seen the commit. Then the hash
            is read from the claim; without a claim nothing was committed, or all is recorded.
        lease: The device, if it was leased.
        reference: The vendor's id of the action.
        changed: Whether the action was sent, or may have been.
        known: For the event of a dry run.
    """

    attempt: Attempt
    entry_hash: str | None
    outcome: Outcome
    now: float
    reason: str | None = None
    lease: DeviceLease | None = None
    reference: str | None = None
    changed: bool = True
    known: Known | None = None
