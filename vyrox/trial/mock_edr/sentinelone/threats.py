"""SentinelOne's threats: list and kill."""

from vyrox.trial.mock_edr.exchange import (
    Answer,
    Call,
    Change,
    RefusedError,
    as_iso,
    as_json,
    as_ticks,
    from_iso,
    merged,
)
from vyrox.trial.mock_edr.sentinelone.gateway import (
    affected,
    asked_ids,
    authorize,
    check_query,
    failed,
    filtered_ids,
    is_due,
    page_of,
    refuse_unwanted,
)
from vyrox.trial.mock_edr.state import SentinelOne, SentinelOneThreat


def mitigate_threats(state: SentinelOne, call: Call) -> Answer:
    """Kill the process groups of the threats that the filter's ids name, on their own agents."""
    if call.params["action"] != "kill":
        return refuse_unwanted(f"threats/mitigate/{call.params['action']}")
    authorize(state, call, "threats.mitigate")
    found = [state.threats[each] for each in filtered_ids(call) if each in state.threats]
    changing = [threat for threat in found if threat.kill in {None, "failed"}]
    for threat in changing:
        threat.kill = "pending"
        threat.pending_reads = 0
    changes = [Change(threat.agent_id, "kill", threat.id) for threat in changing]
    return affected(state, changing, changes)


def list_threats(state: SentinelOne, call: Call) -> Answer:
    """List threats, by `ids`, or what was changed since `updatedAt__gte`, in order of change."""
    authorize(state, call, "threats.view")
    check_query(call, "ids", "limit", "cursor", "skip", "updatedAt__gte", "sortBy", "sortOrder")
    found = _changed_since(list(state.threats.values()), call)
    if call.all_of("ids"):
        found = [threat for threat in found if threat.id in asked_ids(call)]
    page, pagination = page_of(call, found)
    for threat in page:
        threat.pending_reads += 1
        if is_due(state, threat.pending_reads):
            settle_threat(state, threat)
    data = [_as_threat(state, threat, call.now) for threat in page]
    return as_json(200, {"data": data, "pagination": pagination})


def _changed_since(threats: list[SentinelOneThreat], call: Call) -> list[SentinelOneThreat]:
    """Return what the query asks for by time, in its order.

    Raises:
        RefusedError: 400 for what is not mocked.
    """
    order = (call.one_of("sortBy"), call.one_of("sortOrder"))
    if order == ("updatedAt", "asc"):
        threats = sorted(threats, key=_changed_at)
    elif order != (None, None):
        raise RefusedError(failed(400, "sortBy: this order is not mocked."))
    if (text := call.one_of("updatedAt__gte")) is None:
        return threats
    if (since := from_iso(text)) is None:
        raise RefusedError(failed(400, "updatedAt__gte: Not a valid datetime."))
    return [threat for threat in threats if _changed_at(threat) >= since]


def _changed_at(threat: SentinelOneThreat) -> float:
    return threat.created_at if threat.updated_at is None else threat.updated_at


def settle_threat(state: SentinelOne, threat: SentinelOneThreat) -> None:
    """Complete a pending kill, if the agent is active."""
    agent = state.agents[threat.agent_id]
    if threat.kill == "pending" and agent.is_active and not agent.is_stuck:
        threat.kill = "failed" if threat.kill_fails else "success"


def _as_threat(state: SentinelOne, threat: SentinelOneThreat, now: float) -> dict[str, object]:
    agent = state.agents[threat.agent_id]
    entity: dict[str, object] = {
        "id": threat.id,
        "agentDetectionInfo": {
            "accountId": state.account_id,
            "agentUuid": agent.uuid,
            "agentIpV4": "10.20.0.14,192.168.56.1",
            "cloudProviders": {},
        },
        "agentRealtimeInfo": {
            "accountId": state.account_id,
            "agentComputerName": agent.computer_name,
            "agentId": agent.id,
            "agentUuid": agent.uuid,
            "agentIsActive": agent.is_active,
            "agentNetworkStatus": agent.network_status,
            "networkInterfaces": [],
        },
        "threatInfo": {
            "threatId": threat.id,
            "threatName": threat.name,
            "classification": "Malware",
            "confidenceLevel": "malicious",
            "createdAt": as_iso(threat.created_at).replace("Z", ".417204Z"),
            "updatedAt": as_ticks(_changed_at(threat)).replace("0Z", "Z"),
            "filePath": threat.file_path,
            "sha1": threat.sha1,
            "sha256": None,
            "md5": None,
            "storyline": None,
            "mitigationStatus": "mitigated" if threat.kill == "success" else "not_mitigated",
            "analystVerdict": "undefined",
            "incidentStatus": "unresolved",
        },
        "mitigationStatus": [] if threat.kill is None else [_as_mitigation(threat, now)],
        "indicators": [],
        "containerInfo": {"id": None},
        "kubernetesInfo": {"cluster": None},
    }
    return merged(entity, threat.other)


def _as_mitigation(threat: SentinelOneThreat, now: float) -> dict[str, object]:
    is_over = threat.kill != "pending"
    counters = {
        "total": 1,
        "success": int(threat.kill == "success"),
        "failed": int(threat.kill == "failed"),
        "notFound": 0,
        "pendingReboot": 0,
    }
    return {
        "action": "kill",
        "status": threat.kill,
        "actionsCounters": counters if is_over else None,
        "lastUpdate": as_iso(now),
        "mitigationEndedAt": as_iso(now) if is_over else None,
    }
