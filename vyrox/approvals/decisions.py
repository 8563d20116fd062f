"""Decisions of people, recorded for every channel and passed on at once (contract 62)."""

from collections.abc import Callable, Sequence

from vyrox import tracing
from vyrox.approvals.deciding import Proof, decide
from vyrox.approvals.rows import StoredProposal
from vyrox.clock import Clock
from vyrox.store.database import Database


class Decisions:
    """Records decisions. The channels that people use call `decide`, and nothing else decides."""

    def __init__(
        self,
        database: Database,
        check_clocks: Callable[[], None],
        now: Clock,
        notices: Sequence[Callable[[], None]],
    ) -> None:
        """Create it.

        Args:
            check_clocks: Raises UnavailableError if the clocks cannot be trusted.
            now: The clock of leases.
            notices: Called after each decision: what waits for one need not wait for its interval.
        """
        self._database = database
        self._check_clocks = check_clocks
        self._now = now
        self._notices = notices

    async def decide(self, tenant_id: str, proposal_id: str, proof: Proof) -> StoredProposal:
        """Record a decision. Raises as `deciding.decide`, and UnavailableError.

        If the caller stops waiting, the decision may be recorded all the same.
        """
        self._check_clocks()
        began = tracing.now()
        stored = await self._database.write(decide, tenant_id, proposal_id, proof, self._now())
        tracing.record(
            "decision",
            stored.proposal.alert_id,
            began,
            tenant=tenant_id,
            outcome=stored.stored_state,
        )
        for notice in self._notices:
            notice()
        return stored
