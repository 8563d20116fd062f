"""`vyrox triage suppress` and what belongs to it: "this alert is normal here" (contract 56)."""

import asyncio
from collections.abc import Sequence

import click

from vyrox.cli.ids import whole
from vyrox.cli.options import by_option, tenant_argument, tenant_or_all
from vyrox.cli.output import json_option, print_json, terminal_width
from vyrox.cli.stores import opened_database, read, require_known_if_empty, write
from vyrox.cli.suppress_text import (
    LIST_COLUMNS,
    hidden_row,
    list_row,
    preview_lines,
    suppression_lines,
    wanted_lines,
)
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.tenants.known import require_known
from vyrox.triage import suppression_life, suppressions
from vyrox.triage.explaining import Hidden, list_hidden
from vyrox.triage.preview import Preview, preview
from vyrox.triage.suppressing import Asked, suppress, wanted_by
from vyrox.triage.suppression_life import DEFAULT_DAYS, MAX_DAYS, Wanted
from vyrox.triage.suppressions import Suppression

_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command("suppress")
@tenant_argument
@click.option(
    "--like",
    metavar="ALERT",
    callback=whole("alert"),
    help="Alerts like this one: its command, host and user.",
)
@click.option("--command", metavar="LINE", help="Command lines of this shape.")
@click.option("--program", metavar="NAME", help="This program, whatever its command line.")
@click.option(
    "--family",
    "families",
    multiple=True,
    help="What may be hidden: a family of behaviour, or `vendor`. May be given several times.",
)
@click.option("--host", help="Only on this host: its name or device id.")
@click.option("--any-host", is_flag=True, help="On every host of TENANT.")
@click.option("--user", "username", help="Only for this user.")
@click.option("--any-user", is_flag=True, help="For every user, although --like names one.")
@click.option("--reason", required=True, help="Why it is normal, for the next person.")
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help="How long it holds.",
)
@click.option("--preview", "only_preview", is_flag=True, help="Show what it would hide, and stop.")
@by_option
@_yes
@json_option
def suppress_(
    tenant_id: str,
    like: str | None,
    command: str | None,
    program: str | None,
    families: tuple[str, ...],
    host: str | None,
    any_host: bool,
    username: str | None,
    any_user: bool,
    reason: str,
    days: int,
    only_preview: bool,
    by: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Close alerts that are normal at TENANT, after showing what that would have hidden.

    They are still stored, grouped and counted. An alert with other behaviour is not hidden.
    """
    asked = Asked(
        tenant_id=tenant_id,
        reason=reason,
        author=by,
        like=like,
        command=command,
        program=program,
        families=families,
        host=host,
        any_host=any_host,
        username=username,
        any_user=any_user,
        days=days,
    )
    wanted, found = asyncio.run(_preview(asked))
    if only_preview and as_json:
        print_json({"scope": wanted.scope, "preview": found})
        return
    for line in (*wanted_lines(wanted), *preview_lines(found, terminal_width())):
        click.echo(line, err=as_json)
    if only_preview:
        return
    _ask("Hide such alerts from now on?", yes=yes)
    made = write(suppress, asked, wall_clock())
    if as_json:
        print_json({"suppression": _shown([made])[0], "preview": found})
        return
    click.echo(f"suppression {made.id}")
    if made.scope.needs_second:
        click.echo(f"It waits for a second person: vyrox triage confirm {made.id}", err=True)


async def _preview(asked: Asked) -> tuple[Wanted, Preview]:
    async with opened_database() as opened:
        await opened.database.read(require_known, asked.tenant_id)
        wanted = await opened.database.read(wanted_by, asked)
        now = wall_clock()
        return wanted, await preview(opened.database, asked.tenant_id, wanted.scope, now)


@click.command()
@tenant_or_all
@click.option("--all", "with_ended", is_flag=True, help="Also what has ended or expired.")
@click.option(
    "--alerts",
    "of",
    metavar="ID",
    callback=whole("suppression"),
    help="List the newest alerts that ID has hidden.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Of the alerts."
)
@wide_option
@json_option
def suppressed(
    tenant_id: str | None, with_ended: bool, of: str | None, limit: int, as_json: bool
) -> None:
    """List suppressions, newest first, with how many alerts each has hidden."""
    if of is not None:
        _print_hidden(read(list_hidden, tenant_id, of, limit), as_json=as_json)
        return
    found = asyncio.run(_list(tenant_id, with_ended=with_ended))
    if as_json:
        print_json(_shown(found))
        return
    now = wall_clock()
    print_table(LIST_COLUMNS, (list_row(each, now) for each in found))
    if not found:
        click.echo("there are no suppressions", err=True)


async def _list(tenant_id: str | None, *, with_ended: bool) -> list[Suppression]:
    async with opened_database() as opened:
        found = await opened.database.read(
            suppressions.list_all, tenant_id, wall_clock(), with_ended
        )
        if tenant_id is not None:
            await require_known_if_empty(opened, tenant_id, found)
        return found


def _print_hidden(found: Sequence[Hidden], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    columns = (
        "OWN BAND",
        "SCORE",
        Column("HOST", "name"),
        Column("USER", "cut"),
        Column("COMMAND", "cut"),
        "RECEIVED",
        Column("ALERT", "id"),
    )
    print_table(columns, map(hidden_row, found))
    if not found:
        click.echo("it has hidden no alert", err=True)


@click.command()
@click.argument("suppression_id", metavar="ID", callback=whole("suppression"))
@click.option("--reason", default="a person ended it", help="Why, for the audit log.")
@by_option
@json_option
def unsuppress(suppression_id: str, reason: str, by: str, as_json: bool) -> None:
    """End a suppression. What it has hidden stays closed."""
    found = read(suppressions.find, None, suppression_id)
    now = wall_clock()
    was = found.state(now)
    ended = write(suppression_life.end, found.tenant_id, suppression_id, by, reason, now)
    if as_json:
        print_json(_shown([ended])[0])
        return
    already = " already" if was in {"ended", "expired"} else ""
    click.echo(
        f"suppression {suppression_id} {ended.state(now)}{already}, alerts hidden: {ended.hits}"
    )


@click.command()
@click.argument("suppression_id", metavar="ID", callback=whole("suppression"))
@by_option
@_yes
@json_option
def confirm(suppression_id: str, by: str, yes: bool, as_json: bool) -> None:
    """Confirm a suppression of dangerous behaviour, as a person who did not make it."""
    found, shown = asyncio.run(_find_with_preview(suppression_id, by))
    for line in (*suppression_lines(found), *preview_lines(shown, terminal_width())):
        click.echo(line, err=as_json)
    _ask("Hide such alerts from now on?", yes=yes)
    now = wall_clock()
    confirmed = write(suppression_life.confirm, found.tenant_id, suppression_id, by, now)
    if as_json:
        print_json(_shown([confirmed])[0])
        return
    click.echo(f"suppression {suppression_id} confirmed by {confirmed.second}")


async def _find_with_preview(suppression_id: str, by: str) -> tuple[Suppression, Preview]:
    async with opened_database() as opened:
        found = await opened.database.read(suppressions.find, None, suppression_id)
        now = wall_clock()
        suppression_life.check_second(found, by, now)
        return found, await preview(opened.database, found.tenant_id, found.scope, now)


def _ask(question: str, *, yes: bool) -> None:
    if not yes and not click.confirm(question, err=True):
        raise click.exceptions.Exit(1)


def _shown(found: Sequence[Suppression]) -> list[dict[str, object]]:
    return [suppressions.shown(each, wall_clock()) for each in found]
