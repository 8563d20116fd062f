"""`vyrox status`: how the service is, and what is wrong (contract 86)."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

import click

from vyrox.cli.output import as_time, counted, json_option, print_json, printable, record_lines
from vyrox.cli.paging import paged
from vyrox.cli.status_reading import read_status
from vyrox.cli.stores import opened_database
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.console.sources import Trouble
from vyrox.console.status import MAX_COUNTED, MAX_LISTED, Mode, Status

_MODES: Final[dict[Mode, str]] = {
    "live": "LIVE: approved actions are carried out",
    "dry_run": "DRY RUN: no vendor is called",
    "mixed": "MIXED: some containers act, some do not",
    "unknown": "not known: no service runs that reports it",
}

LATE_S: Final = 5.0
"""A container reports every 2 s. After a `pg_restore`, the rows are those of another database."""

_COLUMNS: Final = (
    "SOURCE",
    Column("TENANT", "cut"),
    "LAST ALERT",
    "LAST FAILURE",
    Column("WHY", "cut"),
    "IS",
)


@click.command()
@wide_option
@json_option
def status(as_json: bool) -> None:
    """Show how the service is. The first line says what is wrong, and what to do follows.

    Exits with 0 only if all is well. It reads the stores; the service need not run.
    """

    async def run() -> Status:
        async with opened_database() as opened:
            return await read_status(opened)

    found = asyncio.run(run())
    if as_json:
        print_json(found)
    else:
        with paged():
            _print(found)
    if not found.is_ok:
        raise click.exceptions.Exit(1)


def _print(found: Status) -> None:
    click.echo(_first_line(found))
    for each in found.wrong:
        click.echo(f"- {printable(_text(each))}")
        for step in each.do:
            click.echo(f"    do: {printable(step)}")
    click.echo("")
    for line in record_lines(dict(_facts(found)), 80):
        click.echo(line)
    if found.sources:
        click.echo("")
        print_table(
            _COLUMNS,
            (
                (
                    each.vendor,
                    each.tenant_id,
                    at(each.last_alert_at),
                    at(each.last_failure_at),
                    each.why,
                    "ok" if each.is_ok else "WRONG",
                )
                for each in found.sources
            ),
        )


def _first_line(found: Status) -> str:
    if found.is_ok:
        return "ALL IS WELL"
    more = "" if len(found.wrong) == 1 else f" (and {len(found.wrong) - 1} more)"
    first = found.wrong[0]
    where = ", ".join(part for part in (first.tenant_id, first.where) if part)
    return printable(f"WRONG: {first.what}{f': {where}' if where else ''}{more}")


def _text(each: Trouble) -> str:
    where = " ".join(part for part in (each.tenant_id, each.where) if part)
    return ": ".join(part for part in (where, each.what, each.text) if part)


def _service_text(found: Status) -> str:
    count = counted(len(found.containers), "container")
    age_s = min((each.age_s for each in found.containers), default=0.0)
    if age_s < LATE_S:
        return f"{count} running"
    return f"{count}, last report {age_s:.0f} s ago: ended, cannot write, or a copy"


def _facts(found: Status) -> Iterator[tuple[str, str]]:
    yield "mode", _MODES[found.mode]
    yield "service", _service_text(found)
    yield "database", found.stores["database"] or "works"
    entries = found.queue.entries
    asked = "works" if entries is not None else "not asked: no service runs"
    yield "redis", found.stores["redis"] or asked
    yield "clocks", found.clocks or ("can be trusted" if found.containers else "not known")
    yield "queue", _queue_text(found)
    yield "dead letters", _by_tenant(found.dead_letters)
    yield "quarantine", _by_tenant(found.quarantined)
    yield (
        "frozen",
        "every tenant" if found.all_frozen_at else ", ".join(found.frozen) or "no tenant",
    )
    yield "contained", _contained_text(found)
    yield "proposals", f"{_at_most(found.proposals, MAX_LISTED)} open"
    if found.previous_secret is not None:
        used_at = found.previous_secret.used_at
        used = "never used" if used_at is None else f"last used {as_time(used_at)} UTC"
        yield "old secret", f"VYROX_HMAC_SECRET_PREVIOUS, {used}"
    if found.break_glass:
        yield "break glass", f"{found.break_glass} not acknowledged"


def _queue_text(found: Status) -> str:
    queue = found.queue
    text = f"{_at_most(queue.unfinished, MAX_COUNTED)} alerts not finished"
    if queue.oldest_age_s is not None:
        text += f", the oldest for {queue.oldest_age_s:.0f} s"
    return text if queue.entries is None else f"{text}; {queue.entries} in Redis"


def _contained_text(found: Status) -> str:
    parts = [counted(found.contained, "device")]
    if found.waiting:
        parts.append(f"{found.waiting} waiting for confirmation")
    if found.lifting:
        parts.append(f"{found.lifting} being lifted")
    return ", ".join(parts)


def _by_tenant(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items())) or "none"


def _at_most(number: int, most: int) -> str:
    return f"{most} or more" if number >= most else str(number)
