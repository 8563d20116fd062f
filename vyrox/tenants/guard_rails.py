"""What a tenant's operator has ruled out, whoever approves it (contract 35).

They are checked in the transaction that claims, so two requests cannot both take the last slot.
"""

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.models import Device, EdrVendor, NormalizedAlert, normal_host
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import containments_begun, guard_rails, tenant_credentials
from vyrox.tenants import device_names
from vyrox.tenants.device_names import Named
from vyrox.tenants.freezes import EVERY_TENANT

HOUR_S: Final = 3600

FUTURE_S: Final = 5.0
"""A containment that was begun by so much later than now still counts: two containers measure the
database's time with a small error. One from further in the future comes from a wrong clock."""

MAX_RULES: Final = 1000
"""Of one tenant's never-contain list, which every containment of the tenant reads."""

RuleKind = Literal["device", "host", "tag"]

OtherHosts = Literal["refuse", "allow"]
"""Whether a host that the alert does not name may be contained."""

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
        frozen_at: Of the tenant's own freeze.
        all_frozen_at: Of the freeze of every tenant, which is not the tenant's to end.
        per_hour: Containments that may be begun in an hour; 0 is no limit.
        never_contain: `device:ID`, `host:PATTERN` or `tag:TAG`, as `check_rule` returns them.
        known_alerts_only: Whether a containment must name an alert that is stored.
    """

    frozen_at: float | None = None
    per_hour: int = 0
    never_contain: tuple[str, ...] = ()
    all_frozen_at: float | None = None
    other_hosts: OtherHosts = "allow"
    known_alerts_only: bool = False

    @property
    def is_frozen(self) -> bool:
        """Whether nothing may be carried out."""
        return self.frozen_at is not None or self.all_frozen_at is not None


NONE: Final = Rails()


class GuardRails:
    """The guard rails of some tenants, in one transaction that claims for them."""

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
        """Return the rule against lifting anything, or None.

        Lifting goes on for a removed tenant: its hosts must not stay contained for ever.
        """
        return "frozen" if self.of(tenant_id).is_frozen else None

    def broken_by_request(self, tenant_id: str, alert: NormalizedAlert | None) -> str | None:
        """Return the rule against containing anything because of `alert`, or None.

        Args:
            alert: None if the request names no alert that is stored.
        """
        if self.of(tenant_id).is_frozen:
            return "frozen"
        if tenant_id in self._removed:
            return "the tenant is removed"
        if alert is None and self.of(tenant_id).known_alerts_only:
            return "the alert is not known"
        return None

    def needs_device(self, tenant_id: str, alert: NormalizedAlert | None) -> bool:
        """Return whether the rules depend on which device the vendor finds."""
        rails = self.of(tenant_id)
        return bool(rails.never_contain) or (rails.other_hosts == "refuse" and _names_host(alert))

    def broken_by_device(
        self, tenant_id: str, device: Device, alert: NormalizedAlert | None
    ) -> str | None:
        """Return the rule against containing `device` because of `alert`, or None."""
        rails = self.of(tenant_id)
        other = rails.other_hosts == "refuse" and _names_host(alert)
        if other and not is_of_alert(device, alert):
            return "host is not the alert's"
        for rule in rails.never_contain:
            if matches(rule, device):
                return f"never_contain {rule}"
        return None

    def broken_by_limit(self, tenant_id: str) -> str | None:
        """Return the limit that is used up, or None."""
        per_hour = self.of(tenant_id).per_hour
        used_up = per_hour and self.begun_in_hour(tenant_id) >= per_hour
        return f"per_hour {per_hour}" if used_up else None

    def begun_in_hour(self, tenant_id: str) -> int:
        """Return how many containments of the tenant count for its limit."""
        if tenant_id not in self._begun_before:
            before = count_begun(self._connection, tenant_id, self._now)
            self._begun_before[tenant_id] = before
        return self._begun_before[tenant_id] + self._begun[tenant_id]

    def note_begun(self, tenant_id: str) -> None:
        """Count a containment that is begun with this transaction."""
        self._begun[tenant_id] += 1

    def store_begun(self) -> None:
        """Write down what `note_begun` has counted, so that it counts for an hour."""
        rows = [(tenant_id, self._now) for tenant_id in self._begun.elements()]
        insert_rows(self._connection, containments_begun, rows)


def count_begun(connection: Connection, tenant_id: str, now: float) -> int:
    """Return how many containments the tenant has begun in the hour before `now`.

    Dry runs and failures count. The audit log is not asked: a chain's time never runs backwards, so
    one entry from a clock far ahead would count for as long as the clock was ahead.
    """
    parameters = {"tenant": tenant_id, "after": now - HOUR_S, "until": now + FUTURE_S}
    return connection.execute(_COUNT_BEGUN, parameters).scalar_one()


def forget_begun(connection: Connection, now: float) -> None:
    """Delete what counts for no limit any more."""
    connection.execute(containments_begun.delete().where(_b.begun_at <= now - HOUR_S))


def is_of_alert(device: Device, alert: NormalizedAlert | None) -> bool:
    """Return whether `alert` names `device`: by its id or, in either spelling, by its host name."""
    if alert is None:
        return False
    if alert.device_id and normal_host(alert.device_id) == normal_host(device.id):
        return True
    if not alert.hostname or not device.hostname:
        return False
    return _is_same_name(alert.hostname, device.hostname)


def _names_host(alert: NormalizedAlert | None) -> bool:
    return alert is not None and bool(alert.device_id or alert.hostname)


def _is_same_name(one: str, other: str) -> bool:
    """Return whether both are one host's name; either may leave out the domain."""
    host, _, domain = one.lower().partition(".")
    other_host, _, other_domain = other.lower().partition(".")
    return host == other_host and (domain == other_domain or not (domain and other_domain))


def find_named(
    connection: Connection, rule: str, tenant_id: str, vendor: EdrVendor | None, device: Device
) -> Named | None:
    """Return the names of a device that `rule` refuses, or None if it is no rule for host names."""
    if not rule.startswith("never_contain host:"):
        return None
    seen = () if vendor is None else device_names.find(connection, tenant_id, vendor, device.id)
    return Named(device.id, device.hostname, seen)


def matches(rule: str, device: Device) -> bool:
    """Return whether `device` is, or may be, one that `rule` is about.

    Either may leave out the domain. A name or a list of tags that the vendor does not give may be
    any.
    """
    kind, _, value = rule.partition(":")
    match kind:
        case "device":
            return value == normal_host(device.id)
        case "host":
            if not device.hostname:
                return True
            name = device.hostname.lower()
            label = value.partition(".")[0]
            if "." not in name and label.strip("*?") and fnmatchcase(name, label):
                return True  # the vendor leaves out the domain, and the rule does not
            return fnmatchcase(name, value) or fnmatchcase(name.partition(".")[0], value)
        case _:
            if device.tags is None:
                return True
            # CrowdStrike puts the kind of a tag before it: FalconGroupingTags/tier0.
            tags = [tag.lower() for tag in device.tags]
            return any(value in {tag, tag.rpartition("/")[2]} for tag in tags)


def check_rule(text: str) -> str:
    """Return a rule of the never-contain list in the one form in which it is stored.

    Raises:
        ValueError: It is none; the text says what one is.
    """
    kind, separator, value = text.partition(":")
    value = value.strip()
    if kind not in get_args(RuleKind) or not separator or not 1 <= len(value) <= 256:
        raise ValueError("must be device:ID, host:PATTERN or tag:TAG, each of 1 to 256 characters")
    return f"{kind}:{normal_host(value) if kind == 'device' else value.lower()}"


def find(connection: Connection, tenant_ids: Iterable[str]) -> dict[str, Rails]:
    """Return the guard rails of each of the tenants."""
    wanted = set(tenant_ids)
    rows = connection.execute(_FIND, {"tenants": sorted({EVERY_TENANT, *wanted})})
    return _in_force(rows, wanted)


def list_all(connection: Connection) -> tuple[Rails, dict[str, Rails]]:
    """Return the guard rails of a tenant that has none of its own, and those of all that have."""
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
        )
    return in_force


def store(connection: Connection, tenant_id: str, rails: Rails, change: str, now: float) -> int:
    """Make `rails` the tenant's guard rails, and record what has changed; return their version.

    The caller holds the lock `containments` since it read the earlier ones: no change is lost, and
    no claim that has read them commits later.
    """
    newest = connection.execute(_NEWEST).scalar() or 0
    values = {
        "frozen_at": rails.frozen_at,
        "per_hour": rails.per_hour,
        "never_contain": msgspec.json.encode(rails.never_contain).decode(),
        "other_hosts": rails.other_hosts,
        "known_alerts_only": rails.known_alerts_only,
        "version": newest + 1,
    }
    connection.execute(guard_rails.delete().where(_t.tenant_id == tenant_id))
    connection.execute(guard_rails.insert().values(tenant_id=tenant_id, **values))
    append(connection, [event("tenant.changed", tenant_id, None, source=None, change=change)], now)
    return newest + 1


class Frozen(msgspec.Struct, frozen=True):
    """What became of a freeze, or of its end.

    Attributes:
        changed: False where it was so before.
        rails: In force from now on.
        version: A container that has read this version has read the change.
    """

    changed: bool
    rails: Rails
    version: int


def freeze(connection: Connection, tenant_id: str, now: float, *, frozen: bool) -> Frozen:
    """Stop, or allow again, whatever acts for the tenant, or for EVERY_TENANT."""
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
    return Frozen(True, after, store(connection, tenant_id, after, change, now))


def refuse_other_hosts(connection: Connection, tenant_id: str, now: float) -> None:
    """Refuse hosts that the alert does not name, from now on: the default of a new tenant."""
    lock(connection, "containments")
    rails = find(connection, [tenant_id])[tenant_id]
    if rails.other_hosts != "refuse":
        changed = msgspec.structs.replace(rails, other_hosts="refuse")
        store(connection, tenant_id, changed, "policy: other_hosts refuse", now)
