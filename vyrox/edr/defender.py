"""Microsoft Defender for Endpoint: isolation of a machine. It cannot kill a single process.

Source: Microsoft Learn, `defender-endpoint/api/`: isolate-machine, unisolate-machine,
machineaction, get-machineactions-collection, get-machines, common-errors; Microsoft identity
platform, client credentials flow.
"""

import re
from base64 import urlsafe_b64decode
from typing import Final
from urllib.parse import urlencode

import msgspec

from vyrox import log
from vyrox.clock import Clock
from vyrox.edr.client import (
    ActionResult,
    Change,
    Deadline,
    Finding,
    Order,
    Progress,
    Target,
    not_one,
)
from vyrox.edr.defender_records import (
    ACTION,
    ACTIONS,
    FULL,
    GUID,
    MACHINE,
    MACHINES,
    PATHS,
    Kind,
    Machine,
    MachineAction,
    decisive_action,
    finished_result,
    is_active_already,
    open_result,
    read_body,
)
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorRequest, VendorResponse
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert

REFUSALS: Final = frozenset({400, 401, 403, 404, 429})

_NOT_FOUND: Final = 404

_EQUALS: Final = "computerDnsName eq {}"
_BEGINS: Final = "startswith(computerDnsName,{})"

MAX_ACTIONS: Final = 100
"""Machine actions of one page, the latest first."""

_MACHINE_ID = re.compile(r"[0-9a-f]{40}")

_READ_WRITE: Final = "Machine.ReadWrite.All"


class _Claims(msgspec.Struct, frozen=True):
    roles: list[str]


_CLAIMS = msgspec.json.Decoder(_Claims)


def token_request(
    login_url: str, azure_tenant: str, client_id: str, secret: str, scope: str
) -> VendorRequest:
    """Return the request for a token for `scope`. It is valid for about an hour."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
        "scope": scope,
    }
    return VendorRequest(
        name="token",
        method="POST",
        url=f"{login_url}/{azure_tenant}/oauth2/v2.0/token",
        body=urlencode(form).encode(),
        content_type="application/x-www-form-urlencoded",
    )


class Defender:
    """The VendorClient of Defender."""

    def __init__(self, api: VendorApi, clock: Clock) -> None:
        """`clock` is for the age of machine actions."""
        self._api = api
        self._clock = clock

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """See VendorClient. `host` is a machine's id, its DNS name or the name's first part."""
        machine_id = _machine_id(host)
        if machine_id is not None:
            if _machine_id(known_id or "") != machine_id:
                await self._check_no_name(machine_id, deadline)
            request = self._api.request("read machine", f"/api/machines/{machine_id}")
            machine = read_body(await self._api.send(request, deadline), MACHINE)
            if _machine_id(machine.id) != machine_id:
                raise VendorError("read machine: the response is of another machine")
        else:
            machine = await self._named(host, deadline)
        tags = machine.machine_tags
        return Device(
            _checked_id(machine.id),
            machine.computer_dns_name,
            None if tags is None else tuple(tags),
        )

    async def change(self, target: Change, order: Order) -> ActionResult:
        """See VendorClient."""
        if target == "contained":
            body = {"Comment": order.comment, "IsolationType": FULL}
            return await self._act("Isolate", body, order)
        return await self._act("Unisolate", {"Comment": order.comment}, order)

    async def kill(self, _order: Order, _alert: NormalizedAlert) -> ActionResult:
        """Raise VendorError: Defender stops a file on every machine, not a single process."""
        raise VendorError("Defender cannot kill a single process")

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """See VendorClient."""
        if target == "killed":
            raise VendorError("Defender cannot kill a single process")
        machine_id = _checked_id(device_id)
        kind: Kind = "Isolate" if target == "contained" else "Unisolate"
        if reference is None:
            decisive = decisive_action(await self._actions(machine_id, deadline))
            # The vendor may have accepted an action that it does not list yet.
            result = finished_result(decisive, kind, self._clock())
            return "reached" if result and result.confirmed else "pending"
        if not GUID.fullmatch(reference):
            raise VendorError("not the id of a machine action")
        request = self._api.request("read action", f"/api/machineactions/{reference}")
        action = read_body(await self._api.send(request, deadline), ACTION)
        if (action.id, action.machine_id, action.type) != (reference, machine_id, kind):
            raise VendorError("read action: the response is of another action")
        return action.progress

    async def read_containment(self, device_id: str, deadline: Deadline) -> tuple[Isolation, ...]:
        """See VendorClient. Returns all isolations since the last `unisolate`."""
        isolations = []
        for action in await self._actions(_checked_id(device_id), deadline):
            if action.progress == "reached":
                if action.type == "Unisolate":
                    break
                isolations.append(Isolation(action.id, action.comment))
        return tuple(isolations)

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """See VendorClient. The token contains its application permissions."""
        roles = _unverified_roles(await self._api.authorization.value(deadline))
        reads = None if roles is None else bool(roles & {"Machine.Read.All", _READ_WRITE})
        isolates = None if roles is None else "Machine.Isolate" in roles
        return (
            Finding("Machine.Isolate", "isolation", isolates),
            Finding("Machine.Read.All", "isolation", reads),
        )

    async def _act(
        self,
        kind: Kind,
        body: dict[str, str],
        order: Order,
    ) -> ActionResult:
        machine_id, deadline = _checked_id(order.device.id), order.deadline
        before = await self._actions(machine_id, deadline)
        if result := finished_result(decisive_action(before), kind, self._clock()):
            return result
        path = PATHS[kind]
        log.event(
            "edr.call", vendor="defender", call=path, host=machine_id, entry=order.receipt.hash
        )
        request = self._api.change(path, f"/api/machines/{machine_id}/{path}", order, body=body)
        response = await self._api.send(request, deadline)
        if is_active_already(response):
            present = decisive_action(await self._actions(machine_id, deadline))
            return self._present(present, kind, response)
        action = read_body(response, ACTION)
        if (action.machine_id, action.type) != (machine_id, kind):
            raise response.unusable("the response is of another action")
        if action.progress == "failed":
            raise response.refusal()
        if any(action.id == each.id for each in before):
            # The vendor returns an earlier action, which an analyst may have requested.
            return self._present(action, kind, response)
        return ActionResult(confirmed=action.progress == "reached", reference=action.id)

    def _present(
        self, action: MachineAction | None, kind: Kind, response: VendorResponse
    ) -> ActionResult:
        """Return the result if the vendor reports that `action` is in progress, or done, already.

        Raises:
            VendorError: The action is not `kind`.
        """
        result = finished_result(action, kind, self._clock()) or open_result(action, kind)
        if result is None:
            raise response.refusal()
        return result

    async def _check_no_name(self, machine_id: str, deadline: Deadline) -> None:
        response = await self._find(machine_id, deadline)
        if response.status == _NOT_FOUND:
            return  # the documented response if no machine matches
        found = read_body(response, MACHINES)
        if found.next_link or any(_machine_id(each.id) != machine_id for each in found.value):
            raise VendorError(f"{machine_id} is the id of one machine and the name of another")

    async def _named(self, host: str, deadline: Deadline) -> Machine:
        """Return the only machine with this name, or else the only one whose name begins so."""
        name, is_short = host.casefold(), "." not in host
        response = await self._find(host, deadline)
        is_empty = response.status == _NOT_FOUND or not read_body(response, MACHINES).value
        if is_empty and is_short:
            response = await self._find(f"{host}.", deadline, _BEGINS)
        found = read_body(response, MACHINES)
        if len(found.value) != 1 or found.next_link:
            raise not_one(len(found.value), "machine", host)
        machine = found.value[0]
        full = (machine.computer_dns_name or "").casefold()
        if full != name and not (is_short and full.startswith(f"{name}.")):
            raise not_one(0, "machine", host)
        return machine

    async def _find(
        self, name: str, deadline: Deadline, condition: str = _EQUALS
    ) -> VendorResponse:
        query = {"$filter": condition.format(_quoted(name))}
        request = self._api.request("find machine", "/api/machines", query=query)
        return await self._api.send(request, deadline)

    async def _actions(self, machine_id: str, deadline: Deadline) -> list[MachineAction]:
        """Return the isolations of a machine and their ends, the latest first.

        Raises:
            VendorError: They cannot be read; or there are more pages, and this is not the latest.
                Microsoft documents the order in an example only.
        """
        query = {"$filter": f"machineId eq {_quoted(machine_id)}", "$top": str(MAX_ACTIONS)}
        request = self._api.request("read actions", "/api/machineactions", query=query)
        found = read_body(await self._api.send(request, deadline), ACTIONS).value
        if len(found) >= MAX_ACTIONS and found[0].made_at < found[-1].made_at:
            raise VendorError("read actions: the latest are not on the first page")
        actions = [a for a in found if a.machine_id == machine_id and a.type in PATHS]
        return sorted(actions, key=lambda action: action.made_at, reverse=True)


def _machine_id(text: str) -> str | None:
    """Return the machine id in `text`, or None."""
    text = text.lower() if text.isascii() else ""
    return text if _MACHINE_ID.fullmatch(text) else None


def _checked_id(text: str) -> str:
    machine_id = _machine_id(text)
    if machine_id is None:
        raise VendorError("not a machine id")
    return machine_id


def _quoted(text: str) -> str:
    """Return `text` as an OData string, in which each quote is doubled.

    Source: OData 4.01 URL conventions, 5.1.1.6.1 "Primitive literals".
    """
    return "'" + text.replace("'", "''") + "'"


def _unverified_roles(authorization: str) -> frozenset[str] | None:
    """Return the application permissions in a token, or None if it cannot be read.

    For display only: the token is not verified, and Microsoft asks clients not to rely on it.
    """
    payload = authorization.partition(".")[2].partition(".")[0]
    try:
        claims = _CLAIMS.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    return frozenset(claims.roles)
