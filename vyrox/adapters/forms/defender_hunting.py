"""Records of Microsoft's streaming to an Event Hub: AlertInfo and AlertEvidence (contract 70).

One alert arrives as one AlertInfo and several AlertEvidence, in any order. Each record is an
alert; `join` makes one of those that belong together.

Source: advanced hunting schema, tables AlertInfo and AlertEvidence; streaming API, event hubs.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from vyrox.adapters.decoding import one_line
from vyrox.adapters.forms.building import Fields, Ignored, Reading, build
from vyrox.adapters.forms.devices import Device, machine_of
from vyrox.adapters.forms.payload import Node, Payload, path_of
from vyrox.adapters.forms.severities import in_words
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant

FIELDS: Final[Fields] = {
    "raw_id": ("alert_id",),
    "timestamp": ("timestamp",),
    "username": ("account_upn", "additional_fields.account.user_principal_name"),
    "process_cmdline": (
        "process_command_line", "additional_fields.command_line",
    ),
    "sha256": ("sha256", "additional_fields.image_file.file_hashes.value"),
    "tactic": ("category", "categories"),
    "technique": ("attack_techniques",),
    "vendor_group": ("incident_id",),
    "process_id": ("process_id", "additional_fields.process_id"),
    "process_start": (
        "process_creation_time", "additional_fields.creation_time_utc",
    ),
}  # fmt: skip

_PROPERTIES: Final = path_of("properties")
_PREFIX: Final = "advancedhunting-"
_ALERTS: Final = frozenset({"alertinfo", "alertevidence"})
_IGNORED: Final = re.compile(
    r"device[a-z]+|email[a-z]+|identity[a-z]+|cloudappevents|urlclickevents|behavior[a-z]+"
)
"""Tables of what was observed, not of alerts."""


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is a record of advanced hunting, or the row of an alert alone."""
    return (payload.first("category") or "").lower().startswith(_PREFIX) or _table(payload) != ""


def alert_id(payload: Payload) -> str | None:
    """Return which alert the record belongs to; None if it is a record of something else."""
    return _row(payload).first("alert_id") if _table(payload) in _ALERTS else None


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert | Ignored:
    """Return one record as an alert, or the table that it is of.

    Raises:
        NormalizationError: It is of an unknown table, or names no alert.
    """
    table = _table(payload)
    if table in _ALERTS:
        return join([payload], tenant, now)
    name = one_line(payload.first("category") or "")
    if _IGNORED.fullmatch(table):
        return Ignored(name)
    raise NormalizationError(one_line(f"not a known table of advanced hunting: {name}"))


def join(records: Sequence[Payload], tenant: Tenant, now: float) -> NormalizedAlert:
    """Return one alert from records of the same alert, in any order.

    Args:
        records: At least one; each has the same `alert_id`.
        tenant: The authenticated tenant.
        now: When the first one was received, in Unix seconds.

    Raises:
        NormalizationError: They are of no alert, or of different alerts.
    """
    if len({alert_id(record) for record in records}) != 1:
        raise NormalizationError("the records are not of one alert")
    # The info before its evidence, and a process before other evidence.
    ordered = sorted(records, key=_rank)
    rows = b",".join(bytes(_row(each).raw) for each in ordered)
    joined = Payload(JsonText(b"[" + rows + b"]"))
    notes = tuple(dict.fromkeys(note for each in ordered for note in each.notes))
    times = [*joined.all("timestamp"), *(time for each in ordered for time in each.all("time"))]
    alert = build(
        joined,
        FIELDS,
        in_words(joined.first("severity")),
        Reading("defender", tenant, now, notes),
        times=times,
    )
    machine = machine_of(_devices(joined))
    return msgspec.structs.replace(
        alert,
        hostname=machine.name,
        device_id=machine.id,
        username=alert.username or next(_accounts(joined), None),
        process_name=next(_process_names(joined), None),
        notes=(*alert.notes, *machine.notes),
    )


def _table(payload: Payload) -> str:
    """Return the table of a record or row, in lower case; empty if it is of none."""
    category = (payload.first("category") or "").lower()
    if category.startswith(_PREFIX):
        return category.removeprefix(_PREFIX)
    if not payload.has("alert_id"):
        return ""
    if payload.has("entity_type"):
        return "alertevidence"
    return "alertinfo" if payload.has("attack_techniques", "service_source") else ""


def _row(record: Payload) -> Node:
    return next((node for node in record.find(_PROPERTIES) if node.members), record)


def _rank(record: Payload) -> int:
    if _table(record) == "alertinfo":
        return 0
    return 1 if (_row(record).first("entity_type") or "").lower() == "process" else 2


def _devices(joined: Payload) -> Iterator[Device]:
    for row in joined.elements:
        kind = (row.first("entity_type") or "").lower()
        is_impacted = (row.first("evidence_role") or "").lower() == "impacted"
        name = row.first("device_name")
        if kind == "machine":
            name = name or row.first(
                "additional_fields.host_name", "additional_fields.net_bios_name"
            )
        yield Device(
            name,
            row.first("device_id"),
            is_named=kind == "machine" and is_impacted,
            is_main=kind == "machine",
        )


def _accounts(joined: Payload) -> Iterator[str]:
    for row in joined.elements:
        if name := row.first("account_name", "additional_fields.account.name"):
            domain = row.first("account_domain", "additional_fields.account.nt_domain")
            yield f"{domain}\\{name}" if domain else name


def _process_names(joined: Payload) -> Iterator[str]:
    for row in joined.elements:
        if (row.first("entity_type") or "").lower() == "process":
            yield from row.all("file_name", "additional_fields.image_file.name")
