"""`vyrox audit archive`: old events go into verified files, and then out of the database."""

import asyncio
import io
import itertools
import os
import shutil
import stat
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import click
import msgspec

from vyrox.chain import archiving
from vyrox.chain import verify as verifier
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.entry import SERVICE
from vyrox.chain.evidence import KEYS_NAME, beside, keys_beside
from vyrox.chain.export import Part, pages
from vyrox.chain.identity import SERVICE_NAME
from vyrox.chain.nodes import Chain, read_entry_hashes
from vyrox.chain.notes import read_checkpoint
from vyrox.cli.audit import check_chain
from vyrox.cli.audit_export import (
    VERIFIER_NAME,
    write_daily_files,
    write_file,
    write_verifier,
)
from vyrox.cli.audit_key import open_signer
from vyrox.cli.audit_source import each_of
from vyrox.cli.options import parse_since
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import Opened, opened_database
from vyrox.cli.tables import print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.store.backups.files import sync


class _Done(msgspec.Struct, frozen=True):
    """What became of a tenant's events, or would.

    Attributes:
        rows: How many are removed, of those from `first` to `last`, and of earlier archives.
        size_bytes: The bytes of their entries; None if they are not counted.
        directory: The archive; None without one.
    """

    tenant_id: str
    first: int
    last: int
    rows: int
    size_bytes: int | None
    directory: str | None


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
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def _row(done: _Done) -> tuple[str, str, str, str, str]:
    return (
        done.tenant_id or "(service)",
        f"{done.first:,} to {done.last:,}" if done.last >= done.first else "-",
        f"{done.rows:,}",
        "-" if done.size_bytes is None else f"{done.size_bytes:,}",
        done.directory or "-",
    )


async def _archive(before: int, directory: Path | None, tenant_id: str | None) -> list[_Done]:
    async with opened_database() as opened:
        tenants = [tenant_id] if tenant_id is not None else None
        if tenants is None:
            tenants = await opened.database.read(archiving.list_chains)
        if directory is None:
            return [each for name in tenants if (each := await _planned(opened, before, name))]
        checkpoints = Checkpoints(opened.database, wall_clock, await open_signer(opened))
        archiver = Archiver(opened, checkpoints, directory)
        return [each for name in tenants if (each := await archiver.run(name, before))]


async def _planned(opened: Opened, before: int, tenant_id: str) -> _Done | None:
    plan = await opened.database.read(archiving.plan, tenant_id, before)
    if plan.last < plan.first:
        return None
    size = await archiving.measure(opened.database, plan)
    return _Done(tenant_id, plan.first, plan.last, size.rows, size.size_bytes, None)


class Archiver:
    """Makes the archives of one directory."""

    def __init__(self, opened: Opened, checkpoints: Checkpoints, directory: Path) -> None:
        self._opened = opened
        self._database = opened.database
        self._checkpoints = checkpoints
        self._directory = directory

    async def run(self, tenant_id: str, before: int) -> _Done | None:
        """Remove what earlier archives have, then archive what is older than `before`.

        Raises:
            OperatorError: An archive is missing or does not verify. Nothing was removed for it.
            DatabaseUnavailableError: Run it again: it goes on where it was.
        """
        rows = await self._remove(tenant_id)
        plan = await self._database.read(archiving.plan, tenant_id, before)
        if plan.last < plan.first:
            return _Done(tenant_id, 1, 0, rows, None, None) if rows else None
        size = await archiving.measure(self._database, plan)
        target = await self._written(plan)
        last_hash = await self._verified(target, plan.tenant_id, plan.first, plan.last)
        note = await self._checkpoints.at(tenant_id, "events", plan.last)
        root = read_checkpoint(note).root
        await archiving.record(self._database, plan, last_hash, root, wall_clock())
        rows += await archiving.remove(self._database, tenant_id)
        return _Done(tenant_id, plan.first, plan.last, rows, size.size_bytes, str(target))

    async def _remove(self, tenant_id: str) -> int:
        """Go on with a removal that was interrupted, if the archives are there."""
        ends = await self._database.read(archiving.list_ends, tenant_id)
        if not ends:
            return 0
        first = await self._database.read(archiving.first_removable, tenant_id, 0, ends[-1])
        if first is None:
            return 0
        for before, last in itertools.pairwise((0, *ends)):
            if last >= first:
                target = self._target(tenant_id, before + 1, last)
                await self._verified(target, tenant_id, before + 1, last)
        return await archiving.remove(self._database, tenant_id)

    def _target(self, tenant_id: str, first: int, last: int) -> Path:
        name = SERVICE_NAME if tenant_id == SERVICE else tenant_id
        return self._directory / name / f"{first}-{last}"

    async def _written(self, plan: archiving.Plan) -> Path:
        """Write the archive, unless an earlier run has, and return its directory."""
        target = self._target(plan.tenant_id, plan.first, plan.last)
        if target.exists():
            return target
        target.parent.mkdir(mode=0o700, exist_ok=True)
        _require_own(target.parent)
        fresh = Path(tempfile.mkdtemp(prefix=".archive-", dir=target.parent))
        try:
            await self._write(plan, fresh)
            await self._verified(fresh, plan.tenant_id, plan.first, plan.last)
            _move(fresh, target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return target

    async def _write(self, plan: archiving.Plan, directory: Path) -> None:
        chain: Chain = (plan.tenant_id, "events")
        part = Part(plan.first, plan.last)
        lines = each_of(pages(self._database, *chain, part))
        await write_daily_files(lines, directory, "audit")
        for name, content in (await beside(self._database, self._checkpoints, chain, part)).items():
            write_file(directory / name, content)
        witnesses = self._opened.settings.checkpoints.witnesses
        keys = await keys_beside(
            self._database,
            self._checkpoints,
            plan.tenant_id,
            None,
            [each.key for each in witnesses if each.key is not None],
        )
        if keys is not None:
            write_file(directory / KEYS_NAME, keys)
        write_verifier(directory / VERIFIER_NAME)

    async def _verified(self, directory: Path, tenant_id: str, first: int, last: int) -> str:
        """Verify an archive as an outsider does; return the hash of its last event.

        As it is that of the database, the archive has the events of the database.

        Raises:
            OperatorError: It is missing, does not verify, or has other events.
        """
        _require_own(directory)
        found = await asyncio.to_thread(_verify, directory)
        [wanted] = await self._database.read(
            read_entry_hashes, (tenant_id, "events"), last - 1, last
        )
        is_it = (
            found.get("status") == verifier.VERIFIED
            and found.get("tenant_id") == tenant_id
            and (found.get("first_entry"), found.get("entries")) == (first, last - first + 1)
            and found.get("last_hash") == wanted.hex()
        )
        if not is_it:
            reason = found.get("reason") or found.get("checkpoint_problems") or "other events"
            raise OperatorError(
                f"{directory} is not the verified archive of the events {first} to {last} of "
                f"{tenant_id or 'the service'} ({reason}): nothing was removed. See: python3 -I "
                f"{directory / VERIFIER_NAME} {directory}"
            )
        return wanted.hex()


def _verify(directory: Path) -> dict[str, object]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        verifier.main(["--json", "--", str(directory)])
    return msgspec.json.decode(printed.getvalue(), type=dict[str, object])


def _move(fresh: Path, target: Path) -> None:
    """Give a directory its name, when all of it is on disk."""
    for file in fresh.iterdir():
        sync(file)
    sync(fresh)
    fresh.rename(target)
    for parent in target.parents[:2]:
        sync(parent)


def _require_own(directory: Path) -> None:
    """Return if it is a directory of this user. Another user could replace what is in it."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        raise OperatorError(
            f"there is no archive {directory}: give --out as before. Nothing was removed"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OperatorError(f"{directory} is a link, no directory, or another user's")
