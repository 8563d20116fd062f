"""What an incident suggests to do. It proposes; only an approved request acts."""

import re
from typing import Final

from vyrox.models import ActionType
from vyrox.triage.incidents import Incident, band_of_incident, strongest_families

_INTRUSION: Final = (
    "credentials",
    "remote",
    "impact",
    "recovery",
    "shell",
    "escalation",
    "defences",
)
_SURE: Final = 0.75
"""A family's share from which the action rests on it."""

_SERVER: Final = re.compile(r"srv|server|\bdc\d*\b|-dc|sql|db-|web-|fs\d|exch|mail")


def propose(incident: Incident) -> tuple[ActionType | None, str]:
    """Return the action that is proposed, or None, and the reason."""
    if band_of_incident(incident) != "urgent":
        return None, "the incident is not urgent"
    devices = {member.alert.device_id for member in incident.members if member.alert.device_id}
    if not devices or (len(devices) > 1 and len(incident.hosts) <= 1):
        return None, "the device is not certain"
    strongest = strongest_families(incident)
    names = [(member.alert.hostname or "").lower() for member in incident.members]
    if strongest.get("exfiltration", 0.0) >= _SURE and all(map(_SERVER.search, names)):
        return "NETWORK_QUARANTINE", "data leaves a server"
    for family in _INTRUSION:
        if strongest.get(family, 0.0) >= _SURE:
            return "HOST_ISOLATION", f"live intrusion: {family}"
    return "HOST_ISOLATION", "several signs of one intrusion"
