"""When an incident is announced to the people of its tenant."""

from typing import Final

from vyrox.triage.incidents import Incident
from vyrox.triage.story import BANDS

WAIT_S: Final = 30.0
INTERVAL_S: Final = 300.0
REPEAT_S: Final = 4 * 3600.0


def next_due(incident: Incident, now: float) -> float | None:
    """Return when the incident, which has changed at `now`, is to be announced; None: never."""
    if incident.status == "closed" or incident.band == "close":
        return None
    announced = incident.announced_band
    if announced is None:
        return now if incident.band == "urgent" else max(now, incident.opened_at + WAIT_S)
    if BANDS.index(incident.band) > BANDS.index(announced):
        return now
    return max(now, (incident.announced_at or now) + INTERVAL_S)
