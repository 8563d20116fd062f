"""Notifications as a short text, for channels beside webhooks (contract 69).

These channels may show markup, links and mentions. An attacker chooses many of the texts, so what
could be markup is written with characters that only look alike.
"""

from typing import Final

import msgspec

from vyrox.notify.messages import (
    Digest,
    IncidentMessage,
    Message,
    Notice,
    NoticeKind,
    Probe,
    ProposedAction,
    clean,
)

MAX_TITLE: Final = 150

_PLAIN: Final = str.maketrans(
    {  # `@` mentions people; `<` and `[` begin links, in some channels mentions too.
        "<": "‹",  # noqa: RUF001
        ">": "›",  # noqa: RUF001
        "[": "(",
        "]": ")",
        "@": "＠",  # noqa: RUF001
        "*": "∗",  # noqa: RUF001
        "_": "＿",  # noqa: RUF001
        "~": "∼",  # noqa: RUF001
        "`": "'",
        "\\": "＼",  # noqa: RUF001
        "&": "＆",  # noqa: RUF001
        "#": "＃",  # noqa: RUF001
        "|": "¦",
    }
)


class Short(msgspec.Struct, frozen=True):
    """A title, a few lines, and the path of a page of the console."""

    title: str
    text: str
    link: str | None = None


def plain(text: str, max_chars: int = 300) -> str:
    """Return `text` cleaned, bounded, on one line, and without anything that could be markup."""
    # A colon before slashes makes a link in most channels.
    return clean(text.translate(_PLAIN).replace("://", ": //"), max_chars)


def short_of(message: Message) -> Short:
    """Return `message` as a short text. All of it may have been written by an attacker."""
    match message:
        case IncidentMessage():
            return _incident(message)
        case Digest():
            title = f"Vyrox, {plain(message.tenant_id)}: {message.more} more incidents this hour"
            return Short(title, "See them with: vyrox incident list", "/")
        case Notice():
            title = f"Vyrox, {plain(message.tenant_id)}: {_TITLES[message.kind]}"
            return Short(title, plain(message.text), message.link)
        case Probe():
            return Short(f"Vyrox, {plain(message.tenant_id)}: a test", plain(message.text))


_TITLES: Final[dict[NoticeKind, str]] = {
    "approval.proposed": "an action waits for a decision",
    "approval.reminder": "an action still waits for a decision",
    "approvers.changed": "the approvers have changed",
    "break_glass.used": "an action without an approval",
    "lease.ending": "a containment ends soon",
    "lease.postponed": "a containment runs on",
    "lease.failed": "a containment could not be lifted",
    "lease.waiting": "a containment waits to be lifted",
    "tenant.frozen": "the tenant is frozen",
    "tenant.unfrozen": "the tenant is not frozen any more",
}


def _incident(message: IncidentMessage) -> Short:
    title = f"Vyrox, {message.band}: {message.title}"
    lines = [
        f"Incident {message.tenant_id}-{message.incident}, score {message.score:.0f}, "
        f"{message.alerts} alerts, {message.status}",
        _proposed(message.proposed_action),
    ]
    text = "\n".join(plain(line) for line in lines)
    return Short(plain(title, MAX_TITLE), text, "/")


def _proposed(action: ProposedAction) -> str:
    if action.action_type is None:
        return f"No action is suggested: {action.reason}"
    where = action.host or action.device_id or "the device"
    return f"Suggested: {action.action_type} of {where}: {action.reason}"
