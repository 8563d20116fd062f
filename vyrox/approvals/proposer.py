"""Beside the requests: proposes what incidents suggest, and pings the approvers (contract 69)."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vyrox import log
from vyrox.approvals import from_triage, pings
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.store.database import Database
from vyrox.triage.incident_ids import IncidentKey

AT_ONCE: Final = 10
"""Incidents that one transaction considers. New alerts wait for the transaction."""


class Proposer:
    """Proposes by itself. `run` must be called often."""

    def __init__(
        self,
        database: Database,
        check_clocks: Callable[[], None],
        now: Clock,
        ttl_s: int,
        notices: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Create it.

        Args:
            check_clocks: Raises UnavailableError if the clocks cannot be trusted.
            now: The clock of leases.
            ttl_s: How long a proposal may be decided on.
            notices: Called when a proposal was made or ended.
        """
        self._database = database
        self._check_clocks = check_clocks
        self._now = now
        self._ttl_s = ttl_s
        self._notices = notices

    async def run(self) -> None:
        """Propose what is new, end what nothing suggests any more, ping the approvers.

        Raises:
            UnavailableError: The clocks cannot be trusted, or the database does not respond.
        """
        changed = await self._database.read(from_triage.find_changed, self._now())
        if changed:
            self._check_clocks()
        is_news = [await self._consider(some) for some in _parts(changed)]
        if any(is_news):
            for notice in self._notices:
                notice()
        for tenant_id, proposal_id in await self._database.read(pings.find_waiting, self._now()):
            await self._database.write(pings.ping, tenant_id, proposal_id, self._now())

    async def _consider(self, some: Sequence[IncidentKey]) -> bool:
        try:
            return await self._database.write(
                from_triage.consider_each, some, self._now(), self._ttl_s
            )
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001  (logged with its traceback; one incident stops no other)
            if len(some) > 1:
                return any([await self._consider([key]) for key in some])
            [key] = some
            log.event("approval.error", logging.ERROR, tenant=key.tenant_id, incident=key.number)
            await self._database.write(from_triage.mark_seen, key)
            return False


def _parts(changed: Sequence[IncidentKey]) -> Iterator[Sequence[IncidentKey]]:
    for first in range(0, len(changed), AT_ONCE):
        yield changed[first : first + AT_ONCE]
