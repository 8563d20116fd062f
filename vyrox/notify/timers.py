"""When an incident is announced, and again. Pure: facts in, a time out.

An urgent incident is announced at once; one in `review` after a wait, so that the first message is
complete. Later messages have a distance, and need a change. A rise of the band breaks through every
wait. An urgent incident that no person has acknowledged is announced again and again.
"""

from typing import Final

import msgspec

from vyrox.notify.messages import RANKS, Band, Kind, Status

MIN_INTERVAL_S: Final = 30
"""Shorter intervals are refused. They are not rounded."""


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's settings.

    Attributes:
        group_wait_s: From the opening of an incident in `review` to its first announcement.
        group_interval_s: Between two announcements, if something has changed.
        repeat_s: Between two announcements of an urgent incident that is not acknowledged.
    """

    group_wait_s: float = 30
    group_interval_s: float = 300
    repeat_s: float = 14_400

    def __post_init__(self) -> None:
        """Raise ValueError if an interval is too short."""
        for name in self.__struct_fields__:
            if not getattr(self, name) >= MIN_INTERVAL_S:
                raise ValueError(f"{name} must be at least {MIN_INTERVAL_S} seconds")


DEFAULT: Final = Intervals()


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What decides about the announcements of an incident. Times are Unix seconds.

    Attributes:
        announced_band: The band in the last announcement. None: there was none.
        announced_at: When that was.
        changed: Whether a reader would want to know what is new: the score, a host, a family or
            the proposed action. A higher number of alerts alone is no change.
    """

    status: Status
    band: Band
    opened_at: float
    announced_band: Band | None = None
    announced_at: float | None = None
    changed: bool = False


class NextAnnouncement(msgspec.Struct, frozen=True):
    """An announcement that is due at `at`, or now if that has passed."""

    at: float
    kind: Kind


def next_announcement(
    incident: Announced, now: float, intervals: Intervals = DEFAULT
) -> NextAnnouncement | None:
    """Return when the incident is announced next, and why; None while nothing changes.

    A time of the incident that is in the future, written by a wrong clock, counts as `now`.
    """
    if incident.status == "closed" or incident.band == "close":
        return None
    if incident.announced_at is None or incident.announced_band is None:
        wait_s = 0.0 if incident.band == "urgent" else intervals.group_wait_s
        return NextAnnouncement(min(incident.opened_at, now) + wait_s, "opened")
    last = min(incident.announced_at, now)
    if RANKS[incident.band] > RANKS[incident.announced_band]:
        return NextAnnouncement(last, "updated")
    due: list[NextAnnouncement] = []
    if incident.changed:
        due.append(NextAnnouncement(last + intervals.group_interval_s, "updated"))
    if incident.band == "urgent" and incident.status == "open":
        due.append(NextAnnouncement(last + intervals.repeat_s, "reminder"))
    return min(due, key=lambda each: each.at, default=None)


def is_held_back(band: Band, sent_in_hour: int, per_hour: int) -> bool:
    """Return whether an announcement goes into the hour's digest. An urgent one never does."""
    return band != "urgent" and sent_in_hour >= per_hour
