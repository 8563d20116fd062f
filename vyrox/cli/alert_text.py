"""How commands print an alert for people: a few short lines in a list, all fields in `show`."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec
from rich.cells import cell_len

from vyrox.alerts.device_history import DeviceAction
from vyrox.alerts.listing import ListedAlert, ShownAlert
from vyrox.cli.output import as_time, printable, shortened
from vyrox.cli.tables import Column, at

MAX_SHOWN: Final = 4096
"""Characters of one value that `show` prints. `--json` prints all."""

_NOT_FIELDS: Final = frozenset({"triage", "is_contained", "actions", "raw", "notes"})
_FIRST: Final = (
    "severity",
    "hostname",
    "username",
    "process_name",
    "process_cmdline",
    "technique",
    "band",
    "score",
    "incident",
    "received_at",
)
"""What a person reads first. The other fields follow in their order."""

_TIMES: Final = frozenset(
    {"process_start", "timestamp", "received_at", "finished_at", "verdict_at"}
)

LIST_COLUMNS: Final = (
    "BAND",
    "SEVERITY",
    Column("HOST", "name"),
    Column("USER", "cut"),
    Column("PROCESS", "cut"),
    "RECEIVED",
    Column("TENANT", "same"),
    Column("TECHNIQUE", "more"),
    Column("INCIDENT", "more"),
    Column("DELIVERY", "more"),
    Column("VERDICT", "more"),
    Column("SHA-256", "wide"),
    Column("ALERT", "id"),
)


def list_row(alert: ListedAlert) -> tuple[object, ...]:
    """Return the cells of LIST_COLUMNS."""
    return (
        alert.band,
        alert.severity,
        alert.hostname,
        alert.username,
        _program(alert),
        at(alert.received_at),
        alert.tenant_id,
        alert.technique,
        _incident_id(alert),
        alert.delivery,
        alert.verdict,
        alert.sha256,
        alert.id,
    )


def list_lines(alert: ListedAlert, width: int) -> Iterator[str]:
    """Yield the lines of one alert in a list on a terminal, none wider than `width`."""
    head = (as_time(alert.received_at), alert.severity.upper(), alert.delivery, alert.tenant_id)
    yield shortened(_joined(head), width)
    for line in _what_lines(alert, width):
        yield f"  {line}"
    if alert.band is not None:
        yield shortened(f"  {_triage_text(alert)}", width)
    if alert.verdict is not None:
        yield shortened(f"  {_verdict_text(alert)}", width)
    yield f"  {printable(alert.id)}"


def _what_lines(alert: ListedAlert, width: int) -> Iterator[str]:
    """Yield host, user, program and technique on one line, or on two if they are long."""
    program = _program(alert)
    first = [each for each in (alert.hostname, alert.technique) if each]
    second = [each for each in (alert.username, program) if each]
    everything = shortened(_joined((*first, *second)), MAX_SHOWN)
    if cell_len(everything) <= width - 2:
        if everything:
            yield everything
        return
    for part in filter(None, (first, second)):
        # Each value has its share, so that a long one hides no other.
        share = (width - 2 * len(part)) // len(part)
        yield _joined(tuple(shortened(each, share) for each in part))


def _program(alert: ListedAlert) -> str | None:
    """Return the program's name without its folder."""
    return None if alert.process_name is None else re.split(r"[\\/]", alert.process_name)[-1]


def show_fields(alert: ShownAlert) -> dict[str, str]:
    """Return each field of the alert that has a value, as text."""
    fields: dict[str, str] = {}
    values = msgspec.structs.asdict(alert)
    for name, value in {**{name: values[name] for name in _FIRST}, **values}.items():
        if name in _NOT_FIELDS or value is None:
            continue
        fields[name.replace("_", " ")] = _bounded(_value_text(alert, name, value))
    for number, note in enumerate(alert.notes, 1):
        fields[f"note {number}"] = _bounded(note)
    return fields


def _value_text(alert: ShownAlert, name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, float):
        return f"{as_time(value)} UTC"
    if name == "score":
        return f"{value:.0f} of 100"
    if name == "incident":
        return f"{alert.tenant_id}-{value}"
    return str(value)


def action_fields(action: DeviceAction) -> dict[str, str]:
    """Return what was done on the device, as text."""
    fields = {
        "at": as_time(action.at) or "",
        "action": action.action_type + (" (dry run)" if action.dry_run else ""),
        "host": action.host,
        "approved by": action.approved_by,
        "outcome": action.outcome or "not known yet",
        "reason": action.reason,
        "for": "this alert" if action.for_this_alert else "another alert on this device",
    }
    return {name: _bounded(value) for name, value in fields.items() if value}


def _triage_text(alert: ListedAlert) -> str:
    return f"{alert.band}, score {alert.score or 0:.0f}, incident {_incident_id(alert)}"


def _incident_id(alert: ListedAlert) -> str | None:
    return None if alert.incident is None else f"{alert.tenant_id}-{alert.incident}"


def _verdict_text(alert: ListedAlert) -> str:
    note = f": {alert.verdict_note}" if alert.verdict_note else ""
    return f"{alert.verdict} by {alert.verdict_by}{note}"


def _joined(values: tuple[str | None, ...]) -> str:
    return "  ".join(value for value in values if value)


def _bounded(text: str) -> str:
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}... ({len(text)} characters; --json prints all)"
