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


def is_supported(
    vendor: EdrVendor, action: ActionType | LiftType, alert: NormalizedAlert | None
) -> bool:
    """Return whether `vendor` can perform `action`, given `alert`.

    Args:
        alert: The alert that the request names, or None if the tenant has no such alert.
    """
    if action != "PROCESS_KILL":
        return True
    if alert is None or alert.source != vendor:
        return False
    match vendor:
        case "crowdstrike":
            return _COMPOSITE_ID.fullmatch(alert.raw_id) is not None
        case "sentinelone":
            return _THREAT_ID.fullmatch(alert.raw_id) is not None
        case "defender":
            return False


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
