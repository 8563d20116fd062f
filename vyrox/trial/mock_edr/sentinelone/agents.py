"""SentinelOne's agents: list, disconnect and connect."""

from typing import Final

from vyrox.trial.mock_edr.exchange import Answer, Call, Change, as_iso, as_json
from vyrox.trial.mock_edr.sentinelone.gateway import (
    affected,
    asked_ids,
    authorize,
    check_query,
    filtered_ids,
    is_due,
    page_of,
    refuse_unwanted,
)
from vyrox.trial.mock_edr.state import NetworkStatus, SentinelOne, SentinelOneAgent

_STATUSES: Final[dict[str, tuple[NetworkStatus, NetworkStatus]]] = {
    "disconnect": ("disconnecting", "disconnected"),
    "connect": ("connecting", "connected"),
}
_END: Final = dict(_STATUSES.values())


def act_on_agents(state: SentinelOne, call: Call) -> Answer:
    """Disconnect or connect the agents that the filter's ids name."""
    action = call.params["action"]
    if action not in _STATUSES:
        return refuse_unwanted(f"agents/actions/{action}")
    authorize(state, call, f"agents.{action}")
    ids = filtered_ids(call)
    found = [state.agents[each] for each in ids if each in state.agents]
    changing = [agent for agent in found if agent.network_status not in _STATUSES[action]]
    for agent in changing:
        agent.network_status = _STATUSES[action][0]
        agent.pending_reads = 0
    return affected(state, found, [Change(agent.id, action) for agent in changing])


def list_agents(state: SentinelOne, call: Call) -> Answer:
    """List agents: by `ids`, `uuids` or `computerName`, or by a part of the name in `query`."""
    authorize(state, call, "agents.view")
    check_query(call, "ids", "uuids", "computerName", "query", "limit", "cursor")
    found = list(state.agents.values())
    if call.all_of("ids"):
        found = [agent for agent in found if agent.id in asked_ids(call)]
    for uuid in call.all_of("uuids"):
        found = [agent for agent in found if agent.uuid == uuid]
    for name in call.all_of("computerName"):
        found = [agent for agent in found if agent.computer_name.casefold() == name.casefold()]
    for part in call.all_of("query"):
        found = [agent for agent in found if part.casefold() in agent.computer_name.casefold()]
    page, pagination = page_of(call, found)
    for agent in page:
        agent.pending_reads += 1
        if is_due(state, agent.pending_reads):
            settle_agent(agent)
    data = [_as_agent(state, agent, call.now) for agent in page]
    return as_json(200, {"data": data, "pagination": pagination})


def settle_agent(agent: SentinelOneAgent) -> None:
    """Let a pending change of the network take effect, if the agent is active."""
    if agent.is_active and not agent.is_stuck:
        agent.network_status = _END.get(agent.network_status, agent.network_status)


def _as_agent(state: SentinelOne, agent: SentinelOneAgent, now: float) -> dict[str, object]:
    return {
        "id": agent.id,
        "uuid": agent.uuid,
        "accountId": state.account_id,
        "computerName": agent.computer_name,
        "networkStatus": agent.network_status,
        "isActive": agent.is_active,
        "isDecommissioned": False,
        "infected": any(threat.agent_id == agent.id for threat in state.threats.values()),
        "machineType": agent.machine_type,
        "osType": "windows",
        "agentVersion": "24.2.3.471",
        "lastActiveDate": as_iso(now),
        "cloudProviders": {},
        "tags": {
            "sentinelone": [{"key": key, "value": value} for key, value in agent.tags.items()]
        },
    }
