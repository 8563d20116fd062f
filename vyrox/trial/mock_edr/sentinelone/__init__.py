"""SentinelOne: the endpoints, and the completion of pending changes."""

from typing import Final, Literal

from vyrox.trial.mock_edr.exchange import Answer, Api, Call, Change, Endpoint, as_json
from vyrox.trial.mock_edr.sentinelone import agents, gateway, threats
from vyrox.trial.mock_edr.state import SentinelOne

_ROOT: Final = "/web/api/v2.1"


def _read_health(state: SentinelOne, call: Call) -> Answer:
    gateway.authorize(state, call, "system.view")
    return as_json(200, {"data": {"health": "ok"}})


def _settle(state: SentinelOne, _now: float) -> tuple[Change, ...]:
    for agent in state.agents.values():
        agents.settle_agent(agent)
    for threat in state.threats.values():
        threats.settle_threat(state, threat)
    return ()


def _complete(_state: SentinelOne, _call: Call, answer: Answer) -> Answer:
    return answer


def _limit(answer: Answer, _now: float, _wait_s: float, _unit: Literal["s", "ms"]) -> Answer:
    return answer  # SentinelOne does not report a pause


API: Final = Api(
    vendor="sentinelone",
    endpoints=(
        Endpoint("health", "GET", f"{_ROOT}/system/status", _read_health),
        Endpoint("agent_list", "GET", f"{_ROOT}/agents", agents.list_agents),
        Endpoint(
            "agent_action", "POST", f"{_ROOT}/agents/actions/{{action}}", agents.act_on_agents
        ),
        Endpoint("threat_list", "GET", f"{_ROOT}/threats", threats.list_threats),
        Endpoint(
            "mitigate", "POST", f"{_ROOT}/threats/mitigate/{{action}}", threats.mitigate_threats
        ),
    ),
    refuse=gateway.refuse,
    with_errors=gateway.with_errors,
    complete=_complete,
    limit=_limit,
    settle=_settle,
)
"""The endpoints that Vyrox uses. Any other action is a violation."""
