"""SentinelOne threats, as `POST /webhook/sentinelone` receives them.

Source: the API reference, `/webhook/sentinelone`; contract 11 to 13 and 18.
"""

import re

import msgspec

from vyrox.adapters.decoding import ABSENT, Identifier, decode, decode_tenant_id
from vyrox.adapters.severity import severity_of
from vyrox.adapters.timestamps import Timestamp, parse_timestamp
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import MissingTenantError, NormalizationError
from vyrox.ids import new_id
from vyrox.models import NormalizedAlert, Tenant

_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class _Preview(msgspec.Struct, frozen=True, rename="camel"):
    account_id: msgspec.Raw = ABSENT


class _Agent(msgspec.Struct, frozen=True, rename="camel"):
    computer_name: str | None = None
    agent_id: str | None = None


class _Threat(msgspec.Struct, frozen=True, rename="camel"):
    id: Identifier
    created_at: Timestamp = None
    severity: str | None = None
    mitre_tactic: str | None = None
    mitre_technique: str | None = None
    agent_realtime_info: _Agent | None = None
    file_name: str | None = None
    process_name: str | None = None
    command_line: str | None = None
    file_content_hash: str | None = None


_PREVIEW = msgspec.json.Decoder(_Preview)
_THREAT = msgspec.json.Decoder(_Threat)


def unverified_tenant_id(body: JsonText) -> str:
    """Return the tenant that `body` names; it is not authenticated yet.

    Raises:
        MissingTenantError: The body is not a JSON object with a tenant id in `accountId`.
    """
    return decode_tenant_id(decode(_PREVIEW, body.content, MissingTenantError).account_id)


def normalize(body: JsonText, tenant: Tenant, received_at: float) -> NormalizedAlert:
    """Return the threat in `body` as an alert. Its `username` is always None.

    Args:
        body: The body of the request with the token.
        tenant: The authenticated tenant; `accountId` is not read again.
        received_at: Unix seconds; the alert's time if the threat has none.

    Raises:
        NormalizationError: The body is not a threat of the documented form.
    """
    threat = decode(_THREAT, body.content, NormalizationError)
    agent = threat.agent_realtime_info or _Agent()
    time = parse_timestamp(threat.created_at, received_at)
    return NormalizedAlert(
        id=new_id(),
        tenant_id=tenant.tenant_id,
        source="sentinelone",
        raw_id=threat.id,
        timestamp=time.seconds,
        hostname=agent.computer_name or None,
        device_id=agent.agent_id or None,
        process_name=threat.file_name or threat.process_name or None,
        process_cmdline=threat.command_line or None,
        sha256=_sha256(threat.file_content_hash),
        tactic=threat.mitre_tactic or None,
        technique=threat.mitre_technique or None,
        vendor_severity=threat.severity.upper() if threat.severity else None,
        severity=severity_of(threat.severity),
        notes=(*body.notes, *time.notes),
    )


def _sha256(content_hash: str | None) -> str | None:
    # If SentinelOne has only the SHA-1, this field contains the SHA-1: 40 digits.
    return content_hash if content_hash and _SHA256.fullmatch(content_hash) else None
