"""Alerts of SentinelOne's custom rules (STAR): in activity 3608, and from the alerts' own API.

Other activities report a new threat, or record what people and agents did
(contract 70).

Source: test data of panther-analysis and the SEKOIA intake formats; Elastic's field names.
"""

import re
from typing import Final

import msgspec

from vyrox.adapters.decoding import one_line
from vyrox.adapters.forms import sentinelone_threats
from vyrox.adapters.forms.building import Fields, Ignored, Reading, build
from vyrox.adapters.forms.payload import Payload
from vyrox.adapters.forms.severities import in_words
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant

FIELDS: Final[Fields] = {
    "raw_id": ("data.alert_id", "alert_info.alert_id", "alert_id", "id"),
    "timestamp": (
        "data.detected_at", "alert_info.created_at", "alert_info.reported_at", "detected_at",
        "created_at", "updated_at",
    ),
    "hostname": (
        "data.orig_agent_name", "agent_realtime_info.name", "agent_detection_info.name",
        "agent_realtime_info.agent_computer_name", "data.computer_name", "data.agent_name",
        "data.endpoint_name",
    ),
    "device_id": (
        "agent_id", "data.agent_id", "agent_realtime_info.id", "agent_realtime_info.agent_id",
        "data.orig_agent_uuid", "agent_detection_info.uuid", "agent_realtime_info.uuid",
    ),
    "username": (
        "data.source_process_username", "source_process_info.user",
        "source_process_info.effective_user", "source_process_info.login_user",
        "data.logins_user_name", "alert_info.logins_user_name", "data.source_process_user",
    ),
    "process_name": (
        "data.source_process_name", "source_process_info.name", "data.source_process_file_path",
        "source_process_info.file_path", "data.tgt_proc_name", "target_process_info.tgt_proc_name",
        "data.tgt_proc_image_path",
    ),
    "process_cmdline": (
        "data.source_process_command_line", "source_process_info.commandline",
        "data.tgt_proc_cmd_line", "target_process_info.tgt_proc_cmd_line",
    ),
    "sha256": (
        "data.source_process_sha256", "source_process_info.file_hash_sha256",
        "data.source_process_file_hash_sha256", "data.tgt_file_hash_sha256",
        "target_process_info.tgt_file_hash_sha256", "data.module_sha256",
    ),
    "tactic": (
        "data.mitre_tactic", "rule_info.tactics.name", "data.tactics", "indicators.tactics.name",
    ),
    "technique": (
        "data.mitre_technique", "rule_info.tactics.techniques.name", "data.techniques",
        "indicators.tactics.techniques.name",
    ),
    "vendor_group": (
        "data.source_process_storyline", "source_process_info.storyline",
        "data.tgt_proc_storyline_id", "target_process_info.tgt_proc_storyline_id",
    ),
    "process_id": ("data.source_process_pid", "source_process_info.pid"),
    "process_start": (
        "data.source_process_start_time", "source_process_info.pid_starttime",
        "source_process_info.pid_start_time",
    ),
    "vendor_process_id": ("data.source_process_key", "source_process_info.unique_id"),
}  # fmt: skip

_SEVERITY: Final = ("data.severity", "rule_info.severity", "severity")

_TYPE: Final = re.compile(r"[0-9]{1,6}")
_OF_A_RULE: Final = "3608"
_OF_A_THREAT: Final = frozenset({"18", "19", "20", "4003"})
"""New threats: mitigated, active, blocked before it ran, and suspicious."""

_NAMES_A_DETECTION: Final = (
    "threat_id", "data.threat_id", "data.alert_id", "data.confidence_level",
    "data.threat_classification", "data.detected_at",
)  # fmt: skip
_AFTER_A_DETECTION: Final = re.compile(r"20\d\d|36\d\d|37\d\d|40[01]\d|41\d\d", re.ASCII)
"""Activities about a threat or an alert that an earlier activity reported: what was done to its
processes and files, and what people decided."""

_BEFORE_HOST: Final = " detected on "
_MAX_HOST: Final = 253
_PROCESS_IN_PROSE: Final = re.compile(r"^Alert created for (.{1,255}?) from Custom Rule:")


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is an activity, or an alert of a custom rule."""
    return payload.has("activity_type") or payload.has("alert_info")


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert | Ignored:
    """Return the alert in `payload`, or which activity it is instead.

    Raises:
        NormalizationError: It has no identifier, or is of an unknown type about a detection.
    """
    kind = payload.first("activity_type")
    if kind in _OF_A_THREAT:
        return sentinelone_threats.normalize(payload, tenant, now)
    if kind is None or kind == _OF_A_RULE:
        return _of_a_rule(payload, Reading("sentinelone", tenant, now, payload.notes))
    if _TYPE.fullmatch(kind) is None:
        raise NormalizationError(one_line(f"not a type of activity: {kind}"))
    what = f"activity {kind}"
    if payload.first(*_NAMES_A_DETECTION) is None or _AFTER_A_DETECTION.fullmatch(kind):
        return Ignored(what)
    raise NormalizationError(f"not a known type of activity, but about a detection: {what}")


def _of_a_rule(payload: Payload, reading: Reading) -> NormalizedAlert:
    alert = build(payload, FIELDS, in_words(payload.first(*_SEVERITY)), reading)
    # Some exports keep the names of host and process only in the sentence that people read.
    prose = payload.first("primary_description") or ""
    process = _PROCESS_IN_PROSE.match(prose)
    host = prose.rpartition(_BEFORE_HOST)[2].strip().removesuffix(".")
    is_host = _BEFORE_HOST in prose and 0 < len(host) <= _MAX_HOST
    return msgspec.structs.replace(
        alert,
        hostname=alert.hostname or (host if is_host else None),
        process_name=alert.process_name or (process[1] if process else None),
    )
