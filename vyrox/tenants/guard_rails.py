"""Guard rails: a tenant's limits on containment, whatever was approved (contract 35).

They are checked in the transaction of the claim, so two requests cannot both use the last slot.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.models import Device, NormalizedAlert
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import containments_begun, guard_rails, tenant_credentials
from vyrox.tenants.device_rules import is_of_alert, matches
from vyrox.tenants.freezes import EVERY_TENANT

HOUR_S: Final = 3600

FUTURE_S: Final = 5.0
"""How far in the future a containment may begin and still count: two containers measure the
database's time with a small error. A later time is the result of a wrong clock."""

Propose = Literal["urgent", "review", "none"]
"""From which band on Vyrox proposes by itself what an incident suggests."""

OtherHosts = Literal["refuse", "allow"]
"""Whether to refuse or to allow the containment of a host that the alert does not name."""

_t: Final = guard_rails.c
_FIND: Final = sa.select(guard_rails).where(
    _t.tenant_id.in_(sa.bindparam("tenants", expanding=True))
)
_NEWEST: Final = sa.select(sa.func.max(_t.version))
_REMOVED: Final = (
    sa.select(tenant_credentials.c.tenant_id)
    .where(tenant_credentials.c.tenant_id.in_(sa.bindparam("tenants", expanding=True)))
    .group_by(tenant_credentials.c.tenant_id)
    .having(sa.func.count() == sa.func.count(tenant_credentials.c.disabled_at))
)
_b: Final = containments_begun.c
_COUNT_BEGUN: Final = sa.select(sa.func.count()).where(
    _b.tenant_id == sa.bindparam("tenant"),
    _b.begun_at > sa.bindparam("after"),
    _b.begun_at <= sa.bindparam("until"),
)


class Rails(msgspec.Struct, frozen=True):
    """One tenant's guard rails.

    Attributes:
        frozen_at: When the tenant was frozen.
        per_hour: How many containments may begin in an hour; 0 means no limit.
        never_contain: `device:ID`, `host:PATTERN` or `tag:TAG`, as `check_rule` returns them.
        all_frozen_at: When all tenants were frozen.
        known_alerts_only: Whether a containment must name an alert that is stored.
        propose: What Vyrox proposes by itself. No guard rail, but set at the same place.
    """

    frozen_at: float | None = None
    per_hour: int = 0
    never_contain: tuple[str, ...] = ()
    all_frozen_at: float | None = None
    other_hosts: OtherHosts = "allow"
    known_alerts_only: bool = False
    propose: Propose = "urgent"

    @property
    def is_frozen(self) -> bool:
        """Whether no action may be carried out."""
        return self.frozen_at is not None or self.all_frozen_at is not None


NONE: Final = Rails()


class GuardRails:
    """The guard rails of some tenants, in one transaction that makes claims for them."""

    def __init__(self, connection: Connection, tenant_ids: Iterable[str], now: float) -> None:
        tenants = sorted(set(tenant_ids))
        self._connection = connection
        self._now = now
        self._rails = find(connection, tenants)
        self._removed = set(connection.execute(_REMOVED, {"tenants": tenants}).scalars())
        self._begun: Counter[str] = Counter()  # in this transaction
        self._begun_before: dict[str, int] = {}

    def of(self, tenant_id: str) -> Rails:
        """Return the tenant's guard rails."""
        return self._rails[tenant_id]

    def broken_by_lift(self, tenant_id: str) -> str | None:
        """Return the rule that refuses a lift, or None.

        A lift for a removed tenant is allowed: its hosts must not stay contained for ever.
        """
        return "frozen" if self.of(tenant_id).is_frozen else None

    def broken_by_request(self, tenant_id: str, alert: NormalizedAlert | None) -> str | None:
        """Return the rule that refuses any containment because of `alert`, or None.

        Args:
            alert: The alert of the request, or None if it is not stored.
        """
        if self.of(tenant_id).is_frozen:
            return "frozen"
        if tenant_id in self._removed:
            return "the tenant is removed"
        if alert is None and self.of(tenant_id).known_alerts_only:
            return "the alert is not known"
        return None

    def needs_device(self, tenant_id: str, alert: NormalizedAlert | None) -> bool:
        """Return whether a rule must be checked against the device that the vendor finds."""
        rails = self.of(tenant_id)
        return bool(rails.never_contain) or (rails.other_hosts == "refuse" and _names_host(alert))

    def broken_by_device(
        self, tenant_id: str, device: Device, alert: NormalizedAlert | None
    ) -> str | None:
        """Return the rule that refuses to contain `device` because of `alert`, or None."""
        rails = self.of(tenant_id)
        same_host_only = rails.other_hosts == "refuse" and _names_host(alert)
        if same_host_only and not is_of_alert(device, alert):
            return "host is not the alert's"
        for rule in rails.never_contain:
            if matches(rule, device):
                return f"never_contain {rule}"
        return None

    def broken_by_limit(self, tenant_id: str) -> str | None:
        """Return the limit that is reached, or None."""
        per_hour = self.of(tenant_id).per_hour
        is_reached = per_hour and self.begun_in_hour(tenant_id) >= per_hour
        return f"per_hour {per_hour}" if is_reached else None

    def begun_in_hour(self, tenant_id: str) -> int:
        """Return how many of the tenant's containments count for its limit."""
        if tenant_id not in self._begun_before:
            before = count_begun(self._connection, tenant_id, self._now)
            self._begun_before[tenant_id] = before
        return self._begun_before[tenant_id] + self._begun[tenant_id]

    def note_begun(self, tenant_id: str) -> None:
        """Count a containment that begins in this transaction."""
        self._begun[tenant_id] += 1

    def store_begun(self) -> None:
        """Store the containments that `note_begun` has counted; they count for an hour."""
        rows = [(tenant_id, self._now) for tenant_id in self._begun.elements()]
        insert_rows(self._connection, containments_begun, rows)


def count_begun(connection: Connection, tenant_id: str, now: float) -> int:
    """Return how many containments of the tenant began in the hour before `now`.

    Dry runs and failures count. This does not read the audit log, whose times never decrease: after
    one entry from a clock that was far ahead, later entries would have a wrong time.
    """
    parameters = {"tenant": tenant_id, "after": now - HOUR_S, "until": now + FUTURE_S}
    return connection.execute(_COUNT_BEGUN, parameters).scalar_one()


def forget_begun(connection: Connection, now: float) -> None:
    """Delete the containments that no longer count for a limit."""
    connection.execute(containments_begun.delete().where(_b.begun_at <= now - HOUR_S))


def _names_host(alert: NormalizedAlert | None) -> bool:
    return alert is not None and bool(alert.device_id or alert.hostname)


def has_row(connection: Connection, tenant_id: str) -> bool:
    """Return whether an operator has set guard rails of this tenant, or frozen it."""
    return connection.execute(_FIND, {"tenants": [tenant_id]}).first() is not None


def find(connection: Connection, tenant_ids: Iterable[str]) -> dict[str, Rails]:
    """Return the guard rails of each of the tenants."""
    wanted = set(tenant_ids)
    rows = connection.execute(_FIND, {"tenants": sorted({EVERY_TENANT, *wanted})})
    return _in_force(rows, wanted)


def list_all(connection: Connection) -> tuple[Rails, dict[str, Rails]]:
    """Return the guard rails of tenants without a row, and those of each tenant with a row."""
    stored = _in_force(connection.execute(sa.select(guard_rails)), {EVERY_TENANT})
    return stored.pop(EVERY_TENANT), stored


def _in_force(rows: Iterable[sa.Row[tuple[object, ...]]], wanted: set[str]) -> dict[str, Rails]:
    by_tenant = {row.tenant_id: row for row in rows}
    every = by_tenant.pop(EVERY_TENANT, None)
    all_frozen_at = None if every is None else every.frozen_at
    in_force = dict.fromkeys(wanted, Rails(all_frozen_at=all_frozen_at))
    for tenant_id, row in by_tenant.items():
        in_force[tenant_id] = Rails(
            frozen_at=row.frozen_at,
            per_hour=row.per_hour,
            never_contain=msgspec.json.decode(row.never_contain, type=tuple[str, ...]),
            all_frozen_at=all_frozen_at,
            other_hosts=row.other_hosts,
            known_alerts_only=row.known_alerts_only,
            propose=row.propose,
        )
    return in_force


def store(
    connection: Connection,
    tenant_id: str,
    rails: Rails,
    change: str,
    now: float,
    by: str | None = None,
) -> int:
    """Replace the tenant's guard rails, and record the `change`; return the new version.

    The caller has had the lock `containments` since it read the earlier guard rails. So no change
    is lost, and no claim that has read the earlier ones can commit after this.

    Args:
        by: The person, if that is known.
    """
    newest = connection.execute(_NEWEST).scalar() or 0
    values = {
        "frozen_at": rails.frozen_at,
        "per_hour": rails.per_hour,
        "never_contain": msgspec.json.encode(rails.never_contain).decode(),
        "other_hosts": rails.other_hosts,
        "known_alerts_only": rails.known_alerts_only,
        "propose": rails.propose,
        "version": newest + 1,
    }
    connection.execute(guard_rails.delete().where(_t.tenant_id == tenant_id))
    connection.execute(guard_rails.insert().values(tenant_id=tenant_id, **values))
    known = {} if by is None else {"by": by}
    changed = event("tenant.changed", tenant_id, None, source=None, change=change, **known)
    append(connection, [changed], now)
    return newest + 1


class Frozen(msgspec.Struct, frozen=True):
    """The result of `freeze`.

    Attributes:
        changed: False if nothing had to be changed.
        rails: The guard rails from now on.
        version: A container that has read this version has read the change.
    """

    changed: bool
    rails: Rails
    version: int


def freeze(
    connection: Connection, tenant_id: str, now: float, *, frozen: bool, by: str | None = None
) -> Frozen:
    """Stop all actions for the tenant, or for EVERY_TENANT; or allow them again."""
    lock(connection, "containments")
    before = find(connection, [tenant_id])[tenant_id]
    if tenant_id == EVERY_TENANT:
        before = Rails(frozen_at=before.all_frozen_at)
    if (before.frozen_at is not None) == frozen:
        return Frozen(False, before, connection.execute(_NEWEST).scalar() or 0)
    after = msgspec.structs.replace(before, frozen_at=now if frozen else None)
    change = "frozen" if frozen else "unfrozen"
    if tenant_id == EVERY_TENANT:
        change = f"every tenant {change}"
    return Frozen(True, after, store(connection, tenant_id, after, change, now, by))


def refuse_other_hosts(connection: Connection, tenant_id: str, now: float) -> None:
    """Refuse hosts that the alert does not name: the default for a tenant without guard rails."""
    lock(connection, "containments")
    if has_row(connection, tenant_id):
        return
    rails = Rails(other_hosts="refuse")
    store(connection, tenant_id, rails, "policy: other_hosts refuse", now)
