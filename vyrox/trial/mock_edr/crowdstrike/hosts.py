"""Falcon's hosts: find, read, contain and lift."""

import re
from typing import Annotated, Final

import msgspec

from vyrox.trial.mock_edr.crowdstrike.gateway import (
    authorize,
    checked_query,
    failed,
    meta,
    succeeded,
)
from vyrox.trial.mock_edr.exchange import (
    Answer,
    BadBodyError,
    Call,
    Change,
    RefusedError,
    as_iso,
    as_json,
)
from vyrox.trial.mock_edr.state import ContainmentStatus, CrowdStrike, CrowdStrikeDevice

MAX_IDS: Final = 100

_AID: Final = re.compile(r"[0-9a-f]{32}")
_HOSTNAME_FILTER: Final = re.compile(r"hostname:'((?:[^'\\]|\\.)*)'")
_OTHER_ACTIONS: Final = frozenset(
    {
        "detection_suppress",
        "detection_unsuppress",
        "hide_host",
        "lift_filesystem_containment_all",
        "unhide_host",
    }
)
_PENDING: Final[dict[str, tuple[ContainmentStatus, ContainmentStatus]]] = {
    "contain": ("containment_pending", "contained"),
    "lift_containment": ("lift_containment_pending", "normal"),
}
"""Action -> the immediate status, and the final status."""

_END: Final = dict(_PENDING.values())


class _Parameter(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: str


_Ids = Annotated[list[str], msgspec.Meta(min_length=1)]


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    ids: _Ids
    action_parameters: list[_Parameter] = msgspec.field(default_factory=list)


class _DeviceIds(msgspec.Struct, forbid_unknown_fields=True):
    ids: _Ids


def query_devices(state: CrowdStrike, call: Call) -> Answer:
    """`QueryDevicesByFilter`: the AIDs of all hosts that match, which may share one name."""
    authorize(state, call, "hosts:read")
    checked_query(call, "filter", "limit", "offset", "sort")
    found = list(state.devices.values())
    for text in call.all_of("filter"):
        match = _HOSTNAME_FILTER.fullmatch(text)
        if match is None:
            return failed(call, 400, 400, "Invalid filter expression supplied")
        name = re.sub(r"\\(.)", r"\1", match[1]).casefold()
        found = [device for device in found if device.hostname.casefold() == name]
    limit, offset = (call.one_of(name) or default for name, default in _PAGE.items())
    if not (limit.isdecimal() and 1 <= int(limit) <= 5000 and offset.isdecimal()):
        return failed(call, 400, 400, "Invalid limit or offset supplied")
    page = found[int(offset) : int(offset) + int(limit)]
    pagination = {"offset": int(offset), "limit": int(limit), "total": len(found)}
    body = {
        "meta": {**meta(call, "device-api"), "pagination": pagination},
        "resources": [device.device_id for device in page],
        "errors": [],
    }
    return as_json(200, body)


_PAGE: Final = {"limit": "100", "offset": "0"}


def read_devices(state: CrowdStrike, call: Call) -> Answer:
    """`GetDeviceDetailsV2` and `PostDeviceDetailsV2`: all fields of the hosts."""
    authorize(state, call, "hosts:read")
    known, unknown = _found(state, call, _asked_ids(call))
    resources: list[object] = []
    for device in known:
        _count_read(state, device)
        resources.append(_as_entity(state, device, call.now))
    body = {"meta": meta(call, "device-api"), "resources": resources, "errors": unknown}
    return as_json(200, body)


def read_online(state: CrowdStrike, call: Call) -> Answer:
    """`GetOnlineState_V1`: online or offline."""
    authorize(state, call, "hosts:read")
    known, unknown = _found(state, call, _asked_ids(call))
    resources = [
        {"id": device.device_id, "state": "online" if device.is_online else "offline"}
        for device in known
    ]
    return as_json(200, {"meta": meta(call, ""), "resources": resources, "errors": unknown})


def _asked_ids(call: Call) -> list[str]:
    if call.method == "POST":
        checked_query(call)
        try:
            return call.json(_DeviceIds).ids
        except BadBodyError as exc:
            raise RefusedError(failed(call, 400, 400, str(exc))) from exc
    checked_query(call, "ids")
    ids = call.all_of("ids")
    if not ids:
        raise RefusedError(failed(call, 400, 400, "ids is required"))
    return ids


def _found(
    state: CrowdStrike, call: Call, ids: list[str]
) -> tuple[list[CrowdStrikeDevice], list[dict[str, object]]]:
    for aid in ids:
        if _AID.fullmatch(aid) is None:
            raise RefusedError(failed(call, 400, 400, f"invalid device id [{aid}]"))
    known = [state.devices[aid] for aid in ids if aid in state.devices]
    unknown: list[dict[str, object]] = [
        {"code": 404, "message": f"No matching device found for ID {aid}", "id": aid}
        for aid in ids
        if aid not in state.devices
    ]
    return known, unknown


def act(state: CrowdStrike, call: Call) -> Answer:
    """`PerformActionV2`: 202, contain or lift_containment."""
    authorize(state, call, "hosts:write")
    checked_query(call, "action_name")
    action = call.one_of("action_name")
    if action not in _PENDING:
        violation = f"devices-actions with {action}" if action in _OTHER_ACTIONS else None
        answer = failed(call, 400, 400, f"Invalid action_name: {action}", "device-api")
        return Answer(answer.status, answer.body, answer.headers, violation=violation)
    try:
        ids = call.json(_Action).ids
    except BadBodyError as exc:
        return failed(call, 400, 400, str(exc), "device-api")
    if len(ids) > MAX_IDS:
        return failed(call, 400, 400, f"more than {MAX_IDS} ids", "device-api")
    known, unknown = _found(state, call, ids)
    if unknown:
        body = {"meta": meta(call, "device-api"), "resources": [], "errors": unknown}
        return as_json(404, body)
    changing = [device for device in known if device.status not in _PENDING[action]]
    if state.refuses_repeats and len(changing) < len(known):
        return failed(call, 409, 409, f"already in the state that {action} leads to", "device-api")
    for device in changing:
        device.status = _PENDING[action][0]
        device.pending_reads = 0
    resources: list[object] = [
        {"id": aid, "path": f"/devices/entities/devices/v1?ids={aid}"} for aid in ids
    ]
    changes = [Change(device.device_id, action) for device in changing]
    return succeeded(call, 202, resources, *changes, powered_by="device-api")


def _as_entity(state: CrowdStrike, device: CrowdStrikeDevice, now: float) -> dict[str, object]:
    return {
        "device_id": device.device_id,
        "cid": state.cid,
        "agent_version": "7.31.20309.0",
        "hostname": device.hostname,
        "status": device.status,
        "filesystem_containment_status": "normal",
        "platform_id": "0",
        "platform_name": "Windows",
        "os_version": "Windows 11" if device.product_type_desc == "Workstation" else "Windows 2022",
        "product_type_desc": device.product_type_desc,
        "first_seen": as_iso(now - 90 * 86_400),
        "last_seen": as_iso(now),
        "tags": device.tags,
        "groups": [],
        "ou": None,
        "pod_labels": None,
    }


def _count_read(state: CrowdStrike, device: CrowdStrikeDevice) -> None:
    if device.status in _END:
        device.pending_reads += 1
        if state.reads_until_done is not None and device.pending_reads >= state.reads_until_done:
            settle_device(device)


def settle_device(device: CrowdStrikeDevice) -> None:
    """Complete a pending containment, or its end, if the host is online."""
    if device.is_online and not device.is_stuck:
        device.status = _END.get(device.status, device.status)
