"""Sends what waits in the outbox, beside the requests: at least once, with the same id each time.

Each notification is claimed by one container. A container that is killed after sending has not
recorded that: after CLAIM_S another sends it again, and the receiver knows its id.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from cryptography.fernet import MultiFernet

from vyrox import log, metrics, tracing
from vyrox.chain.writer import ChainWriter
from vyrox.clock import Clock
from vyrox.errors import NotDeliveredError, UnavailableError
from vyrox.notify import delivery
from vyrox.notify.channels import Channels
from vyrox.notify.delivery import Attempt, Due
from vyrox.notify.targets import SealedTarget
from vyrox.notify.webhook import MAX_IN_FLIGHT, Webhooks
from vyrox.store.database import Database

MAX_PER_TARGET: Final = 2
"""Requests at the same time to one target. The next ones begin when all of these have ended."""


class Sender:
    """Sends notifications. `run` must be called often, and `drain` at the end."""

    def __init__(
        self,
        database: Database,
        writer: ChainWriter,
        vault: MultiFernet,
        webhooks: Webhooks,
        channels: Channels,
        *,
        lease_time: Clock,
        wall: Clock,
        noticed: asyncio.Event | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Begin without requests.

        Args:
            lease_time: Decides what is due, alike in all containers.
            noticed: Set when `run` may have work, by others and at the end of each request.
            wall: For the signed timestamp, which the receiver compares with its own clock.
        """
        self._database = database
        self._writer = writer
        self._vault = vault
        self._webhooks = webhooks
        self._channels = channels
        self._lease_time = lease_time
        self._wall = wall
        self._jitter = jitter
        self.noticed = noticed or asyncio.Event()
        self._sending: dict[asyncio.Task[None], str] = {}  # with the target of each
        self._is_ending = False

    async def run(self) -> None:
        """Begin to send what is due, and return while the requests go on.

        Raises:
            UnavailableError: The database is unavailable; nothing new was begun.
        """
        free = MAX_IN_FLIGHT - len(self._sending)
        now = self._lease_time()
        if self._is_ending or free <= 0 or not await self._database.read(delivery.is_any_due, now):
            return
        busy = frozenset(self._sending.values())
        due = await self._database.write(delivery.claim_due, now, free, MAX_PER_TARGET, busy)
        for each in due:
            task = asyncio.create_task(self._send_one(each))
            self._sending[task] = each.target_id
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self.noticed.set()  # more for the same target may wait

    async def drain(self) -> None:
        """Begin no more requests, and return once those in progress have ended.

        Each has a time limit. Messages to channels, which may take longer, are ended.
        """
        self._is_ending = True
        self._channels.stop()
        if self._sending:
            await asyncio.wait(self._sending)

    async def _send_one(self, due: Due) -> None:
        incident = None if due.incident is None else f"{due.tenant_id}-{due.incident}"
        try:
            with tracing.step(
                "notification", incident, tenant=due.tenant_id, incident=due.incident
            ) as span:
                attempt = await self._attempt(due)
                span.set(outcome=_outcome(attempt))
            await self._writer.commit(delivery.settle, attempt, owner=due.tenant_id)
        except UnavailableError as exc:
            # The claim expires, and the notification is sent again.
            log.event("notify.not_recorded", logging.WARNING, notification=due.id, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback; the claim expires)
            log.event("notify.failed", logging.ERROR, notification=due.id)
        else:
            _log(attempt)

    async def _attempt(self, due: Due) -> Attempt:
        if due.is_removed:
            return Attempt(due, self._lease_time(), "the target was removed")
        try:
            url, secret = SealedTarget(due.target_id, due.tenant_id, due.url, due.secret).open(
                self._vault
            )
            if due.format == "apprise":
                await self._channels.deliver(url, due.body)
            else:
                await self._webhooks.deliver(url, secret, due.id, int(self._wall()), due.body)
        except NotDeliveredError as exc:
            return self._failed(due, str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("notify.failed", logging.ERROR, notification=due.id)
            return self._failed(due, "an error inside Vyrox: see notify.failed in the log")
        return Attempt(due, self._lease_time())

    def _failed(self, due: Due, reason: str) -> Attempt:
        now = self._lease_time()
        return Attempt(due, now, reason, delivery.retry_at(due, now, self._jitter()))


_LEVELS: Final = {
    "sent": logging.INFO,
    "dead": logging.ERROR,
    "attempt_failed": logging.WARNING,
}


def _outcome(attempt: Attempt) -> str:
    if attempt.error is None:
        return "sent"
    return "dead" if attempt.retry_at is None else "attempt_failed"


def _log(attempt: Attempt) -> None:
    due, outcome = attempt.due, _outcome(attempt)
    if outcome == "sent":
        metrics.NOTIFICATION.observe(attempt.at - due.created_at)
    log.event(
        f"notify.{outcome}",
        _LEVELS[outcome],
        tenant=due.tenant_id,
        target=due.target_id,
        notification=due.id,
        incident=due.incident,
        attempts=due.attempts,
        reason=attempt.error,
    )
