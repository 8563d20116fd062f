"""How the service is: what `vyrox status` shows, read from the database (contract 86).

What is wrong comes from `console.sources`, as on the console's first page.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.quarantine_review import count_quarantined
from vyrox.approvals.break_glass import open_of
from vyrox.approvals.contained import list_contained
from vyrox.approvals.waiting import list_waiting
from vyrox.approvals.why_contained import count_waiting
from vyrox.clock import utc_text
from vyrox.console import sources
from vyrox.console.sources import STORES, TITLES, Service, Source, Trouble
from vyrox.store.tables import alerts, heartbeat
from vyrox.tenants import guard_rails
from vyrox.tenants.containers import Reported
from vyrox.tenants.records import list_tenants

MAX_COUNTED: Final = 10_000
"""More alerts are not counted to their end."""

LATE_S: Final = 300.0
"""How old an alert may be that is not finished."""

MAX_LISTED: Final = 1000
"""Contained devices, and proposals, that are counted."""

_LISTS: Final = {
    "/dead": "vyrox queue dead list",
    "/quarantine": "vyrox queue quarantine list",
}
"""The command that lists what a page does."""

SECRETS_LOST: Final = "The secrets cannot be read"

BROKEN: Final = frozenset({SECRETS_LOST, TITLES["secret"], *(what for what, _ in STORES.values())})
"""What is wrong with the installation itself: alerts are refused until it is mended."""

Mode = Literal["live", "dry_run", "mixed", "unknown"]

_MODES: Final[dict[bool | None, Mode]] = {True: "dry_run", False: "live", None: "unknown"}


class Queue(msgspec.Struct, frozen=True):
    """The alerts that are not finished. `entries`: in Redis; None: it cannot be asked.

    Attributes:
        unfinished: Up to MAX_COUNTED.
    """

    entries: int | None
    unfinished: int
    oldest_age_s: float | None


class SourceStatus(msgspec.Struct, frozen=True):
    """One tenant at one vendor. Times are Unix seconds.

    Attributes:
        why: What is wrong, or what last went wrong.
    """

    tenant_id: str
    vendor: str
    is_ok: bool
    last_alert_at: float | None
    last_failure_at: float | None
    why: str | None


class PreviousSecret(msgspec.Struct, frozen=True):
    """VYROX_HMAC_SECRET_PREVIOUS is set. `used_at`: when a request was last signed with it."""

    used_at: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the service is. Times are Unix seconds.

    Attributes:
        wrong: What is wrong, the most pressing first.
        stores: By `database` and `redis` why it does not work; None: it works.
        clocks: Why they cannot be trusted; None: they can.
        dead_letters: By tenant; so are `quarantined` and `frozen`.
        contained: Devices, up to MAX_LISTED; so are `proposals`, which wait for a decision.
        waiting: Containments that wait until the device is read back; `lifting`: lifts.
        break_glass: What was done without an approval and is not acknowledged.
        previous_secret: None: the settings of this command have no such secret.
    """

    is_ok: bool
    wrong: Sequence[Trouble]
    mode: Mode
    containers: Sequence[Reported]
    stores: Mapping[str, str | None]
    clocks: str | None
    queue: Queue
    sources: Sequence[SourceStatus]
    dead_letters: Mapping[str, int]
    quarantined: Mapping[str, int]
    frozen: Mapping[str, float]
    all_frozen_at: float | None
    contained: int
    waiting: int
    lifting: int
    proposals: int
    break_glass: int
    previous_secret: PreviousSecret | None = None


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    found: Sequence[Source]
    troubles: Sequence[Trouble]
    rails: Mapping[str, guard_rails.Rails]
    dead: Mapping[str, int]
    kept: Mapping[str, int]
    unfinished: tuple[int, float | None]
    contained: int
    waiting: tuple[int, int]
    proposals: int
    glasses: int


def touch(connection: Connection, now: float) -> None:
    """Write something: a database that is full or read-only still serves reads."""
    connection.execute(heartbeat.delete())
    connection.execute(heartbeat.insert().values(at=now))


def status_of(
    connection: Connection,
    service: Service,
    containers: Sequence[Reported],
    tenant_ids: Sequence[str],
    entries: int | None,
    now: float,
    lost: str | None = None,
) -> Status:
    """Return how the service is.

    Args:
        entries: In Redis; None: it cannot be asked.
        lost: Why no stored secret can be read; None: they can.
    """
    read = _read(connection, service, tenant_ids, now)
    frozen = {name: r.frozen_at for name, r in sorted(read.rails.items()) if r.frozen_at}
    all_frozen_at = next((each.all_frozen_at for each in read.rails.values()), None)
    count, oldest = read.unfinished
    queue = Queue(entries, count, None if oldest is None else max(0.0, now - oldest))
    wrong = [
        *_of_containers(containers),
        *_of_secrets(lost),
        *map(_by_command, read.troubles),
        *_of_queue(queue),
        *_of_freezes(frozen, all_frozen_at),
    ]
    failing = service.health.failing()
    return Status(
        is_ok=not wrong,
        wrong=wrong,
        mode=_mode(containers),
        containers=containers,
        stores={"database": failing.get("database"), "redis": failing.get("queue")},
        clocks=next((each.distrust for each in containers if each.distrust is not None), None),
        queue=queue,
        sources=[_source(each) for each in read.found],
        dead_letters=read.dead,
        quarantined=read.kept,
        frozen=frozen,
        all_frozen_at=all_frozen_at,
        contained=read.contained,
        waiting=read.waiting[0],
        lifting=read.waiting[1],
        proposals=read.proposals,
        break_glass=read.glasses,
    )


def _read(connection: Connection, service: Service, tenant_ids: Sequence[str], now: float) -> _Read:
    found = sources.read_sources(connection, service, tenant_ids, now)
    ways = sources.read_ways(connection, tenant_ids, now)
    removed = _removed(connection)
    expected = [each for each in tenant_ids if each not in removed]
    return _Read(
        found=found,
        troubles=[*sources.troubles(service, found, ways), *sources.missing(expected, found)],
        rails=guard_rails.find(connection, tenant_ids),
        dead=_count_dead(connection),
        kept=count_quarantined(connection),
        unfinished=_unfinished(connection),
        contained=len(list_contained(connection, tenant_ids, MAX_LISTED)),
        waiting=count_waiting(connection),
        proposals=len(list_waiting(connection, tenant_ids, now, MAX_LISTED)),
        glasses=len(open_of(connection, tenant_ids)),
    )


def _removed(connection: Connection) -> set[str]:
    """Return the tenants that were onboarded and are not any more."""
    rows = list_tenants(connection)
    return {row.tenant_id for row in rows} - {row.tenant_id for row in rows if row.enabled}


def _unfinished(connection: Connection) -> tuple[int, float | None]:
    c = alerts.c
    some = sa.select(c.received_at).where(c.finished_at.is_(None)).order_by(c.received_at)
    first = some.limit(MAX_COUNTED).subquery()
    query = sa.select(sa.func.count(), sa.func.min(first.c.received_at))
    count, oldest = connection.execute(query).one()
    return count, oldest


def _count_dead(connection: Connection) -> dict[str, int]:
    c = alerts.c
    some = sa.select(c.tenant_id).where(c.dead_reason.is_not(None)).limit(MAX_COUNTED).subquery()
    query = sa.select(some.c.tenant_id, sa.func.count()).group_by(some.c.tenant_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def _mode(containers: Sequence[Reported]) -> Mode:
    modes = {_MODES[each.is_dry_run] for each in containers}
    if len(modes) > 1:
        return "mixed"
    return next(iter(modes), "unknown")


def _source(source: Source) -> SourceStatus:
    last = [each for each in source.findings if each.name in {"last 401", "last 422"}]
    shown = [*source.wrong, *last]
    why = f"{shown[0].name}: {shown[0].text}" if shown else None
    return SourceStatus(
        source.tenant_id,
        source.vendor,
        not source.wrong,
        source.alert_at,
        source.failed_at,
        why,
    )


def _by_command(trouble: Trouble) -> Trouble:
    """Return what to do as commands, where the console leads to a page."""
    page = (trouble.link or "").partition("?")[0]
    if page not in _LISTS:
        return trouble
    return msgspec.structs.replace(trouble, do=(f"{_LISTS[page]} {trouble.tenant_id}",))


def _of_containers(containers: Sequence[Reported]) -> list[Trouble]:
    if not containers:
        text = "no alert is accepted, and no action is carried out"
        start = ("vyrox serve", "or the unit: systemctl start vyrox; see: journalctl -u vyrox")
        return [Trouble(None, "The service does not run", "", text, start)]
    if _mode(containers) != "mixed":
        return []
    dry = ", ".join(each.id for each in containers if each.is_dry_run)
    text = f"in dry run: {dry}; the others act"
    do = ("give every container the same DRY_RUN",)
    return [Trouble(None, "Some containers act and some do not", "", text, do)]


def _of_secrets(lost: str | None) -> list[Trouble]:
    if lost is None:
        return []
    do = ("restore the key as it was: without it the service does not start",)
    return [Trouble(None, SECRETS_LOST, "", lost, do)]


def _of_queue(queue: Queue) -> list[Trouble]:
    if queue.oldest_age_s is None or queue.oldest_age_s < LATE_S:
        return []
    text = f"the oldest waits for {queue.oldest_age_s / 60:.0f} min"
    do = ("see: vyrox queue stats",)
    return [Trouble(None, "Alerts are not finished", "", text, do)]


def _of_freezes(frozen: Mapping[str, float], all_frozen_at: float | None) -> list[Trouble]:
    found = []
    if all_frozen_at is not None:
        text = f"since {utc_text(all_frozen_at)} UTC no action is carried out"
        found.append(
            Trouble(None, "Every tenant is frozen", "", text, ("vyrox tenant unfreeze --all",))
        )
    for tenant_id, since in frozen.items():
        text = f"since {utc_text(since)} UTC no action is carried out"
        do = (f"vyrox tenant unfreeze {tenant_id}",)
        found.append(Trouble(tenant_id, "Frozen", "", text, do))
    return found
