"""Falcon's Alerts API, version 2: what has changed since, and alerts by their composite ids."""

import re
from typing import Annotated, Final

import msgspec

from vyrox.trial.mock_edr.crowdstrike.gateway import authorize, checked_query, failed, succeeded
from vyrox.trial.mock_edr.exchange import (
    Answer,
    BadBodyError,
    Call,
    as_iso,
    as_ticks,
    from_iso,
    merged,
)
from vyrox.trial.mock_edr.state import CrowdStrike, CrowdStrikeAlert

_FILTER: Final = re.compile(r"updated_timestamp:>='([^']*)'")


def query_alerts(state: CrowdStrike, call: Call) -> Answer:
    """`GetQueriesAlertsV2`: the composite ids of what was changed since, in order of change."""
    authorize(state, call, "alerts:read")
    checked_query(call, "filter", "sort", "limit", "offset")
    match = _FILTER.fullmatch(call.one_of("filter") or "")
    since = from_iso(match[1]) if match else None
    limit, offset = call.one_of("limit") or "100", call.one_of("offset") or "0"
    if since is None or call.one_of("sort") != "updated_timestamp|asc":
        return failed(call, 400, 400, "this filter or order is not mocked", "detectsapi")
    if not (limit.isdecimal() and offset.isdecimal() and int(limit) + int(offset) <= 10_000):
        return failed(call, 400, 400, "limit and offset may be 10000 together", "detectsapi")
    found = [alert for alert in state.alerts.values() if _changed_at(alert, call.now) >= since]
    found.sort(key=lambda alert: _changed_at(alert, call.now))
    page = found[int(offset) :][: int(limit)]
    ids: list[object] = [alert.composite_id for alert in page]
    return succeeded(call, 200, ids, powered_by="detectsapi")


def _changed_at(alert: CrowdStrikeAlert, now: float) -> float:
    return now if alert.updated_at is None else alert.updated_at


class _CompositeIds(msgspec.Struct, forbid_unknown_fields=True):
    composite_ids: Annotated[list[str], msgspec.Meta(min_length=1)]


def read_alerts(state: CrowdStrike, call: Call) -> Answer:
    """`PostEntitiesAlertsV2`: the alerts with these composite ids; unknown ones are left out."""
    authorize(state, call, "alerts:read")
    checked_query(call, "include_hidden")
    try:
        ids = call.json(_CompositeIds).composite_ids
    except BadBodyError as exc:
        return failed(call, 400, 400, str(exc), "detectsapi")
    found = [state.alerts[key] for key in ids if key in state.alerts]
    resources: list[object] = [_as_alert(state, alert, call.now) for alert in found]
    return succeeded(call, 200, resources, powered_by="detectsapi")


def _as_alert(state: CrowdStrike, alert: CrowdStrikeAlert, now: float) -> dict[str, object]:
    entity: dict[str, object] = {
        "composite_id": alert.composite_id,
        "id": alert.composite_id.partition(":")[2],
        "cid": state.cid,
        "type": alert.type,
        "product": "xdr" if alert.type == "xdr" else "epp",
        "severity": alert.severity,
        "severity_name": alert.severity_name,
        "status": "new",
        "created_timestamp": as_iso(_changed_at(alert, now)).replace("Z", ".860447095Z"),
        "updated_timestamp": as_ticks(_changed_at(alert, now)).replace("Z", "95Z"),
        "email_sent": "false",
    }
    fields = ("process_id", "local_process_id", "process_start_time", "filename", "cmdline")
    entity |= {name: value for name in fields if (value := getattr(alert, name)) is not None}
    if alert.device_id is not None:
        device = state.devices.get(alert.device_id)
        entity["agent_id"] = alert.device_id
        entity["device"] = {
            "device_id": alert.device_id,
            "hostname": device.hostname if device else None,
            "status": device.status if device else None,
            "ou": None,
        }
    return merged(entity, alert.other)
