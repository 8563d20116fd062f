"""What Vyrox answers to an interaction (contract 67).

No answer mentions anybody. Texts that an attacker may have written are escaped, in a code block.
"""

from collections.abc import Sequence
from typing import Final

from vyrox.approvals.discord.interaction import MAX_REASON, REASON_FIELD
from vyrox.approvals.discord.message import MAX_CONTENT
from vyrox.approvals.display import in_block
from vyrox.clock import utc_text

Answer = dict[str, object]
"""The JSON of a response to Discord."""

MAX_LINE: Final = 160
"""Characters of a line in a code block."""

CUT: Final = "..."

PONG: Final[Answer] = {"type": 1}

_TO_CALLER: Final = 64
"""The flag of a message that only the person sees who has acted."""

NOT_RECORDED_YET: Final = (
    "Not recorded yet: the database did not respond in time. Look at the message again in a "
    "minute. If your decision is not there, press again: it counts once."
)

RECORDED: Final = "Your decision is recorded. The message will show it in a moment."

NOT_BOUND_YET: Final = (
    "Not known yet: the database did not respond in time. Type /vyrox status in a minute. If it "
    "does not answer you, use the code again."
)

NOT_OWN: Final = (
    "Nothing was recorded: Vyrox does not know this message as its own. If it is new, press again "
    "in a moment."
)

NOT_READ: Final = "Vyrox could not read its database in time. Nothing was changed: try again."

NO_RIGHT: Final = (
    "Nothing was done. This account cannot use Vyrox in this channel. If it should, ask your "
    "operator for a code (vyrox approver add), and type it here: /vyrox register CODE"
)
"""The same for every account, channel and tenant, so it says nothing about them."""


class RefusedError(Exception):
    """An interaction that is refused, with nothing changed.

    Attributes:
        step: What was wrong, for the log: one of a fixed set of words.
        text: What the person reads, who alone sees it.
        tenant_id: In whose channel it was, once that is known.
    """

    def __init__(self, step: str, text: str, tenant_id: str | None = None) -> None:
        super().__init__(step)
        self.step = step
        self.text = text
        self.tenant_id = tenant_id


def to_caller(text: str) -> Answer:
    """Return a message that only the person sees who has acted."""
    content = text if len(text) <= MAX_CONTENT else text[: MAX_CONTENT - len(CUT)] + CUT
    data = {"content": content, "flags": _TO_CALLER, "allowed_mentions": {"parse": []}}
    return {"type": 4, "data": data}


def ask_reason(custom_id: str) -> Answer:
    """Return a form for the reason to reject. Sending it is what decides."""
    field = {
        "type": 4,
        "custom_id": REASON_FIELD,
        "style": 2,
        "required": False,
        "max_length": MAX_REASON,
    }
    label = {"type": 18, "label": "Reason (you may leave it empty)", "component": field}
    data = {"custom_id": custom_id, "title": "Reject this action", "components": [label]}
    return {"type": 9, "data": data}


def block(lines: Sequence[str], end: str = "") -> str:
    """Return lines as a code block that fits into a message, and `end` below it.

    Each line is escaped, so it can neither end the block nor hide anything; in a block nothing is
    a mention or a link. Lines that do not fit are left out, which the last line says.
    """
    room = MAX_CONTENT - len(f"```\n\n{CUT}\n```\n{end}")
    kept: list[str] = []
    for line in lines:
        shown = cut(line)
        if sum(map(len, kept)) + len(kept) + len(shown) > room:
            kept.append(CUT)
            break
        kept.append(shown)
    return "```\n" + "\n".join(kept) + "\n```" + (f"\n{end}" if end else "")


def cut(line: str) -> str:
    """Return a line escaped, its indentation kept, in at most MAX_LINE characters."""
    inner = line.lstrip(" ")
    shown = " " * (len(line) - len(inner)) + in_block(inner)
    return shown if len(shown) <= MAX_LINE else shown[: MAX_LINE - len(CUT)] + CUT


def counted(count: int, one: str, many: str) -> str:
    """Return a number and the word for it."""
    return f"1 {one}" if count == 1 else f"{count} {many}"


def moment(seconds: float) -> str:
    """Return a time as a person reads it."""
    return f"{utc_text(seconds, '%Y-%m-%d %H:%M')} UTC"
