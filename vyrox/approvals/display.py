r"""What people read before they decide: the same ASCII text in every channel (contract 62, A3).

One line for each label, in a fixed order. A character that is not printable ASCII is written as
`\uXXXX`, and so are the backtick and the backslash, so no text can look like another one or leave
a code block. A label without a value has none. The digest is last.
"""

from typing import Final

from vyrox.approvals.proposal import CONTAINMENTS, Proposal, canonical, digest
from vyrox.clock import utc_text

MAX_DISPLAY: Final = 1_500
"""Characters of a display: a message of Discord has room for it."""

MIN_REASON: Final = 60
"""Characters that remain for the reason, at least."""

_ESCAPED: Final = frozenset("`\\")
_CUT: Final = "..."

_POSTPONED: Final = (
    "; postponed once by 1 h if the device has an alert of the last 30 minutes in an open incident"
)
"""The rule of contract 68, so that people approve it with the rest."""


class DisplayError(ValueError):
    """The texts of the proposal are too long to be displayed whole."""


def display(proposal: Proposal) -> str:
    """Return the text that people decide on. Only `reason` is cut.

    Raises:
        DisplayError: The other texts leave no room for the reason.
    """
    before, after = _lines(proposal)
    fixed = "\n".join([*before, "Reason: ", *after])
    room = MAX_DISPLAY - len(fixed)
    if room < MIN_REASON:
        raise DisplayError("the names in the proposal are too long to be displayed")
    return "\n".join([*before, f"Reason: {_cut(proposal.reason, room)}", *after])


def escaped(text: str) -> str:
    """Return `text` in printable ASCII, without backticks and without spaces at its ends."""
    whole = "".join(map(_escape, text))
    inner = whole.strip(" ")
    if not inner:
        return r"\u0020" * len(whole)
    left = len(whole) - len(whole.lstrip(" "))
    right = len(whole) - len(whole.rstrip(" "))
    return r"\u0020" * left + inner + r"\u0020" * right


def in_block(text: str) -> str:
    """Return `text` as `escaped` does, but with its backslashes: command lines are full of them.

    It cannot leave a code block. For evidence, which is not signed: two texts may look alike.
    """
    return "".join(each if each == "\\" else _escape(each) for each in text)


def _escape(character: str) -> str:
    if " " <= character <= "~" and character not in _ESCAPED:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(rf"\u{pair}" for pair in pairs)


def _cut(reason: str, room: int) -> str:
    """Return the escaped reason in at most `room` characters, no escape in parts."""
    whole = escaped(reason)
    if len(whole) <= room:
        return whole
    kept = ""
    for character in reason:
        longer = kept + _escape(character)
        if len(longer) > room - len(_CUT):
            break
        kept = longer
    return kept.strip(" ") + _CUT


def _lines(proposal: Proposal) -> tuple[list[str], list[str]]:
    """Return the lines before the reason, and those after it."""
    process = proposal.process
    before: dict[str, str | None] = {
        "Action": proposal.action_type,
        "Host": proposal.host,
        "Name": proposal.hostname,
        "Vendor": proposal.vendor,
        "Process": None if process is None else process.name,
        "Process id": None if process is None else process.id,
        "Process start": None if process is None else _moment(process.start),
        "State": proposal.device_state,
        "Ends": _end(proposal),
        "Tenant": proposal.tenant_id,
        "Alert": proposal.alert_id,
        "Asked by": proposal.requested_by,
        "Asked at": _moment(proposal.created_at),
        "Decide by": _moment(proposal.expires_at),
        "Persons": str(proposal.required),
    }
    after: dict[str, str | None] = {"Id": proposal.id, "SHA-256": digest(canonical(proposal))}
    return _labelled(before), _labelled(after)


def _end(proposal: Proposal) -> str | None:
    """Return when the containment is lifted by itself. Other actions have no end."""
    if proposal.lease_s:
        return f"after {length(proposal.lease_s)}{_POSTPONED}"
    return "never" if proposal.action_type in CONTAINMENTS else None


def length(seconds: int) -> str:
    """Return a length of time exactly, in the largest unit of which it is a whole number."""
    for unit, unit_s in (("h", 3600), ("min", 60)):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"


def _labelled(values: dict[str, str | None]) -> list[str]:
    return [
        f"{label}:" if value is None else f"{label}: {escaped(value)}"
        for label, value in values.items()
    ]


def _moment(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return f"{utc_text(seconds)} UTC"
