"""SentinelOne's unified alerts: as its GraphQL API returns them, and in OCSF (contract 70)."""

from typing import Final

from vyrox.adapters.forms.building import Fields, Reading, build
from vyrox.adapters.forms.payload import Payload
from vyrox.adapters.forms.severities import in_words, ocsf, threat
from vyrox.models import NormalizedAlert, Tenant

FIELDS: Final[Fields] = {
    "raw_id": ("id", "alert_id", "finding_info.uid", "metadata.uid", "external_id"),
    "timestamp": (
        "detected_at", "first_seen_at", "created_at", "finding_info.created_time", "time",
        "updated_at",
    ),
    "hostname": (
        "assets.name", "detection_time.asset.name", "detection_time.assets.asset.name",
        "asset.name", "device.hostname", "device.name", "resources.name", "asset_name",
        "detection_time.attacker.host", "real_time.asset.name", "endpoint_name",
    ),
    "device_id": (
        "assets.agent_id", "asset.agent_id", "agent_id", "assets.agent_uuid",
        "detection_time.asset.agent_uuid", "detection_time.assets.asset.agent_uuid",
        "asset.agent_uuid", "device.agent_uuid", "device.uid", "device.agent.uuid",
        "resources.s1_metadata.asset_agent_uuid", "agent_uuid",
    ),
    "username": (
        "process.username", "process.user.name", "detection_time.target_user.name",
        "detection_time.asset.last_logged_in_user", "assets.last_logged_in_user",
        "asset.last_logged_in_user",
        "detection_time.assets.asset.last_logged_in_user", "actor.user.name",
        "evidences.actor.user.name", "evidences.process.user.name", "username",
    ),
    "process_name": (
        "process.file.name", "process.name", "process.file.path", "evidences.process.name",
        "evidences.process.file.name", "evidences.process.file.path", "process.image_path",
        "file.name", "actor.process.name",
    ),
    "process_cmdline": (
        "process.cmd_line", "process.command_line", "evidences.process.cmd_line",
        "actor.process.cmd_line", "command_line",
    ),
    "sha256": (
        "process.file.sha256", "process.sha256", "process.file.hashes.value", "file.sha256",
        "evidences.process.file.hashes.value", "evidences.file.hashes.value", "sha256",
        "actor.process.file.hashes.value",
    ),
    "tactic": (
        "attacks.tactic.name", "finding_info.attacks.tactic.name", "mitre_attacks.tactic.name",
        "raw_data.finding_info.attacks.tactic.name", "raw_data.attacks.tactic.name",
        "indicators.tactics.name", "tactics.name",
        "tactic", "attacks.tactic.uid",
    ),
    "technique": (
        "attacks.technique.uid", "finding_info.attacks.technique.uid",
        "mitre_attacks.technique.uid", "raw_data.finding_info.attacks.technique.uid",
        "raw_data.attacks.technique.uid",
        "attacks.technique.name", "finding_info.attacks.technique.name",
        "indicators.tactics.techniques.name", "tactics.techniques.name", "technique",
    ),
    "vendor_group": (
        "storyline_id", "storyline", "process.storyline_id", "finding_info.storyline_id",
    ),
    "process_id": ("process.pid", "evidences.process.pid", "actor.process.pid"),
    "process_start": (
        "process.start_time", "process.created_time", "evidences.process.created_time",
        "evidences.process.start_time",
    ),
    "vendor_process_id": ("process.uid", "evidences.process.uid"),
}  # fmt: skip

_MARKS: Final = (
    "assets", "asset", "detection_source", "detection_time", "finding_info", "analyst_verdict",
    "storyline_id", "class_uid",
)  # fmt: skip


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is a unified alert."""
    return payload.has("finding_info") or (
        (payload.has("id") or payload.has("alert_id")) and any(payload.has(mark) for mark in _MARKS)
    )


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the unified alert in `payload` as an alert.

    Raises:
        NormalizationError: It has no identifier.
    """
    graded = in_words(payload.first("severity"))
    if graded.severity == "unknown":
        graded = ocsf(payload.first("severity_id")) or graded
    if graded.severity == "unknown":
        confidence, kind = payload.first("confidence_level"), payload.first("classification")
        graded = threat(confidence, kind)
    return build(payload, FIELDS, graded, Reading("sentinelone", tenant, now, payload.notes))
