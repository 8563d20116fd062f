"""CrowdStrike Falcon detections, as `POST /webhook/crowdstrike` receives them.

Source: the API reference, `/webhook/crowdstrike`; contract 11 to 13.
"""

import msgspec

from vyrox.adapters.decoding import ABSENT, Identifier, decode, decode_tenant_id
from vyrox.adapters.severity import severity_of
from vyrox.adapters.timestamps import Timestamp, parse_timestamp
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import MissingTenantError, NormalizationError
from vyrox.ids import new_id
from vyrox.models import NormalizedAlert, Tenant


class _Preview(msgspec.Struct, frozen=True):
    customer_id: msgspec.Raw = ABSENT


class _Sensor(msgspec.Struct, frozen=True):
    hostname: str | None = None
    agent_id: str | None = None


class _Process(msgspec.Struct, frozen=True):
    file_name: str | None = None
    command_line: str | None = None
    user_name: str | None = None
    sha256: str | None = None


class _Detection(msgspec.Struct, frozen=True):
    detect_id: Identifier
    timestamp: Timestamp = None
    severity: str | None = None
    tactic: str | None = None
    technique: str | None = None
    sensor: _Sensor | None = None
    process: _Process | None = None


_PREVIEW = msgspec.json.Decoder(_Preview)
_DETECTION = msgspec.json.Decoder(_Detection)


def unverified_tenant_id(body: JsonText) -> str:
    """Return the tenant that `body` names; it is not authenticated yet.

    Raises:
        MissingTenantError: The body is not a JSON object with a tenant id in `customer_id`.
    """
    return decode_tenant_id(decode(_PREVIEW, body.content, MissingTenantError).customer_id)


def normalize(body: JsonText, tenant: Tenant, received_at: float) -> NormalizedAlert:
    """Return the detection in `body` as an alert.

    Args:
        body: The body, whose signature is valid.
        tenant: The authenticated tenant; `customer_id` is not read again.
        received_at: Unix seconds; the alert's time if the detection has none.

    Raises:
        NormalizationError: The body is not a detection of the documented form.
    """
    detection = decode(_DETECTION, body.content, NormalizationError)
    sensor = detection.sensor or _Sensor()
    process = detection.process or _Process()
    time = parse_timestamp(detection.timestamp, received_at)
    return NormalizedAlert(
        id=new_id(),
        tenant_id=tenant.tenant_id,
        source="crowdstrike",
        raw_id=detection.detect_id,
        timestamp=time.seconds,
        hostname=sensor.hostname or None,
        device_id=sensor.agent_id or None,
        username=process.user_name or None,
        process_name=process.file_name or None,
        process_cmdline=process.command_line or None,
        sha256=process.sha256 or None,
        tactic=detection.tactic or None,
        technique=detection.technique or None,
        vendor_severity=detection.severity.upper() if detection.severity else None,
        severity=severity_of(detection.severity),
        notes=(*body.notes, *time.notes),
    )
