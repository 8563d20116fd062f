"""The list of incidents, and that of an incident's alerts (contract 78)."""

import math
from typing import Any, Final, cast, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.alerts.found_rows import if_small
from vyrox.alerts.queue import decode_alert
from vyrox.console.incident import own_key
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.paging import PAGE_ROWS, cursor, here_with, parse_cursor
from vyrox.console.parts import console_of, signed_in, tenants_of
from vyrox.console.wording import incident_title
from vyrox.errors import NotFoundError
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.found_incidents import Place, State, find_incidents
from vyrox.triage.incident_ids import IncidentKey, find_survivor, parse_id
from vyrox.triage.score import Band

MAX_TEXT: Final = 300

_a: Final = alerts.c
_v: Final = verdicts.c


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in a list of alerts that happened on a host, or are of an incident."""

    alert_id: str
    at: float
    score: float
    band: Band
    incident: int
    source: str
    device_id: str | None
    host: str | None
    user: str | None
    program: str | None
    command: str | None
    technique: str | None
    verdict: str | None


async def incident_list(request: Request) -> Response:
    """Show the incidents of the person's tenants, those with the newest change first.

    Raises:
        NotFoundError: The address names a tenant, a status, a band or a place that there is not.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_ids = tenants_of(request, person)
    status = _choice(request, "status", get_args(State)) or "open"
    band = _choice(request, "band", get_args(Band))
    now = console.now()
    found = await console.database.read(
        find_incidents,
        tenant_ids,
        cast("State", status),
        cast("Band | None", band),
        _place(request),
        PAGE_ROWS,
    )
    version = version_of(person, (found, status, band))
    if is_current(request, version):
        return not_modified()
    after = found.after
    older = None
    if after is not None:
        before = cursor(after.updated_at, f"{after.tenant_id}-{after.number}")
        older = here_with(request, before=before)
    return page(
        "incidents",
        person,
        now,
        version,
        found=[(each, incident_title(each.families, each.hosts)) for each in found.incidents],
        is_cut=found.is_cut,
        older=older,
        newest=here_with(request, before=None) if request.query_params.get("before") else None,
        status=status,
        band=band,
        tenant=request.query_params.get("tenant", ""),
    )


async def incident_alerts(request: Request) -> Response:
    """Show every alert of an incident, the newest first.

    Raises:
        NotFoundError: There is no such incident or place, or the person may not see its tenant.
    """
    person = await signed_in(request)
    console = console_of(request)
    key = own_key(request, person)
    place = place_of(request)
    found = await console.database.read(_alerts_of, key, place)
    rows, older = page_of(request, found)
    return page(
        "incident_alerts",
        person,
        console.now(),
        rows=rows,
        older=older,
        newest=here_with(request, before=None) if place is not None else None,
        key=key.id,
    )


def place_of(request: Request) -> tuple[float, str] | None:
    """Return the place in a list of alerts that the address names. Raises NotFoundError."""
    found = parse_cursor(request.query_params.get("before"))
    if found is None:
        return None
    at, alert_id = found
    if isinstance(at, str) or not math.isfinite(at):
        raise NotFoundError("not a place in a list")
    return at, alert_id


def page_of(request: Request, found: list[AlertRow]) -> tuple[list[AlertRow], str | None]:
    """Return the rows of a page, and the address of the next one."""
    if len(found) <= PAGE_ROWS:
        return found, None
    last = found[PAGE_ROWS - 1]
    return found[:PAGE_ROWS], here_with(request, before=cursor(last.at, last.alert_id))


def read_rows(
    connection: Connection,
    conditions: list[sa.ColumnElement[bool]],
    place: tuple[float, str] | None,
) -> list[AlertRow]:
    """Return judged alerts from a place on, the newest first: one more than a page has."""
    order = sa.tuple_(_v.happened_at, _v.alert_id)
    if place is not None:
        # The first condition is for the index; the second one is exact.
        conditions = [*conditions, _v.happened_at <= place[0], order < sa.tuple_(*place)]
    chosen = (
        sa.select(_v.alert_id, _v.happened_at, _v.score, _v.band, _v.incident)
        .where(*conditions)
        .order_by(_v.happened_at.desc(), _v.alert_id.desc())
        .limit(PAGE_ROWS + 1)
        .subquery()
    )
    query = (
        sa.select(chosen, if_small(), _a.verdict, _a.source, _a.hostname, _a.username, _a.technique)
        .join(alerts, _a.id == chosen.c.alert_id)
        .order_by(chosen.c.happened_at.desc(), chosen.c.alert_id.desc())
    )
    found = []
    for row in connection.execute(query):
        alert = _alert_of(row)
        found.append(
            AlertRow(
                alert_id=row.alert_id,
                at=row.happened_at,
                score=row.score,
                band=row.band,
                incident=row.incident,
                source=alert.source,
                device_id=alert.device_id,
                host=_cut(alert.hostname or alert.device_id),
                user=_cut(alert.username),
                program=_cut(alert.process_name),
                command=_cut(alert.process_cmdline),
                technique=_cut(alert.technique),
                verdict=row.verdict,
            )
        )
    return found


def _alert_of(row: sa.Row[Any]) -> NormalizedAlert:
    """Return the alert of a row; of a large one only what has a column."""
    if row.alert is not None:
        return decode_alert(row.alert)
    return NormalizedAlert(
        id=row.alert_id,
        tenant_id="",
        source=row.source,
        raw_id="",
        timestamp=row.happened_at,
        hostname=row.hostname,
        username=row.username,
        technique=row.technique,
    )


def _alerts_of(
    connection: Connection, key: IncidentKey, place: tuple[float, str] | None
) -> list[AlertRow]:
    incident = find_survivor(connection, key)
    own = [_v.tenant_id == incident.tenant_id, _v.incident == incident.number]
    return read_rows(connection, own, place)


def _cut(text: str | None) -> str | None:
    return text[:MAX_TEXT] if text else None


def _choice(request: Request, name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.query_params.get(name) or None
    if value is not None and value not in allowed:
        raise NotFoundError(f"there is no such {name}")
    return value


def _place(request: Request) -> Place | None:
    found = parse_cursor(request.query_params.get("before"))
    if found is None:
        return None
    updated_at, text = found
    if isinstance(updated_at, str) or not math.isfinite(updated_at):
        raise NotFoundError("not a place in a list")
    key = parse_id(text)
    return Place(updated_at, key.tenant_id, key.number)
