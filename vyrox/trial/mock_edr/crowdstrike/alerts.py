"""Falcon's Alerts API, version 2: one call, which reads alerts by their composite ids."""

from typing import Annotated

import msgspec

from vyrox.trial.mock_edr.crowdstrike.gateway import authorize, checked_query, failed, succeeded
from vyrox.trial.mock_edr.exchange import Answer, BadBodyError, Call, as_iso
from vyrox.trial.mock_edr.state import CrowdStrike, CrowdStrikeAlert


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
        "created_timestamp": as_iso(now).replace("Z", ".860447095Z"),
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
    return entity
