"""`vyrox triage explain` and `review`: why a verdict is as it is, and the sample for people."""

import asyncio
import textwrap
from collections.abc import Iterator, Sequence

import click

from vyrox.cli.ids import whole
from vyrox.cli.options import tenant_or_all
from vyrox.cli.output import (
    as_minute,
    json_option,
    print_json,
    printable,
    record_lines,
    shortened,
    terminal_width,
)
from vyrox.cli.paging import through_pager
from vyrox.cli.stores import opened_database, read
from vyrox.clock import wall_clock
from vyrox.tenants.known import require_known
from vyrox.triage.explaining import Explained, Group, explain, groups
from vyrox.triage.sampling import Sample, Sampled, read_sample
from vyrox.triage.score import Lowered, Reason, Verdict
from vyrox.triage.suppressions import Suppression


@click.command("explain")
@click.argument("alert_id", metavar="ALERT", callback=whole("alert"))
@json_option
@through_pager
def explain_(alert_id: str, as_json: bool) -> None:
    """Show why ALERT has its score and band: every reason, the strongest family first."""
    found = read(explain, alert_id)
    if as_json:
        print_json(found)
        return
    for line in explained_lines(found, terminal_width()):
        click.echo(line)


def explained_lines(found: Explained, width: int) -> Iterator[str]:
    """Yield the lines of an explanation, none wider than `width`."""
    fields = {
        "alert": found.id,
        "tenant": found.tenant_id,
        "incident": found.incident,
        "host": found.host,
        "user": found.user,
        "score": f"{found.score:.0f} of 100",
        "band": found.band,
        "because": found.floor,
        "hidden by": None if found.suppression is None else _hidden_by(found, found.suppression),
        "person": found.verdict_by_person,
        "rules": found.rules,
        "sample": "a person should see it" if found.is_sampled else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    for line in record_lines(known, width):
        yield from _folded(line, width)
    if found.command is not None:
        yield "command"
        yield from _folded(printable(found.command), width, indent=2)
    yield ""
    yield from _all_reason_lines(found.groups, found.lowered, width)


def _all_reason_lines(
    families: Sequence[Group], lowered: Sequence[Lowered], width: int
) -> Iterator[str]:
    """Yield the families of a verdict with their reasons, and what lowered them."""
    for group in families:
        yield from _group_lines(group, width)
    for each in lowered:
        yield from _lowered_lines(each, width)
    if not families:
        yield "no signal"


def verdict_lines(verdict: Verdict, width: int) -> Iterator[str]:
    """Yield why a verdict is as it is, no line wider than `width`."""
    if verdict.suppression is not None:
        yield f"hidden by {verdict.suppression}, the band was {verdict.own_band}"
    if verdict.floor is not None:
        yield from _folded(f"because {verdict.floor}", width)
    yield from _all_reason_lines(groups(verdict), verdict.lowered, width)


def _hidden_by(found: Explained, suppression: Suppression) -> str:
    by = " and ".join(name for name in (suppression.author, suppression.second) if name)
    until = as_minute(suppression.expires_at)
    return (
        f"{suppression.id} by {by}, until {until}: {suppression.reason} "
        f"(the band was {found.own_band})"
    )


def _group_lines(group: Group, width: int) -> Iterator[str]:
    yield f"{group.family} {group.share:.2f}"
    for reason in group.reasons:
        yield from _reason_lines(reason, width)


def _reason_lines(reason: Reason, width: int) -> Iterator[str]:
    capped = ", capped: the family has a stronger one" if reason.capped else ""
    yield from _folded(f"{reason.weight:.2f} {reason.signal}{capped}", width, indent=2)
    yield from _folded(printable(reason.text), width, indent=7)


def _lowered_lines(each: Lowered, width: int) -> Iterator[str]:
    yield from _folded(f"mitigation {each.mitigation}", width)
    text = f"odds of {', '.join(each.families)} x{each.factor:.2f}: {printable(each.text)}"
    yield from _folded(text, width, indent=2)


def _folded(text: str, width: int, indent: int = 0) -> list[str]:
    """Return the text in lines of at most `width`; a word that is too long is broken."""
    if not indent and len(text) <= width:
        return [text]
    space = " " * indent
    return textwrap.wrap(
        text, max(width, indent + 8), initial_indent=space, subsequent_indent=space
    )


@click.command()
@tenant_or_all
@click.option(
    "--limit",
    type=click.IntRange(1, 500),
    default=20,
    show_default=True,
    help="The largest number of alerts to show.",
)
@json_option
def review(tenant_id: str | None, limit: int, as_json: bool) -> None:
    """Show the sample: one in 50 of the alerts that triage closed, for a person's verdict.

    It is the only way to find what triage misses, and what a suppression should not hide.
    """
    found = asyncio.run(_read(tenant_id, limit))
    if as_json:
        print_json(found)
        return
    width = terminal_width()
    for each in found.alerts:
        for line in _sampled_lines(each, width):
            click.echo(line)
    reviewed = found.benign + found.malicious + found.unclear
    click.echo(
        f"Sample of the last 30 days: {found.waiting} wait for a verdict, {reviewed} have one.\n"
        f"Malicious, so triage missed them: {found.malicious}",
        err=True,
    )
    if found.alerts:
        click.echo(
            "Your verdict: vyrox alert finish ALERT --verdict benign|malicious|unclear", err=True
        )


async def _read(tenant_id: str | None, limit: int) -> Sample:
    async with opened_database() as opened:
        if tenant_id is not None:
            await opened.database.read(require_known, tenant_id)
        return await opened.database.read(read_sample, tenant_id, limit, wall_clock())


def _sampled_lines(each: Sampled, width: int) -> Iterator[str]:
    hidden = "" if each.suppression is None else f"  hidden by {each.suppression}"
    head = f"{as_minute(each.at)}  score {each.score:.0f}  {each.tenant_id}{hidden}"
    yield shortened(head, width - 1)
    what = "  ".join(part for part in (each.host, each.user, each.command) if part)
    if what:
        yield shortened(f"  {what}", width - 1)
    for reason in each.reasons[:3]:
        yield shortened(f"  {reason}", width - 1)
    yield f"  {printable(each.id)}"
    yield ""
