"""The page of a device: what is known of one host, and what was done to it (contract 78)."""

from collections.abc import Sequence
from typing import Final, get_args
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox.alerts.device_history import DeviceAction, history_of
from vyrox.approvals.about import About, proposals_about
from vyrox.approvals.lease_rows import find_ends
from vyrox.approvals.states import OPEN
from vyrox.console.incidents import AlertRow, page_of, place_of, read_rows
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.paging import here_with
from vyrox.console.parts import console_of, sees, signed_in
from vyrox.console.story import MAX_HISTORY
from vyrox.console.wording import incident_title
from vyrox.containment.contained import contained_of
from vyrox.errors import NotFoundError
from vyrox.models import EdrVendor, normal_host
from vyrox.store.tables import verdicts
from vyrox.tenants.freezes import frozen_since
from vyrox.triage.known_host import KnownHost, find_hosts, read_host

MAX_ACTIONS: Final = 30

_v: Final = verdicts.c


class ContainedAt(msgspec.Struct, frozen=True):
    """A vendor at which Vyrox contains the host, or may. `ends_at`: None has no end."""

    vendor: str
    device_id: str
    ends_at: float | None


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page shows.

    Attributes:
        acting: The id of an alert of each device that Vyrox can act on, to propose with.
    """

    host: KnownHost
    contained: tuple[ContainedAt, ...]
    proposals: tuple[About, ...]
    waiting: tuple[About, ...]
    actions: tuple[DeviceAction, ...]
    rows: list[AlertRow]
    acting: tuple[tuple[str, str, str, int], ...]
    frozen_since: float | None


async def device_page(request: Request) -> Response:
    """Show a host by its number, its name or its id at a vendor.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: There is no such host, or the person may not see its tenant.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, text = request.path_params["tenant_id"], request.path_params["host"]
    sees(person, tenant_id)
    numbers = await console.database.read(find_hosts, tenant_id, text)
    if not numbers:
        raise NotFoundError("there is no such host")
    if len(numbers) > 1:
        return await _choose(request, tenant_id, numbers)
    if text != str(numbers[0]):
        return RedirectResponse(f"/devices/{quote(tenant_id)}/{numbers[0]}", 303)
    place = place_of(request)
    now = console.now()
    found = await console.database.read(_read, tenant_id, numbers[0], place, now)
    version = version_of(person, found)
    if is_current(request, version):
        return not_modified()
    rows, older = page_of(request, found.rows)
    return page(
        "device",
        person,
        now,
        version,
        device=found,
        host=found.host,
        rows=rows,
        older=older,
        newest=here_with(request, before=None) if place is not None else None,
        titles={
            each.id: incident_title(each.families, each.hosts) for each in found.host.incidents
        },
        can_act=tenant_id in person.acts_for,
    )


async def _choose(request: Request, tenant_id: str, numbers: Sequence[int]) -> Response:
    person = await signed_in(request)
    console = console_of(request)
    found = await console.database.read(_hosts, tenant_id, numbers)
    return page("devices", person, console.now(), hosts=found, tenant_id=tenant_id)


def _hosts(connection: Connection, tenant_id: str, numbers: Sequence[int]) -> list[KnownHost]:
    return [read_host(connection, tenant_id, each) for each in numbers]


def _read(
    connection: Connection, tenant_id: str, number: int, place: tuple[float, str] | None, now: float
) -> DevicePage:
    host = read_host(connection, tenant_id, number)
    ids = [each.device_id for each in host.devices]
    names = {*ids, *(each.name for each in host.names)}
    contained = contained_of(connection, tenant_id, ids)
    ends = find_ends(connection, tenant_id) if contained else {}
    proposals = proposals_about(connection, tenant_id, names, None, now)
    own = [_v.tenant_id == tenant_id, _v.host == number]
    rows = read_rows(connection, own, place)
    return DevicePage(
        host=host,
        contained=tuple(
            ContainedAt(vendor, device_id, ends.get((vendor, device_id)))
            for vendor, device_id in sorted(contained)
            if (vendor, device_id) in _own(host)
        ),
        proposals=proposals,
        waiting=tuple(each for each in proposals if each.state in OPEN),
        actions=tuple(history_of(connection, tenant_id, names, (), MAX_HISTORY)[-MAX_ACTIONS:]),
        rows=rows,
        acting=tuple(_acting(rows)),
        frozen_since=frozen_since(connection, tenant_id),
    )


def _own(host: KnownHost) -> set[tuple[str, str]]:
    return {
        (each.source, form)
        for each in host.devices
        for form in (each.device_id, normal_host(each.device_id))
    }


def _acting(rows: Sequence[AlertRow]) -> Sequence[tuple[str, str, str, int]]:
    """Return (vendor, device id, alert, incident) of what an action can be proposed with."""
    found: dict[tuple[str, str], tuple[str, str, str, int]] = {}
    for row in rows:
        key = (row.source, row.device_id or "")
        if row.source in get_args(EdrVendor) and row.device_id:
            found.setdefault(key, (*key, row.alert_id, row.incident))
    return list(found.values())
