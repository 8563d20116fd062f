"""What is to be done about a containment with an end, and when (contract 68, A19). Pure.

in force --30 min before the end--> the approvers are asked
    |--the end, and a new alert---> postponed by 1 h, once
    |--the end--------------------> lift; after a failure again, later each time
    |--the end, but frozen--------> waits, and lifts when the freeze ends
    `--not contained any more-----> over
"""

from typing import Final, Literal

import msgspec

from vyrox.approvals.lease_rows import Lease

ASK_S: Final = 1_800
"""How long before the end the approvers are asked."""

ALERT_S: Final = 1_800
"""How old the alert of a device may be that puts the end off."""

POSTPONE_S: Final = 3_600
"""By how much the end is postponed."""

FIRST_RETRY_S: Final = 30.0
MAX_RETRY_S: Final = 3_600.0
"""Times between two attempts at a lift: the first, doubled each time, at most the second."""

MAX_AHEAD_S: Final = 10.0
"""A lease that began later than this from now was stored by a wrong clock."""

Step = Literal["mend", "over", "ask", "postpone", "wait", "lift"]


class Facts(msgspec.Struct, frozen=True):
    """What the database shows about the device of a lease.

    Attributes:
        is_contained: By Vyrox, or it may be.
        is_renewed: A later containment is in progress, or its outcome is not known.
        is_frozen: The tenant.
        is_lift_checked: A lift was sent and is being checked at the vendor.
        has_alert: One of the last ALERT_S, in an open incident.
    """

    is_contained: bool = True
    is_renewed: bool = False
    is_frozen: bool = False
    is_lift_checked: bool = False
    has_alert: bool = False


def next_step(lease: Lease, facts: Facts, now: float) -> Step | None:
    """Return what is to be done now, or None."""
    if not facts.is_contained:
        return "over"
    if lease.began_at > now + MAX_AHEAD_S:
        return "mend"
    if facts.is_renewed:
        return None
    if now < lease.ends_at:
        return "ask" if lease.asked_at is None and now >= lease.ends_at - ASK_S else None
    if lease.postponed_at is None and facts.has_alert:
        return "postpone"
    if facts.is_frozen:
        return "wait" if lease.waits_since is None else None
    return "lift" if _may_lift(lease, facts, now) else None


def _may_lift(lease: Lease, facts: Facts, now: float) -> bool:
    if facts.is_lift_checked:
        return False
    # After a freeze there is nothing to wait for. A time that is too far ahead is of a wrong clock.
    is_late = lease.next_at > now + 2 * MAX_RETRY_S
    return lease.next_at <= now or lease.waits_since is not None or is_late


def mended(lease: Lease, now: float) -> dict[str, float | None]:
    """Return the changes of a lease that a clock ahead of now has stored: it begins now."""
    return {
        "since": min(lease.since, now),
        "began_at": now,
        "ends_at": now + lease.lease_s,
        "next_at": 0.0,
        "asked_at": None,
    }


def retry_after_s(attempts: int) -> float:
    """Return the time from a failed attempt to the next one."""
    return float(min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 20), MAX_RETRY_S))
