"""How suppressions, and what they hide, are printed for people."""

from collections.abc import Iterator
from typing import Final

from vyrox.cli.output import as_minute, counted, printable, record_lines, shortened
from vyrox.triage.explaining import Hidden
from vyrox.triage.preview import Preview
from vyrox.triage.scope import Scope
from vyrox.triage.suppression_life import Wanted
from vyrox.triage.suppressions import Suppression

MAX_CELL: Final = 40
"""Columns of a command in a table."""

LIST_COLUMNS: Final = (
    "ID",
    "TENANT",
    "STATE",
    "HIDDEN",
    "LAST",
    "UNTIL",
    "BY",
    "HOST",
    "USER",
    "WHAT",
    "REASON",
)


def list_row(each: Suppression, now: float) -> tuple[object, ...]:
    """Return the cells of LIST_COLUMNS."""
    by = each.author if each.second is None else f"{each.author}, {each.second}"
    return (
        each.id,
        each.tenant_id,
        each.state(now),
        each.hits,
        as_minute(each.last_hit_at),
        as_minute(each.expires_at),
        shortened(by, MAX_CELL),
        each.scope.host or "any",
        each.scope.username or "any",
        shortened(_what(each.scope, each.command), MAX_CELL),
        shortened(each.reason, MAX_CELL),
    )


def hidden_row(each: Hidden) -> tuple[object, ...]:
    """Return the cells of one hidden alert."""
    return (
        as_minute(each.at),
        f"{each.score:.0f}",
        each.own_band,
        each.host,
        each.user,
        None if each.command is None else shortened(each.command, MAX_CELL),
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
