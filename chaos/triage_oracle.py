"""The oracle of triage: alerts in, verdicts, incidents and notifications, counted at the end.

Contract 52, 54, 55 and 58. The acknowledged alerts are the senders', the notifications the
receiver's, the rest is read from the stores.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from chaos.oracle import Lists
from chaos.part import Row
from chaos.site import Site
from tests import audit
from tests.notify.receiver import Received
from vyrox.alerts.queue import stream_key
from vyrox.chain.verify import TamperedError
from vyrox.clock import wall_clock
from vyrox.notify.delivery import CLAIM_S
from vyrox.notify.messages import Opened
from vyrox.store.database import Database
from vyrox.store.tables import alerts, incidents, notifications, verdicts

TARGETS: Final = ("one", "two")
"""Where the notifications of each tenant go."""

SETTLED_LIMIT_S: Final = 2 * CLAIM_S
"""Another container takes a notification that a killed one was sending after CLAIM_S."""

Place = tuple[str, int]
"""A tenant and the number of one of its incidents."""

_Finding = tuple[str, int, int]


class Incident(msgspec.Struct, frozen=True):
    """A row of an incident, as far as it counts here."""

    tenant_id: str
    number: int
    status: str
    band: str
    alerts: int
    merged_into: int | None


class Found(msgspec.Struct, frozen=True):
    """What the stores hold.

    Attributes:
        rows: Alerts, as (tenant, id).
        verdicts: Place of each verdict, by (tenant, alert id).
        foreign: Verdicts of another tenant than their alert's, or without an alert.
        opened: How often an event says that an incident was opened.
        broken: Chains that do not verify.
        left: What is not done: entries, alerts, announcements, notifications.
        dead: Dead letters.
    """

    rows: set[tuple[str, str]]
    verdicts: dict[tuple[str, str], Place]
    foreign: int
    incidents: dict[Place, Incident]
    opened: Counter[Place]
    broken: list[str]
    left: dict[str, int]
    dead: int


async def judge(
    part: str, lists: Lists, site: Site, database: Database, received: Sequence[Received]
) -> list[Row]:
    """Return the losses, once the service has done what was left, or after the limit.

    Each of TARGETS is a path at the receiver.
    """
    tenants = sorted(set(lists.tenants))
    left = await _settled(tenants, site, database)
    found = await _find(tenants, database, left)
    return [
        *(Row(part, *finding) for finding in _judge_alerts(lists, found)),
        *(Row(part, *finding) for finding in _judge_incidents(found)),
        *(Row(part, *finding) for finding in _judge_messages(found, received)),
        Row(part, "left undone", len(found.rows), sum(left.values()), f"{left or ''}"),
        Row(part, "chains broken", len(tenants), len(found.broken), "; ".join(found.broken)),
        Row(
            part,
            "answers that should not be",
            len(lists.sent),
            len(lists.unexpected),
            f"{'; '.join(lists.unexpected[:3])} {found.dead} dead letters".strip(),
        ),
    ]


def _judge_alerts(lists: Lists, found: Found) -> Iterator[_Finding]:
    accepted = {(each.tenant_id, each.alert_id) for each in lists.acknowledged}
    yield (
        "acknowledged alerts without a verdict",
        len(accepted),
        len(accepted - found.verdicts.keys()),
    )
    yield "alerts stored twice", len(found.rows), len(found.rows) - len(lists.sent)
    yield (
        "verdicts of no acknowledged alert",
        len(found.verdicts),
        len(found.verdicts.keys() - accepted) + found.foreign,
    )


def _judge_incidents(found: Found) -> Iterator[_Finding]:
    known, merged = found.incidents, [i for i in found.incidents.values() if i.merged_into]
    astray = [
        place
        for place in found.verdicts.values()
        if place not in known or known[place].merged_into is not None
    ]
    yield "verdicts in no incident, or in a merged one", len(found.verdicts), len(astray)
    rows = Counter(found.verdicts.values())
    whole = {place: each for place, each in known.items() if each.merged_into is None}
    yield "incidents without alerts", len(whole), sum(not rows[place] for place in whole)
    miscounted = [place for place, each in whole.items() if each.alerts != rows[place]]
    yield "incidents that count other alerts than theirs", len(whole), len(miscounted)
    astray = [(i.tenant_id, i.merged_into or 0) for i in merged]
    yield "merged into no incident", len(merged), len([p for p in astray if p not in known])
    twice = sum(times - 1 for times in found.opened.values())
    yield "opened twice", found.opened.total(), twice
    raised = [place for place, each in whole.items() if each.band != "close"]
    yield "raised, and never opened", len(raised), sum(not found.opened[place] for place in raised)


def _judge_messages(found: Found, received: Sequence[Received]) -> Iterator[_Finding]:
    ids: dict[tuple[str, Place], set[str]] = defaultdict(set)
    for request in received:
        message = msgspec.json.decode(request.body)
        if message["type"] == Opened.__struct_config__.tag:
            place = message["tenant_id"], message["incident"]
            ids[request.path, place].add(request.id)
    urgent = [
        (f"/{target}", place)
        for place, each in found.incidents.items()
        if each.merged_into is None and each.band == "urgent"
        for target in TARGETS
    ]
    yield "urgent incidents not announced", len(urgent), sum(not ids[each] for each in urgent)
    yield "openings announced twice", len(ids), sum(len(each) > 1 for each in ids.values())
    unknown = [place for _, place in ids if place not in found.incidents]
    yield "announced, and not there", len(ids), len(unknown)


async def _settled(tenants: Iterable[str], site: Site, database: Database) -> dict[str, int]:
    deadline = asyncio.get_running_loop().time() + SETTLED_LIMIT_S
    async with redis.asyncio.Redis.from_url(site.valkey.url) as client:
        while True:
            left = dict(await database.read(_left))
            left["entries"] = sum([await client.xlen(stream_key(each)) for each in tenants])
            left = {what: number for what, number in left.items() if number}
            if not left or asyncio.get_running_loop().time() > deadline:
                return left
            await asyncio.sleep(0.1)


def _left(connection: Connection) -> list[tuple[str, int]]:
    i = incidents.c
    return [
        (what, connection.execute(sa.select(sa.func.count()).where(condition)).scalar_one())
        for what, condition in (
            ("alerts", alerts.c.finished_at.is_(None)),
            ("announcements", i.due_at <= wall_clock()),
            ("notifications", notifications.c.next_at.is_not(None)),
        )
    ] + [("dead letters without a verdict", connection.execute(_DEAD_UNJUDGED).scalar_one())]


_DEAD_UNJUDGED: Final = (
    sa.select(sa.func.count())
    .select_from(alerts.outerjoin(verdicts, verdicts.c.alert_id == alerts.c.id))
    .where(alerts.c.dead_reason.is_not(None), verdicts.c.alert_id.is_(None))
)


async def _find(tenants: Sequence[str], database: Database, left: dict[str, int]) -> Found:
    opened: Counter[Place] = Counter()
    broken = []
    for tenant_id in tenants:
        try:
            events = await audit.events(database, tenant_id, "incident.opened")
        except TamperedError as exc:
            broken.append(f"{tenant_id}: {exc}")
            continue
        numbers = (str(each["incident"]).rpartition("-")[2] for each in events)
        opened.update((tenant_id, int(number)) for number in numbers)
    rows, dead, judged, known = await database.read(_rows)
    return Found(
        rows=rows,
        verdicts={key: (key[0], number) for key, number in judged.items()},
        foreign=len(judged.keys() - rows),
        incidents={(each.tenant_id, each.number): each for each in known},
        opened=opened,
        broken=broken,
        left=left,
        dead=dead,
    )


def _rows(
    connection: Connection,
) -> tuple[set[tuple[str, str]], int, dict[tuple[str, str], int], list[Incident]]:
    a, v = alerts.c, verdicts.c
    rows = connection.execute(sa.select(a.tenant_id, a.id, a.dead_reason)).all()
    judged = connection.execute(sa.select(v.tenant_id, v.alert_id, v.incident)).all()
    columns = [incidents.c[name] for name in Incident.__struct_fields__]
    return (
        {(row.tenant_id, row.id) for row in rows},
        sum(row.dead_reason is not None for row in rows),
        {(row.tenant_id, row.alert_id): row.incident for row in judged},
        [Incident(*row) for row in connection.execute(sa.select(*columns)).all()],
    )
