"""Microsoft Graph's alerts, `alerts_v2`: what was changed since, page by page.

Source: Microsoft Graph, "List alerts_v2", resource types `alert` and `alertEvidence`.
"""

import re
from typing import Final
from urllib.parse import quote, urlencode

from vyrox.trial.mock_edr.entra import GRAPH, authorize, failed
from vyrox.trial.mock_edr.exchange import Answer, Call, as_json, as_ticks, from_iso, merged
from vyrox.trial.mock_edr.state import Defender, GraphAlert

_FILTER: Final = re.compile(
    r"lastUpdateDateTime ge ([0-9TZ:.+-]+) and serviceSource eq 'microsoftDefenderForEndpoint'"
)
_EVIDENCE: Final = "#microsoft.graph.security."


def list_alerts(state: Defender, call: Call) -> Answer:
    """List what was changed since, the newest first, with a link to the next page."""
    authorize(state, call, "SecurityAlert.Read.All", audience=GRAPH)
    if call.unknown_query("$filter", "$top", "$skiptoken"):
        return failed(call, 400, "BadRequest", "This query option is not supported")
    match = _FILTER.fullmatch(call.one_of("$filter") or "")
    since = from_iso(match[1]) if match else None
    top, skip = call.one_of("$top") or "100", call.one_of("$skiptoken") or "0"
    if since is None or not top.isdecimal() or not skip.isdecimal():
        return failed(call, 400, "BadRequest", "Invalid filter clause")
    found = [alert for alert in state.alerts.values() if alert.updated_at >= since]
    found.sort(key=lambda alert: (-alert.created_at, alert.id))
    end = int(skip) + min(int(top), state.page_size)
    body: dict[str, object] = {
        "@odata.context": f"{GRAPH}/v1.0/$metadata#security/alerts_v2",
        "value": [_as_alert(state, alert) for alert in found[int(skip) : end]],
    }
    if end < len(found):
        query = {"$filter": call.one_of("$filter") or "", "$top": top, "$skiptoken": str(end)}
        where = f"http://{call.header('host')}/defender{call.path}"
        body["@odata.nextLink"] = f"{where}?{urlencode(query, quote_via=quote)}"
    return as_json(200, body)


def read_alert(state: Defender, call: Call) -> Answer:
    """Return one alert."""
    authorize(state, call, "SecurityAlert.Read.All", audience=GRAPH)
    alert = state.alerts.get(call.params["id"])
    if alert is None:
        return failed(call, 404, "ResourceNotFound", "Resource not found.")
    return as_json(200, _as_alert(state, alert))


def _as_alert(state: Defender, alert: GraphAlert) -> dict[str, object]:
    machine = state.machines.get(alert.machine_id)
    created, updated = as_ticks(alert.created_at), as_ticks(alert.updated_at)
    name = machine.computer_dns_name if machine else None
    entity: dict[str, object] = {
        "id": alert.id,
        "providerAlertId": alert.id,
        "incidentId": alert.incident_id,
        "tenantId": state.tenant_id,
        "status": "new",
        "severity": alert.severity,
        "classification": "unknownFutureValue",
        "serviceSource": "microsoftDefenderForEndpoint",
        "detectionSource": "microsoftDefenderForEndpoint",
        "title": alert.title,
        "category": "CredentialAccess",
        "mitreTechniques": ["T1003"],
        "createdDateTime": created,
        "lastUpdateDateTime": updated,
        "evidence": [
            {
                "@odata.type": f"{_EVIDENCE}deviceEvidence",
                "createdDateTime": created,
                "mdeDeviceId": alert.machine_id,
                "azureAdDeviceId": None,
                "deviceDnsName": name,
                "hostName": name.partition(".")[0] if name else None,
                "roles": ["compromised"],
                "detailedRoles": ["Main device"],
            },
            {
                "@odata.type": f"{_EVIDENCE}processEvidence",
                "createdDateTime": created,
                "processId": 4780,
                "processCommandLine": alert.command_line,
                "processCreationDateTime": created,
                "mdeDeviceId": alert.machine_id,
                "imageFile": {"fileName": alert.file_name, "sha1": None, "sha256": None},
                "userAccount": None,
            },
        ],
    }
    return merged(entity, alert.other)
