"""Writing archives of old events, verifying them, and letting the rows go (contract 103)."""

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from vyrox.chain import archiving
from vyrox.chain import verify as verifier
from vyrox.chain.archived import BLOCK
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.entry import SERVICE
from vyrox.chain.evidence import KEYS_NAME, beside, keys_beside
from vyrox.chain.export import Part, pages
from vyrox.chain.identity import SERVICE_NAME
from vyrox.chain.live import verify_tenant
from vyrox.chain.nodes import Chain, read_entry_hashes
from vyrox.chain.notes import read_checkpoint
from vyrox.chain.verify import TamperedError
from vyrox.cli.archive_directories import move, require_own, verify_directory
from vyrox.cli.audit_export import (
    VERIFIER_NAME,
    write_daily_files,
    write_file,
    write_verifier,
)
from vyrox.cli.audit_source import each_of
from vyrox.cli.stores import Opened
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.store.data_dir import open_private

_FRESH: Final = ".archive-"
"""How the name of an archive begins until all of it is there."""


class Done(msgspec.Struct, frozen=True):
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


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep another command from the directory, and remove what one that was killed has left.

    Raises:
        OperatorError: Another command is running.
    """
    require_own(directory)
    with os.fdopen(open_private(directory / ".lock", os.O_WRONLY | os.O_CREAT), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(f"another vyrox audit archive writes to {directory}") from None
        for left in directory.glob(f"*/{_FRESH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


class Archiver:
    """Makes the archives of one directory."""

    def __init__(self, opened: Opened, checkpoints: Checkpoints, directory: Path) -> None:
        self._opened = opened
        self._database = opened.database
        self._checkpoints = checkpoints
        self._directory = directory

    async def run(self, tenant_id: str, before: int) -> Done | None:
        """Remove what earlier archives have, then archive what is older than `before`.

        An archive that an interrupted run has written is used; then there may be more to do. None
        is returned if there was nothing to do.

        Raises:
            OperatorError: The chain or an archive does not verify, or an archive is missing.
                Nothing was removed for it.
            DatabaseUnavailableError: Run it again: it goes on where it was.
        """
        rows = await self._remove(tenant_id)
        plan = await self._database.read(archiving.plan, tenant_id, before)
        if plan.last < plan.first:
            return Done(tenant_id, 1, 0, rows, None, None) if rows else None
        plan = self._resumed(plan)
        await self._require_whole(tenant_id)
        size = await archiving.measure(self._database, plan)
        target = await self._written(plan)
        last_hash = await self._verified(target, plan.tenant_id, plan.first, plan.last)
        note = await self._checkpoints.at(tenant_id, "events", plan.last)
        root = read_checkpoint(note).root
        await archiving.record(self._database, plan, last_hash, root, wall_clock())
        rows += await archiving.remove(self._database, tenant_id)
        return Done(tenant_id, plan.first, plan.last, rows, size.size_bytes, str(target))

    async def _require_whole(self, tenant_id: str) -> None:
        """Verify the chain: its next archive says what was retained of the earlier ones, too."""
        found = (await verify_tenant(self._database, tenant_id)).get("events")
        if isinstance(found, TamperedError):
            raise OperatorError(
                f"event {found.number} of {tenant_id or 'the service'}: {found.reason}. Nothing "
                "was removed"
            )

    def _resumed(self, plan: archiving.Plan) -> archiving.Plan:
        """Return the plan of a run that was interrupted before the log had its archive, if any."""
        parent = self._target(plan.tenant_id, plan.first, plan.last).parent
        names = [each.name for each in parent.glob(f"{plan.first}-*")]
        for last in range(plan.first + BLOCK - 1, plan.last + 1, BLOCK) if names else ():
            if names == [f"{plan.first}-{last}"]:
                return msgspec.structs.replace(plan, last=last)
        if names:
            raise OperatorError(
                f"{parent} has {', '.join(sorted(names))}, which the log does not know: remove it. "
                "The database has all of its events"
            )
        return plan

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
        require_own(target.parent)
        fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=target.parent))
        try:
            await self._write(plan, fresh)
            await self._verified(fresh, plan.tenant_id, plan.first, plan.last)
            move(fresh, target)
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
        require_own(directory)
        found = await asyncio.to_thread(verify_directory, directory)
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
