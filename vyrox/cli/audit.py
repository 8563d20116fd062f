"""`vyrox audit`: read, export and verify the audit log."""

import asyncio
import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from difflib import get_close_matches
from typing import Final

import click
import msgspec

from vyrox.chain import export as exporting
from vyrox.chain import live
from vyrox.chain import verify as verifier
from vyrox.chain.archived import list_archived
from vyrox.chain.entry import Scalar, Stream
from vyrox.chain.kinds import EVENT_KINDS
from vyrox.cli.options import parse_since, tenant_first
from vyrox.cli.output import as_time, json_option, printable
from vyrox.cli.paging import paged
from vyrox.cli.stores import Opened, opened_database
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError, VyroxError
from vyrox.ids import is_tenant_id
from vyrox.tenants.known import require_known, require_logged

MAX_LIMIT: Final = 100_000

FOLLOW_INTERVAL_S: Final = 1.0
OVERLAP_S: Final = 5
"""How far each poll of --follow goes back from the latest event: what commits late, or comes from a
container whose clock is behind, has an earlier time."""

_entry_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])


def check_chain(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Return the value of an argument or option that names a chain: a tenant, or the service's."""
    if value and not is_tenant_id(value):
        raise click.BadParameter("must be a tenant, or '' for the service itself")
    return value


def _check_kind(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    if value is None or value in EVENT_KINDS:
        return value
    if not (value.isascii() and value.isprintable()):
        raise click.BadParameter("must be a kind such as auth.failed")
    if near := get_close_matches(value, EVENT_KINDS, n=1, cutoff=0.7):
        raise click.BadParameter(f"there is no kind {value}. Did you mean {near[0]}?")
    return value  # of an earlier version


def _kinds_help() -> str:
    """Return the kinds by family, for the end of the help."""
    families: dict[str, list[str]] = {}
    for kind in EVENT_KINDS:
        family, _, name = kind.partition(".")
        families.setdefault(family, []).append(name)
    lines = (f"{family}. {' '.join(names)}" for family, names in families.items())
    return "\n\n".join(("KIND is a family, a dot and a name:", *lines))


@click.command(epilog=_kinds_help())
@tenant_first(check=check_chain)
@click.option(
    "--kind",
    callback=_check_kind,
    metavar="KIND",
    help="Only this kind: one of those below.",
)
@click.option(
    "--since",
    callback=parse_since,
    help="Only newer ones: an age (90s, 30m, 12h, 7d) or ISO 8601.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), help="Only the newest, at most so many."
)
@click.option("--follow", is_flag=True, help="Continue with new events until Ctrl-C.")
@json_option
def events(
    tenant_id: str | None,
    kind: str | None,
    since: int,
    limit: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show events of TENANT, or of all tenants and the service, oldest first.

    With TENANT, also failed authentications with its name if it is onboarded. '' is the service's
    own chain: all failed authentications, and freezes of every tenant. With --json, one object a
    line.
    """
    wanted = exporting.Wanted(tenant_id, kind, since)
    with nullcontext() if follow else paged():
        asyncio.run(_show_events(wanted, limit, follow=follow, as_json=as_json))


async def _show_events(
    wanted: exporting.Wanted, limit: int | None, *, follow: bool, as_json: bool
) -> None:
    since = wanted.since
    seen: dict[str, int] = {}
    is_empty = True
    async with opened_database() as opened:
        if limit is not None:
            seen = await opened.database.read(exporting.last_events)
            found = await exporting.newest_events(opened.database, wanted, limit, seen)
            if found:
                is_empty = False
                _print_events(found, as_json)
        while limit is None or follow:
            # Not this machine's clock alone: events carry the time of the service.
            latest = min(await opened.database.read(exporting.newest_event), int(wall_clock()))
            async for page in exporting.events(opened.database, wanted, seen):
                if page:
                    is_empty = False
                    _print_events(page, as_json)
            if not follow:
                break
            wanted = msgspec.structs.replace(wanted, since=max(since, latest - OVERLAP_S))
            await asyncio.sleep(FOLLOW_INTERVAL_S)
        await _explain(opened, msgspec.structs.replace(wanted, since=since), is_empty)


async def _explain(opened: Opened, wanted: exporting.Wanted, is_empty: bool) -> None:
    for name, last in await opened.database.read(list_archived, wanted.tenant_id, wanted.since):
        found = f"events 1 to {last:,} of {name or 'the service'} are in an archive"
        click.echo(f"{found}; here are those of them that stayed in the database", err=True)
    if is_empty and wanted.tenant_id:
        await opened.database.read(require_known, wanted.tenant_id)
    if is_empty:
        click.echo("no events match", err=True)


def _print_events(page: list[bytes], as_json: bool) -> None:
    if as_json:
        click.echo("\n".join(map(_json_line, page)))
    else:
        click.echo("\n".join(_event_text(_decode_event(line)) for line in page))


def _json_line(line: bytes) -> str:
    """Return the same JSON as one line of text that drives no terminal."""
    text = line.decode(errors="replace")
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _decode_event(line: bytes) -> dict[str, Scalar]:
    try:
        return _entry_decoder.decode(line)
    except ValueError as exc:
        raise OperatorError(
            "an event cannot be read: it was changed. See which: vyrox audit verify --live TENANT"
        ) from exc


def _event_text(row: dict[str, Scalar]) -> str:
    """Return one line with time, tenant and kind, and an indented line for each other member."""
    timestamp, tenant_id, kind, request_id, *_ = (
        row.pop(name, None)
        for name in ("timestamp", "tenant_id", "kind", "request_id", "previous_hash", "hash")
    )
    try:
        time = as_time(timestamp) if isinstance(timestamp, int) else None
    except (ValueError, OverflowError):
        time = None  # beyond the calendar: no writer of Vyrox's stores such a time
    lines = [f"{time or '-'}  {tenant_id or '(service)'}  {kind}"]
    members = {"request": request_id, **row}
    lines += [f"    {name}: {_word(value)}" for name, value in members.items() if value is not None]
    return "\n".join(map(printable, lines))


def _word(value: Scalar) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@click.command()
@click.argument("path", metavar="[FILE|DIR|-]", required=False)
@click.option(
    "--live",
    "tenant_id",
    metavar="TENANT",
    callback=check_chain,
    help="Verify both chains of TENANT in the database; '' is the service.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    multiple=True,
    help="A checkpoint that you have kept; may be given several times.",
)
@click.option(
    "--proof",
    "proofs",
    metavar="FILE",
    multiple=True,
    help="A proof, for an export that begins later than entry 1.",
)
@click.option(
    "--archive",
    "archives",
    metavar="DIR",
    multiple=True,
    help="An archive of the events before those of the export, or a directory of archives.",
)
@click.option("--keys", metavar="FILE", help="Only these keys count: those of the log, too.")
@click.option("--html", metavar="FILE", help="Also write a page to read and print.")
@click.option("--links-only", is_flag=True, help="Exit with 0 instead of 3 if the links hold.")
@json_option
def verify(
    path: str | None, tenant_id: str | None, links_only: bool, as_json: bool, **given: object
) -> None:
    """Verify an export, a directory of daily files, or with --live the database.

    Exits with 0 if all holds against a checkpoint, which may lie beside the export. Exits with 3 if
    only the links hold: without a checkpoint, a missing end or a rewritten chain would look the
    same. With --links-only, exits with 0 then. Exits with 1 if an entry was tampered with or a
    check failed, and with 2 for wrong usage or if there is nothing to check.
    """
    if path is not None and tenant_id is None:
        flags = ["--links-only"] * links_only + ["--json"] * as_json
        sys.exit(verifier.main([*flags, *_passed_on(given), "--", path]))
    if path is not None or tenant_id is None:
        raise click.UsageError("Give either a FILE, a DIR or -, or --live TENANT.")
    if any(given.values()):
        raise click.UsageError(
            "--live takes no checkpoint, proof, archive, keys or page: export it."
        )
    try:
        found = asyncio.run(_verify_live(tenant_id))
    except VyroxError as exc:
        # The command's usual 1 would say that something was tampered with.
        click.echo(f"vyrox: not checked: {exc}", err=True)
        sys.exit(verifier.USAGE)
    if not found:
        raise click.UsageError(f"{tenant_id or 'the service'} has no entries: nothing to check.")
    held = verifier.VERIFIED if links_only else verifier.NO_CHECKPOINT
    for stream, result in found.items():
        _print_verified(tenant_id, stream, result, held, as_json)
    tampered = any(isinstance(result, verifier.TamperedError) for result in found.values())
    sys.exit(verifier.TAMPERED if tampered else held)


def _passed_on(given: dict[str, object]) -> list[str]:
    """Return options for the verifier, each with its value in one argument."""
    options = []
    for name, values in given.items():
        texts = values if isinstance(values, tuple) else (values,)
        options += [
            f"--{name.removesuffix('s') if isinstance(values, tuple) else name}={text}"
            for text in texts
            if text is not None
        ]
    return options


async def _verify_live(tenant_id: str) -> dict[Stream, live.Result]:
    async with opened_database() as opened:
        await opened.database.read(require_logged, tenant_id)
        return await live.verify_tenant(opened.database, tenant_id)


def _archived_lines(report: verifier.Report) -> list[str]:
    if report.archived_by is None:
        return []
    return [
        f"entries 1 to {report.first_entry - 1} are in an archive, as event {report.archived_by} "
        f"says; {report.retained} of them are here too, all that it lists"
    ]


def _print_verified(
    tenant_id: str, stream: Stream, result: live.Result, held: int, as_json: bool
) -> None:
    chain = f"tenant {tenant_id!a}, stream {stream}"
    document: dict[str, object]
    if isinstance(result, verifier.TamperedError):
        where = {"tenant_id": tenant_id, "stream": stream, "entry": result.number}
        document = {"status": 1, "result": "tampered", **where, "reason": result.reason}
        lines = [f"TAMPERED WITH at entry {result.number} ({chain}): {result.reason}"]
    else:
        document = {"status": held, "result": "links hold", **asdict(result)}
        lines = [
            f"LINKS HOLD: {result.entries} entries ({chain}), last hash {result.last_hash}",
            *_archived_lines(result),
            "NOT SHOWN without a checkpoint: that no entries were removed at the end, and that the "
            "chain was not replaced as a whole",
        ]
    click.echo(json.dumps(document) if as_json else "\n".join(lines))
