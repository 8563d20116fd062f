"""Which vendor supports which action, and what the action needs (contract 25).

    action                              CrowdStrike        SentinelOne          Defender
    HOST_ISOLATION, NETWORK_QUARANTINE  contain            disconnect           isolate Full
    LIFT_HOST_ISOLATION, LIFT_...       lift_containment   connect              unisolate
    PROCESS_KILL                        RTR kill, for an   mitigate/kill, for   none
                                        alert of the       a threat of the
                                        Alerts API         console

Isolation and network quarantine send the same request: the vendors do not distinguish them. Another
action never replaces a kill.
"""

import re
from typing import Final

from vyrox.edr.client import Target
from vyrox.models import ActionType, EdrVendor, LiftType, NormalizedAlert

_COMPOSITE_ID: Final = re.compile(r"[0-9a-f]{32}:[a-z]+:[0-9a-f]{32}:\S+")
"""CrowdStrike's id of an alert, `cid:ind:aid:...`. The Alerts API returns its process."""

_THREAT_ID: Final = re.compile(r"[0-9]{1,20}")
"""SentinelOne's id of a threat, which is all that its kill needs."""

_KILL_NEEDS: Final[dict[EdrVendor, tuple[re.Pattern[str], str]]] = {
    "crowdstrike": (_COMPOSITE_ID, "detect_id is a composite id"),
    "sentinelone": (_THREAT_ID, "id is the number of a threat"),
}
"""What an alert's `raw_id` must be for a kill. Defender has no kill."""


def why_unsupported(
    vendor: EdrVendor, action: ActionType | LiftType, alert: NormalizedAlert | None
) -> str | None:
    """Return why `vendor` cannot perform `action`, given `alert`, or None if it can.

    Args:
        alert: The alert that the request names, or None if the tenant has no such alert.
    """
    if action != "PROCESS_KILL":
        return None
    needed = _KILL_NEEDS.get(vendor)
    if needed is None:
        return f"{vendor} has no process kill"
    if alert is None:
        return f"a kill at {vendor} needs a known alert"
    if alert.source != vendor:
        return f"a kill at {vendor} needs an alert of {vendor}; this one is of {alert.source}"
    pattern, identifier = needed
    if pattern.fullmatch(alert.raw_id) is None:
        return f"a kill at {vendor} needs an alert whose {identifier}; this alert's is not"
    if vendor == "sentinelone" and alert.process_id is not None:
        # Only alerts of custom rules name a process id. Their ids look like those of threats.
        return "a kill at sentinelone needs a threat; this alert is of a custom rule"
    return None


def target_of(action: ActionType | LiftType) -> Target:
    """Return the state that `action` leads to."""
    match action:
        case "HOST_ISOLATION" | "NETWORK_QUARANTINE":
            return "contained"
        case "LIFT_HOST_ISOLATION" | "LIFT_NETWORK_QUARANTINE":
            return "lifted"
        case "PROCESS_KILL":
            return "killed"


def comment_start(request_id: str) -> str:
    """Return the start of the comment that Vyrox leaves in the vendor's own log."""
    return f"Vyrox: request {request_id}"


def records_containment(vendor: EdrVendor) -> bool:
    """Return whether the vendor reports which action contains a device."""
    return vendor == "defender"


_CALLS: Final[dict[EdrVendor, dict[Target, str]]] = {
    "crowdstrike": {
        "contained": "contain",
        "lifted": "lift_containment",
        "killed": "real-time-response kill",
    },
    "sentinelone": {
        "contained": "agents/actions/disconnect",
        "lifted": "agents/actions/connect",
        "killed": "threats/mitigate/kill",
    },
    "defender": {"contained": "isolate Full", "lifted": "unisolate"},
}


def call_of(vendor: EdrVendor, target: Target) -> str:
    """Return the vendor's name of the request that leads to `target`, for the log."""
    return _CALLS[vendor][target]
