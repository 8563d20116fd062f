"""The address of every page of the console, in each of its ways: for its costs and its plans.

`check_complete` names what `create_routes()` has and this table lacks, so no page is forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.routing import Route

from tests.console.filled_parts import (
    COMMON_HASH,
    COMMON_TECHNIQUE,
    COMMON_USER,
    DAY_S,
    SPAN_S,
    Filled,
    device_id,
    host_name,
)
from vyrox.console.application import create_routes
from vyrox.console.paging import cursor

Address = Callable[[Filled, int], str]
"""Returns the address for the n-th request: each is about something else."""

UNMEASURED: Final = frozenset(
    {
        "/static/{name}",
        "/reports.csv",
        "/audit/export",
        "/audit/verify",
        "/alerts/{alert_id}/raw",
        "/quarantine/{quarantine_id}/raw",
    }
)
"""Routes that stream or send a file. Their queries have plans all the same."""


def _of(name: str) -> Callable[[Filled, int], str]:
    """Return the n-th of what there is of a kind, evenly over all its time."""

    def choose(found: Filled, n: int) -> str:
        values: Sequence[str] = getattr(found, name)
        return values[n * 7919 % len(values)]

    return choose


def _with(path: str, **query: str | Address) -> Address:
    def address(found: Filled, n: int) -> str:
        asked = {
            name: value if isinstance(value, str) else value(found, n)
            for name, value in query.items()
        }
        return f"{path}?{urlencode(asked)}" if asked else path

    return address


def _at(
    path: str, choose: Callable[[Filled, int], str], end: str = "", **query: str | Address
) -> Address:
    rest = _with(end, **query)
    return lambda found, n: f"{path}{choose(found, n)}{rest(found, n)}"


def _first(found: Filled, _n: int) -> str:
    return found.tenants[0]


def _deep(found: Filled, n: int) -> str:
    return cursor(found.now - SPAN_S * (n % 20) / 20, "")


def _host(found: Filled, n: int) -> str:
    return host_name(1 + n * 31 % found.hosts)


def _incident(found: Filled, n: int) -> str:
    # Half of the numbers are other tenants', which have fewer.
    tenant_id = found.tenants[0]
    return f"{tenant_id}-{1 + n * 7919 % found.incidents[tenant_id]}"


def _giant(found: Filled, _n: int) -> str:
    return f"{found.tenants[0]}-{found.incidents[found.tenants[0]]}"


def _device(found: Filled, n: int) -> str:
    return str(1 + n * 31 % found.hosts)


def _day(days: float) -> Callable[[Filled, int], str]:
    return lambda found, _n: f"{datetime.fromtimestamp(found.now - days * DAY_S, UTC):%Y-%m-%d}"


def _week(found: Filled, n: int) -> str:
    return f"{datetime.fromtimestamp(found.now - n % 4 * 7 * DAY_S, UTC):%G-W%V}"


def _entry(found: Filled, n: int) -> str:
    tenant_id = found.tenants[0]
    return f"{tenant_id}/events/{1 + n * 7919 % found.sequences[tenant_id]}"


def _audit_place(found: Filled, n: int) -> str:
    return str(found.sequences[found.tenants[0]] * (1 + n % 20) // 20)


_ALERTS: Final[Mapping[str, Address]] = {
    "all": _with("/alerts"),
    "deep": _with("/alerts", before=_deep),
    "one tenant": _with("/alerts", tenant=_first),
    "one tenant, deep": _with("/alerts", tenant=_first, before=_deep),
    "host": _with("/alerts", host=_host),
    "host, deep": _with("/alerts", host=_host, before=_deep),
    "host, beginning": _with("/alerts", host="ws-0*"),
    "host, beginning, deep": _with("/alerts", host="ws-0*", before=_deep),
    "host, none": _with("/alerts", host="no-such-host"),
    "user, common": _with("/alerts", user=COMMON_USER),
    "user, common, deep": _with("/alerts", user=COMMON_USER, before=_deep),
    "user, rare": _with("/alerts", user=lambda _found, n: f"corp\\user{n % 500}"),
    "user, beginning": _with("/alerts", user="corp*"),
    "user, none": _with("/alerts", user="nobody"),
    "hash, common": _with("/alerts", hash=COMMON_HASH),
    "hash, one": _with("/alerts", hash=_of("hashes")),
    "hash, beginning": _with("/alerts", hash="a*"),
    "hash, none": _with("/alerts", hash="0" * 64),
    "technique, common": _with("/alerts", technique=COMMON_TECHNIQUE),
    "technique, beginning": _with("/alerts", technique="T1*"),
    "technique, none": _with("/alerts", technique="T9999"),
    "id": _with("/alerts", id=_of("alerts")),
    "id, beginning": _with("/alerts", id=lambda found, n: f"{_of('alerts')(found, n)[:8]}*"),
    "vendor's id": _with("/alerts", vendor_id=_of("raw_ids")),
    "vendor's id, beginning": _with("/alerts", vendor_id="ldt:a*"),
    "vendor's id, none": _with("/alerts", vendor_id="ldt:none"),
    "source": _with("/alerts", source="sentinelone"),
    "band": _with("/alerts", band="urgent"),
    "band, none": _with("/alerts", band="none"),
    "band, none, deep": _with("/alerts", band="none", before=_deep),
    "source without a match": _with("/alerts", source="generic", host=_host),
    "times": _with("/alerts", since=_day(20), until=_day(19)),
    "common user, no match else": _with("/alerts", user=COMMON_USER, host="no-such-host"),
    "common user, rare host": _with("/alerts", user=COMMON_USER, host=_host),
    "common technique and user, band": _with(
        "/alerts", technique=COMMON_TECHNIQUE, user=COMMON_USER, band="none"
    ),
    "common hash, no match else": _with("/alerts", hash=COMMON_HASH, technique="T9999"),
}

_MORE: Final[Mapping[str, Mapping[str, Address]]] = {
    "/": {"all": _with("/"), "one tenant": _with("/", tenant=_first)},
    "/sign-in": {"": _with("/sign-in")},
    "/link": {"": _with("/link")},
    "/enrol": {"": _with("/enrol")},
    "/keys": {"": _with("/keys")},
    "/approvals/{proposal_id}": {"": _at("/approvals/", _of("proposals"))},
    "/propose/{incident_id}": {
        "": _at("/propose/", _incident),
        "50,000 alerts": _at("/propose/", _giant),
    },
    "/changes/{change_id}": {"": _at("/changes/", _of("changes"))},
    "/break-glass/{glass_id}": {"": _at("/break-glass/", _of("glasses"))},
    "/static/{name}": {"": _with("/static/console.css")},
    "/alerts": _ALERTS,
    "/alerts/{alert_id}": {"": _at("/alerts/", _of("alerts"))},
    "/alerts/{alert_id}/raw": {"": _at("/alerts/", _of("alerts"), "/raw")},
    "/quarantine": {
        "all": _with("/quarantine"),
        "deep": _with("/quarantine", before=_deep),
        "source": _with("/quarantine", source="generic"),
        "also the done": _with("/quarantine", state="all"),
        "one tenant": _with("/quarantine", tenant=_first),
    },
    "/quarantine/{quarantine_id}": {"": _at("/quarantine/", _of("quarantined"))},
    "/quarantine/{quarantine_id}/raw": {"": _at("/quarantine/", _of("quarantined"), "/raw")},
    "/dead": {
        "all": _with("/dead"),
        "deep": _with("/dead", before=_deep),
        "one tenant": _with("/dead", tenant=_first),
    },
    "/incidents": {
        "open": _with("/incidents"),
        "one tenant": _with("/incidents", tenant=_first),
        **{
            f"{status}, {band or 'all bands'}": _with("/incidents", status=status, band=band)
            for status in ("open", "acknowledged", "closed", "all")
            for band in ("", "urgent", "review", "close")
        },
        "deep": _with(
            "/incidents",
            before=lambda found, n: cursor(found.now - SPAN_S * (n % 20) / 20, _incident(found, n)),
        ),
    },
    "/incidents/{incident_id}": {
        "": _at("/incidents/", _incident),
        "50,000 alerts": _at("/incidents/", _giant),
    },
    "/incidents/{incident_id}/alerts": {
        "": _at("/incidents/", _incident, "/alerts"),
        "50,000 alerts": _at("/incidents/", _giant, "/alerts"),
    },
    "/incidents/{incident_id}/benign": {
        "": _at("/incidents/", _incident, "/benign", alert=_of("alerts")),
    },
    "/devices/{tenant_id}/{host:path}": {
        "number": _at("/devices/tenant-000/", _device),
        "name": _at("/devices/tenant-000/", _host),
        "id": _at(
            "/devices/tenant-000/",
            lambda found, n: device_id(found.tenants[0], 1 + n * 31 % found.hosts),
        ),
    },
    "/audit": {
        "all": _with("/audit"),
        "actions": _with("/audit", stream="actions"),
        "events": _with("/audit", stream="events"),
        "a kind": _with("/audit", kind="approval.proposed"),
        "accepted alerts": _with("/audit", kind="alert.accepted"),
        "a rare kind": _with("/audit", kind="tenant.changed"),
        "no such kind": _with("/audit", kind="viewer.removed"),
        "times": _with("/audit", since=_day(20), until=_day(19)),
        "long ago": _with("/audit", until=_day(25)),
        "text": _with("/audit", text=_of("proposals")),
        "text, none": _with("/audit", text="no-such-text"),
        "accepted, text": _with("/audit", kind="alert.accepted", text="no-such-text"),
    },
    "/audit/{tenant_id}/{stream}/{sequence:int}": {"": _at("/audit/", _entry)},
    "/reports": {"": _with("/reports"), "a week": _with("/reports", week=_week)},
    "/reports.csv": {"": _with("/reports.csv", week=_week)},
    "/tenants": {"": _with("/tenants")},
    "/tenants/{tenant_id}": {
        "the largest": _with("/tenants/tenant-000"),
        "": _at("/tenants/", _of("tenants")),
    },
    "/tenants/{tenant_id}/freeze": {"": _with("/tenants/tenant-000/freeze")},
    "/tenants/{tenant_id}/unfreeze": {"": _with("/tenants/tenant-000/unfreeze")},
}


def pages() -> dict[str, Mapping[str, Address]]:
    """Return the addresses of each route that shows something, by the route's path.

    Raises:
        AssertionError: A route is missing here.
    """
    routes = [
        route.path
        for route in create_routes()
        if isinstance(route, Route) and "GET" in (route.methods or ())
    ]
    missing = sorted(set(routes) - _MORE.keys())
    assert not missing, f"tests/console/every_page.py lacks: {missing}"
    return {path: _MORE[path] for path in dict.fromkeys(routes)}
