"""SentinelOne: network isolation of an agent and its end, and the kill of a threat.

Source: SentinelOne management API v2.1, as its SDK 6.0 and Splunk's connector use it.
"""

import re
from typing import Final, Literal

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
    not_one,
    present_result,
)
from vyrox.edr.sentinelone_records import (
    ACTION_RESPONSE,
    AGENTS,
    THREATS,
    Agent,
    Reason,
    Threat,
    check_process,
    earlier_kill,
    kill_progress,
    kill_reference,
    read_tags,
)
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorResponse
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert

REFUSALS: Final = frozenset({400, 401, 403, 404, 429})

_API: Final = "/web/api/v2.1"
_ID = re.compile(r"[0-9]{1,20}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.I)

_CONTAINED: Final[States] = {"disconnected": "reached", "disconnecting": "pending"}
_LIFTED: Final[States] = {"connected": "reached", "connecting": "pending"}


class SentinelOne:
    """The VendorClient of SentinelOne."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """See VendorClient. If `host` is all digits, it is an agent id.

        It may be an agent's UUID only if that is what the alert names: some alerts have no id.
        """
        if _ID.fullmatch(host):
            if known_id != host:
                await self._check_no_name(host, deadline)
            agent = await self._agent(host, deadline)
        elif known_id == host and _UUID.fullmatch(host):
            agents = await self._agents({"uuids": host}, deadline)
            if [agent.uuid for agent in agents] != [host] or not _ID.fullmatch(agents[0].id):
                raise not_one(len(agents), "agent", host)
            agent = agents[0]
        else:
            agents = await self._agents({"computerName": host}, deadline)
            if len(agents) != 1 or not _ID.fullmatch(agents[0].id):
                raise not_one(len(agents), "agent", host)
            agent = agents[0]
            if (agent.computer_name or "").casefold() != host.casefold():
                raise not_one(0, "agent", host)
        return Device(agent.id, agent.computer_name, read_tags(agent))

    async def change(self, target: Change, order: Order) -> ActionResult:
        """See VendorClient."""
        if target == "contained":
            return await self._act("disconnect", _CONTAINED, order)
        return await self._act("connect", _LIFTED, order)

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:
        """See VendorClient. Kills all processes of the threat, on its agent only."""
        device_id = _checked_id(order.device.id)
        threat = await self._threat(alert.raw_id, order.deadline)
        agent = threat.agent_realtime_info
        if agent is None or agent.agent_id != device_id:
            raise VendorError("the threat is of another agent")
        check_process(threat, alert.process_name)
        if result := earlier_kill(threat):
            return result
        log.event(
            "edr.call", vendor="sentinelone", call="kill", host=device_id, entry=order.receipt.hash
        )
        if not await self._is_accepted("kill", "/threats/mitigate/kill", threat.id, order):
            result = earlier_kill(await self._threat(threat.id, order.deadline))
            if result is None:
                raise VendorError("kill: the vendor reported 0 affected threats")
            return result
        return ActionResult(confirmed=False, reference=kill_reference(threat))

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """See VendorClient."""
        if target == "killed":
            if reference is None:
                raise VendorError("the reference of the kill is missing")
            threat_id, _, failed_before = reference.partition(":")
            threat = await self._threat(threat_id, deadline)
            return kill_progress(threat, int(failed_before or 0)) or "pending"
        states = _CONTAINED if target == "contained" else _LIFTED
        status = (await self._agent(device_id, deadline)).network_status
        return states.get(status, "pending")

    async def read_containment(self, _device_id: str, _deadline: Deadline) -> tuple[Isolation, ...]:
        """Return nothing: SentinelOne reports the state of a host, but not which client set it."""
        return ()

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """See VendorClient. Permissions have the names of the console's page "Roles"."""
        containment, killing = "isolation", "process kill"
        agents = self._api.request("check", f"{_API}/agents", query={"limit": "1"})
        threats = self._api.request("check", f"{_API}/threats", query={"limit": "1"})
        return (
            Finding("Endpoints: View", containment, await self._api.is_allowed(agents, deadline)),
            Finding("Endpoints: Disconnect From Network", containment, None),
            Finding("Endpoints: Reconnect To Network", "lifting", None),
            Finding(
                "Endpoint Threats: View", killing, await self._api.is_allowed(threats, deadline)
            ),
            Finding("Endpoint Threats: Mitigate", killing, None),
        )

    async def _act(
        self, action: Literal["disconnect", "connect"], states: States, order: Order
    ) -> ActionResult:
        """Bring the device into one of `states`, unless it is in one already."""
        agent_id, deadline = order.device.id, order.deadline
        if result := present_result((await self._agent(agent_id, deadline)).network_status, states):
            return result
        log.event(
            "edr.call", vendor="sentinelone", call=action, host=agent_id, entry=order.receipt.hash
        )
        if not await self._is_accepted(action, f"/agents/actions/{action}", agent_id, order):
            result = present_result((await self._agent(agent_id, deadline)).network_status, states)
            if result is None:
                raise VendorError(f"{action}: the vendor reported 0 affected hosts")
            return result
        return ActionResult(confirmed=False)

    async def _is_accepted(self, name: str, path: str, identifier: str, order: Order) -> bool:
        """Send an action on one host or threat; return whether the vendor accepted it.

        Raises:
            VendorError: The vendor refused it.
            VendorOutcomeUnknownError: It may have happened, or it affected more than one.
        """
        body = {"filter": _only(identifier), "data": {}}
        request = self._api.change(name, _API + path, order, body=body)
        response = await self._api.send(request, order.deadline)
        acted = response.decode(ACTION_RESPONSE)
        affected = acted.data.affected if acted.data else None
        if affected not in {None, 0, 1}:
            requested = "1 threat" if name == "kill" else "1 host"
            raise response.unusable(
                f"{requested} was requested but {affected} were affected: "
                "check the console immediately"
            )
        if acted.errors and not affected:
            raise response.refusal()
        if acted.errors or affected is None:
            raise response.unusable("the response has errors and a result, or no result")
        return affected == 1

    async def _agent(self, identifier: str, deadline: Deadline) -> Agent:
        agents = await self._agents({"ids": _checked_id(identifier)}, deadline)
        if [agent.id for agent in agents] != [identifier]:
            raise VendorError("read agent: the vendor has no such agent")
        return agents[0]

    async def _check_no_name(self, agent_id: str, deadline: Deadline) -> None:
        agents = await self._agents({"computerName": agent_id}, deadline)
        if any(agent.id != agent_id for agent in agents):
            raise VendorError(f"{agent_id} is the id of one agent and the name of another")

    async def _agents(self, query: dict[str, str], deadline: Deadline) -> list[Agent]:
        request = self._api.request("read agent", f"{_API}/agents", query=query)
        response = await self._api.send(request, deadline)
        agents = response.decode(AGENTS)
        _check_errors(response, agents.errors)
        return agents.data

    async def _threat(self, identifier: str, deadline: Deadline) -> Threat:
        query = {"ids": _checked_id(identifier)}
        response = await self._api.send(
            self._api.request("read threat", f"{_API}/threats", query=query), deadline
        )
        threats = response.decode(THREATS)
        _check_errors(response, threats.errors)
        if [threat.id for threat in threats.data] != [identifier]:
            raise VendorError("read threat: the vendor has no such threat")
        return threats.data[0]


def _only(identifier: str) -> dict[str, list[str]]:
    """Return the filter that selects one agent or one threat. Vyrox sends no other filter.

    An empty filter selects every agent of the customer. So can a filter with another key.
    """
    return {"ids": [_checked_id(identifier)]}


def _checked_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise VendorError("not an id of SentinelOne")
    return text


def _check_errors(response: VendorResponse, errors: list[Reason] | None) -> None:
    if errors:
        raise response.refusal()
