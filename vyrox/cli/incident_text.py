"""How commands print an incident for people: a few short lines in a list, all of it in `show`."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len

from vyrox.cli.output import as_time, printable, shortened
from vyrox.cli.tables import Column, at
from vyrox.triage.incident_list import ListedIncident
from vyrox.triage.notes.rows import Note
from vyrox.triage.shown_incident import ShownIncident
from vyrox.triage.timeline import AlertLine, PersonLine, Timeline

LIST_COLUMNS: Final = (
    "BAND",
    "SCORE",
    Column("STATUS", "cut"),
    Column("HOSTS", "name"),
    "ALERTS",
    "CHANGED",
    Column("ASSIGNEE", "cut"),
    "INCIDENT",
)

MAX_WIDTH: Final = 120

_NAME: Final = 10
"""Columns of a fact's name."""

_STEPS: Final = {
    "acknowledged": "has acknowledged it",
    "assigned": "has taken it over",
    "closed": "has closed it",
    "reopened": "has reopened it",
    "commented": "notes",
    "merged": "has merged",
    "moved": "has moved",
}


def list_row(incident: ListedIncident) -> tuple[object, ...]:
    """Return the cells of LIST_COLUMNS."""
    return (
        incident.band,
        f"{incident.score:.0f}",
        status_text(incident),
        _some(incident.hosts, 3) or None,
        incident.alerts,
        at(incident.updated_at),
        incident.assignee,
        incident.id,
    )


def status_text(incident: ListedIncident) -> str:
    """Return the status in words."""
    if incident.resolution == "below_review":
        return "closed by triage"
    if incident.resolution is not None:
        return f"closed as {incident.resolution}"
    return incident.status


def show_lines(incident: ShownIncident, width: int) -> Iterator[str]:
    """Yield all lines of an incident."""
    width = min(width, MAX_WIDTH)
    if incident.redirected_from is not None:
        yield f"{incident.redirected_from} was merged into {incident.id}:"
        yield ""
    yield f"{'incident':{_NAME}}{printable(incident.id)}"
    for name, value in _facts(incident).items():
        first, *others = _folded(value, width, _NAME)
        yield f"{name:{_NAME}}{first[_NAME:]}"
        yield from others
    yield from _why_lines(incident, width)
    yield from _lowered_lines(incident.timeline, width)
    yield from _timeline_lines(incident.timeline, width)
    yield from _proposal_lines(incident, width)
    yield from _reference_lines(incident, width)
    if incident.note is not None:
        yield from _note_lines(incident.note, width)


def _facts(incident: ShownIncident) -> dict[str, str]:
    assignee = incident.assignee or ("no assignee" if incident.status != "closed" else "")
    first, last = as_time(incident.first_at) or "", as_time(incident.last_at) or ""
    facts = {
        "band": f"{incident.band}, score {incident.score:.0f}",
        "status": ", ".join(filter(None, (status_text(incident), assignee))),
        "closed": (as_time(incident.closed_at) or "") if incident.status == "closed" else "",
        "hosts": ", ".join(incident.hosts) or "none is named",
        "users": ", ".join(incident.users),
        "happened": f"{first} to {last} UTC" if first != last else f"{first} UTC",
        "alerts": str(incident.alerts),
        "together": "; ".join(link.text for link in incident.links),
        "earlier": incident.earlier or "",
    }
    return {name: value for name, value in facts.items() if value}


def _why_lines(incident: ShownIncident, width: int) -> Iterator[str]:
    yield ""
    yield "Why"
    for reason in incident.reasons:
        yield from _folded(f"{reason.family} {reason.share:.2f}  {reason.signal}", width, 2)
        yield from _folded(f"“{reason.text}”", width, 4)
        yield f"    alert {printable(reason.alert_id)}"
    for own in incident.own_signals:
        yield from _folded(f"all alerts {own.weight:.2f}  {own.signal}", width, 2)
        yield from _folded(own.text, width, 4)
    if not incident.reasons and not incident.own_signals:
        yield "  no signal"


def _lowered_lines(timeline: Timeline, width: int) -> Iterator[str]:
    deciding = timeline.deciding
    if deciding is None or not (deciding.lowered or deciding.floor or deciding.suppression):
        return
    yield ""
    yield "The alert that decides"
    yield f"  alert {printable(deciding.alert_id)}"
    for each in deciding.lowered:
        families = ", ".join(each.families)
        text = f"lowered x{each.factor:.2f} on {families}  {each.mitigation}"
        yield from _folded(text, width, 2)
        yield from _folded(f"“{each.text}”", width, 4)
    if deciding.floor is not None:
        yield from _folded(deciding.floor, width, 2)
    if deciding.suppression is not None:
        yield from _folded(f"suppressed by {deciding.suppression}", width, 2)


def _timeline_lines(timeline: Timeline, width: int) -> Iterator[str]:
    yield ""
    yield "Timeline (UTC)"
    if timeline.unread:
        yield from _folded(f"{_counted(timeline.unread)} before, not shown", width, 2)
    day = ""
    for line in timeline.lines:
        date, _, time = (as_time(line.at) or "").partition(" ")
        if date != day:
            yield f"  {date}"
            day = date
        if isinstance(line, AlertLine):
            yield from _alert_lines(line, time, width)
        else:
            yield from _person_lines(line, time, width)
    if timeline.left_out:
        text = f"and {timeline.left_out} more kinds of alerts with lower scores"
        yield from _folded(text, width, 2)


def _alert_lines(line: AlertLine, time: str, width: int) -> Iterator[str]:
    names = [name for name in (line.hostname, line.username) if name]
    verdict = [f"a person says {line.verdict}"] if line.verdict else []
    hidden = ["suppressed"] if line.suppression else []
    head = [f"{time}  {line.band} {line.score:.0f}", *names, *verdict, *hidden]
    yield shortened("  " + "  ".join(head), width)
    if line.count > 1:
        yield from _folded(f"{line.count} times, last {as_time(line.last_at)}", width, 12)
    what = line.command_line or line.process_name
    if what:
        yield shortened(f"            {what}", width)
    yield f"            {printable(line.alert_id)}"


def _person_lines(line: PersonLine, time: str, width: int) -> Iterator[str]:
    text = f"{line.by} {_STEPS.get(line.step, line.step)}"
    if line.text:
        text += f" {line.text}" if line.step in {"merged", "moved"} else f": {line.text}"
    first, *others = _folded(text, width, 12)
    yield f"  {time}{first[10:]}"
    yield from others


def _proposal_lines(incident: ShownIncident, width: int) -> Iterator[str]:
    proposal = incident.proposal
    yield ""
    yield "Proposed action"
    if proposal.action is None:
        yield from _folded(f"none: {proposal.reason}", width, 2)
        return
    where = f" of {proposal.hostname}" if proposal.hostname else ""
    yield from _folded(f"{proposal.action}{where}: {proposal.reason}", width, 2)
    command = proposal.command or ()
    if not all(part.isprintable() for part in command):
        yield "  The device id cannot be printed: see --json"
        return
    yield from _folded("Nothing is done until a person runs this:", width, 2)
    yield from command_lines((*command, "--approved-by", "YOUR_NAME"))


def command_lines(command: Sequence[str]) -> Iterator[str]:
    """Yield a command with one option on each line, ready to be copied."""
    starts = [n for n, part in enumerate(command) if part.startswith("--") and n % 2 == 0]
    first = starts[0] if starts else len(command)
    lines = [shlex.join(command[:first])]
    lines += [shlex.join(command[n : n + 2]) for n in range(first, len(command), 2)]
    for number, line in enumerate(lines):
        indent = "  " if number == 0 else "    "
        yield f"{indent}{line}" + (" \\" if number < len(lines) - 1 else "")


def _reference_lines(incident: ShownIncident, width: int) -> Iterator[str]:
    if not incident.references:
        return
    yield ""
    yield "Other incidents"
    for each in incident.references:
        status = f"closed as {each.resolution}" if each.resolution else each.status
        text = f"{each.id}  {each.why}, {each.band}, {status}, last {as_time(each.last_at)}"
        yield from _folded(text, width, 2)


def _note_lines(note: Note, width: int) -> Iterator[str]:
    since = "" if note.is_current else ", before the last change"
    yield ""
    head = f"Note of {note.model}, {as_time(note.at)}{since}. Nobody has checked it."
    yield from _folded(head, width, 0)
    yield from _folded(note.answer.summary, width, 2)
    yield from _folded(f"If it is an attack: {note.answer.hypothesis_attack}", width, 2)
    yield from _folded(f"If it is ordinary work: {note.answer.hypothesis_benign}", width, 2)
    for quote in note.answer.quotes:
        yield from _folded(f"“{quote}”", width, 4)


def _some(names: Sequence[str], count: int) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _counted(alerts: int) -> str:
    return "1 alert" if alerts == 1 else f"{alerts} alerts"


def _folded(text: str, width: int, indent: int) -> Iterator[str]:
    """Yield `text` in lines of at most `width` columns, all indented; long words are broken."""
    room = max(width - indent, 8)
    lines = textwrap.wrap(
        printable(text), room, break_on_hyphens=False, subsequent_indent="", drop_whitespace=True
    )
    for line in lines or [""]:
        # A wide character takes two columns.
        while cell_len(line) > room:
            part = line[: room // 2]
            yield " " * indent + part
            line = line[room // 2 :]
        yield (" " * indent + line).rstrip()
