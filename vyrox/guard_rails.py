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

from vyrox import devices
from vyrox.chain.writer import append
from vyrox.db.postgres import insert_postgres
from vyrox.db.sqlite import insert_sqlite
from vyrox.db.tables import containments_begun, guard_rails
from vyrox.edr import Device
from vyrox.edr.actions import normal_host
from vyrox.events import event

HOUR_S: Final = 3600

FUTURE_S: Final = 5.0
"""A containment that was begun by so much later than now still counts: two containers measure the
database's time with a small error. One from further in the future comes from a wrong clock."""

MAX_RULES: Final = 1000
"""Of one tenant's never-contain list, which every containment of the tenant reads."""

RuleKind = Literal["device", "host", "tag"]

_t: Final = guard_rails.c
_FIND: Final = sa.select(guard_rails).where(
    _t.tenant_id.in_(sa.bindparam("tenants", expanding=True))
)
_b: Final = containments_begun.c
_COUNT_BEGUN: Final = sa.select(sa.func.count()).where(
    _b.tenant_id == sa.bindparam("tenant"),
    _b.begun_at > sa.bindparam("after"),
    _b.begun_at <= sa.bindparam("until"),
)
_INTO_BEGUN: Final = "containments_begun (tenant_id, begun_at)"
_POSTGRES_BEGUN: Final = f"""
INSERT INTO {_INTO_BEGUN} SELECT * FROM unnest($1::text[], $2::float8[])
"""  # noqa: S608  (our own text)


class Rails(msgspec.Struct, frozen=True):
    """One tenant's guard rails.

    Attributes:
        per_hour: Containments that may be begun in an hour; 0 is no limit.
        never_contain: `device:ID`, `host:PATTERN` or `tag:TAG`, as `check_rule` returns them.
    """

    frozen_at: float | None = None
    per_hour: int = 0
    never_contain: tuple[str, ...] = ()


NONE: Final = Rails()


class GuardRails:
    """The guard rails of some tenants, in one transaction that claims for them."""

    def __init__(self, connection: Connection, tenant_ids: Iterable[str], now: float) -> None:
        self._connection = connection
        self._now = now
        self._rails = find(connection, tenant_ids)
        self._begun: Counter[str] = Counter()

    def protects_devices(self, tenant_id: str) -> bool:
        """Return whether there are devices that must not be contained."""
        return bool(self._rails.get(tenant_id, NONE).never_contain)

    def broken_by_lift(self, tenant_id: str) -> str | None:
        """Return the rule that stands against lifting anything, if one does."""
        return "frozen" if self._rails.get(tenant_id, NONE).frozen_at is not None else None

    def broken_by(self, tenant_id: str, device: Device) -> str | None:
        """Return the rule that stands against acting on `device`, if one does."""
        rails = self._rails.get(tenant_id, NONE)
        if rails.frozen_at is not None:
            return "frozen"
        for rule in rails.never_contain:
            if matches(rule, device):
                return f"never_contain {rule}"
        if rails.per_hour and self._is_used_up(tenant_id, rails.per_hour):
            return f"per_hour {rails.per_hour}"
        return None

    def note_begun(self, tenant_id: str) -> None:
        """Count a containment that is begun with this transaction."""
        self._begun[tenant_id] += 1

    def store_begun(self) -> None:
        """Write down what `note_begun` has counted, so that it counts for an hour."""
        rows: list[tuple[object, ...]] = [(each, self._now) for each in self._begun.elements()]
        if not rows:
            return
        if self._connection.dialect.name == "postgresql":
            insert_postgres(self._connection, _POSTGRES_BEGUN, rows)
        else:
            insert_sqlite(self._connection, _INTO_BEGUN, rows)

    def _is_used_up(self, tenant_id: str, per_hour: int) -> bool:
        before = count_begun(self._connection, tenant_id, self._now)
        return before + self._begun[tenant_id] >= per_hour


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


def matches(rule: str, device: Device) -> bool:
    """Return whether `device` is, or may be, one that `rule` is about.

    Either may leave out the domain.
    """
    kind, _, value = rule.partition(":")
    match kind:
        case "device":
            return value == normal_host(device.id)
        case "host":
            if not device.hostname:
                return True  # nobody can tell that it is another
            name = device.hostname.lower()
            label = value.partition(".")[0]
            if "." not in name and label.strip("*?") and fnmatchcase(name, label):
                return True  # the vendor leaves out the domain, and the rule does not
            return fnmatchcase(name, value) or fnmatchcase(name.partition(".")[0], value)
        case _:
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
    """Return the guard rails of those tenants that have any."""
    rows = connection.execute(_FIND, {"tenants": sorted(set(tenant_ids))})
    return {
        row.tenant_id: Rails(
            row.frozen_at,
            row.per_hour,
            msgspec.json.decode(row.never_contain, type=tuple[str, ...]),
        )
        for row in rows
    }


def store(connection: Connection, tenant_id: str, rails: Rails, change: str, now: float) -> None:
    """Make `rails` the tenant's guard rails, and tell what has changed.

    The caller holds `devices.lock` since it read the ones before: no change is lost, and no claim
    that has read them commits later.
    """
    connection.execute(guard_rails.delete().where(_t.tenant_id == tenant_id))
    connection.execute(
        guard_rails.insert().values(
            tenant_id=tenant_id,
            frozen_at=rails.frozen_at,
            per_hour=rails.per_hour,
            never_contain=msgspec.json.encode(rails.never_contain).decode(),
        )
    )
    append(connection, [event("tenant.changed", tenant_id, None, source=None, change=change)], now)


def freeze(connection: Connection, tenant_id: str, now: float, *, frozen: bool) -> bool:
    """Stop, or allow again, whatever acts for the tenant; return whether that is a change."""
    devices.lock(connection)
    rails = find(connection, [tenant_id]).get(tenant_id, NONE)
    if (rails.frozen_at is not None) == frozen:
        return False
    changed = msgspec.structs.replace(rails, frozen_at=now if frozen else None)
    store(connection, tenant_id, changed, "frozen" if frozen else "unfrozen", now)
    return True
