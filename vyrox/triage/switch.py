"""Whether this container judges alerts (TRIAGE_ENABLED).

If it is not set, the worker stays off where a consumer of the customer's own reads the queue: the
worker would take its alerts.
"""

import logging
from typing import Final

import msgspec

from vyrox import log
from vyrox.alerts.consumer import AlertConsumer

OWN_PREFIX: Final = "vyrox-triage/"
"""How the names of Vyrox's own consumers begin."""

ACTIVE_S: Final = 7 * 86_400.0
"""A consumer that has not asked for alerts for so long is not in use."""


class Decision(msgspec.Struct, frozen=True):
    """Whether the worker runs, and why not."""

    is_on: bool
    reason: str | None = None


async def decide(setting: bool | None, consumer: AlertConsumer) -> Decision:
    """Return whether to judge alerts; log it if the setting leaves it open and the answer is no.

    Raises:
        UnavailableError: Redis is unavailable, so it is not known.
    """
    if setting is not None:
        return Decision(setting, None if setting else "TRIAGE_ENABLED is false")
    for other in await consumer.other_consumers(OWN_PREFIX):
        if other.pending or other.idle_s < ACTIVE_S:
            decision = Decision(
                False,
                f"the consumer {other.name[:80]!r} reads the queue of {other.tenant_id}: set "
                "TRIAGE_ENABLED=true to let Vyrox judge the alerts in its place, or =false to "
                "leave them to it",
            )
            log.event("triage.off", logging.WARNING, reason=decision.reason)
            return decision
    return Decision(True)
