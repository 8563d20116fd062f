"""What an incident suggests to do. It proposes; only an approved request acts.

The action follows from the families, not from the number. It is bound to one device.
"""

import re
from typing import Final, NamedTuple

from vyrox.models import ActionType
from vyrox.triage.incidents import Incident
from vyrox.triage.story import Seen

_INTRUSION: Final = (
    "credentials",
    "remote",
    "impact",
    "recovery",
    "shell",
    "escalation",
    "defences",
)
SURE: Final = 0.75
"""A family's share from which the action rests on it."""

_SERVER: Final = re.compile(r"srv|server|\bdc\d*\b|-dc|sql|db-|web-|fs\d|exch|mail")


class Proposal(NamedTuple):
    """An action on one device, or none, and the reason in words."""

    action: ActionType | None
    reason: str
    device: Seen | None = None


def propose(incident: Incident) -> Proposal:
    """Return the action that the incident suggests."""
    story = incident.story
    if incident.band != "urgent":
        return Proposal(None, "the incident is not urgent")
    if not story.devices:
        return Proposal(None, "the device is not certain: no alert names one")
    leaving = _strongest(incident, "exfiltration")
    if leaving is not None and _SERVER.search((leaving.hostname or "").lower()):
        return Proposal("NETWORK_QUARANTINE", "data leaves a server", leaving)
    for family in _INTRUSION:
        if story.families.get(family, 0.0) < SURE:
            continue
        device = _strongest(incident, family)
        if device is None:
            return Proposal(None, f"the device is not certain: no known device shows {family}")
        return Proposal("HOST_ISOLATION", f"live intrusion: {family}", device)
    device = max(story.devices.values(), key=lambda seen: max(seen.families.values(), default=0))
    return Proposal("HOST_ISOLATION", "several signs of one intrusion", device)


def _strongest(incident: Incident, family: str) -> Seen | None:
    """Return the device that shows the family strongest, if any shows it for sure."""
    seen = incident.story.devices.values()
    device = max(seen, key=lambda each: each.families.get(family, 0.0))
    share = device.families.get(family, 0.0)
    is_elsewhere = incident.story.loose.get(family, 0.0) > share
    return None if share < SURE or is_elsewhere else device
