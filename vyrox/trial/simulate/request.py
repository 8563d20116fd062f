"""Build one signed webhook request, as a vendor would send it. Pure."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote
from uuid import UUID

from vyrox.crypto import sign
from vyrox.models import BEARER_VENDORS, FieldMap, Vendor
from vyrox.trial.simulate.stages import Scenario, Stage

GENERIC_FIELD_MAP: Final[FieldMap] = {
    "raw_id": "event.id",
    "hostname": "device.name",
    "device_id": "device.id",
    "username": "actor.upn",
    "process_name": "process.exe",
    "process_cmdline": "process.cli",
    "sha256": "file.hash",
    "vendor_severity": "metadata.severity",
    "tactic": "mitre.tactic",
    "technique": "mitre.technique",
    "timestamp": "event.ts",
}
"""The map a tenant is onboarded with to read the generic payloads made here."""

Payload = dict[str, object]


@dataclass(frozen=True)
class SignedRequest:
    """A request ready to be sent as it is. The headers may hold the secret: not in the repr."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes


def build_request(
    scenario: Scenario,
    stage: int,
    tenant_id: str,
    secret: str,
    url: str,
    now: float,
    new_id: UUID,
) -> SignedRequest:
    """Return the request that delivers one stage of a scenario.

    Args:
        scenario: What is played; its vendor decides the body's shape and the credential.
        stage: From 1 to the number of the scenario's stages.
        tenant_id: Goes into the body or, for the generic vendor, into the path.
        secret: The HMAC secret or bearer token of this tenant for this vendor.
        url: The webhook base, such as `http://localhost:8001/webhook`.
        now: The detection's time. Whole seconds are sent.
        new_id: The vendor's identifier is made of it; the same one again is a redelivery.
    """
    vendor = scenario.vendor
    payload = _payload(vendor, scenario.stages[stage - 1], tenant_id, int(now), new_id)
    # The documented encoding, byte for byte: sorted keys, no white space, ASCII only.
    body = json.dumps(payload, separators=(",", ":"), sort_keys=True)
    headers = {"Content-Type": "application/json"}
    if vendor in BEARER_VENDORS:
        headers["Authorization"] = f"Bearer {secret}"
    else:
        headers["X-Vyrox-Signature"] = sign(body, secret)
    path = f"generic/{quote(tenant_id, safe='')}" if vendor == "generic" else vendor
    return SignedRequest("POST", f"{url.rstrip('/')}/{path}", headers, body.encode("ascii"))


def _payload(vendor: Vendor, stage: Stage, tenant_id: str, now: int, new_id: UUID) -> Payload:
    if vendor == "crowdstrike":
        return _crowdstrike(stage, tenant_id, now, new_id)
    if vendor == "sentinelone":
        return _sentinelone(stage, tenant_id, now, new_id)
    if vendor == "defender":
        return _defender(stage, tenant_id, now, new_id)
    return _generic(stage, now, new_id)


def _crowdstrike(stage: Stage, tenant_id: str, now: int, new_id: UUID) -> Payload:
    return {
        "detect_id": f"evt:{now}:{new_id.hex[:12]}",
        "customer_id": tenant_id,
        "timestamp": now,
        "severity": stage.severity,
        "tactic": stage.tactic,
        "technique": stage.technique,
        "sensor": {"hostname": stage.host.name, "agent_id": stage.host.device_id},
        "process": {
            "file_name": stage.process_name,
            "command_line": stage.command_line,
            "user_name": stage.username,
            "sha256": stage.sha256,
        },
    }


def _sentinelone(stage: Stage, tenant_id: str, now: int, new_id: UUID) -> Payload:
    return {
        "id": f"thrt_{new_id.hex}",
        "accountId": tenant_id,
        "createdAt": now,
        "severity": stage.severity,
        "mitreTactic": stage.tactic,
        "mitreTechnique": stage.technique,
        "agentRealtimeInfo": {
            "computerName": stage.host.name,
            "agentId": stage.host.device_id,
        },
        "fileName": stage.process_name,
        "commandLine": stage.command_line,
        "fileContentHash": stage.sha256,
    }


def _defender(stage: Stage, tenant_id: str, now: int, new_id: UUID) -> Payload:
    return {
        "id": f"da{new_id.hex}_1",
        "tenantId": tenant_id,
        "createdDateTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "severity": stage.severity,
        "category": stage.tactic,
        "mitreTechniques": [stage.technique],
        "evidence": [
            {
                "deviceDnsName": stage.host.name,
                "mdeDeviceId": stage.host.device_id,
                "userAccount": _defender_account(stage.username),
                "imageFile": {"fileName": stage.process_name},
                "processCommandLine": stage.command_line,
                "fileDetails": {"sha256": stage.sha256},
            }
        ],
    }


def _defender_account(username: str) -> Payload:
    domain, is_local, name = username.partition("\\")
    if is_local:
        return {"accountName": name, "domainName": domain}
    return {"userPrincipalName": username}


def _generic(stage: Stage, now: int, new_id: UUID) -> Payload:
    return {
        "event": {"id": f"evt-{new_id}", "ts": now},
        "device": {"name": stage.host.name, "id": stage.host.device_id},
        "actor": {"upn": stage.username},
        "process": {"exe": stage.process_name, "cli": stage.command_line},
        "file": {"hash": stage.sha256},
        "metadata": {"severity": stage.severity},
        "mitre": {"tactic": stage.tactic, "technique": stage.technique},
    }
