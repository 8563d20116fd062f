"""The documented payload of each vendor, functions that change it, and checks of the result."""

from collections.abc import Callable

import msgspec

from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant, Vendor

RECEIVED_AT = 1_700_000_000.25
YEAR_10000 = 253_402_300_800

SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

CROWDSTRIKE = rb"""{
  "detect_id": "evt:1234567890:abc123",
  "customer_id": "acme-corp",
  "timestamp": 1704067200,
  "severity": "high",
  "tactic": "TA0004",
  "technique": "T1059",
  "sensor": {
    "hostname": "workstation-01",
    "agent_id": "12345678-1234-1234-1234-123456789abc"
  },
  "process": {
    "file_name": "cmd.exe",
    "command_line": "powershell -enc JABjAGwA...",
    "user_name": "CORP\\jsmith",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  }
}"""

SENTINELONE = rb"""{
  "id": "thrt_1234567890abc",
  "accountId": "acme-corp",
  "createdAt": 1704067200,
  "severity": "high",
  "mitreTactic": "TA0004",
  "mitreTechnique": "T1059",
  "agentRealtimeInfo": {
    "computerName": "workstation-01",
    "agentId": "1234567890abc"
  },
  "fileName": "powershell.exe",
  "commandLine": "powershell -enc JABjAGwA...",
  "fileContentHash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}"""

DEFENDER = rb"""{
  "id": "abc123",
  "tenantId": "11111111-2222-3333-4444-555555555555",
  "createdDateTime": "2026-05-23T14:32:00Z",
  "severity": "high",
  "category": "CredentialAccess",
  "mitreTechniques": ["T1003"],
  "evidence": [
    {
      "deviceDnsName": "workstation-01.acme.local",
      "userAccount": {
        "userPrincipalName": "jsmith@acme.com"
      },
      "imageFile": {
        "fileName": "lsass-dumper.exe"
      },
      "processCommandLine": "lsass-dumper.exe -o creds.dmp",
      "fileDetails": {
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
      }
    }
  ]
}"""

FIELD_MAP = {
    "raw_id": "event.id",
    "hostname": "device.name",
    "username": "actor.upn",
    "process_name": "process.exe",
    "process_cmdline": "process.cli",
    "sha256": "file.hash",
    "vendor_severity": "metadata.severity",
    "tactic": "mitre.tactic",
    "technique": "mitre.technique",
    "timestamp": "event.ts",
}

GENERIC = rb"""{
  "event": {"id": "evt-1", "ts": 1704067200},
  "device": {"name": "workstation-01"},
  "actor": {"upn": "jsmith@acme.com"},
  "process": {"exe": "cmd.exe", "cli": "cmd.exe /c whoami"},
  "file": {"hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
  "metadata": {"severity": "high"},
  "mitre": {"tactic": "TA0004", "technique": "T1059"}
}"""

DOCUMENTED: dict[Vendor, bytes] = {
    "crowdstrike": CROWDSTRIKE,
    "sentinelone": SENTINELONE,
    "defender": DEFENDER,
    "generic": GENERIC,
}

TENANT = Tenant("verified-tenant", FIELD_MAP)
"""No payload names this tenant, so an alert with this tenant has it from the authentication."""

REMOVED = object()

LACKING = (None, ())


def changed(body: bytes, path: str, value: object) -> bytes:
    """Return `body` with the member at the dotted `path` set to `value`, or without it (REMOVED).

    A `msgspec.Raw` value is inserted unchanged, even if it is not valid JSON.
    """
    payload = msgspec.json.decode(body)
    *parents, last = path.split(".")
    target = payload
    for part in parents:
        target = target[int(part) if isinstance(target, list) else part]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return msgspec.json.encode(payload)


def normalize(vendor: Vendor, body: bytes, tenant: Tenant = TENANT) -> NormalizedAlert:
    return ADAPTERS[vendor].normalize(tolerant(body), tenant, RECEIVED_AT)


def preview(vendor: Vendor) -> Callable[[bytes], str]:
    unverified_tenant_id = ADAPTERS[vendor].unverified_tenant_id
    assert unverified_tenant_id is not None
    return lambda body: unverified_tenant_id(tolerant(body))


def without_id(alert: NormalizedAlert) -> dict[str, object]:
    """Return the fields of `alert`, except the id, which is always new, and empty fields."""
    fields = msgspec.structs.asdict(alert)
    return {name: value for name, value in fields.items() if name != "id" and value not in LACKING}


def normalize_or_refuse(
    vendor: Vendor, body: bytes, tenant: Tenant = TENANT
) -> NormalizedAlert | None:
    """Return the alert, or None if the adapter raises exactly NormalizationError.

    Check what must be true for any body: the alert can be stored and read again, and has the
    authenticated tenant; the reason fits in one line of the log.
    """
    try:
        alert = normalize(vendor, body, tenant)
    except NormalizationError as error:
        reason = str(error)
        assert reason.isprintable()
        assert 0 < len(reason) <= 200
        return None
    assert alert.tenant_id == tenant.tenant_id
    assert alert.source == vendor
    assert alert.raw_id
    assert isinstance(alert.timestamp, float)
    assert 0 <= alert.timestamp < YEAR_10000
    assert "" not in without_id(alert).values()
    assert msgspec.json.decode(msgspec.json.encode(alert), type=NormalizedAlert) == alert
    return alert
