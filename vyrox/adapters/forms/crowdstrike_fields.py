"""Where Falcon's fields are. One table serves all its forms: only the spelling differs.

Source: gofalcon's models of alerts; test data of stix-shifter, panther-analysis and the SEKOIA
intake formats.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec

from vyrox.adapters.forms.building import SEVERAL, Fields, Reading, build
from vyrox.adapters.forms.payload import Node
from vyrox.adapters.forms.severities import falcon
from vyrox.models import NormalizedAlert

FIELDS: Final[Fields] = {
    "raw_id": (
        "composite_id", "detect_id", "detection_id", "mobile_detection_id", "lead_id", "alert_id",
        "id", "indicator_id",
    ),
    "timestamp": (
        "timestamp", "event_creation_time", "context_timestamp", "utc_timestamp",
        "timestamp_utc", "start_time", "start_time_epoch", "created_timestamp", "first_behavior",
        "process_start_time", "crawled_timestamp", "updated_timestamp",
    ),
    "hostname": (
        "device.hostname", "hostname", "computer_name", "sensor.hostname", "host_name",
        "source_endpoint_host_name", "endpoint_name", "target_endpoint_host_name",
    ),
    "hostnames": ("host_names", "entities.hostnames", "entities.host_names"),
    "device_id": (
        "device.device_id", "agent_id", "sensor_id", "agent_id_string", "aid", "device_id",
        "behaviors.device_id", "sensor.id", "source_endpoint_sensor_id", "host_id", "agent_ids",
        "sensor_ids", "host_ids", "incident.host_ids", "entities.agent_ids",
    ),
    "username": (
        "user_name", "behaviors.user_name", "user_principal", "source_account_name",
        "source_account_upn", "account_name", "target_account_name", "user",
    ),
    "usernames": ("user_names", "users", "entities.user_names", "entities.users"),
    "process_name": (
        "filename", "behaviors.filename", "image_filename", "process_name", "filepath",
        "behaviors.filepath", "entities.file_name", "entities.process",
    ),
    "process_cmdline": (
        "cmdline", "command_line", "behaviors.cmdline", "cmd_line", "process_command_line",
    ),
    "sha256": (
        "sha256", "sha256_string", "sha256_hash", "behaviors.sha256", "sha256_hashes",
        "entities.sha256", "file_hash",
    ),
    "tactic": (
        "tactic", "behaviors.tactic", "mitre_attack.tactic", "tactics", "tactic_name",
        "mitre_tactic", "tactic_id", "tactic_ids",
    ),
    "technique": (
        "technique", "technique_id", "behaviors.technique", "behaviors.technique_id",
        "mitre_attack.technique", "mitre_attack.technique_id", "techniques", "technique_ids",
        "technique_name", "mitre_technique", "mitre_technique_id",
    ),
    "vendor_group": (
        "aggregate_id", "incident.id", "incident_id", "xdr_detection_id",
        "behaviors.control_graph_id", "control_graph_id",
    ),
    "process_id": ("local_process_id",),
    "vendor_process_id": ("process_id",),
    "process_start": ("process_start_time",),
}  # fmt: skip

_SEVERITY_NAMES: Final = (
    "severity_name", "max_severity_displayname", "behaviors.severity_name",
    "severity_display_name",
)  # fmt: skip
_SEVERITIES: Final = ("severity", "max_severity", "behaviors.severity")
_LINKS: Final = ("falcon_host_link", "url", "link", "detection_url")

_COMPOSITE: Final = re.compile(r"([0-9a-fA-F]{32}):ind:([0-9a-fA-F]{32}):[0-9]+-[0-9]+-[0-9]+")
"""The composite id of an endpoint's detection: the customer, the agent, the process."""

_CUSTOMER: Final = re.compile(r"([0-9a-fA-F]{32}):[a-z]+:")
_OLD_LINK: Final = re.compile(r"/detections/detail/([0-9a-fA-F]{32})/([0-9]+)")
_NEW_LINK: Final = re.compile(r"/(?:detections|incidents|alerts|cases|leads)/([^/?#\s]+)")


def falcon_alert(
    node: Node,
    reading: Reading,
    *,
    fields: Fields = FIELDS,
    of_five: bool = False,
    times: Iterable[str] = (),
    link: str | None = None,
    raw_id: str | None = None,
) -> NormalizedAlert:
    """Return the alert that the object `node` describes.

    Args:
        node: A detection of Falcon, of any form.
        reading: Who sent it, and when.
        fields: Where the fields are.
        of_five: Its severity is a number from 1 to 5.
        times: When it happened, if these are better than what `node` has.
        link: Where the console shows it, if `node` has no link.
        raw_id: Its identifier, if it has neither one nor a link.

    Raises:
        NormalizationError: It names no detection.
    """
    graded = falcon(node.first(*_SEVERITY_NAMES), node.first(*_SEVERITIES), of_five=of_five)
    linked = _linked_id(node.first(*_LINKS) or link or "")
    alert = build(node, fields, graded, reading, raw_id=linked or raw_id, times=times)
    if alert.device_id is not None or SEVERAL in alert.notes:
        return alert
    return msgspec.structs.replace(alert, device_id=_agent_in(alert.raw_id))


def customer_in(composite_id: str) -> str | None:
    """Return the customer id that a composite id begins with."""
    match = _CUSTOMER.match(composite_id)
    return match[1] if match else None


def _linked_id(link: str) -> str | None:
    """Return the identifier of the detection that a link into Falcon's console opens."""
    if old := _OLD_LINK.search(link):
        return f"ldt:{old[1]}:{old[2]}"
    new = _NEW_LINK.search(link)
    return unquote(new[1]) if new else None


def _agent_in(composite_id: str) -> str | None:
    """Return the agent that a composite id names; an identity's names the customer twice."""
    match = _COMPOSITE.fullmatch(composite_id)
    return match[2] if match and match[1] != match[2] else None
