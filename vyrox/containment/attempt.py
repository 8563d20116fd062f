"""One attempt at a containment, and how it ended."""

from typing import Literal

import msgspec

from vyrox.containment.admission import Known
from vyrox.containment.devices import DeviceLease
from vyrox.models import ContainmentRequest, Device

Outcome = Literal["dry_run", "requested", "confirmed", "failed", "outcome_unknown"]
"""`requested`: the vendor has taken it on. `confirmed`: the device is in the state asked for."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt at a containment.

    Attributes:
        owner: A random token of this attempt.
        trace_id: The id of the HTTP request, which the events carry.
        now: Unix seconds.
        device: Which one the vendor says it is, where it was asked (see NeedsDevice).
    """

    request: ContainmentRequest
    owner: str
    trace_id: str
    dry_run: bool
    lease_s: float
    now: float
    device: Device | None = None


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        entry_hash: Of its audit entry; None after a commit that was not seen. Then the claim itself
            says which entry is its own, and without it there is nothing to tell: it was never
            committed, or is recorded already.
        held: The device that was acted on, where it came to that.
        reference: What the vendor calls the action.
        changed: Whether anything was sent to the vendor.
        known: What Vyrox knows by itself, for the event of a dry run.
    """

    claim: Attempt
    entry_hash: str | None
    outcome: Outcome
    now: float
    reason: str | None = None
    held: DeviceLease | None = None
    reference: str | None = None
    changed: bool = True
    known: Known | None = None
