"""What a notification says. Attackers choose many of the texts, so each is cleaned and bounded."""

import unicodedata
from typing import Final, Literal, TypeVar

import msgspec

from vyrox.models import ActionType

Band = Literal["close", "review", "urgent"]
"""How much attention an incident needs."""

RANKS: Final[dict[Band, int]] = {"close": 0, "review": 1, "urgent": 2}
"""A band with a higher rank needs more attention."""

Status = Literal["open", "acknowledged", "closed"]

Kind = Literal["opened", "updated", "reminder"]
"""Why an incident is announced."""

MAX_TEXT: Final = 300
"""Characters of one text."""

MAX_ITEMS: Final = 10
"""Texts or numbers in one list."""

MAX_REASONS: Final = 5

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format (with bidi and zero width), surrogate, unassigned, lines."""

T = TypeVar("T", bound=msgspec.Struct)


class ProposedAction(msgspec.Struct, frozen=True, kw_only=True):
    """What triage proposes to do. It carries out nothing.

    Attributes:
        action_type: None if no action is proposed.
        host: Whose device.
        device_id: The vendor's own identifier, as `/execute` takes it.
        reason: Why this action, or why none.
    """

    action_type: ActionType | None = None
    host: str | None = None
    device_id: str | None = None
    reason: str = ""


class IncidentMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """One announcement of an incident. Times are Unix seconds.

    Attributes:
        incident: The tenant's own number of the incident.
        at: When it was announced.
        hosts: Names, or device ids of hosts without a name.
        user: The account that its alerts name most.
        first_at: When the first alert happened.
        alerts: How many alerts it has.
        reasons: Texts, the strongest first.
        open_with: The command that shows the whole incident.
    """

    tenant_id: str
    incident: int
    band: Band
    score: float
    status: Status
    title: str
    at: float
    hosts: tuple[str, ...] = ()
    user: str | None = None
    first_at: float
    last_at: float
    alerts: int
    reasons: tuple[str, ...] = ()
    proposed_action: ProposedAction
    open_with: str


class Opened(IncidentMessage, frozen=True, kw_only=True, tag="incident.opened"):
    """The first announcement."""


class Updated(IncidentMessage, frozen=True, kw_only=True, tag="incident.updated"):
    """Something has changed since the last announcement."""


class Reminder(IncidentMessage, frozen=True, kw_only=True, tag="incident.reminder"):
    """The incident is urgent, and no person has acknowledged it yet."""


class Digest(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="incident.digest"):
    """One message for the announcements beyond the limit of an hour.

    Attributes:
        more: How many incidents were not announced one by one.
        incidents: The numbers of the first of them.
        since: When the hour began.
    """

    tenant_id: str
    at: float
    since: float
    more: int
    incidents: tuple[int, ...] = ()


class Probe(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="test"):
    """A message that `vyrox tenant notify test` sends."""

    tenant_id: str
    at: float
    text: str = "This is a test of notifications by Vyrox. Nothing has happened."


NoticeKind = Literal[
    "approval.proposed",
    "approval.reminder",
    "approvers.changed",
    "break_glass.used",
    "lease.ending",
    "lease.postponed",
    "lease.failed",
    "lease.waiting",
    "tenant.frozen",
    "tenant.unfrozen",
]
"""What a notice is about."""


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="notice"):
    """Something that approvers should know of, or should act on.

    Attributes:
        link: The path of a page of the console, as `/approvals/ID`, or None.
    """

    tenant_id: str
    kind: NoticeKind
    at: float
    text: str
    link: str | None = None


Announcement = Opened | Updated | Reminder

Message = Announcement | Digest | Probe | Notice

KINDS: Final[dict[Kind, type[Opened] | type[Updated] | type[Reminder]]] = {
    "opened": Opened,
    "updated": Updated,
    "reminder": Reminder,
}


def clean(text: str, max_chars: int = MAX_TEXT) -> str:
    """Return the start of `text` without characters that cannot be seen; line ends are spaces."""
    # Bounded first: the text may be a megabyte.
    spaced = " ".join(text[: 4 * max_chars].split())
    seen = "".join(c for c in spaced if unicodedata.category(c) not in _INVISIBLE)
    return seen if len(seen) <= max_chars else seen[: max_chars - 1] + "…"


def cleaned(message: T) -> T:
    """Return `message` with each of its texts cleaned and each of its lists bounded."""
    changed = {
        name: _cleaned(getattr(message, name), MAX_REASONS if name == "reasons" else MAX_ITEMS)
        for name in message.__struct_fields__
    }
    return msgspec.structs.replace(message, **changed)


def _cleaned(value: object, max_items: int) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(_cleaned(item, max_items) for item in value[:max_items])
    return cleaned(value) if isinstance(value, msgspec.Struct) else value
