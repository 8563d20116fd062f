"""SentinelOne: an agent off the network and back, and the kill of a threat.

Source: SentinelOne management API v2.1, as its SDK 6.0 and Splunk's connector use it.
"""

import re
from typing import Final, Literal

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
    already,
)
from vyrox.edr.crowdstrike.processes import is_same_name
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorResponse
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert

REFUSALS: Final = frozenset({400, 401, 403, 404, 429})

_API: Final = "/web/api/v2.1"
_ID = re.compile(r"[0-9]{1,20}")

_CONTAINED: Final[States] = {"disconnected": "reached", "disconnecting": "pending"}
_LIFTED: Final[States] = {"connected": "reached", "connecting": "pending"}


class _Reason(msgspec.Struct, frozen=True):
    code: int | None = None


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str | None = None


class _Tags(msgspec.Struct, frozen=True):
    sentinelone: list[_Tag] | None = None


class _Agent(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    computer_name: str | None = None
    network_status: str | None = None
    tags: _Tags | None = None


class _Agents(msgspec.Struct, frozen=True):
    data: list[_Agent]
    errors: list[_Reason] | None = None


class _ThreatAgent(msgspec.Struct, frozen=True, rename="camel"):
    agent_id: str | None = None


class _Mitigation(msgspec.Struct, frozen=True):
    action: str | None = None
    status: str | None = None


class _ThreatInfo(msgspec.Struct, frozen=True, rename="camel"):
    threat_name: str | None = None
    file_path: str | None = None
    originator_process: str | None = None


class _Threat(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    agent_realtime_info: _ThreatAgent | None = None
    threat_info: _ThreatInfo | None = None
    mitigation_status: list[_Mitigation] | None = None


class _Threats(msgspec.Struct, frozen=True):
    data: list[_Threat]
    errors: list[_Reason] | None = None


class _Affected(msgspec.Struct, frozen=True):
    affected: int


class _Acted(msgspec.Struct, frozen=True):
    data: _Affected | None = None
    errors: list[_Reason] | None = None


_AGENTS = msgspec.json.Decoder(_Agents)
_THREATS = msgspec.json.Decoder(_Threats)
_ACTED = msgspec.json.Decoder(_Acted)


class SentinelOne:
    """A VendorClient."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """See VendorClient. What is all digits is an agent's id, not its UUID."""
        if _ID.fullmatch(host):
            if known_id != host:
                await self._check_no_name(host, deadline)
            agent = await self._agent(host, deadline)
        else:
            agents = await self._agents({"computerName": host}, deadline)
            if len(agents) != 1 or not _ID.fullmatch(agents[0].id):
                raise VendorError(f"{len(agents) or 'no'} agents have this name")
            agent = agents[0]
            if (agent.computer_name or "").casefold() != host.casefold():
                raise VendorError("no agent has exactly this name")
        return Device(agent.id, agent.computer_name, _tags(agent))

    async def change(self, target: Change, order: Order) -> ActionResult:
        """See VendorClient."""
        if target == "contained":
            return await self._act("disconnect", _CONTAINED, order)
        return await self._act("connect", _LIFTED, order)

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:
        """See VendorClient. All processes of the threat are killed, on its agent alone."""
        device_id = _checked_id(order.device.id)
        threat = await self._threat(alert.raw_id, order.deadline)
        agent = threat.agent_realtime_info
        if agent is None or agent.agent_id != device_id:
            raise VendorError("the threat is of another agent")
        _check_process(threat, alert.process_name)
        if done := _killed_before(threat):
            return done
        log.event(
            "edr.call", vendor="sentinelone", call="kill", host=device_id, entry=order.receipt.hash
        )
        if not await self._changed("kill", "/threats/mitigate/kill", threat.id, order):
            done = _killed_before(await self._threat(threat.id, order.deadline))
            if done is None:
                raise VendorError("kill: the vendor found nothing to do")
            return done
        return ActionResult(confirmed=False, reference=_reference(threat))

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """See VendorClient."""
        if target == "killed":
            if reference is None:
                raise VendorError("nobody knows which kill")
            threat_id, _, failed_before = reference.partition(":")
            threat = await self._threat(threat_id, deadline)
            return _kill_progress(threat, int(failed_before or 0)) or "pending"
        states = _CONTAINED if target == "contained" else _LIFTED
        status = (await self._agent(device_id, deadline)).network_status
        return states.get(status, "pending")

    async def read_containment(
        self,
        device_id: str,  # noqa: ARG002
        deadline: Deadline,  # noqa: ARG002
    ) -> tuple[Isolation, ...]:
        """See VendorClient. SentinelOne shows the state of a host, and not who asked for it."""
        return ()

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """See VendorClient. The permissions as the console's "Roles" names them."""
        containment, killing = "isolation", "process kill"
        agents = self._api.call("check", f"{_API}/agents", query={"limit": "1"})
        threats = self._api.call("check", f"{_API}/threats", query={"limit": "1"})
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
        """Bring the device into one of `states`: what is reached there, and what is on the way."""
        agent_id, deadline = order.device.id, order.deadline
        if done := already((await self._agent(agent_id, deadline)).network_status, states):
            return done
        log.event(
            "edr.call", vendor="sentinelone", call=action, host=agent_id, entry=order.receipt.hash
        )
        if not await self._changed(action, f"/agents/actions/{action}", agent_id, order):
            done = already((await self._agent(agent_id, deadline)).network_status, states)
            if done is None:
                raise VendorError(f"{action}: the vendor found nothing to do")
            return done
        return ActionResult(confirmed=False)

    async def _changed(self, name: str, path: str, identifier: str, order: Order) -> bool:
        """Send an action on one thing; return whether the vendor took it on, False if it did not.

        Raises:
            VendorError: The vendor refused it.
            VendorOutcomeUnknownError: It may have happened; or to more than was asked for.
        """
        body = {"filter": _only(identifier), "data": {}}
        call = self._api.change(name, _API + path, order, body=body)
        answer = await self._api.send(call, order.deadline)
        acted = answer.decode(_ACTED)
        affected = acted.data.affected if acted.data else None
        if affected not in {None, 0, 1}:
            raise answer.unusable(f"ONE WAS ASKED FOR, {affected} ARE AFFECTED; look at once")
        if acted.errors and not affected:
            raise answer.refusal()
        if acted.errors or affected is None:
            raise answer.unusable("errors beside a result, or no result")
        return affected == 1

    async def _agent(self, identifier: str, deadline: Deadline) -> _Agent:
        agents = await self._agents({"ids": _checked_id(identifier)}, deadline)
        if [agent.id for agent in agents] != [identifier]:
            raise VendorError("read agent: the vendor does not know it")
        return agents[0]

    async def _check_no_name(self, agent_id: str, deadline: Deadline) -> None:
        agents = await self._agents({"computerName": agent_id}, deadline)
        if any(agent.id != agent_id for agent in agents):
            raise VendorError("one agent has this id, and another one has it as its name")

    async def _agents(self, query: dict[str, str], deadline: Deadline) -> list[_Agent]:
        call = self._api.call("read agent", f"{_API}/agents", query=query)
        answer = await self._api.send(call, deadline)
        agents = answer.decode(_AGENTS)
        _check_errors(answer, agents.errors)
        return agents.data

    async def _threat(self, identifier: str, deadline: Deadline) -> _Threat:
        query = {"ids": _checked_id(identifier)}
        answer = await self._api.send(
            self._api.call("read threat", f"{_API}/threats", query=query), deadline
        )
        threats = answer.decode(_THREATS)
        _check_errors(answer, threats.errors)
        if [threat.id for threat in threats.data] != [identifier]:
            raise VendorError("read threat: the vendor does not know it")
        return threats.data[0]


def _only(identifier: str) -> dict[str, list[str]]:
    """Return the filter that selects one agent, or one threat: the only one there ever is.

    An empty filter selects every agent of the customer, and so may one with another key.
    """
    return {"ids": [_checked_id(identifier)]}


def _checked_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise VendorError("no identifier of SentinelOne's")
    return text


def _check_errors(answer: VendorResponse, errors: list[_Reason] | None) -> None:
    if errors:
        raise answer.refusal()


def _tags(agent: _Agent) -> tuple[str, ...] | None:
    tags = agent.tags.sentinelone if agent.tags else None
    return None if tags is None else tuple(_tag(tag) for tag in tags)


def _tag(tag: _Tag) -> str:
    return f"{tag.key}:{tag.value}" if tag.value else tag.key


def _check_process(threat: _Threat, shown: str | None) -> None:
    """Return if the process that the alert shows is one that the vendor's record names.

    Raises:
        VendorError: It is not, so the human approved something else.
    """
    info = threat.threat_info or _ThreatInfo()
    names = [info.threat_name, info.file_path, info.originator_process]
    if shown and not any(name and is_same_name(shown, name) for name in names):
        raise VendorError("the alert shows another process than the vendor's record of it")


def _killed_before(threat: _Threat) -> ActionResult | None:
    progress = _kill_progress(threat)
    if progress in {None, "failed"}:
        return None
    return ActionResult(
        confirmed=progress == "reached", changed=False, reference=_reference(threat)
    )


def _kills(threat: _Threat) -> list[str | None]:
    """Return how each kill of a threat has ended, or stands."""
    return [done.status for done in threat.mitigation_status or () if done.action == "kill"]


def _reference(threat: _Threat) -> str:
    """Return what a kill is found again by: its threat, and how many had failed before it."""
    return f"{threat.id}:{_kills(threat).count('failed')}"


def _kill_progress(threat: _Threat, failed_before: int = 0) -> Progress | None:
    """Return how far the kill of a threat is, None where there was none."""
    kills = _kills(threat)
    if not kills:
        return None
    if "success" in kills:
        return "reached"
    return "failed" if set(kills) == {"failed"} and len(kills) > failed_before else "pending"
