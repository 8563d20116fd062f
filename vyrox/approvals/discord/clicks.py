"""A button or a form under a proposal: steps 4 to 7 of A29, and the proof (contract 67).

Discord signs the account, the digest, and the message as Discord had it. So the body alone shows
who decided what under which text, and everything here is checked against the body.
"""

import base64
import re
from typing import Final, Literal, cast

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.approvers import present
from vyrox.approvals.deciding import Verified, may_decide
from vyrox.approvals.discord.answers import NO_RIGHT, NOT_OWN, RefusedError
from vyrox.approvals.discord.configured import (
    Channel,
    channel_of,
    find_channel,
    is_snowflake,
)
from vyrox.approvals.discord.interaction import Interaction, Message, Signed
from vyrox.approvals.discord.posted import Posted, find_message
from vyrox.approvals.display import display
from vyrox.approvals.rows import Decision, StoredProposal
from vyrox.approvals.rules import FOUR_EYES, list_rules
from vyrox.chain import verify
from vyrox.chain.entry import Scalar
from vyrox.errors import UnauthorizedError

MAX_PROOF_BYTES: Final = verify.MAX_BODY_BYTES
"""Of a body that becomes a proof: in base64 it must fit into an entry (A35)."""

ButtonName = Literal["approve", "reject", "investigate"]

_BUTTONS: Final[dict[str, ButtonName]] = {"a": "approve", "r": "reject", "i": "investigate"}
_CUSTOM_ID: Final = re.compile(r"v1:([ari]):([A-Za-z0-9_-]{43})")
_FORM: Final = 5

_OLD: Final = "Nothing was recorded. Press a button under the newest message of this proposal."


class Application(msgspec.Struct, frozen=True):
    """Vyrox's own application at Discord. `public_key` is hex."""

    id: str
    public_key: str


class Click(msgspec.Struct, frozen=True):
    """A click that has passed steps 4 to 7.

    Attributes:
        approver: Whose account has clicked.
    """

    button: ButtonName
    custom_id: str
    interaction_id: str
    is_form: bool
    reason: str
    channel: Channel
    proposal: StoredProposal
    approver: str
    user_id: str


def check(
    connection: Connection, interaction: Interaction, application: Application, now: float
) -> Click:
    """Return the click, once steps 4 to 7 of A29 hold, in their order.

    Args:
        now: By the clock of leases.

    Raises:
        RefusedError: One does not hold.
    """
    channel = checked_channel(connection, interaction, application)
    try:
        return _checked(connection, interaction, channel, now)
    except RefusedError as exc:
        exc.tenant_id = channel.tenant_id
        raise


def _checked(
    connection: Connection, interaction: Interaction, channel: Channel, now: float
) -> Click:
    custom_id = (interaction.data.custom_id if interaction.data is not None else None) or ""
    button, sha256 = _pressed(interaction, custom_id)
    stored = _proposal(connection, channel.tenant_id, sha256, button, now)
    posted = find_message(connection, stored.id)
    _check_message(interaction.message, custom_id, stored, posted, channel)
    user_id = "" if interaction.member is None else interaction.member.user.id
    return Click(
        button=button,
        custom_id=custom_id,
        interaction_id=interaction.id,
        is_form=interaction.type == _FORM,
        reason=interaction.reason,
        channel=channel,
        proposal=stored,
        approver=_approver(connection, stored, button, user_id),
        user_id=user_id,
    )


def checked_channel(
    connection: Connection, interaction: Interaction, application: Application
) -> Channel:
    """Return the channel of one tenant in which the person has acted: step 4.

    Raises:
        RefusedError: The interaction is of another application, or of no tenant's channel.
    """
    if interaction.application_id != application.id:
        raise RefusedError("application", NO_RIGHT)
    guild_id, channel_id = interaction.guild_id, interaction.channel_id
    channel = find_channel(connection, guild_id, channel_id) if guild_id and channel_id else None
    if channel is None:
        raise RefusedError("channel", NO_RIGHT)
    if (channel.application_id, channel.public_key) != (application.id, application.public_key):
        raise RefusedError(
            "channel",
            "Nothing was recorded: this channel was set up for another application. Ask your "
            "operator to run: vyrox discord setup",
        )
    return channel


def find_approver(connection: Connection, tenant_id: str, user_id: str) -> str:
    """Return the approver of the tenant whose account it is.

    Raises:
        RefusedError: The account is of no approver.
    """
    for name, approver in present(connection, tenant_id).items():
        if approver.discord_user_id is not None and approver.discord_user_id == user_id:
            return name
    raise RefusedError("approver", NO_RIGHT)


def _pressed(interaction: Interaction, custom_id: str) -> tuple[ButtonName, str]:
    """Return the button, and the digest that it carries: step 5."""
    found = _CUSTOM_ID.fullmatch(custom_id)
    if found is None:
        raise RefusedError("custom_id", _OLD)
    button, digest = _BUTTONS[found[1]], _digest(found[2])
    if interaction.type == _FORM and button != "reject":
        raise RefusedError("custom_id", _OLD)
    if not is_snowflake(interaction.id):
        raise RefusedError("interaction_id", _OLD)
    return button, digest


def _digest(text: str) -> str:
    """Return the digest in hex. Each digest has one form only."""
    digest = base64.urlsafe_b64decode(text + "=")
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != text:
        raise RefusedError("custom_id", _OLD)
    return digest.hex()


def _proposal(
    connection: Connection, tenant_id: str, sha256: str, button: ButtonName, now: float
) -> StoredProposal:
    stored = rows.find_by_digest(connection, tenant_id, sha256)
    if stored is None:
        raise RefusedError("proposal", _OLD)
    try:
        stored.proposal  # noqa: B018  (raises if the text was changed)
    except ValueError as exc:
        raise RefusedError(
            "proposal", "Nothing was recorded: the proposal was changed in the database."
        ) from exc
    state = stored.state_at(now)
    if button != "investigate" and state != "pending":
        raise RefusedError("state", f"Nothing was recorded: this proposal is {state} already.")
    return stored


def _check_message(
    message: Message | None,
    custom_id: str,
    stored: StoredProposal,
    posted: Posted | None,
    channel: Channel,
) -> None:
    """Check that the person has pressed under Vyrox's own message, with its text whole: step 6."""
    if message is None or posted is None or message.id != posted.message_id:
        raise RefusedError("message", NOT_OWN)
    ids = {button.custom_id for row in message.components for button in row.components}
    if message.author.id != channel.bot_user_id or custom_id not in ids:
        raise RefusedError("message", _OLD)
    if not message.content.endswith(f"```\n{display(stored.proposal)}\n```"):
        raise RefusedError(
            "content",
            "Nothing was recorded: the message does not show the whole proposal. Decide in the "
            "console, and tell your operator.",
        )


def _approver(
    connection: Connection, stored: StoredProposal, button: ButtonName, user_id: str
) -> str:
    """Return who has pressed: step 7. `decide` checks all of it again, when it records."""
    name = find_approver(connection, stored.tenant_id, user_id)
    if button == "investigate":
        return name
    has_four_eyes = FOUR_EYES in list_rules(connection, stored.tenant_id)
    if not may_decide(stored.proposal, name, "discord", has_four_eyes=has_four_eyes):
        raise RefusedError(
            "requester",
            "Nothing was recorded: you proposed this, so another person must decide on it here.",
        )
    for each in rows.decisions_on(connection, stored.id):
        if each.approver == name:
            raise RefusedError(
                "decided",
                f"You have decided on this already: {each.decision}. Decisions are final.",
            )
    return name


class ClickProof:
    """A click as the proof of a decision. Call `check` before `Decisions.decide`."""

    def __init__(self, signed: Signed, click: Click) -> None:
        """`click` has passed steps 4 to 7."""
        self._signed = signed
        self._click = click
        self._decision = cast("Decision", click.button)

    @property
    def members(self) -> dict[str, Scalar]:
        """What the event holds of the click (A34)."""
        return {
            "signature_timestamp": self._signed.timestamp,
            "body": base64.urlsafe_b64encode(self._signed.body).rstrip(b"=").decode(),
            "signature": self._signed.signature,
        }

    def check(self) -> None:
        """Take the auditor's steps (A36). It takes some milliseconds, so not in a transaction.

        Raises:
            RefusedError: An auditor would refuse this proof.
        """
        if len(self._signed.body) > MAX_PROOF_BYTES:
            raise RefusedError(
                "size",
                "Nothing was recorded: the message is too long to be stored as a proof. Decide in "
                "the console.",
            )
        click = self._click
        decided = {
            **self.members,
            "proposal_sha256": click.proposal.sha256,
            "decision": self._decision,
            "approver": click.approver,
        }
        try:
            discord = verify.check_discord_configuration(msgspec.structs.asdict(click.channel))
            text = click.proposal.text.decode()
            proposal = verify.check_proposal(text, click.proposal.sha256)
            verify.check_discord(decided, proposal, discord, click.user_id)
        except verify.RefusedProofError as exc:
            raise RefusedError(
                "proof",
                f"Nothing was recorded: an auditor would refuse this click ({exc}). Decide in the "
                "console, and tell your operator.",
            ) from exc

    def verify(self, connection: Connection, tenant_id: str, _now: float) -> Verified:
        """Return what the click says, if what it was checked against is still so.

        Raises:
            UnauthorizedError: The channel or the account's approver has changed since.
        """
        click = self._click
        approver = present(connection, tenant_id).get(click.approver)
        if approver is None or approver.discord_user_id != click.user_id:
            raise UnauthorizedError("not_an_approver", tenant_id)
        if channel_of(connection, tenant_id) != click.channel:
            raise UnauthorizedError("other_channel", tenant_id)
        return Verified(
            kind="discord",
            approver=click.approver,
            proposal_sha256=click.proposal.sha256,
            decision=self._decision,
            key=f"discord:{click.interaction_id}",
            members=self.members,
            comment=click.reason,
        )
