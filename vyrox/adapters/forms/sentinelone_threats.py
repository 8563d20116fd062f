"""SentinelOne's threats: as `GET /threats` returns them, flat from version 2.0, and as activities.

A threat has no severity: Vyrox derives one, with a note (contract 70).

Source: the management SDK 6.0; test data of panther-analysis and the SEKOIA intake formats.
"""

from typing import Final

from vyrox.adapters.forms.building import Fields, Reading, build
from vyrox.adapters.forms.payload import Payload
from vyrox.adapters.forms.severities import in_words, threat
from vyrox.models import NormalizedAlert, Tenant

FIELDS: Final[Fields] = {
    "raw_id": ("threat_info.threat_id", "threat_id", "data.threat_id", "id"),
    "timestamp": (
        "threat_info.identified_at", "threat_info.created_at", "identified_at", "created_date",
        "created_at", "updated_at",
    ),
    "hostname": (
        "agent_realtime_info.agent_computer_name", "agent_realtime_info.computer_name",
        "agent_detection_info.agent_computer_name", "agent_computer_name", "data.computer_name",
        "data.agent_computer_name", "computer_name",
    ),
    "device_id": ("agent_realtime_info.agent_id", "agent_id", "data.agent_id"),
    "username": (
        "threat_info.process_user", "process_user", "username", "data.username",
        "agent_detection_info.agent_last_logged_in_user_name",
        "agent_detection_info.agent_last_logged_in_upn",
    ),
    "process_name": (
        "threat_info.file_path", "file_path", "data.file_path", "file_display_name",
        "data.file_display_name", "threat_info.threat_name", "threat_name", "data.threat_name",
        "file_name", "threat_info.originator_process", "originator_process", "process_name",
    ),
    "process_cmdline": (
        "threat_info.malicious_process_arguments", "malicious_process_arguments",
        "command_line", "data.malicious_process_arguments", "data.command_line",
    ),
    "sha256": (
        "threat_info.sha256", "file_sha256", "sha256", "data.sha256", "data.file_sha256",
        "file_content_hash", "data.file_content_hash",
    ),
    "tactic": ("indicators.tactics.name", "tactics.name", "mitre_tactic"),
    "technique": (
        "indicators.tactics.techniques.name", "tactics.techniques.name", "mitre_technique",
    ),
    "vendor_group": (
        "threat_info.storyline", "storyline", "data.storyline", "threat_info.malicious_group_id",
        "malicious_group_id", "data.malicious_group_id",
    ),
}  # fmt: skip

_CONFIDENCE: Final = (
    "threat_info.confidence_level", "confidence_level", "data.confidence_level",
)  # fmt: skip
_CLASSIFICATION: Final = (
    "threat_info.classification", "classification", "data.threat_classification",
    "data.classification",
)  # fmt: skip
_SEVERITY: Final = ("threat_info.severity", "severity")


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is a threat. The contract's own form has none of these members."""
    return any(
        payload.has(mark) for mark in ("threat_info", "agent_realtime_info.agent_computer_name")
    ) or payload.has("id", "agent_computer_name")


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the threat in `payload` as an alert.

    Raises:
        NormalizationError: It has no identifier.
    """
    graded = in_words(payload.first(*_SEVERITY))
    if graded.severity == "unknown":
        graded = threat(payload.first(*_CONFIDENCE), payload.first(*_CLASSIFICATION))
    return build(payload, FIELDS, graded, Reading("sentinelone", tenant, now, payload.notes))
