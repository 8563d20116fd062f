"""Microsoft Defender for Endpoint: machines and machine actions.

Source: Microsoft's pages on the Defender for Endpoint API. docs/mock-edr.md lists what they
leave open, and what this mock does.
"""

import re
from math import ceil
from typing import Final, Literal, TypeVar

import msgspec

from vyrox.trial.mock_edr.entra import authorize, failed, issue_token, refuse
from vyrox.trial.mock_edr.exchange import (
    Answer,
    Api,
    BadBodyError,
    Call,
    Change,
    Endpoint,
    RefusedError,
    as_iso,
    as_json,
    as_ticks,
)
from vyrox.trial.mock_edr.graph import list_alerts, read_alert
from vyrox.trial.mock_edr.odata import Item, ODataError, select
from vyrox.trial.mock_edr.state import Defender, DefenderMachine, MachineAction
from vyrox.trial.mock_edr.tokens import ApiClient

_MACHINE_ID: Final = re.compile(r"[0-9a-f]{40}")
_OPEN: Final = frozenset({"Pending", "InProgress"})
_READ_MACHINES: Final = ("Machine.Read.All", "Machine.ReadWrite.All")
_CONTEXT: Final = "https://api.securitycenter.microsoft.com/api/$metadata#"

_MACHINE_FIELDS: Final = frozenset({"computerDnsName", "healthStatus", "id", "osPlatform"})
_ACTION_FIELDS: Final = frozenset(
    {"creationDateTimeUtc", "id", "machineId", "requestor", "status", "type"}
)

T = TypeVar("T", bound="_Unisolate")


class _Unisolate(msgspec.Struct, forbid_unknown_fields=True):
    """Member names are case-sensitive: `comment` is an unknown member."""

    Comment: str


class _Isolate(_Unisolate, forbid_unknown_fields=True):
    IsolationType: Literal["Full", "Selective", "UnManagedDevice"]


def list_machines(state: Defender, call: Call) -> Answer:
    """List machines by `$filter`. If no machine matches: 404."""
    authorize(state, call, *_READ_MACHINES)
    machines = [_as_machine(machine, call.now) for machine in state.machines.values()]
    found = _selected(machines, call, _MACHINE_FIELDS)
    if not found:
        return failed(call, 404, "ResourceNotFound", "No machine was found")
    return as_json(200, {"@odata.context": f"{_CONTEXT}Machines", "value": found})


def read_machine(state: Defender, call: Call) -> Answer:
    """Read one machine."""
    authorize(state, call, *_READ_MACHINES)
    entity = _as_machine(_machine(state, call), call.now)
    return as_json(200, {"@odata.context": f"{_CONTEXT}Machines/$entity", **entity})


def isolate(state: Defender, call: Call) -> Answer:
    """Request a machine's isolation: 201, with the machine action."""
    client = authorize(state, call, "Machine.Isolate")
    wanted = _body(call, _Isolate)
    action = _action(call, "Isolate", client, wanted.Comment, wanted.IsolationType)
    return _ask(state, call, action)


def unisolate(state: Defender, call: Call) -> Answer:
    """Request the end of a machine's isolation: 201, with the machine action."""
    client = authorize(state, call, "Machine.Isolate")
    return _ask(
        state, call, _action(call, "Unisolate", client, _body(call, _Unisolate).Comment, None)
    )


def refuse_action(_state: Defender, call: Call) -> Answer:
    """Refuse an action that Vyrox must never request."""
    answer = failed(call, 400, "BadRequest", "not mocked")
    return Answer(answer.status, answer.body, answer.headers, violation=call.path)


def _body(call: Call, kind: type[T]) -> T:
    """Return the body.

    Raises:
        RefusedError: 400 for a body with other members, or without a comment.
    """
    if call.query:
        raise RefusedError(failed(call, 400, "BadRequest", "An action takes no query"))
    try:
        body = call.json(kind)
    except BadBodyError as exc:
        is_missing = "missing required" in str(exc)
        code = "MissingRequiredParameter" if is_missing else "InvalidRequestBody"
        raise RefusedError(failed(call, 400, code, str(exc))) from exc
    if not body.Comment.strip():
        raise RefusedError(failed(call, 400, "MissingRequiredParameter", "Comment is required"))
    return body


def _action(
    call: Call,
    kind: Literal["Isolate", "Unisolate"],
    client: ApiClient,
    comment: str,
    scope: str | None,
) -> MachineAction:
    # The microseconds make the times of requests differ, because lists are ordered by them.
    created_at = call.now + call.number / 1_000_000
    return MachineAction(
        id=call.new_id("action"),
        type=kind,
        machine_id=call.params["id"],
        comment=comment,
        scope=scope,
        requestor=client.client_id,
        created_at=created_at,
        updated_at=created_at,
    )


def _ask(state: Defender, call: Call, action: MachineAction) -> Answer:
    machine = _machine(state, call)
    is_open = (
        each
        for each in state.actions.values()
        if each.machine_id == machine.id and each.status in _OPEN
    )
    if (present := next(is_open, None)) is not None:
        if state.returns_open_action and present.type == action.type:
            return as_json(201, _as_entity(state, present))
        return failed(call, 400, "ActiveRequestAlreadyExists", "Action is already in progress")
    state.actions[action.id] = action
    if machine.is_isolated == (action.type == "Isolate"):
        return as_json(201, _as_entity(state, action))
    change = Change(machine.id, action.type.lower(), action.id)
    return as_json(201, _as_entity(state, action), change)


def read_action(state: Defender, call: Call) -> Answer:
    """Read one machine action."""
    authorize(state, call, *_READ_MACHINES)
    action = state.actions.get(call.params["id"])
    if action is None:
        return failed(call, 404, "ResourceNotFound", "Machine action was not found")
    _count_read(state, action, call.now)
    return as_json(200, _as_entity(state, action))


def list_actions(state: Defender, call: Call) -> Answer:
    """List machine actions by `$filter`. If no action matches: an empty list."""
    authorize(state, call, *_READ_MACHINES)
    items = [_as_item(state, action) for action in state.actions.values()]
    chosen = [state.actions[str(item["id"])] for item in _selected(items, call, _ACTION_FIELDS)]
    for action in chosen:
        _count_read(state, action, call.now)
    value = [_as_item(state, action) for action in chosen]
    return as_json(200, {"@odata.context": f"{_CONTEXT}MachineActions", "value": value})


def _selected(items: list[Item], call: Call, fields: frozenset[str]) -> list[Item]:
    try:
        return select(items, call, fields)
    except ODataError as exc:
        raise RefusedError(failed(call, 400, "InvalidInput", str(exc))) from exc


def _machine(state: Defender, call: Call) -> DefenderMachine:
    machine_id = call.params["id"]
    if _MACHINE_ID.fullmatch(machine_id) is None:
        raise RefusedError(failed(call, 400, "InvalidInput", "Machine id is invalid"))
    if machine_id not in state.machines:
        raise RefusedError(failed(call, 404, "ResourceNotFound", "Machine was not found"))
    return state.machines[machine_id]


def _count_read(state: Defender, action: MachineAction, now: float) -> None:
    action.pending_reads += 1
    if state.reads_until_done is not None and action.pending_reads >= state.reads_until_done:
        _settle_action(state, action, now)


def _settle_action(state: Defender, action: MachineAction, now: float) -> None:
    machine = state.machines[action.machine_id]
    if action.status not in _OPEN or not machine.is_active or machine.is_stuck:
        return
    action.status = machine.outcome
    action.updated_at = now
    if action.status == "Succeeded":
        machine.is_isolated = action.type == "Isolate"


def _settle(state: Defender, now: float) -> tuple[Change, ...]:
    for action in state.actions.values():
        _settle_action(state, action, now)
    return ()


def _as_machine(machine: DefenderMachine, now: float) -> Item:
    return {
        "id": machine.id,
        "computerDnsName": machine.computer_dns_name,
        "firstSeen": as_iso(now - 90 * 86_400),
        "lastSeen": as_iso(now),
        "osPlatform": machine.os_platform,
        "healthStatus": "Active" if machine.is_active else "Inactive",
        "onboardingStatus": "Onboarded",
        "riskScore": "None",
        "exposureLevel": "Low",
        "aadDeviceId": None,
        "rbacGroupId": 0,
        "machineTags": machine.machine_tags,
    }


def _as_item(state: Defender, action: MachineAction) -> Item:
    return {
        "id": action.id,
        "type": action.type,
        "title": None,
        "requestor": action.requestor,
        "requestorComment": action.comment,
        "status": action.status,
        "machineId": action.machine_id,
        "computerDnsName": state.machines[action.machine_id].computer_dns_name,
        "creationDateTimeUtc": as_ticks(action.created_at),
        "lastUpdateDateTimeUtc": as_ticks(action.updated_at),
        "errorHResult": -2147024891 if action.status == "Failed" else 0,
        "scope": action.scope,
        "externalId": None,
        "requestSource": "PublicApi",
        "relatedFileInfo": None,
        "commands": [],
    }


def _as_entity(state: Defender, action: MachineAction) -> Item:
    return {
        "@odata.context": f"{_CONTEXT}MachineActions/$entity",
        **_as_item(state, action),
    }


def _with_errors(answer: Answer) -> Answer:
    body = msgspec.json.decode(answer.body or b"{}", type=dict[str, object])
    error = {"code": "InternalServerError", "message": "internal error", "target": None}
    return as_json(answer.status, {**body, "error": error})


def _complete(_state: Defender, _call: Call, answer: Answer) -> Answer:
    return answer


def _limit(answer: Answer, _now: float, wait_s: float, _unit: Literal["s", "ms"]) -> Answer:
    headers = {**answer.headers, "retry-after": str(ceil(wait_s))}
    return Answer(answer.status, answer.body, headers)


API: Final = Api(
    vendor="defender",
    endpoints=(
        Endpoint("token", "POST", "/login/{tenant}/oauth2/v2.0/token", issue_token),
        Endpoint("machine_list", "GET", "/api/machines", list_machines),
        Endpoint("machine_read", "GET", "/api/machines/{id}", read_machine),
        Endpoint("isolate", "POST", "/api/machines/{id}/isolate", isolate),
        Endpoint("unisolate", "POST", "/api/machines/{id}/unisolate", unisolate),
        Endpoint("other_action", "POST", "/api/machines/{id}/{action}", refuse_action),
        Endpoint("action_list", "GET", "/api/machineactions", list_actions),
        Endpoint("action_read", "GET", "/api/machineactions/{id}", read_action),
        Endpoint("alert_list", "GET", "/graph/v1.0/security/alerts_v2", list_alerts),
        Endpoint("alert_one", "GET", "/graph/v1.0/security/alerts_v2/{id}", read_alert),
    ),
    refuse=refuse,
    with_errors=_with_errors,
    complete=_complete,
    limit=_limit,
    settle=_settle,
)
"""The endpoints that Vyrox uses. Any other action is a violation."""
