"""Events go into archives at random, and what can be proven stays (contract 103)."""

import asyncio
import io
import tempfile
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, Clock, running_writer
from tests.chain.exports import LOG
from tests.chain.test_verify_approvals import whole_story
from vyrox.chain import evidence, verify
from vyrox.chain.archive import archive
from vyrox.chain.archived import archived_up_to, read_retained
from vyrox.chain.archiving import Plan, plan, record, remove
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.events import event, write_events
from vyrox.chain.export import find_part, pages
from vyrox.chain.identity import Signer
from vyrox.chain.live import verify_newest, verify_tenant
from vyrox.chain.log_keys import new_key, read_log_keys
from vyrox.chain.nodes import length, read_entry_hashes
from vyrox.chain.notes import read_checkpoint
from vyrox.chain.tree import consistency_holds, inclusion_holds
from vyrox.chain.verify import Report
from vyrox.chain.writer import ChainWriter, append
from vyrox.errors import DatabaseUnavailableError, OperatorError
from vyrox.store.database import Database, open_database
from vyrox.triage.totals_log import count_log

KINDS: Final = (
    "alert.accepted",
    "alert.verdict",
    "auth.failed",
    "approval.proposed",
    "tenant.changed",
)
CHAIN: Final = (TENANT, "events")


def count_all(connection: Connection) -> None:
    """Bring the totals up to the chain, as a running service does."""
    while count_log(connection, TENANT):
        pass


Steps = list[tuple[int, int]]
steps = st.lists(st.tuples(st.integers(100, 600), st.integers(0, 300)), min_size=1, max_size=4)
"""How many events are written, and the age in them before which they go into an archive."""


def signer() -> Signer:
    return Signer(LOG, tuple(read_log_keys([new_key()])))


def write(connection: Connection, number: int, now: float, seed: int) -> None:
    drafts = [event(KINDS[(seed + n * n) % len(KINDS)], TENANT, None, n=n) for n in range(number)]
    for at, draft in enumerate(drafts):
        append(connection, [draft], now + at)


async def archived(database: Database, before: float) -> Plan:
    """Take out of the database what is older, as the command does once the files are verified."""
    planned = await database.read(plan, TENANT, before)
    if planned.last >= planned.first:
        [last] = await database.read(read_entry_hashes, CHAIN, planned.last - 1, planned.last)
        checkpoints = Checkpoints(database, lambda: NOW, signer())
        root = read_checkpoint(await checkpoints.at(*CHAIN, planned.last)).root
        await record(database, planned, last.hex(), root, before)
        await remove(database, TENANT)
    return planned


@given(steps=steps, seed=st.integers(0, 4), sizes=st.lists(st.floats(0, 1), max_size=4))
@settings(max_examples=5)
def test_what_can_be_proven_stays_contract_103(steps: Steps, seed: int, sizes: list[float]) -> None:
    asyncio.run(check(steps, seed, sizes))


async def check(steps: Steps, seed: int, sizes: list[float]) -> None:
    entries: list[bytes] = []
    now = NOW
    with tempfile.TemporaryDirectory(prefix="vx-") as directory:
        async with open_database(None, Path(directory)) as database:
            for number, age in steps:
                await database.write(write, number, now, seed)
                now += number
                # Of the whole chain, as somebody has it who has exported it each time.
                part = await find_part(database, *CHAIN)
                entries = entries[: part.first - 1]
                async for page in pages(database, *CHAIN, part):
                    entries += page
                await database.write(count_all)
                planned = await archived(database, now - age)
                assert planned.last % 256 == 0
                await holds(database, entries, max(planned.last, 0))
            await proofs_hold(database, entries, sizes)


async def holds(database: Database, entries: list[bytes], last: int) -> None:
    for found in (await verify_tenant(database, TENANT)).values():
        assert isinstance(found, Report), found
        assert found.first_entry == await database.read(archived_up_to, TENANT) + 1
    verify.verify_entries(entries)
    done = await database.read(archived_up_to, TENANT)
    retained = await database.read(read_retained, TENANT, 0, done, 10_000)
    wanted = [n for n, entry in enumerate(entries[:done], 1) if is_retained(entry)]
    assert [each.sequence for each in retained] == wanted
    assert [each.entry for each in retained] == [entries[n - 1] for n in wanted]
    size = await database.read(length, CHAIN)
    assert await verify_newest(database, *CHAIN, 10_000) == size - done


def is_retained(entry: bytes) -> bool:
    return any(f'"kind":"{kind}'.encode() in entry for kind in ("approval.", "tenant.", "chain."))


async def proofs_hold(database: Database, entries: list[bytes], sizes: list[float]) -> None:
    checkpoints = Checkpoints(database, lambda: NOW, signer())
    newest = read_checkpoint(await checkpoints.current(*CHAIN))
    for part in sizes:
        at = 1 + int(part * (newest.size - 1))
        old = read_checkpoint(await checkpoints.at(*CHAIN, at))
        grown = await checkpoints.consistency(*CHAIN, at, newest.size)
        proof = [verify._from_base64(each, "") for each in grown.proof]
        assert consistency_holds(at, newest.size, old.root, newest.root, proof)
        found = await checkpoints.inclusion(*CHAIN, at, newest.size)
        if at <= len(entries):
            assert f'"hash":"{found.hash}"'.encode() in entries[at - 1]
        proof = [verify._from_base64(each, "") for each in found.proof]
        entry_hash = bytes.fromhex(found.hash)
        assert inclusion_holds(at - 1, newest.size, entry_hash, proof, newest.root)


async def test_the_download_of_the_console_proves_who_approved_contract_103(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "PAGE", 1)
    async with open_database(None, data_dir) as database:
        await database.write(whole_story().append)
        drafts = [event("alert.accepted", TENANT, None, n=n) for n in range(600)]
        await database.write(append, drafts, NOW + 86_400)
        [last] = await database.read(read_entry_hashes, CHAIN, 511, 512)
        checkpoints = Checkpoints(database, lambda: NOW, signer())
        root = read_checkpoint(await checkpoints.at(*CHAIN, 512)).root
        await record(database, Plan(TENANT, 1, 512), last.hex(), root, NOW + 86_400)
        await remove(database, TENANT)
        parts = [part async for part in archive(database, TENANT, checkpoints)]
        retained = await database.read(read_retained, TENANT, 0, 512, 512)
    assert len(parts) > len(retained) > 10  # they were never all in memory
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as whole:
        whole.extractall(tmp_path)
    printed = io.StringIO()
    with redirect_stdout(printed):
        files = [str(tmp_path / f"{stream}.ndjson") for stream in verify.STREAMS]
        status = verify.main(["--approvals", *files])
    assert status == 0, printed.getvalue()
    assert "    PROVEN by passkey ('jane') and Discord ('omar')" in printed.getvalue()
    assert "entries 1 to 512 are in an archive, as event" in printed.getvalue()
    (tmp_path / "retained-events.txt").unlink()
    assert verify.main(["--approvals", *files]) == verify.USAGE


async def test_archives_and_a_running_service_go_in_turn_contract_103(database: Database) -> None:
    """Two commands at once make one archive, and no commit of the service fails."""
    drafts = [event("alert.accepted", TENANT, None, n=n) for n in range(2000)]
    await database.write(append, drafts, NOW)
    done = asyncio.Event()

    async def commit(writer: ChainWriter) -> int:
        number = 0
        while not done.is_set():
            draft = event("alert.accepted", TENANT, None, n=number)
            await writer.commit(write_events, (draft,), owner=TENANT)
            number += 1
        return number

    async def archive_twice() -> list[object]:
        both = (archived(database, NOW + 1), archived(database, NOW + 1))
        found = await asyncio.gather(*both, return_exceptions=True)
        done.set()
        return list(found)

    async with running_writer(database, Clock(NOW + 10)) as writer:
        number, found = await asyncio.gather(commit(writer), archive_twice())
    assert number > 0
    assert [each.last for each in found if isinstance(each, Plan)] in ([1792], [1792, 1792])
    assert all(isinstance(each, Plan | OperatorError) for each in found), found
    assert await database.read(length, CHAIN) == 2000 + number + 1
    for report in (await verify_tenant(database, TENANT)).values():
        assert isinstance(report, Report), report
        assert (report.first_entry, report.entries) == (1793, 208 + number + 1)


class Overtaken:
    """A database in which an archive is made after the first page of a reader."""

    def __init__(self, database: Database, reads: int) -> None:
        self._database = database
        self._left = reads

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    async def read(self, *args: object, **named: object) -> object:
        self._left -= 1
        if self._left == 0:
            await archived(self._database, NOW + 5 * 86_400)
        return await self._database.read(*args, **named)  # type: ignore[arg-type]


async def test_an_archive_that_overtakes_a_reader_is_not_called_tampering_contract_103(
    data_dir: Path,
) -> None:
    async with open_database(None, data_dir) as database:
        drafts = [event("alert.accepted", TENANT, None, n=n) for n in range(3000)]
        for day in range(3):
            await database.write(append, drafts[day * 1000 :][:1000], NOW + day * 86_400)
        slow = cast(Database, Overtaken(database, 4))
        part = await find_part(slow, *CHAIN)
        with pytest.raises(DatabaseUnavailableError, match="export again"):
            _ = [page async for page in pages(slow, *CHAIN, part)]
        await database.write(append, drafts, NOW + 4 * 86_400)
        again = cast(Database, Overtaken(database, 6))
        await database.write(count_all)
        with pytest.raises(DatabaseUnavailableError, match="verify again"):
            await verify_tenant(again, TENANT)
        for found in (await verify_tenant(database, TENANT)).values():
            assert isinstance(found, Report)
