"""Microsoft Defender for Endpoint: isolation of a machine. It kills no process by its number.

Source: Microsoft Learn, `defender-endpoint/api/`: isolate-machine, unisolate-machine,
machineaction, get-machineactions-collection, get-machines, common-errors; Microsoft identity
platform, client credentials flow.
"""

import re
from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from vyrox import log
from vyrox.clock import Clock
from vyrox.edr.client import ActionResult, Change, Deadline, Finding, Order, Progress, Target
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorRequest, VendorResponse
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert

REFUSALS: Final = frozenset({400, 401, 403, 404, 429})

SCOPE: Final = "https://api.securitycenter.microsoft.com/.default"
"""Microsoft Graph, where alerts are read, takes another; a token has one."""

_NOT_FOUND: Final = 404

MAX_ACTIONS: Final = 100
"""Of a machine, the latest first."""

FRESH_S: Final = 900.0
"""For so long a machine action tells the state of its machine. An isolation can end without one."""

_MACHINE_ID = re.compile(r"[0-9a-f]{40}")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_READ_WRITE: Final = "Machine.ReadWrite.All"
_ALREADY_ACTIVE: Final = "ActiveRequestAlreadyExists"
_FULL: Final = "Full"
"""Selective isolation leaves some programs on the network."""

_Kind = Literal["Isolate", "Unisolate"]
_PATHS: Final[dict[str, str]] = {"Isolate": "isolate", "Unisolate": "unisolate"}
_PROGRESS: Final[dict[str, Progress]] = {
    "Pending": "pending",
    "InProgress": "pending",
    "Succeeded": "reached",
    "Failed": "failed",
    "TimeOut": "failed",
    "Cancelled": "failed",
}


class _Refusal(msgspec.Struct, frozen=True):
    code: str | None = None


class _Body(msgspec.Struct, frozen=True):
    error: _Refusal | None = None


class _Machine(_Body, frozen=True, kw_only=True, rename="camel"):
    id: str
    computer_dns_name: str | None = None
    machine_tags: list[str] | None = None


class _Machines(_Body, frozen=True, kw_only=True):
    value: list[_Machine]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class _Action(_Body, frozen=True, kw_only=True, rename="camel"):
    id: Annotated[str, msgspec.Meta(pattern=rf"\A{_GUID.pattern}\Z")]
    type: str
    status: str
    machine_id: str
    made_at: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="creationDateTimeUtc")
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(
        default=None, name="lastUpdateDateTimeUtc"
    )
    scope: str | None = None
    comment: str | None = msgspec.field(default=None, name="requestorComment")

    @property
    def progress(self) -> Progress:
        return _PROGRESS.get(self.status, "pending")

    def leads_to(self, kind: _Kind) -> bool:
        """Return whether it is what Vyrox asks for: an isolation may be a selective one."""
        return self.type == kind and (kind == "Unisolate" or self.scope in {None, _FULL})

    def is_fresh(self, now: float) -> bool:
        return abs(now - (self.updated_at or self.made_at).timestamp()) <= FRESH_S


class _Actions(_Body, frozen=True, kw_only=True):
    value: list[_Action]


class _Claims(msgspec.Struct, frozen=True):
    roles: list[str]


B = TypeVar("B", bound=_Body)

_MACHINE = msgspec.json.Decoder(_Machine)
_MACHINES = msgspec.json.Decoder(_Machines)
_ACTION = msgspec.json.Decoder(_Action)
_ACTIONS = msgspec.json.Decoder(_Actions)
_REFUSED = msgspec.json.Decoder(_Body)
_CLAIMS = msgspec.json.Decoder(_Claims)


def token_call(login_url: str, azure_tenant: str, client_id: str, secret: str) -> VendorRequest:
    """Return the call that fetches a token for machine actions, for about an hour."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
        "scope": SCOPE,
    }
    return VendorRequest(
        name="token",
        method="POST",
        url=f"{login_url}/{azure_tenant}/oauth2/v2.0/token",
        body=urlencode(form).encode(),
        content_type="application/x-www-form-urlencoded",
    )


class Defender:
    """A VendorClient."""

    def __init__(self, api: VendorApi, clock: Clock) -> None:
        """`clock` tells how old a machine action is."""
        self._api = api
        self._clock = clock

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """See VendorClient. `host` is a machine's id or its full DNS name."""
        machine_id = _machine_id(host)
        if machine_id is not None:
            if _machine_id(known_id or "") != machine_id:
                await self._check_no_name(machine_id, deadline)
            call = self._api.call("read machine", f"/api/machines/{machine_id}")
            machine = _read(await self._api.send(call, deadline), _MACHINE)
            if _machine_id(machine.id) != machine_id:
                raise VendorError("read machine: the answer is of another one")
        else:
            found = _read(await self._find(host, deadline), _MACHINES)
            if len(found.value) != 1 or found.next_link:
                raise VendorError(f"{len(found.value) or 'no'} machines have this name")
            machine = found.value[0]
            if (machine.computer_dns_name or "").casefold() != host.casefold():
                raise VendorError("no machine has exactly this name")
        tags = machine.machine_tags
        return Device(
            _checked_id(machine.id),
            machine.computer_dns_name,
            None if tags is None else tuple(tags),
        )

    async def change(self, target: Change, order: Order) -> ActionResult:
        """See VendorClient."""
        if target == "contained":
            body = {"Comment": order.comment, "IsolationType": _FULL}
            return await self._act("Isolate", body, order)
        return await self._act("Unisolate", {"Comment": order.comment}, order)

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:  # noqa: ARG002
        """Raise VendorError: Defender stops files, everywhere they run, and no one process."""
        raise VendorError("Defender kills no process by its number")

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """See VendorClient."""
        if target == "killed":
            raise VendorError("Defender kills no process by its number")
        machine_id = _checked_id(device_id)
        kind: _Kind = "Isolate" if target == "contained" else "Unisolate"
        if reference is None:
            decisive = _decisive(await self._actions(machine_id, deadline))
            # One that is not listed may have been taken on all the same, and be listed later.
            done = _already(decisive, kind, self._clock())
            return "reached" if done and done.confirmed else "pending"
        if not _GUID.fullmatch(reference):
            raise VendorError("no machine action's id")
        call = self._api.call("read action", f"/api/machineactions/{reference}")
        action = _read(await self._api.send(call, deadline), _ACTION)
        if (action.id, action.machine_id, action.type) != (reference, machine_id, kind):
            raise VendorError("read action: the answer is of another one")
        return action.progress

    async def read_containment(self, device_id: str, deadline: Deadline) -> tuple[Isolation, ...]:
        """See VendorClient. All isolations since the last end of one."""
        isolations = []
        for action in await self._actions(_checked_id(device_id), deadline):
            if action.progress == "reached":
                if action.type == "Unisolate":
                    break
                isolations.append(Isolation(action.id, action.comment))
        return tuple(isolations)

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """See VendorClient. The token itself says which application permissions it has."""
        roles = _unverified_roles(await self._api.authorization.value(deadline))
        reads = None if roles is None else bool(roles & {"Machine.Read.All", _READ_WRITE})
        isolates = None if roles is None else "Machine.Isolate" in roles
        return (
            Finding("Machine.Isolate", "isolation", isolates),
            Finding("Machine.Read.All", "isolation", reads),
        )

    async def _act(
        self,
        kind: _Kind,
        body: dict[str, str],
        order: Order,
    ) -> ActionResult:
        machine_id, deadline = _checked_id(order.device.id), order.deadline
        before = await self._actions(machine_id, deadline)
        if done := _already(_decisive(before), kind, self._clock()):
            return done
        path = _PATHS[kind]
        log.event(
            "edr.call", vendor="defender", call=path, host=machine_id, entry=order.receipt.hash
        )
        call = self._api.change(path, f"/api/machines/{machine_id}/{path}", order, body=body)
        answer = await self._api.send(call, deadline)
        if _is_active_already(answer):
            present = _decisive(await self._actions(machine_id, deadline))
            return self._present(present, kind, answer)
        action = _read(answer, _ACTION)
        if (action.machine_id, action.type) != (machine_id, kind):
            raise answer.unusable("the answer is of another action")
        if action.progress == "failed":
            raise answer.refusal()
        if any(action.id == each.id for each in before):
            # The vendor returns an earlier action, which an analyst may have requested.
            return self._present(action, kind, answer)
        return ActionResult(confirmed=action.progress == "reached", reference=action.id)

    def _present(self, action: _Action | None, kind: _Kind, answer: VendorResponse) -> ActionResult:
        """Return the result if the vendor says that `action` is in progress, or done, already.

        Raises:
            VendorError: It is another action than `kind`.
        """
        done = _already(action, kind, self._clock()) or _taken_on(action, kind)
        if done is None:
            raise answer.refusal()
        return done

    async def _check_no_name(self, machine_id: str, deadline: Deadline) -> None:
        answer = await self._find(machine_id, deadline)
        if answer.status == _NOT_FOUND:
            return  # which is documented for no machine
        found = _read(answer, _MACHINES)
        if found.next_link or any(_machine_id(each.id) != machine_id for each in found.value):
            raise VendorError("one machine has this id, and another one has it as its name")

    async def _find(self, name: str, deadline: Deadline) -> VendorResponse:
        query = {"$filter": f"computerDnsName eq {_quoted(name)}"}
        call = self._api.call("find machine", "/api/machines", query=query)
        return await self._api.send(call, deadline)

    async def _actions(self, machine_id: str, deadline: Deadline) -> list[_Action]:
        """Return isolations of a machine and their ends, the latest first.

        Raises:
            VendorError: They cannot be read; or there is more than one page of actions, and this is
                not the page of the latest. The documents tell the order by an example alone.
        """
        query = {"$filter": f"machineId eq {_quoted(machine_id)}", "$top": str(MAX_ACTIONS)}
        call = self._api.call("read actions", "/api/machineactions", query=query)
        found = _read(await self._api.send(call, deadline), _ACTIONS).value
        if len(found) >= MAX_ACTIONS and found[0].made_at < found[-1].made_at:
            raise VendorError("read actions: the latest are not on the first page")
        actions = [a for a in found if a.machine_id == machine_id and a.type in _PATHS]
        return sorted(actions, key=lambda action: action.made_at, reverse=True)


def _read(answer: VendorResponse, decoder: msgspec.json.Decoder[B]) -> B:
    """Return the body of a success that names no error. Raises as VendorResponse.decode."""
    body = answer.decode(decoder)
    if body.error is not None:
        raise answer.unusable("an error beside a result")
    return body


def _machine_id(text: str) -> str | None:
    """Return the machine's id that `text` spells, or None."""
    text = text.lower() if text.isascii() else ""
    return text if _MACHINE_ID.fullmatch(text) else None


def _checked_id(text: str) -> str:
    machine_id = _machine_id(text)
    if machine_id is None:
        raise VendorError("no machine's id")
    return machine_id


def _quoted(text: str) -> str:
    """Return `text` as a string of OData, in which a quote is written twice.

    Source: OData 4.01 URL conventions, 5.1.1.6.1 "Primitive literals".
    """
    return "'" + text.replace("'", "''") + "'"


def _decisive(actions: list[_Action]) -> _Action | None:
    """Return the latest action that has not failed: those that failed have changed nothing."""
    return next((action for action in actions if action.progress != "failed"), None)


def _already(decisive: _Action | None, kind: _Kind, now: float) -> ActionResult | None:
    """Return what to answer if `kind` need not be sent, else None.

    A machine without any fresh action is sent an `unisolate` too: its state is not known.
    """
    if decisive is None or not decisive.leads_to(kind) or not decisive.is_fresh(now):
        return None
    reached = decisive.progress == "reached"
    return ActionResult(confirmed=reached, changed=False, reference=decisive.id)


def _taken_on(decisive: _Action | None, kind: _Kind) -> ActionResult | None:
    """Return what to answer if the vendor says that an action is in progress already.

    None if that action is another one than `kind`.
    """
    if decisive is None or decisive.progress == "reached":
        return ActionResult(confirmed=False, changed=False)  # what is in progress is not listed yet
    if not decisive.leads_to(kind):
        return None
    return ActionResult(confirmed=False, changed=False, reference=decisive.id)


def _is_active_already(answer: VendorResponse) -> bool:
    if answer.succeeded:
        return False
    try:
        refused = _REFUSED.decode(answer.body)
    except (ValueError, RecursionError):
        return False
    return refused.error is not None and refused.error.code == _ALREADY_ACTIVE


def _unverified_roles(authorization: str) -> frozenset[str] | None:
    """Return the application permissions that a token claims, or None where it cannot be read.

    For display alone: nothing has verified the token, and Microsoft asks that no client relies on
    what is in it.
    """
    payload = authorization.partition(".")[2].partition(".")[0]
    try:
        claims = _CLAIMS.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    return frozenset(claims.roles)
