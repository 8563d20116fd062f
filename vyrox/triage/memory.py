"""What people have decided, as the next verdict takes it: switched-off signals, suppressions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import NormalizedAlert
from vyrox.store.tables import disabled_signals, suppressions
from vyrox.triage.judged import Judged
from vyrox.triage.scope import traits_of
from vyrox.triage.score import Verdict
from vyrox.triage.suppressions import Known, read_holding


class Memory(msgspec.Struct, frozen=True):
    """A tenant's decisions.

    Attributes:
        disabled: Names of the signals that are switched off.
        by_shape: The suppressions of one command shape, by its key.
        by_program: Those of one program that name no shape.
        others: All others.
    """

    disabled: frozenset[str] = frozenset()
    by_shape: Mapping[str, Sequence[Known]] = {}
    by_program: Mapping[str, Sequence[Known]] = {}
    others: Sequence[Known] = ()

    def suppressed(self, alert: NormalizedAlert, verdict: Verdict) -> Verdict:
        """Return the verdict, lowered to `close` if a suppression holds for the alert."""
        if not (self.by_shape or self.by_program or self.others):
            return verdict
        traits = traits_of(alert, with_shape=bool(self.by_shape))
        possible = (
            *self.by_shape.get(traits.shape or "", ()),
            *self.by_program.get(traits.program or "", ()),
            *self.others,
        )
        for suppression_id, scope in possible:
            if scope.holds(traits, verdict):
                return msgspec.structs.replace(verdict, band="close", suppression=suppression_id)
        return verdict


def read_memory(connection: Connection, tenant_id: str, now: float) -> Memory:
    """Return the tenant's decisions that hold at `now` (Unix seconds)."""
    c = disabled_signals.c
    query = sa.select(c.signal).where(c.tenant_id == tenant_id)
    disabled = frozenset(connection.execute(query).scalars())
    return remember(read_holding(connection, tenant_id, now), disabled)


def remember(holding: Iterable[Known], disabled: frozenset[str] = frozenset()) -> Memory:
    """Return the memory of suppressions that hold; of several that fit, the first one counts."""
    by_shape: dict[str, list[Known]] = {}
    by_program: dict[str, list[Known]] = {}
    others: list[Known] = []
    for suppression_id, scope in holding:
        if scope.shape is not None:
            by_shape.setdefault(scope.shape, []).append((suppression_id, scope))
        elif scope.program is not None:
            by_program.setdefault(scope.program, []).append((suppression_id, scope))
        else:
            others.append((suppression_id, scope))
    return Memory(disabled, by_shape, by_program, others)


def still_hidden(connection: Connection, new: Sequence[Judged], now: float) -> list[Judged]:
    """Return the alerts, without a suppression that has ended since `read_memory`.

    The caller has locked the tenant, so none ends before the verdicts are committed.
    """
    ids = {each.verdict.suppression for each in new} - {None}
    if not ids:
        return list(new)
    c = suppressions.c
    query = sa.select(c.id).where(c.id.in_(ids), c.ended_at.is_(None), c.expires_at > now)
    ended = ids - set(connection.execute(query).scalars())
    return [
        msgspec.structs.replace(each, verdict=each.verdict.shown_again())
        if each.verdict.suppression in ended
        else each
        for each in new
    ]


def count_hits(connection: Connection, verdicts: Iterable[Verdict], now: float) -> None:
    """Count the alerts that each suppression has hidden, with one statement for each."""
    hits = Counter(each.suppression for each in verdicts if each.suppression is not None)
    c = suppressions.c
    for suppression_id, number in sorted(hits.items()):
        connection.execute(
            suppressions.update()
            .where(c.id == suppression_id)
            .values(hits=c.hits + number, last_hit_at=now)
        )
