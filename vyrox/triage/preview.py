"""What a suppression would have hidden lately: shown before it is made."""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import Place
from vyrox.alerts.found_rows import if_small
from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.scope import Scope, traits_of
from vyrox.triage.score import Band, Verdict

PREVIEWED_S: Final = 30 * 86_400.0

MAX_SEARCHED: Final = 20_000
"""Alerts that a preview reads, the newest first."""

PAGE: Final = 500

MAX_EXAMPLES: Final = 5
MAX_HOSTS: Final = 20
MAX_TEXT: Final = 256

_verdict: Final = msgspec.json.Decoder(Verdict)


class Example(msgspec.Struct, frozen=True):
    """One alert. `at` is when it was received, in Unix seconds."""

    id: str
    at: float
    score: float
    band: Band
    host: str | None
    user: str | None
    command: str | None


class Preview(msgspec.Struct, kw_only=True):
    """The alerts of the last 30 days that a scope takes in.

    Attributes:
        raised: Those that were in `review` or `urgent`.
        highest: The highest score.
        host_names: Some of the hosts.
        examples: Those with the highest scores.
        searched: How many alerts were read.
        is_complete: All alerts of the 30 days were read, and none was too large.
    """

    alerts: int = 0
    raised: int = 0
    hosts: int = 0
    host_names: list[str] = []
    highest: float | None = None
    examples: list[Example] = []
    searched: int = 0
    is_complete: bool = True


async def preview(
    database: Database, tenant_id: str, scope: Scope, now: float, most: int | None = None
) -> Preview:
    """Return what the scope would have hidden until `now` (Unix seconds).

    Args:
        most: Alerts that are read, the newest first; None: MAX_SEARCHED.

    Raises:
        DatabaseUnavailableError: The database is unavailable.
    """
    most = MAX_SEARCHED if most is None else most
    result = Preview()
    hosts: set[str] = set()
    before: Place | None = None
    while True:
        read, before, found, is_whole = await database.read(
            _read_page, tenant_id, scope, now - PREVIEWED_S, before, min(PAGE, most)
        )
        result.searched += read
        result.is_complete = result.is_complete and is_whole
        result.alerts += len(found)
        result.raised += sum(each.band != "close" for each in found)
        hosts |= {each.host for each in found if each.host is not None}
        ordered = sorted([*result.examples, *found], key=lambda each: (-each.score, -each.at))
        result.examples = ordered[:MAX_EXAMPLES]
        if read < min(PAGE, most):
            break
        if result.searched >= most:
            result.is_complete = False
            break
    result.highest = result.examples[0].score if result.examples else None
    result.hosts, result.host_names = len(hosts), sorted(hosts)[:MAX_HOSTS]
    return result


def _read_page(
    connection: Connection,
    tenant_id: str,
    scope: Scope,
    since: float,
    before: Place | None,
    page_size: int,
) -> tuple[int, Place | None, list[Example], bool]:
    a = alerts.c
    query = (
        sa.select(a.id, a.received_at, if_small(), verdicts.c.verdict)
        .outerjoin(verdicts, verdicts.c.alert_id == a.id)
        .where(a.tenant_id == tenant_id, a.received_at >= since)
        .order_by(a.received_at.desc(), a.id.desc())
        .limit(page_size)
    )
    if before is not None:
        query = query.where(
            a.received_at <= before[0], sa.tuple_(a.received_at, a.id) < sa.tuple_(*before)
        )
    page = connection.execute(query).all()
    found: list[Example] = []
    for row in page:
        if row.verdict is None or row.alert is None:
            continue
        alert, verdict = decode_alert(row.alert), _verdict.decode(row.verdict)
        if scope.holds(traits_of(alert), verdict):
            found.append(_example(alert, verdict, row.received_at))
    last = (page[-1].received_at, page[-1].id) if page else None
    return len(page), last, found, all(row.alert is not None for row in page)


def _example(alert: NormalizedAlert, verdict: Verdict, at: float) -> Example:
    host = traits_of(alert).host
    return Example(
        alert.id,
        at,
        verdict.score,
        verdict.own_band,
        host,
        _bounded(alert.username),
        _bounded(alert.process_cmdline),
    )


def _bounded(text: str | None) -> str | None:
    return None if text is None else text[:MAX_TEXT]
