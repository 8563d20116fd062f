"""Answers Discord's interactions: clicks, forms and slash commands (contract 67; A29).

Discord waits three seconds. What is not known after ANSWER_S is answered as not known; what was
begun goes on, and the message shows it later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord import answers, slash
from vyrox.approvals.discord.answers import Answer, RefusedError, to_caller
from vyrox.approvals.discord.clicks import Application, Click, ClickProof, check
from vyrox.approvals.discord.composing import message_for
from vyrox.approvals.discord.interaction import Interaction, Signed
from vyrox.approvals.discord.investigate import investigate
from vyrox.approvals.discord.message import Message
from vyrox.approvals.discord.posted import find_message
from vyrox.approvals.rows import StoredProposal
from vyrox.clock import Clock
from vyrox.errors import InvalidRequestError, NotPossibleError, UnauthorizedError, UnavailableError
from vyrox.store.database import Database

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ANSWER_S: Final = 1.5
"""How long the checks and the commit may take together (A29, 8)."""

SHOW_S: Final = 0.7
"""How long reading the new state for the answer may take after that."""

_PING, _COMMAND, _BUTTON, _FORM = 1, 2, 3, 5

_NOT_DECIDED: Final = {
    "proof_used": "This press was received before. Look at the message for what it shows.",
    "requester": "Nothing was recorded: you proposed this, so another person must decide.",
}
"""What a person reads if the right was lost between the checks and the decision."""


class Interactions:
    """Answers what Discord sends, once its signature is checked."""

    def __init__(
        self,
        application: Application,
        database: Database,
        decisions: Decisions,
        now: Clock,
        console: str | None = None,
    ) -> None:
        """Create it.

        Args:
            now: The clock of leases.
            console: The origin of the console, for a link; None: no link.
        """
        self.key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(application.public_key))
        self._application = application
        self._database = database
        self._decisions = decisions
        self._now = now
        self._console = console
        self._running: set[asyncio.Task[StoredProposal]] = set()

    async def answer(self, signed: Signed, interaction: Interaction, request_id: str) -> Answer:
        """Return the response to an interaction whose signature is right: step 3 and on of A29.

        Raises:
            InvalidRequestError: It is of a type that Vyrox asks for nowhere.
        """
        if interaction.type == _PING:
            return answers.PONG
        if interaction.type not in {_COMMAND, _BUTTON, _FORM}:
            raise InvalidRequestError("this type of interaction is not used")
        deadline = asyncio.get_running_loop().time() + ANSWER_S
        try:
            if interaction.type == _COMMAND:
                return await self._command(interaction, deadline)
            return await self._click(signed, interaction, deadline)
        except RefusedError as exc:
            log.event(
                f"interaction.refused.{exc.step}",
                logging.WARNING,
                request_id=request_id,
                tenant=exc.tenant_id,
            )
            return to_caller(exc.text)

    async def drain(self) -> None:
        """Wait until the decisions in progress are recorded, or have failed."""
        if self._running:
            await asyncio.wait(self._running)

    async def _command(self, interaction: Interaction, deadline: float) -> Answer:
        command = await self._read(deadline, slash.typed, interaction, self._application)
        if command.name == slash.REGISTER:
            await self._read(deadline, slash.check_code, command, self._now())
            registering = self._database.write(slash.register, command, self._now())
            return to_caller(await _in_time(deadline, answers.NOT_BOUND_YET, registering))
        return to_caller(await self._read(deadline, slash.report, command, self._now()))

    async def _click(self, signed: Signed, interaction: Interaction, deadline: float) -> Answer:
        now = self._now()
        click = await self._read(deadline, check, interaction, self._application, now)
        if click.button == "investigate":
            return to_caller(await self._read(deadline, investigate, click.proposal))
        if click.button == "reject" and not click.is_form:
            return answers.ask_reason(click.custom_id)
        await _in_time(deadline, answers.NOT_RECORDED_YET, self._decide(signed, click))
        return await self._changed(click)

    async def _read(
        self,
        deadline: float,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
    ) -> T:
        return await _in_time(deadline, answers.NOT_READ, self._database.read(transaction, *args))

    async def _decide(self, signed: Signed, click: Click) -> None:
        """Record the decision. If the caller stops waiting, it may be recorded all the same."""
        tenant_id = click.proposal.tenant_id
        proof = ClickProof(signed, click)
        await asyncio.to_thread(proof.check)
        task = asyncio.create_task(self._decisions.decide(tenant_id, click.proposal.id, proof))
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.shield(task)
        except NotPossibleError as exc:
            raise RefusedError("decided", f"Nothing was recorded: {exc}.", tenant_id) from exc
        except UnauthorizedError as exc:
            text = _NOT_DECIDED.get(exc.kind, answers.NO_RIGHT)
            raise RefusedError("right", text, tenant_id) from exc

    def _ended(self, task: asyncio.Task[StoredProposal]) -> None:
        self._running.discard(task)
        failure = None if task.cancelled() else task.exception()
        # The person reads the other reasons, or sees in the message what was decided.
        if not isinstance(failure, NotPossibleError | UnauthorizedError | None):
            log.event("interaction.not_recorded", logging.WARNING, reason=repr(failure))

    async def _changed(self, click: Click) -> Answer:
        """Return the message as it is now, or that it will follow."""
        try:
            async with asyncio.timeout(SHOW_S):
                message = await self._database.read(_message_now, click, self._now(), self._console)
        except (TimeoutError, UnavailableError):
            message = None
        if message is None:
            return to_caller(answers.RECORDED)
        return {"type": 7, "data": message.edit()}


def _message_now(
    connection: Connection, click: Click, now: float, console: str | None
) -> Message | None:
    posted = find_message(connection, click.proposal.id)
    return None if posted is None else message_for(connection, posted, click.channel, now, console)


async def _in_time(deadline: float, otherwise: str, work: Awaitable[T]) -> T:
    """Return the result of `work`, or refuse with the text `otherwise` if it is not there in time.

    Raises:
        RefusedError: It is not there at `deadline`, or the database is not available.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except (TimeoutError, UnavailableError) as exc:
        raise RefusedError("late", otherwise) from exc
