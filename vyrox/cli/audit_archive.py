"""`vyrox audit archive`: old events go into verified files, and then out of the database."""

import asyncio
from pathlib import Path

import click

from vyrox.chain import archiving
from vyrox.chain.checkpoints import Checkpoints
from vyrox.cli.archive_directories import make_directory
from vyrox.cli.audit import check_chain
from vyrox.cli.audit_archiver import Archiver, Done, alone
from vyrox.cli.audit_key import open_signer
from vyrox.cli.options import parse_since
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import Opened, opened_database
from vyrox.cli.tables import print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.tenants.known import require_known


@click.command()
@click.option(
    "--before",
    required=True,
    callback=parse_since,
    help="Events of an earlier time: an age (90d) or ISO 8601.",
)
@click.option(
    "--out",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of all archives; created if missing. Always give the same one.",
)
@click.option(
    "--tenant", "tenant_id", callback=check_chain, help="Only this tenant; '' is the service."
)
@click.option("--dry-run", is_flag=True, help="Only show what would go, and how large it is.")
@wide_option
@json_option
def archive(
    before: int, directory: Path | None, tenant_id: str | None, dry_run: bool, as_json: bool
) -> None:
    """Move events that are older than a time out of the database, into files.

    Each archive is a directory DIR/TENANT/FIRST-LAST that verify_audit.py verifies. It is written
    and verified before the log says that it exists, and only then do rows go. Actions stay, and so
    do the events that say who may decide, who decided, and what was done on devices. The service
    may run. After an interruption, run the same command again.
    """
    if directory is None and not dry_run:
        raise click.UsageError("Missing option '--out'.")
    if before > wall_clock():
        raise click.UsageError("--before is in the future.")
    try:
        if directory is not None and not dry_run:
            make_directory(directory)
        done = asyncio.run(_archive(before, None if dry_run else directory, tenant_id))
    except OSError as exc:
        raise OperatorError(f"{exc.filename or directory}: {exc.strerror}") from exc
    if as_json:
        print_json(done)
        return
    heads = ("TENANT", "EVENTS", "WOULD GO" if dry_run else "GONE", "BYTES", "ARCHIVE")
    print_table(heads, [_row(each) for each in done])
    if not done:
        click.echo("nothing to archive: an archive has at least 256 events of a tenant", err=True)


def _row(done: Done) -> tuple[str, str, str, str, str]:
    return (
        done.tenant_id or "(service)",
        f"{done.first:,} to {done.last:,}" if done.last >= done.first else "-",
        f"{done.rows:,}",
        "-" if done.size_bytes is None else f"{done.size_bytes:,}",
        done.directory or "-",
    )


async def _archive(before: int, directory: Path | None, tenant_id: str | None) -> list[Done]:
    async with opened_database() as opened:
        if tenant_id:
            await opened.database.read(require_known, tenant_id)
        tenants = [tenant_id] if tenant_id is not None else None
        if tenants is None:
            tenants = await opened.database.read(archiving.list_chains)
        if directory is None:
            return [each for name in tenants if (each := await _planned(opened, before, name))]
        checkpoints = Checkpoints(opened.database, wall_clock, await open_signer(opened))
        archiver = Archiver(opened, checkpoints, directory)
        with alone(directory):
            return await _all(archiver, tenants, before)


async def _all(archiver: Archiver, tenants: list[str], before: int) -> list[Done]:
    done = []
    for name in tenants:
        while each := await archiver.run(name, before):
            done.append(each)
    return done


async def _planned(opened: Opened, before: int, tenant_id: str) -> Done | None:
    plan = await opened.database.read(archiving.plan, tenant_id, before)
    if plan.last < plan.first:
        return None
    size = await archiving.measure(opened.database, plan)
    return Done(tenant_id, plan.first, plan.last, size.rows, size.size_bytes, None)
