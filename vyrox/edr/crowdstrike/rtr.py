"""Real Time Response, CrowdStrike's shell on a host: what a kill needs of it.

Source: gofalcon `real_time_response/`; falconpy `_endpoint/_real_time_response.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import msgspec

from vyrox import log
from vyrox.edr.client import Deadline, Order
from vyrox.edr.crowdstrike.envelope import Page, resources
from vyrox.edr.crowdstrike.processes import Process, find_process
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorRequest
from vyrox.edr.transport.reasons import redacted
from vyrox.errors import VendorError, VendorOutcomeUnknownError

POLL_S: Final = 0.5
"""Pause between two polls of a command's output."""

CLEANUP_S: Final = 5.0
"""Time limit to end a session or to delete a queued command, after the action's deadline too."""

MAX_OUTPUT_PARTS: Final = 64
"""Parts of one output."""

MAX_OUTPUT_CHARS: Final = 2 * 1024 * 1024
"""Characters of one output, all parts together. An attacker may control the host."""

_MAX_WAIT_S: Final = 30
"""How long the vendor waits for the host. This is the vendor's default."""

_NOT_FOUND: Final = 404
_SESSIONS: Final = "/real-time-response/entities/sessions/v1"
_COMMANDS: Final = "/real-time-response/entities/active-responder-command/v1"
_QUEUED: Final = "/real-time-response/entities/queued-sessions/command/v1"


_Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,128}\Z")]
"""Id of a session or a command. Vyrox stores it and sends it back. The vendor uses UUIDs."""


class _Session(msgspec.Struct, frozen=True):
    session_id: _Identifier
    offline_queued: bool = False


class _Command(msgspec.Struct, frozen=True):
    cloud_request_id: _Identifier
    queued_command_offline: bool = False


class Output(msgspec.Struct, frozen=True):
    """The output of a command, or one part of it."""

    complete: bool
    stdout: str | None = None
    stderr: str | None = None


_SESSION = msgspec.json.Decoder(Page[_Session])
_COMMAND = msgspec.json.Decoder(Page[_Command])
_OUTPUT = msgspec.json.Decoder(Page[Output])


async def kill(api: VendorApi, aid: str, pid: int, expected: Process, order: Order) -> str:
    """Kill the process `pid` of a host if it is `expected`; return the command's identifier.

    The operating system reuses numbers. So the process list of the host is read in the same
    session, immediately before the kill.

    Raises:
        VendorError: Nothing was killed. If opening the session failed without a response, the
            session may exist; the vendor ends it after ten idle minutes.
        VendorOutcomeUnknownError: The kill was sent, and its outcome is not known.
    """
    deadline = order.deadline
    async with _session(api, aid, deadline) as session_id:
        await _check_same(await _list_processes(api, session_id, deadline), pid, expected)
        request = api.change(
            "kill", _COMMANDS, order, body=_command("kill", session_id, f"kill {pid}")
        )
        request_id = await _start(api, session_id, request, deadline)
        try:
            output = await _wait(api, request_id, deadline)
        except VendorError as exc:
            raise VendorOutcomeUnknownError(f"kill: sent, outcome unknown: {exc}") from exc
        if output.stderr:
            raise VendorError(f"kill: the host reported: {redacted(output.stderr)}")
        return request_id


async def command_output(
    api: VendorApi, request_id: str, deadline: Deadline, parts: list[Output] | None = None
) -> Output | None:
    """Return the output of a command if it is complete, else None.

    Args:
        parts: The parts that earlier polls have read; this poll appends to it. The last part is
            read again, because it may have grown.

    Raises:
        VendorError: It cannot be read.
    """
    parts = [] if parts is None else parts
    for sequence in range(max(len(parts) - 1, 0), MAX_OUTPUT_PARTS):
        part = await _read_part(api, request_id, sequence, deadline)
        if part is None or not (part.complete or part.stdout or part.stderr):
            return None
        parts[sequence:] = [part]
        if (
            sum(len(part.stdout or "") + len(part.stderr or "") for part in parts)
            > MAX_OUTPUT_CHARS
        ):
            raise VendorError("the output is too large")
        if part.complete:
            return Output(
                complete=True,
                stdout="".join(part.stdout or "" for part in parts),
                stderr="".join(part.stderr or "" for part in parts),
            )
    raise VendorError("the output has too many parts")


@asynccontextmanager
async def _session(api: VendorApi, aid: str, deadline: Deadline) -> AsyncIterator[str]:
    wait_s = max(1, min(_MAX_WAIT_S, int(deadline.remaining_s())))
    request = api.request(
        "open session",
        _SESSIONS,
        query={"timeout": str(wait_s)},
        body={"device_id": aid, "queue_offline": False},
    )
    response = await api.send(request, deadline)
    found = resources(response, _SESSION)
    if len(found) != 1:
        raise response.unusable("no session")
    session_id = found[0].session_id
    try:
        if found[0].offline_queued:
            raise VendorError("open session: the host is offline")
        yield session_id
    finally:
        await _end(api, session_id)


async def _end(api: VendorApi, session_id: str) -> None:
    request = api.deletion("end session", _SESSIONS, {"session_id": session_id})
    try:
        response = await api.send(request, Deadline(CLEANUP_S))
        if not response.succeeded:
            raise response.refusal()
    except VendorError as exc:
        # Not raised: the result of the action, or an earlier error, matters more. The vendor ends
        # the session after ten idle minutes.
        log.event("edr.session_not_closed", vendor="crowdstrike", reason=str(exc))


async def _list_processes(api: VendorApi, session_id: str, deadline: Deadline) -> str:
    request = api.request("ps", _COMMANDS, body=_command("ps", session_id, "ps"))
    request_id = await _start(api, session_id, request, deadline)
    output = await _wait(api, request_id, deadline)
    if output.stderr:
        raise VendorError(f"ps: the host reported: {redacted(output.stderr)}")
    return output.stdout or ""


async def _check_same(listing: str, pid: int, expected: Process) -> None:
    try:
        # In a thread: an attacker may control the host, and so the length of the list.
        process = await asyncio.to_thread(find_process, listing, pid)
    except ValueError as exc:
        raise VendorError("ps: the list of processes cannot be read") from exc
    if process is None:
        raise VendorError("ps: the process has ended")
    if not process.is_same(expected):
        raise VendorError("ps: the number belongs to another process now")


def _command(name: str, session_id: str, command: str) -> dict[str, str]:
    return {"base_command": name, "command_string": command, "session_id": session_id}


async def _start(
    api: VendorApi, session_id: str, request: VendorRequest, deadline: Deadline
) -> str:
    """Send a command to the host; return the vendor's id of the command."""
    response = await api.send(request, deadline)
    found = resources(response, _COMMAND)
    if len(found) != 1:
        raise response.unusable("no command")
    request_id = found[0].cloud_request_id
    if found[0].queued_command_offline:
        await _delete_queued(api, session_id, request_id, request.name)
        raise VendorError(f"{request.name}: the host is offline; the queued command was deleted")
    return request_id


async def _delete_queued(api: VendorApi, session_id: str, request_id: str, name: str) -> None:
    """Delete a command that the vendor has queued for an offline host.

    When the host is online again, the number may belong to another program.
    """
    query = {"session_id": session_id, "cloud_request_id": request_id}
    try:
        response = await api.send(
            api.deletion("delete queued command", _QUEUED, query), Deadline(CLEANUP_S)
        )
        if not response.succeeded:
            raise response.refusal()
    except VendorError as exc:
        if name == "kill":
            raise VendorOutcomeUnknownError(f"kill: queued, and not deleted: {exc}") from exc
        raise


async def _wait(api: VendorApi, request_id: str, deadline: Deadline) -> Output:
    parts: list[Output] = []
    while (output := await command_output(api, request_id, deadline, parts)) is None:
        await api.sleep(min(POLL_S, deadline.remaining_s()))
    return output


async def _read_part(
    api: VendorApi, request_id: str, sequence: int, deadline: Deadline
) -> Output | None:
    query = {"cloud_request_id": request_id, "sequence_id": str(sequence)}
    response = await api.send(api.request("read output", _COMMANDS, query=query), deadline)
    if response.status == _NOT_FOUND and sequence > 0:
        return None  # the host has not sent this part yet
    found = resources(response, _OUTPUT)
    return found[0] if found else None
