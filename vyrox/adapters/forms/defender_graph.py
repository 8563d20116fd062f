"""Microsoft's alert entities: Graph's alerts_v2 and the older alerts, and Defender's own API.

The fields are those of the contract's form (contract 18), with Defender's incident as the group,
the process's number and start, and the machine that the alert itself calls the compromised one.

Source: Microsoft Graph security API, resource types `alert` and `alertEvidence`; Defender for
Endpoint API, resource type `alert`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from vyrox.adapters.forms.building import Fields, Reading, build
from vyrox.adapters.forms.devices import Device, machine_of
from vyrox.adapters.forms.payload import Node, Payload, path_of
from vyrox.adapters.forms.severities import in_words
from vyrox.models import NormalizedAlert, Tenant

FIELDS: Final[Fields] = {
    "raw_id": ("id", "alert_id", "provider_alert_id"),
    "timestamp": (
        "created_date_time", "alert_creation_time", "creation_time", "event_date_time",
        "first_activity_date_time", "first_event_time", "last_update_date_time",
        "last_updated_time",
    ),
    "username": ("evidence.user_account.user_principal_name", "evidence.user_principal_name",
                 "entities.user_principal_name", "user_states.user_principal_name"),
    "process_name": (
        "evidence.image_file.file_name", "processes.name", "processes.path",
    ),
    "process_cmdline": (
        "evidence.process_command_line", "entities.process_command_line",
        "processes.command_line",
    ),
    "sha256": (
        "evidence.file_details.sha256", "evidence.image_file.sha256", "evidence.sha256",
        "entities.sha256", "file_states.file_hash.hash_value", "processes.file_hash.hash_value",
    ),
    "tactic": ("category", "evidence.category"),
    "technique": ("mitre_techniques", "attack_techniques"),
    "vendor_group": ("incident_id",),
    "process_id": ("evidence.process_id", "entities.process_id", "processes.process_id"),
    "process_start": (
        "evidence.process_creation_date_time", "evidence.process_creation_time",
        "entities.process_creation_time", "processes.created_date_time",
    ),
}  # fmt: skip

_MARKS: Final = (
    "provider_alert_id", "service_source", "detection_source", "alert_web_url", "incident_id",
    "alert_creation_time", "vendor_information", "host_states", "detector_id",
)  # fmt: skip
_KINDS: Final = ("evidence.@odata.type", "evidence.entity_type")

_ACCOUNTS: Final = ("evidence.user_account", "evidence", "entities", "user_states", "related_user")
_FILES: Final = ("evidence", "entities")
_GRAPH_DEVICES: Final = ("evidence",)
_OTHER_DEVICES: Final = ("devices", "host_states")


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is an alert entity, with more than the contract's members."""
    if payload.has("alerts"):
        return False  # an incident
    return any(payload.has(name) for name in ("id", "alert_id")) and any(
        payload.has(mark) for mark in (*_MARKS, *_KINDS)
    )


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the entity in `payload` as an alert.

    Raises:
        NormalizationError: It has no identifier.
    """
    graded = in_words(payload.first("severity"))
    alert = build(payload, FIELDS, graded, Reading("defender", tenant, now, payload.notes))
    machine = machine_of(_devices(payload))
    return msgspec.structs.replace(
        alert,
        hostname=machine.name,
        device_id=machine.id,
        username=alert.username or next(_accounts(payload), None),
        process_name=alert.process_name or next(_process_names(payload), None),
        notes=(*alert.notes, *machine.notes),
    )


def _devices(payload: Payload) -> Iterator[Device]:
    if payload.first("machine_id", "computer_dns_name"):
        yield Device(payload.first("computer_dns_name"), payload.first("machine_id"))
        return
    for path in (*_GRAPH_DEVICES, *_OTHER_DEVICES):
        for node in _objects(payload, path):
            yield Device(
                node.first("device_dns_name", "host_name", "fqdn", "net_bios_name"),
                node.first("mde_device_id", "mdatp_device_id"),
                is_named=node.first("roles") is not None
                and "compromised" in _folded(node, "roles"),
                is_main="main device" in _folded(node, "detailed_roles"),
            )


def _folded(node: Node, path: str) -> set[str]:
    return {text.lower() for text in node.all(path)}


def _accounts(payload: Payload) -> Iterator[str]:
    """Yield the accounts, with their domains."""
    for path in _ACCOUNTS:
        for node in _objects(payload, path):
            if name := node.first("account_name", "user_name"):
                domain = node.first("domain_name")
                yield f"{domain}\\{name}" if domain else name


def _process_names(payload: Payload) -> Iterator[str]:
    """Yield the file names of processes, where evidence is of one flat kind."""
    for path in _FILES:
        for node in _objects(payload, path):
            if (node.first("entity_type") or "").lower() == "process":
                yield from node.all("file_name")


def _objects(payload: Payload, path: str) -> Iterator[Node]:
    nodes: Iterable[Node] = payload.find(path_of(path))
    return (part for node in nodes for part in (node.elements or [node]) if part.members)
