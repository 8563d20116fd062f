"""How suppressions, and what they hide, are printed for people."""

from collections.abc import Iterator
from typing import Final

from vyrox.cli.output import as_minute, counted, printable, record_lines, shortened
from vyrox.cli.tables import Column, at
from vyrox.triage.explaining import Hidden
from vyrox.triage.preview import Preview
from vyrox.triage.scope import Scope
from vyrox.triage.suppression_life import Wanted
from vyrox.triage.suppressions import Suppression

LIST_COLUMNS: Final = (
    Column("STATE", "cut"),
    Column("WHAT", "cut"),
    Column("HOST", "name"),
    Column("USER", "more"),
    "HIDDEN",
    "UNTIL",
    Column("BY", "cut"),
    Column("LAST", "more"),
    Column("REASON", "more"),
    Column("TENANT", "same"),
    Column("ID", "id"),
)


def list_row(each: Suppression, now: float) -> tuple[object, ...]:
    """Return the cells of LIST_COLUMNS."""
    by = each.author if each.second is None else f"{each.author}, {each.second}"
    return (
        each.state(now),
        _what(each.scope, each.command),
        each.scope.host or "any",
        each.scope.username or "any",
        each.hits,
        at(each.expires_at),
        by,
        at(each.last_hit_at),
        each.reason,
        each.tenant_id,
        each.id,
    )


def hidden_row(each: Hidden) -> tuple[object, ...]:
    """Return the cells of one hidden alert."""
    return (
        each.own_band,
        f"{each.score:.0f}",
        each.host,
        each.user,
        each.command,
        at(each.at),
        each.id,
    )


def wanted_lines(wanted: Wanted) -> Iterator[str]:
    """Yield the scope of a suppression that is about to be made."""
    yield from record_lines(_scope_fields(wanted.scope, wanted.command), 80)


def suppression_lines(each: Suppression) -> Iterator[str]:
    """Yield everything that a second person must know."""
    fields = {
        "suppression": each.id,
        "tenant": each.tenant_id,
        "by": each.author,
        "reason": each.reason,
        "until": as_minute(each.expires_at) or "",
    }
    yield from record_lines({**fields, **_scope_fields(each.scope, each.command)}, 80)


def preview_lines(found: Preview, width: int) -> Iterator[str]:
    """Yield what a scope would have hidden, no line wider than `width`."""
    if not found.alerts:
        yield "It would have hidden none of the last 30 days."
    else:
        yield f"Of the last 30 days it would hide {counted(found.alerts, 'alert')}:"
        yield f"  {found.raised} in review or urgent, the highest score {found.highest:.0f}"
        yield shortened(
            f"  on {counted(found.hosts, 'host')}: {', '.join(found.host_names)}", width - 1
        )
    for each in found.examples:
        what = "  ".join(part for part in (each.host, each.user, each.command) if part)
        yield shortened(f"  {each.score:.0f} {each.band}  {what}", width - 1)
        yield f"    {printable(each.id)}"
    if not found.is_complete:
        yield f"Only the newest {found.searched} alerts were read, and none of the very large ones."


def _scope_fields(scope: Scope, command: str | None) -> dict[str, str]:
    fields = {
        "command": command,
        "program": scope.program,
        "hides": ", ".join(scope.families) or "nothing that needs a person",
        "host": scope.host or "any host",
        "user": scope.username or "any user",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _what(scope: Scope, command: str | None) -> str:
    parts = (command, scope.program, ", ".join(scope.families))
    return "; ".join(part for part in parts if part)
