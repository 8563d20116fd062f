"""CrowdStrike Falcon: network containment of a host, and the kill of one process on it.

Source: the swagger that gofalcon and falconpy are generated from: oauth2, Hosts, Alerts, Real Time
Response.
"""

import asyncio
import re
from typing import Final
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import msgspec

from vyrox import log
from vyrox.edr.client import (
    ActionResult,
    Change,
    Deadline,
    Finding,
    Order,
    Progress,
    States,
    Target,
    locked,
    not_one,
    present_result,
)
from vyrox.edr.crowdstrike.envelope import Page, resources
from vyrox.edr.crowdstrike.processes import Process, is_same_name
from vyrox.edr.crowdstrike.rtr import Output, command_output, kill
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorRequest
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert

REFUSALS: Final = frozenset({400, 401, 403, 404, 409, 429})

_CONFLICT: Final = 409
_MAX_PID: Final = 2**32 - 1
_AID = re.compile(r"[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PID = re.compile(r"[1-9][0-9]{0,9}")
_EPOCH = re.compile(r"[1-9][0-9]{8,11}")

_CONTAINED: Final[States] = {"contained": "reached", "containment_pending": "pending"}
_LIFTED: Final[States] = {"normal": "reached", "lift_containment_pending": "pending"}


class _Host(msgspec.Struct, frozen=True):
    device_id: str
    hostname: str | None = None
    status: str | None = None
    tags: list[str] | None = None


class _Acted(msgspec.Struct, frozen=True):
    id: str


class _AlertDevice(msgspec.Struct, frozen=True):
    device_id: str


class _Alert(msgspec.Struct, frozen=True):
    """Without `process_id`, which is Falcon's own number, not the operating system's."""

    composite_id: str
    device: _AlertDevice | None = None
    filename: str | None = None
    local_process_id: str | None = None
    process_start_time: str | int | None = None


_IDS = msgspec.json.Decoder(Page[str])
_HOSTS = msgspec.json.Decoder(Page[_Host])
_ACTED = msgspec.json.Decoder(Page[_Acted])
_ALERTS = msgspec.json.Decoder(Page[_Alert])


def token_request(
    base_url: str, client_id: str, secret: str, member_cid: str | None = None
) -> VendorRequest:
    """Return the request for a token. The response is a 201, and the token is valid for 30 min.

    Args:
        member_cid: The child that the token is for, if the client is a Flight Control parent's.
    """
    member = {} if member_cid is None else {"member_cid": member_cid}
    form = urlencode({"client_id": client_id, "client_secret": secret, **member})
    return VendorRequest(
        name="token",
        method="POST",
        url=f"{base_url}/oauth2/token",
        body=form.encode(),
        content_type="application/x-www-form-urlencoded",
    )


class CrowdStrike:
    """The VendorClient of CrowdStrike."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api
        self._killing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One lock for each host. The vendor has one session for each client and host, so two kills
        on one host would share it, and the first to end would close it for both."""

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """See VendorClient. `host` is an agent id, with or without dashes, or a host name."""
        aid = _aid(host)
        if aid is None:
            aids = await self._aids_of_name(host, deadline)
            if len(aids) != 1:
                raise not_one(len(aids), "host", host)
            aid = _checked_aid(aids[0])
        elif _aid(known_id or "") != aid and set(await self._aids_of_name(host, deadline)) - {aid}:
            raise VendorError(f"{host} is the id of one host and the name of another")
        found = await self._host(aid, deadline)
        if _aid(host) is None and (found.hostname or "").casefold() != host.casefold():
            raise not_one(0, "host", host)
        return Device(aid, found.hostname, None if found.tags is None else tuple(found.tags))

    async def change(self, target: Change, order: Order) -> ActionResult:
        """See VendorClient."""
        if target == "contained":
            return await self._act("contain", _CONTAINED, order)
        return await self._act("lift_containment", _LIFTED, order)

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:
        """See VendorClient. The process list of the host must contain the alert's process."""
        aid, deadline = _checked_aid(order.device.id), order.deadline
        async with locked(self._killing.setdefault(aid, asyncio.Lock()), deadline, "kill"):
            pid, process = await self._process(alert, aid, deadline)
            log.event(
                "edr.call", vendor="crowdstrike", call="kill", host=aid, entry=order.receipt.hash
            )
            request_id = await kill(self._api, aid, pid, process, order)
        return ActionResult(confirmed=True, reference=request_id)

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """See VendorClient."""
        if target == "killed":
            if reference is None:
                raise VendorError("the reference of the kill is missing")
            return _progress(await command_output(self._api, reference, deadline))
        states = _CONTAINED if target == "contained" else _LIFTED
        status = (await self._host(_checked_aid(device_id), deadline)).status
        return states.get(status, "pending")

    async def read_containment(self, _device_id: str, _deadline: Deadline) -> tuple[Isolation, ...]:
        """Return nothing: CrowdStrike reports the state of a host, but not which client set it."""
        return ()

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """See VendorClient. Scopes have the names of the console's page "API clients and keys"."""
        containment, killing = "isolation", "process kill"
        nothing = "00000000-0000-0000-0000-000000000000"
        hosts = self._api.request("check", "/devices/queries/devices/v1", query={"limit": "1"})
        alerts = self._api.request(
            "check", "/alerts/entities/alerts/v2", body={"composite_ids": [nothing]}
        )
        sessions = self._api.request(
            "check", "/real-time-response/queries/sessions/v1", query={"limit": "1"}
        )
        command = self._api.request(
            "check",
            "/real-time-response/entities/active-responder-command/v1",
            query={"cloud_request_id": nothing, "sequence_id": "0"},
        )
        # The vendor checks the scope first. So a 404 means that the scope is present.
        unknown = frozenset({400, 404})
        return (
            Finding("Hosts: Read", containment, await self._api.is_allowed(hosts, deadline)),
            Finding("Hosts: Write", containment, None),
            Finding("Alerts: Read", killing, await self._api.is_allowed(alerts, deadline, unknown)),
            Finding(
                "Real time response: Read", killing, await self._api.is_allowed(sessions, deadline)
            ),
            Finding(
                "Real time response: Write",
                killing,
                await self._api.is_allowed(command, deadline, unknown),
            ),
        )

    async def _act(self, action: str, states: States, order: Order) -> ActionResult:
        """Bring the device into one of `states`, unless it is in one already.

        Args:
            action: One of two constants: the same endpoint can hide hosts and disable detection.
        """
        aid, deadline = _checked_aid(order.device.id), order.deadline
        if result := present_result((await self._host(aid, deadline)).status, states):
            return result
        log.event("edr.call", vendor="crowdstrike", call=action, host=aid, entry=order.receipt.hash)
        response = await self._api.send(
            self._api.change(
                action,
                "/devices/entities/devices-actions/v2",
                order,
                query={"action_name": action},
                body={"ids": [aid]},
            ),
            deadline,
        )
        if response.status == _CONFLICT and (
            result := present_result((await self._host(aid, deadline)).status, states)
        ):
            return result
        if aid not in {acted.id for acted in resources(response, _ACTED)}:
            raise response.unusable("the response does not contain the host")
        return ActionResult(confirmed=False)

    async def _aids_of_name(self, name: str, deadline: Deadline) -> list[str]:
        # In FQL an asterisk matches any text. The caller compares the name of the host it gets.
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        query = {"filter": f"hostname:'{quoted}'"}
        request = self._api.request("find host", "/devices/queries/devices/v1", query=query)
        return resources(await self._api.send(request, deadline), _IDS)

    async def _host(self, aid: str, deadline: Deadline) -> _Host:
        request = self._api.request(
            "read host", "/devices/entities/devices/v2", body={"ids": [aid]}
        )
        hosts = resources(await self._api.send(request, deadline), _HOSTS)
        if [host.device_id for host in hosts] != [aid]:
            raise VendorError("read host: the vendor has no such host")
        return hosts[0]

    async def _process(
        self, shown: NormalizedAlert, aid: str, deadline: Deadline
    ) -> tuple[int, Process]:
        """Return the process of an alert, and its number on the host.

        Raises:
            VendorError: The vendor's record is of another host or process, or is incomplete.
        """
        composite_id = shown.raw_id
        request = self._api.request(
            "read alert", "/alerts/entities/alerts/v2", body={"composite_ids": [composite_id]}
        )
        alerts = resources(await self._api.send(request, deadline), _ALERTS)
        if [alert.composite_id for alert in alerts] != [composite_id]:
            raise VendorError("read alert: the vendor has no such alert")
        alert = alerts[0]
        if alert.device is None or alert.device.device_id != aid:
            raise VendorError("the alert is of another host")
        pid, start = alert.local_process_id or "", str(alert.process_start_time)
        if not _PID.fullmatch(pid) or int(pid) > _MAX_PID:
            raise VendorError("the alert has no valid process id")
        if not alert.filename or not _EPOCH.fullmatch(start):
            raise VendorError("the alert has no file name or no start time of the process")
        if shown.process_name and not is_same_name(shown.process_name, alert.filename):
            raise VendorError("the process in the alert differs from the vendor's record")
        return int(pid), Process(alert.filename, float(start))


def _aid(text: str) -> str | None:
    """Return the agent id in `text`, which may have the form of a UUID, or None."""
    text = text.lower() if text.isascii() else ""
    if _UUID.fullmatch(text):
        text = text.replace("-", "")
    return text if _AID.fullmatch(text) else None


def _checked_aid(text: str) -> str:
    aid = _aid(text)
    if aid is None:
        raise VendorError("not an agent id")
    return aid


def _progress(output: Output | None) -> Progress:
    if output is None:
        return "pending"
    return "failed" if output.stderr else "reached"
