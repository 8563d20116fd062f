"""What an incident suggests to do (contract 57). It proposes; only an approved request acts.

The action follows from the families, not from the number. It is bound to one device, and to the
alert that shows most there. The tenant's guard rails are asked before it is proposed.
"""

import re
from typing import Final, NamedTuple

from vyrox.edr.actions import why_unsupported
from vyrox.models import ActionType, Device, EdrVendor, NormalizedAlert
from vyrox.notify.messages import RANKS, Band
from vyrox.tenants.device_rules import matches
from vyrox.tenants.guard_rails import NONE, Rails
from vyrox.triage.incidents import Incident
from vyrox.triage.score import REVIEW
from vyrox.triage.story import Seen, score_of

_INTRUSION: Final = (
    "credentials",
    "remote",
    "impact",
    "recovery",
    "shell",
    "escalation",
    "defences",
)
"""Families of a live intrusion: the host is to be isolated."""

_ONE_PROCESS: Final[frozenset[str]] = frozenset(
    {"impact.miner", "exfiltration.tunnel", "exfiltration.relay"}
)
"""Signals of which one process is the whole matter."""

SURE: Final = 0.75
"""A family's share from which the action rests on it."""

_SERVER: Final = re.compile(r"srv|server|\bdc\d*\b|-dc|sql|db-|web-|fs\d|exch|mail")

_VENDORS: Final[dict[str, EdrVendor]] = {
    "crowdstrike": "crowdstrike",
    "sentinelone": "sentinelone",
    "defender": "defender",
}
"""The sources whose vendor can act on a device."""


class Proposal(NamedTuple):
    """An action on one device, or none, and the reason in words."""

    action: ActionType | None
    reason: str
    device: Seen | None = None


def propose(incident: Incident, rails: Rails = NONE, least: Band = "urgent") -> Proposal:
    """Return the action that the incident suggests, or none and the reason.

    Args:
        least: The lowest band in which an incident suggests an action.
        rails: The tenant's guard rails. Tags of a device are known at the vendor only, so a rule
            for a tag is checked when the action is carried out.
    """
    proposal = _suggested(incident, least)
    if proposal.device is None:
        return proposal
    if proposal.device.source not in _VENDORS:
        why = f"{proposal.device.source} alerts name no device that Vyrox can act on"
        return Proposal(None, why)
    if rails.is_frozen:
        return Proposal(None, "the tenant is frozen")
    device = Device(proposal.device.device_id, proposal.device.hostname, tags=())
    broken = [rule for rule in rails.never_contain if matches(rule, device)]
    if broken and proposal.action != "PROCESS_KILL":
        return Proposal(None, f"the rule never_contain {broken[0]} covers the device")
    return proposal


def _suggested(incident: Incident, least: Band) -> Proposal:
    story = incident.story
    if RANKS[incident.band] < RANKS[least]:
        return Proposal(None, "the incident is not urgent")
    if not story.devices:
        return Proposal(None, "the device is not certain: no alert names one")
    killed = _one_process(incident)
    if killed is not None:
        return killed
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
    return _several_signs(incident)


def _several_signs(incident: Incident) -> Proposal:
    story = incident.story
    device = max(story.devices.values(), key=lambda seen: score_of(seen.families))
    if score_of(device.families) < max(REVIEW, score_of(story.loose)):
        return Proposal(None, "the device is not certain: no known device shows most of it")
    return Proposal("HOST_ISOLATION", "several signs of one intrusion", device)


def _one_process(incident: Incident) -> Proposal | None:
    """Return a kill, if one process of one device is the whole matter and the vendor can do it."""
    story = incident.story
    found = {sign.signal: family for family, sign in story.signs.items()}
    wanted = sorted(found.keys() & _ONE_PROCESS)
    if not wanted or len(story.devices) != 1:
        return None
    family = found[wanted[0]]
    if any(story.families.get(each, 0.0) >= SURE for each in _INTRUSION if each != family):
        return None
    [device] = story.devices.values()
    vendor = _VENDORS.get(device.source)
    if vendor is None or why_unsupported(vendor, "PROCESS_KILL", _alert(incident, device)):
        return None
    return Proposal("PROCESS_KILL", f"one process is the whole matter: {wanted[0]}", device)


def _alert(incident: Incident, device: Seen) -> NormalizedAlert:
    return NormalizedAlert(
        id=device.alert_id,
        tenant_id=incident.tenant_id,
        source=_VENDORS[device.source],
        raw_id=device.raw_id,
        timestamp=incident.last_at,
        device_id=device.device_id,
    )


def _strongest(incident: Incident, family: str) -> Seen | None:
    """Return the device that shows the family strongest, if any shows it for sure."""
    seen = incident.story.devices.values()
    device = max(seen, key=lambda each: each.families.get(family, 0.0))
    share = device.families.get(family, 0.0)
    is_elsewhere = incident.story.loose.get(family, 0.0) > share
    return None if share < SURE or is_elsewhere else device
