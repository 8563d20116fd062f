"""Falcon's Real Time Response: a session on a host, and the commands in it."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from vyrox.trial.mock_edr.crowdstrike.gateway import authorize, checked_query, failed, succeeded
from vyrox.trial.mock_edr.crowdstrike.sensor import run
from vyrox.trial.mock_edr.exchange import Answer, BadBodyError, Call, RefusedError, as_iso
from vyrox.trial.mock_edr.state import CrowdStrike, CrowdStrikeDevice, RtrCommand, RtrSession

IDLE_S: Final = 600
"""An unused session ends after this time."""

MAX_TIMEOUT_S: Final = 300

_POWERED_BY: Final = "empower-api"
_NO_SENSOR: Final = (40401, "Could not establish sensor comms")
_READ_COMMANDS: Final = frozenset({"cat", "cd", "env", "filehash", "ls", "netstat", "ps"})
_RESPONDER_COMMANDS: Final = frozenset({"cp", "get", "kill", "mkdir", "mv", "restart", "rm"})
_RUN: Final = frozenset({"ps", "kill"})
_DURATION: Final = re.compile(r"(\d{1,6})(ms|s|m)")
_UNIT_S: Final = {"ms": 0.001, "s": 1, "m": 60}


class _Init(msgspec.Struct, forbid_unknown_fields=True):
    device_id: str
    queue_offline: bool = False
    origin: str = ""


class _Refresh(msgspec.Struct, forbid_unknown_fields=True):
    device_id: str
    origin: str = ""
    queue_offline: bool = False


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    base_command: str
    command_string: str
    session_id: str
    device_id: str = ""
    id: int = 0
    persist: bool = False


def open_session(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_InitSession`: 201, with the session of this client on the host, or a new one."""
    client = authorize(state, call, "real-time-response:read")
    checked_query(call, "timeout", "timeout_duration")
    _check_timeout(call)
    try:
        wanted = call.json(_Init)
    except BadBodyError as exc:
        return _failed(call, 400, 400, str(exc))
    device = _device(state, call, wanted.device_id)
    if not device.is_online and not wanted.queue_offline:
        return _failed(call, 404, *_NO_SENSOR)
    is_queued = not device.is_online or device.rtr.queues_anyway
    return _session_answer(state, call, device, client.client_id, is_queued)


def refresh_session(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_PulseSession`: 201, and the session continues."""
    client = authorize(state, call, "real-time-response:read")
    checked_query(call)
    try:
        wanted = call.json(_Refresh)
    except BadBodyError as exc:
        return _failed(call, 400, 400, str(exc))
    device = _device(state, call, wanted.device_id)
    if not device.is_online:
        return _failed(call, 404, *_NO_SENSOR)
    return _session_answer(state, call, device, client.client_id, is_queued=False)


def _session_answer(
    state: CrowdStrike, call: Call, device: CrowdStrikeDevice, client_id: str, is_queued: bool
) -> Answer:
    of_device = [
        session for session in _living(state, call.now) if session.device_id == device.device_id
    ]
    session = next((each for each in of_device if each.client_id == client_id), None)
    if session is None:
        session = RtrSession(
            session_id=call.new_id("session"),
            client_id=client_id,
            device_id=device.device_id,
            used_at=call.now,
            is_queued=is_queued,
        )
        state.sessions[session.session_id] = session
    session.used_at = call.now
    resource = {
        "session_id": session.session_id,
        "scripts": [],
        "existing_aid_sessions": len(of_device),
        "created_at": as_iso(call.now),
        "pwd": "C:\\",
        "offline_queued": session.is_queued,
        "platform": "windows",
    }
    return succeeded(call, 201, [resource], powered_by=_POWERED_BY)


def _living(state: CrowdStrike, now: float) -> Iterator[RtrSession]:
    return (session for session in state.sessions.values() if now < session.used_at + IDLE_S)


def list_sessions(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_ListAllSessions`: the client's own open sessions."""
    client = authorize(state, call, "real-time-response:read")
    checked_query(call, "filter", "limit", "offset", "sort")
    own: list[object] = [
        session.session_id
        for session in _living(state, call.now)
        if session.client_id == client.client_id
    ]
    return succeeded(call, 200, own, powered_by=_POWERED_BY)


def close_session(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_DeleteSession`: 204, without a body."""
    client = authorize(state, call, "real-time-response:read")
    checked_query(call, "session_id")
    session = _session(state, call, client.client_id, call.one_of("session_id"))
    del state.sessions[session.session_id]
    return Answer(204, headers={})


def send_read_command(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_ExecuteCommand`: 201; only commands that change nothing, so never `kill`."""
    return _send_command(state, call, "real-time-response:read", _READ_COMMANDS)


def send_responder_command(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_ExecuteActiveResponderCommand`: 201; the command runs at once on a host online."""
    commands = _READ_COMMANDS | _RESPONDER_COMMANDS
    return _send_command(state, call, "real-time-response:write", commands)


def _send_command(state: CrowdStrike, call: Call, scope: str, commands: frozenset[str]) -> Answer:
    client = authorize(state, call, scope)
    checked_query(call)
    try:
        wanted = call.json(_Command)
    except BadBodyError as exc:
        return _failed(call, 400, 400, str(exc))
    if wanted.base_command not in commands:
        return _failed(call, 403, 40301, f"command [{wanted.base_command}] not permitted")
    if wanted.command_string.split(" ")[0] != wanted.base_command:
        return _failed(call, 400, 40001, "command_string does not begin with base_command")
    if wanted.base_command not in _RUN:
        answer = _failed(call, 400, 40002, "this mock runs ps and kill")
        violation = f"RTR command {wanted.base_command}"
        return Answer(answer.status, answer.body, answer.headers, violation=violation)
    session = _session(state, call, client.client_id, wanted.session_id)
    session.used_at = call.now
    device = _device(state, call, session.device_id)
    is_queued = session.is_queued or device.rtr.queues_anyway
    if not device.is_online and not is_queued:
        return _failed(call, 404, *_NO_SENSOR)
    command = RtrCommand(
        cloud_request_id=call.new_id("command"),
        session_id=session.session_id,
        device_id=device.device_id,
        base_command=wanted.base_command,
        command_string=wanted.command_string,
        is_queued=is_queued,
    )
    state.commands[command.cloud_request_id] = command
    changes = () if is_queued else run(device, command)
    resource = {
        "session_id": session.session_id,
        "cloud_request_id": command.cloud_request_id,
        "queued_command_offline": is_queued,
    }
    return succeeded(call, 201, [resource], *changes, powered_by=_POWERED_BY)


def read_read_command(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_CheckCommandStatus`."""
    return _read_command(state, call, "real-time-response:read")


def read_responder_command(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_CheckActiveResponderCommandStatus`."""
    return _read_command(state, call, "real-time-response:write")


def _read_command(state: CrowdStrike, call: Call, scope: str) -> Answer:
    authorize(state, call, scope)
    checked_query(call, "cloud_request_id", "sequence_id")
    command = state.commands.get(call.one_of("cloud_request_id") or "")
    sequence = call.one_of("sequence_id") or ""
    if not sequence.isdecimal():
        return _failed(call, 400, 400, "sequence_id must be a number")
    if command is None:
        return _failed(call, 404, 40402, "Command not found")
    if sequence == "0":
        command.polls += 1
    resource: dict[str, object] = {
        "session_id": command.session_id,
        "task_id": command.cloud_request_id,
        "base_command": command.base_command,
        "complete": False,
        "stdout": "",
        "stderr": "",
    }
    if _is_complete(state, command):
        if int(sequence) >= len(command.outputs):
            return _failed(call, 404, 40403, "Sequence not found")
        is_last = int(sequence) == len(command.outputs) - 1
        resource |= {
            "complete": is_last,
            "stdout": command.outputs[int(sequence)],
            "stderr": command.stderr if is_last else "",
            "sequence_id": int(sequence),
        }
    return succeeded(call, 200, [resource], powered_by=_POWERED_BY)


def _is_complete(state: CrowdStrike, command: RtrCommand) -> bool:
    if command.is_queued or command.never_completes:
        return False
    return command.polls >= state.devices[command.device_id].rtr.polls_until_complete


def delete_queued_command(state: CrowdStrike, call: Call) -> Answer:
    """`RTR_DeleteQueuedSession`: 204; a command that has not run yet never will."""
    authorize(state, call, "real-time-response:read")
    checked_query(call, "session_id", "cloud_request_id")
    command = state.commands.get(call.one_of("cloud_request_id") or "")
    if command is None or command.session_id != call.one_of("session_id") or not command.is_queued:
        return _failed(call, 404, 40402, "Command not found")
    del state.commands[command.cloud_request_id]
    return Answer(204, headers={})


def _device(state: CrowdStrike, call: Call, aid: str) -> CrowdStrikeDevice:
    if aid not in state.devices:
        raise RefusedError(_failed(call, 404, 40400, "Host not found"))
    return state.devices[aid]


def _session(state: CrowdStrike, call: Call, client_id: str, session_id: str | None) -> RtrSession:
    """Return the client's own open session."""
    for session in _living(state, call.now):
        if (session.session_id, session.client_id) == (session_id, client_id):
            return session
    raise RefusedError(_failed(call, 404, 40405, "Session not found"))


def _check_timeout(call: Call) -> None:
    timeout = call.one_of("timeout") or "30"
    duration = _DURATION.fullmatch(call.one_of("timeout_duration") or "30s")
    if (
        not timeout.isdecimal()
        or not 1 <= int(timeout) <= MAX_TIMEOUT_S
        or duration is None
        or int(duration[1]) * _UNIT_S[duration[2]] > MAX_TIMEOUT_S
    ):
        raise RefusedError(_failed(call, 400, 40003, "invalid timeout"))


def _failed(call: Call, status: int, code: int, message: str) -> Answer:
    return failed(call, status, code, message, _POWERED_BY)
