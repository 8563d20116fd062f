"""Real Time Response: CrowdStrike's shell on a host, as far as a kill needs it.

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
"""Between two looks at a command's output."""

TIDY_S: Final = 5.0
"""To end a session or to take a command back, which is done when the deadline is over as well."""

MAX_PARTS: Final = 64
"""Of one output."""

MAX_OUTPUT: Final = 2 * 1024 * 1024
"""Characters of one output, over all its parts: a host that may be an attacker's writes it."""

_MAX_WAIT_S: Final = 30
"""For the host to answer; the vendor's own default."""

_NOT_FOUND: Final = 404
_SESSIONS: Final = "/real-time-response/entities/sessions/v1"
_COMMANDS: Final = "/real-time-response/entities/active-responder-command/v1"
_QUEUED: Final = "/real-time-response/entities/queued-sessions/command/v1"


_Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,128}\Z")]
"""Of a session or a command. The vendor's are UUIDs. They are stored, and sent back to it."""


class _Session(msgspec.Struct, frozen=True):
    session_id: _Identifier
    offline_queued: bool = False


class _Command(msgspec.Struct, frozen=True):
    cloud_request_id: _Identifier
    queued_command_offline: bool = False


class Output(msgspec.Struct, frozen=True):
    """What a command has printed, or a part of it."""

    complete: bool
    stdout: str | None = None
    stderr: str | None = None


_SESSION = msgspec.json.Decoder(Page[_Session])
_COMMAND = msgspec.json.Decoder(Page[_Command])
_OUTPUT = msgspec.json.Decoder(Page[Output])


async def kill(api: VendorApi, aid: str, pid: int, expected: Process, order: Order) -> str:
    """Kill the process `pid` of a host if it is `expected`; return the command's identifier.

    A number may have passed on to another program since the alert, so the host is asked for its
    processes in the same session, just before.

    Raises:
        VendorError: Nothing was killed. A session whose opening was not answered may be left, which
            the vendor ends after ten idle minutes.
        VendorOutcomeUnknownError: The kill was sent, and its outcome is not known.
    """
    deadline = order.deadline
    async with _session(api, aid, deadline) as session_id:
        await _check_same(await _list_processes(api, session_id, deadline), pid, expected)
        call = api.change(
            "kill", _COMMANDS, order, body=_command("kill", session_id, f"kill {pid}")
        )
        request_id = await _start(api, session_id, call, deadline)
        try:
            output = await _wait(api, request_id, deadline)
        except VendorError as exc:
            raise VendorOutcomeUnknownError(f"kill: sent, outcome unknown: {exc}") from exc
        if output.stderr:
            raise VendorError(f"kill: the host says: {redacted(output.stderr)}")
        return request_id


async def command_output(
    api: VendorApi, request_id: str, deadline: Deadline, parts: list[Output] | None = None
) -> Output | None:
    """Return what a command has printed once it is complete, None until then.

    Args:
        parts: What earlier looks have found, which this one adds to. The last part is read again,
            for it may have been complete, or longer, a moment later.

    Raises:
        VendorError: It cannot be read.
    """
    parts = [] if parts is None else parts
    for sequence in range(max(len(parts) - 1, 0), MAX_PARTS):
        part = await _part(api, request_id, sequence, deadline)
        if part is None or not (part.complete or part.stdout or part.stderr):
            return None
        parts[sequence:] = [part]
        if sum(len(part.stdout or "") + len(part.stderr or "") for part in parts) > MAX_OUTPUT:
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
    call = api.call(
        "open session",
        _SESSIONS,
        query={"timeout": str(wait_s)},
        body={"device_id": aid, "queue_offline": False},
    )
    answer = await api.send(call, deadline)
    found = resources(answer, _SESSION)
    if len(found) != 1:
        raise answer.unusable("no session")
    session_id = found[0].session_id
    try:
        if found[0].offline_queued:
            raise VendorError("open session: the host is offline")
        yield session_id
    finally:
        await _end(api, session_id)


async def _end(api: VendorApi, session_id: str) -> None:
    call = api.deletion("end session", _SESSIONS, {"session_id": session_id})
    try:
        answer = await api.send(call, Deadline(TIDY_S))
        if not answer.succeeded:
            raise answer.refusal()
    except VendorError as exc:
        # What was done stays done, and what went wrong before matters more; the vendor ends the
        # session itself after ten idle minutes.
        log.event("edr.session_not_closed", vendor="crowdstrike", reason=str(exc))


async def _list_processes(api: VendorApi, session_id: str, deadline: Deadline) -> str:
    call = api.call("ps", _COMMANDS, body=_command("ps", session_id, "ps"))
    request_id = await _start(api, session_id, call, deadline)
    output = await _wait(api, request_id, deadline)
    if output.stderr:
        raise VendorError(f"ps: the host says: {redacted(output.stderr)}")
    return output.stdout or ""


async def _check_same(listing: str, pid: int, expected: Process) -> None:
    try:
        # In a thread: a host that may be an attacker's decides how long the list is.
        process = await asyncio.to_thread(find_process, listing, pid)
    except ValueError as exc:
        raise VendorError("ps: the host's processes cannot be compared with the alert's") from exc
    if process is None:
        raise VendorError("ps: the process has ended")
    if not process.is_same(expected):
        raise VendorError("ps: the number belongs to another process now")


def _command(name: str, session_id: str, command: str) -> dict[str, str]:
    return {"base_command": name, "command_string": command, "session_id": session_id}


async def _start(api: VendorApi, session_id: str, call: VendorRequest, deadline: Deadline) -> str:
    """Give a command to the host and return what the vendor calls it."""
    answer = await api.send(call, deadline)
    found = resources(answer, _COMMAND)
    if len(found) != 1:
        raise answer.unusable("no command")
    request_id = found[0].cloud_request_id
    if found[0].queued_command_offline:
        await _take_back(api, session_id, request_id, call.name)
        raise VendorError(f"{call.name}: the host is offline, so it was taken back")
    return request_id


async def _take_back(api: VendorApi, session_id: str, request_id: str, name: str) -> None:
    """Delete a command that the vendor keeps for a host that is offline.

    By the time the host is back, the number may belong to another program.
    """
    query = {"session_id": session_id, "cloud_request_id": request_id}
    try:
        answer = await api.send(api.deletion("take back", _QUEUED, query), Deadline(TIDY_S))
        if not answer.succeeded:
            raise answer.refusal()
    except VendorError as exc:
        if name == "kill":
            raise VendorOutcomeUnknownError(f"kill: queued, not taken back: {exc}") from exc
        raise


async def _wait(api: VendorApi, request_id: str, deadline: Deadline) -> Output:
    parts: list[Output] = []
    while (output := await command_output(api, request_id, deadline, parts)) is None:
        await api.sleep(min(POLL_S, deadline.remaining_s()))
    return output


async def _part(
    api: VendorApi, request_id: str, sequence: int, deadline: Deadline
) -> Output | None:
    query = {"cloud_request_id": request_id, "sequence_id": str(sequence)}
    answer = await api.send(api.call("read output", _COMMANDS, query=query), deadline)
    if answer.status == _NOT_FOUND and sequence > 0:
        return None  # not there yet
    found = resources(answer, _OUTPUT)
    return found[0] if found else None
