r"""What a message at Discord says, and its buttons. Pure (contract 67, A31).

What people approve is in the content, as a code block: without the permission to embed links
Discord leaves embeds out. Attackers choose many of the texts, so each is escaped and bounded, and
`allowed_mentions` names the on-call role or nothing.
"""

import base64
import re
from typing import Final

import msgspec

from vyrox.approvals.display import in_block
from vyrox.approvals.proposal import DRILL
from vyrox.approvals.shown import ShownProposal

MAX_CONTENT: Final = 2_000
"""Characters of a content, at Discord."""

MAX_TITLE: Final = 256
MAX_FIELD: Final = 600
"""Characters of a field. Discord takes 1,024, and 6,000 in all embeds together."""

MAX_FIELDS: Final = 8
MAX_HEADLINE: Final = 400
MAX_NAME: Final = 100

APPROVE: Final = "a"
REJECT: Final = "r"
INVESTIGATE: Final = "i"

_SUCCESS, _DANGER, _SECONDARY, _LINK = 3, 4, 2, 5
"""Styles of buttons, as Discord numbers them."""

_SPECIAL: Final = re.compile(r"([!-/:-@\[-`{-~])")
"""All punctuation of ASCII. A backslash before it takes its meaning away: markdown, mentions,
links, code blocks, times."""

_INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
"""Control, bidi, zero width, lone surrogates."""

Json = dict[str, object]

_WHITE: Final = re.compile(r"\s+")


class Evidence(msgspec.Struct, frozen=True):
    """Why an action is proposed, as texts that attackers may have chosen.

    Attributes:
        fields: Names, which are ours, and values. A value in a list is a line of its own.
        code: Values that are shown in a code block.
    """

    title: str
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    code: tuple[tuple[str, str], ...] = ()
    is_urgent: bool = False


class Message(msgspec.Struct, frozen=True):
    """A message as Discord takes it.

    Attributes:
        role_id: The role that is mentioned, once, when the message is posted.
    """

    content: str
    components: tuple[Json, ...] = ()
    embeds: tuple[Json, ...] = ()
    role_id: str | None = None

    def post(self, nonce: str) -> Json:
        """Return the body that posts it. A repeat with the same nonce posts nothing new."""
        return {
            "content": self.content,
            "components": self.components,
            "embeds": self.embeds,
            "allowed_mentions": _mentions(self.role_id),
            "nonce": nonce,
            "enforce_nonce": True,
        }

    def edit(self) -> Json:
        """Return the body that changes a posted message into it. The embeds stay as they are.

        It has `components` always: Discord keeps the old buttons if they are left out.
        """
        return {
            "content": self.content,
            "components": self.components,
            "allowed_mentions": _mentions(None),
        }


def message_of(
    shown: ShownProposal,
    *,
    evidence: Evidence | None = None,
    role_id: str | None = None,
    link: str | None = None,
) -> Message:
    """Return the message that shows a proposal as it is now.

    Args:
        role_id: The role to mention, when it is posted.
        link: Of the proposal's page in the console.
    """
    mention = f"<@&{role_id}> " if role_id and shown.state == "pending" else ""
    content = f"{mention}{headline(shown)}\n```\n{shown.display}\n```"
    if len(content) > MAX_CONTENT:
        raise ValueError("the content is too long")
    return Message(
        content=content,
        components=_buttons(shown, link),
        embeds=() if evidence is None else (embed_of(evidence),),
        role_id=role_id if mention else None,
    )


def incident_message(evidence: Evidence) -> Message:
    """Return a message about an incident, without buttons."""
    urgent = "**An urgent incident.** Vyrox has proposed nothing for it:"
    content = urgent if evidence.is_urgent else "An incident to review:"
    return Message(content=content, embeds=(embed_of(evidence),))


def notice_message(text: str, role_id: str | None = None, link: str | None = None) -> Message:
    """Return a message with a plain text, and perhaps a link to a page of the console."""
    mention = f"<@&{role_id}> " if role_id else ""
    return Message(
        content=mention + (plain(text, MAX_CONTENT - 50) or "(no text)"),
        components=_rows([] if link is None else [_link(link)]),
        role_id=role_id,
    )


def headline(shown: ShownProposal) -> str:
    """Return the line above the text: what is asked for, or what was decided.

    It is different whenever people should see a change.
    """
    names = [each.approver for each in shown.decisions if each.decision == "approve"]
    by = ", ".join(plain(name, MAX_NAME) for name in names)
    match shown.state:
        case "pending":
            text = _pending(shown, len(names), by)
        case "approved":
            text = f"**Approved** by {by}. Vyrox is acting."
        case "dispatched":
            text = f"**Approved** by {by}. {_outcome(shown)}"
        case "rejected":
            [who] = [e.approver for e in shown.decisions if e.decision == "reject"] or ["?"]
            text = f"**Rejected** by {plain(who, MAX_NAME)}{_reason(shown, who)}. Nothing was done."
        case "expired" if is_drill(shown):
            text = f"**The drill is over.** Answered: {by or 'no person'}."
        case "expired":
            text = "**Expired**: no decision in time. Nothing was done."
        case "lapsed":
            why = f": {plain(shown.end_reason, 150)}" if shown.end_reason else ""
            text = f"**Lapsed** after the approval of {by}{why}. Nothing was done."
        case other:
            why = f" {plain(shown.end_reason, 150)}" if shown.end_reason else ""
            text = f"**{other.capitalize()}**{why}. Nothing was done."
    return text if len(text) <= MAX_HEADLINE else text[: MAX_HEADLINE - 3] + "..."


def is_drill(shown: ShownProposal) -> bool:
    """Return whether the proposal has no effect."""
    return shown.display.startswith(f"Action: {DRILL}\n")


def button_id(letter: str, proposal_sha256: str) -> str:
    """Return the `custom_id` of a button (A29)."""
    digest = base64.urlsafe_b64encode(bytes.fromhex(proposal_sha256)).rstrip(b"=").decode()
    return f"v1:{letter}:{digest}"


def nonce_of(message_id: str) -> str:
    """Return the nonce of a message, at most 25 characters: the same for the same row."""
    try:
        number = bytes.fromhex(message_id.replace("-", ""))
    except ValueError:  # of an incident, whose id is a name and a number
        return message_id[-25:]
    return base64.urlsafe_b64encode(number).rstrip(b"=").decode()[:25]


def plain(text: str, limit: int) -> str:
    """Return `text` so that Discord shows it as it is, in at most `limit` characters."""
    seen = _INVISIBLE.sub("", _WHITE.sub(" ", text[: 4 * limit])).strip()
    result = ""
    for character in seen:
        shown = _SPECIAL.sub(r"\\\1", character)
        if len(result) + len(shown) > limit - 3:
            return result + "..."
        result += shown
    return result


def embed_of(evidence: Evidence) -> Json:
    """Return the embed with the evidence, within Discord's limits."""
    fields = [
        {"name": name, "value": _lines(values), "inline": False}
        for name, values in evidence.fields
        if any(value.strip() for value in values)
    ]
    fields += [
        {"name": name, "value": _code(value), "inline": False}
        for name, value in evidence.code
        if value.strip()
    ]
    return {"title": plain(evidence.title, MAX_TITLE), "fields": fields[:MAX_FIELDS]}


def _lines(values: tuple[str, ...]) -> str:
    each = MAX_FIELD // max(1, len(values)) - 1
    return "\n".join(plain(value, max(each, 8)) or "?" for value in values)[:MAX_FIELD]


def _code(value: str) -> str:
    text = in_block(value[:MAX_FIELD])
    room = MAX_FIELD - len("```\n\n```")
    return f"```\n{text if len(text) <= room else text[: room - 3] + '...'}\n```"


def _pending(shown: ShownProposal, approvals: int, by: str) -> str:
    if is_drill(shown):
        answered = f" Answered: {by}." if by else ""
        return f"**A drill**: nothing will be done. Press, to show that you can decide.{answered}"
    until = f"until <t:{shown.expires_at}:t>"
    if approvals:
        return f"**{approvals} of {shown.required}** approved ({by}). One more is needed, {until}."
    if shown.required == 1:
        return f"**Decide** {until}."
    return f"**Decide** {until}. {shown.required} persons are needed, one with a passkey."


def _reason(shown: ShownProposal, who: str) -> str:
    """Return what the person has written who has rejected it."""
    why = (shown.end_reason or "").removeprefix(f"by {who}").removeprefix(":").strip()
    return f": {plain(why, 150)}" if why else ""


def _outcome(shown: ShownProposal) -> str:
    why = f" ({plain(shown.outcome_reason, 150)})" if shown.outcome_reason else ""
    match shown.outcome:
        case None:
            return "Vyrox is acting."
        case "confirmed":
            return "Done: the vendor confirms it."
        case "requested":
            return "The vendor has accepted it."
        case "dry_run":
            return "A dry run: nothing was sent to the vendor."
        case "failed":
            return f"**It failed**{why}."
        case _:
            return f"**The outcome is not known**{why}: check the vendor's console."


def _buttons(shown: ShownProposal, link: str | None) -> tuple[Json, ...]:
    if shown.state != "pending":
        return ()
    wanted = [("Approve", _SUCCESS, APPROVE), ("Reject", _DANGER, REJECT)]
    wanted.append(("Investigate", _SECONDARY, INVESTIGATE))
    if is_drill(shown):
        wanted = [("I can decide", _SUCCESS, APPROVE)]
    buttons: list[Json] = [
        {
            "type": 2,
            "style": style,
            "label": label,
            "custom_id": button_id(letter, shown.proposal_sha256),
        }
        for label, style, letter in wanted
    ]
    return _rows(buttons if link is None else [*buttons, _link(link)])


def _rows(buttons: list[Json]) -> tuple[Json, ...]:
    return ({"type": 1, "components": buttons},) if buttons else ()


def _link(url: str) -> Json:
    return {"type": 2, "style": _LINK, "label": "Open the console", "url": url}


def _mentions(role_id: str | None) -> Json:
    if role_id is None:
        return {"parse": []}
    return {"parse": [], "roles": [role_id]}
