"""Checkpoints, proofs and readers at the private listener (contract 93 and 94)."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.audit import action
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT, Proxied, export_headers, proxied, wanted
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor
from vyrox.chain import checkpoints as module
from vyrox.chain.archiving import Plan, record
from vyrox.chain.checkpoints import Checkpoints, Consistency, Inclusion
from vyrox.chain.entry import Receipt, Stream
from vyrox.chain.events import event
from vyrox.chain.identity import Signer, list_keys, origin_of, register
from vyrox.chain.log_keys import LogKey, new_key, read_log_keys
from vyrox.chain.nodes import BrokenChainError, read_entry_hashes
from vyrox.chain.notes import TIMED, Checkpoint, Key, check, read_checkpoint, read_note
from vyrox.chain.tree import consistency_holds, inclusion_holds, root_of
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.errors import VendorError
from vyrox.settings import Settings
from vyrox.settings.checkpoints import CheckpointSettings
from vyrox.store.database import Database
from vyrox.store.tables import audit_log, audit_tree
from vyrox.tenants.audit_readers import add_reader, remove_reader
from vyrox.tenants.guard_rails import refuse_other_hosts

KEY: Final = "a2V5IG9mIHRoZSBjaGVja3BvaW50cyBvZiB0ZXN0cyE="
"""As VYROX_CHECKPOINT_KEY."""

[LOG_KEY] = read_log_keys([KEY])


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(
        data_dir=data_dir,
        hmac_secret=HMAC_SECRET,
        redis_url=NOWHERE,
        dry_run=True,
        encryption_keys=(Fernet.generate_key().decode(),),
        checkpoints=CheckpointSettings(keys=(KEY,)),
    )


@pytest.fixture
async def running(settings: Settings, database_url: str | None) -> AsyncIterator[Proxied]:
    """The proxy listener on each of the two databases."""
    async with proxied(replace(settings, database_url=database_url)) as opened:
        yield opened


async def get(
    running: Proxied, path: str, secret: str = HMAC_SECRET, **query: object
) -> httpx.Response:
    """Return the answer to a signed GET."""
    params = {"tenant_id": TENANT, **{name: str(value) for name, value in query.items()}}
    headers = export_headers(secret=secret)
    return await running.client.get(f"/audit/{path}", params=params, headers=headers)


def verified(running: Proxied, encoded: bytes, stream: Stream = "actions") -> Checkpoint:
    """Return the checkpoint, whose signature holds."""
    signer = signer_of(running)
    note = read_note(encoded)
    assert check(note, signer.key(TENANT, stream)) is None
    found = read_checkpoint(note)
    assert found.origin == origin_of(signer.log_name, TENANT, stream)
    return found


def signer_of(running: Proxied) -> Signer:
    assert running.proxy.checkpoints is not None
    return running.proxy.checkpoints.signer


def hashes_of(entries: list[dict[str, object]]) -> list[bytes]:
    return [bytes.fromhex(str(entry["hash"])) for entry in entries]


async def fill(database: Database, count: int, stream: Stream = "actions") -> list[Receipt]:
    """Append entries as another container does; return their receipts."""
    draft = action("host") if stream == "actions" else event("execute.refused", TENANT, None)
    return await database.write(append, [draft] * count, wall_clock())


async def test_execute_answers_with_a_checkpoint_that_covers_its_entry_contract_93(
    running: Proxied,
) -> None:
    """One at a time, many at once, and after entries of another container."""
    answers = [await running.execute(wanted())]
    await fill(running.database, 3)
    answers += await asyncio.gather(*(running.execute(wanted()) for _ in range(20)))
    answers.append(await running.execute(wanted()))
    hashes = hashes_of(await running.entries())
    assert len(hashes) == 25
    for answer in answers:
        assert answer.status_code == 200
        size = int(answer.headers["x-vyrox-audit-size"])
        assert hashes[size - 1].hex() == answer.headers["x-vyrox-audit-hash"]
        encoded = b64decode(answer.headers["x-vyrox-checkpoint"])
        found = verified(running, encoded)
        assert len(encoded) <= 512
        assert size <= found.size <= len(hashes)
        assert found.root == root_of(hashes[: found.size])
    again = wanted()
    first, replayed = [await running.execute(again) for _ in range(2)]
    assert replayed.json()["status"] == "replayed"
    assert "x-vyrox-audit-size" not in replayed.headers
    assert replayed.headers["x-vyrox-checkpoint"] == first.headers["x-vyrox-checkpoint"]


async def test_an_action_that_fails_has_its_checkpoint_too_contract_93(settings: Settings) -> None:
    """Its entry is in the log. What has no entry has no headers."""
    vendor = FakeVendor()
    vendor.failure = VendorError("refused")
    async with proxied(replace(settings, dry_run=False), vendor) as opened:
        answer = await opened.execute(wanted())
        assert answer.status_code == 502
        assert answer.headers["x-vyrox-audit-size"] == "1"
        assert verified(opened, b64decode(answer.headers["x-vyrox-checkpoint"])).size == 1
        refused = await opened.execute(wanted(approved_at=1))
        assert "x-vyrox-checkpoint" not in refused.headers


async def test_an_answer_does_not_wait_for_its_checkpoint_contract_93(
    running: Proxied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes without one if entries must be read first; the next one has it."""
    monkeypatch.setattr(module, "MAX_WAIT_S", 0)
    await fill(running.database, 3)
    late = await running.execute(wanted())
    assert (late.status_code, late.headers["x-vyrox-audit-size"]) == (200, "4")
    assert "x-vyrox-checkpoint" not in late.headers
    assert "checkpoint.late" in [each.message for each in caplog.records]
    assert verified(running, (await get(running, "checkpoint")).content).size == 4
    answer = await running.execute(wanted())
    assert verified(running, b64decode(answer.headers["x-vyrox-checkpoint"])).size == 5


async def test_checkpoint_is_of_all_entries_and_says_when_contract_93(running: Proxied) -> None:
    """Of either stream, also of one without entries."""
    empty = await get(running, "checkpoint")
    assert verified(running, empty.content) == Checkpoint(
        origin_of(signer_of(running).log_name, TENANT, "actions"), 0, root_of([])
    )
    await fill(running.database, 5)
    await fill(running.database, 3, "events")
    before = int(wall_clock())
    sizes: dict[Stream, int] = {"actions": 5, "events": 3}
    for stream, size in sizes.items():
        answer = await get(running, "checkpoint", stream=stream)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        found = verified(running, answer.content, stream)
        assert found.size == size
        key = signer_of(running).key(TENANT, stream)
        at = check(read_note(answer.content), msgspec.structs.replace(key, kind=TIMED))
        assert at is not None
        assert before <= at <= wall_clock()
    refused = await get(running, "checkpoint", stream="other")
    assert refused.status_code == 400
    unsigned = await running.client.get("/audit/checkpoint", params={"tenant_id": TENANT})
    assert unsigned.status_code == 401


@pytest.mark.parametrize("size", [3, 700])
async def test_proofs_verify_with_the_checkpoint_alone_contract_94(
    running: Proxied, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """From the rows, and from stored subtrees: 700 entries make two of them."""
    monkeypatch.setattr(module, "READ_ON", 100)
    await fill(running.database, size)
    hashes = hashes_of(await running.entries())
    root = verified(running, (await get(running, "checkpoint")).content).root
    for entry in {1, 2, size // 2, size - 1, size}:
        found = msgspec.json.decode(
            (await get(running, "proof", entry=entry)).content, type=Inclusion
        )
        proof = [b64decode(each) for each in found.proof]
        assert (found.size, b64decode(found.root)) == (size, root)
        assert bytes.fromhex(found.hash) == hashes[entry - 1]
        assert inclusion_holds(entry - 1, size, hashes[entry - 1], proof, root)
    for old in {0, 1, size // 2, size}:
        answer = await get(running, "proof", old_size=old, size=size)
        grown = msgspec.json.decode(answer.content, type=Consistency)
        old_root = root_of(hashes[:old])
        proof = [b64decode(each) for each in grown.proof]
        assert b64decode(grown.old_root) == old_root
        assert consistency_holds(old, size, old_root, root, proof)
    asked: list[dict[str, object]] = [
        {},
        {"entry": 1, "old_size": 1},
        {"entry": "01"},
        {"entry": -1},
        {"entry": ""},
    ]
    for query in asked:
        assert (await get(running, "proof", HMAC_SECRET, **query)).status_code == 400
    beyond: list[dict[str, object]] = [{"entry": 0}, {"entry": size + 1}]
    beyond.append({"entry": 1, "size": size + 1})
    for query in beyond:
        assert (await get(running, "proof", HMAC_SECRET, **query)).status_code == 404
    assert (await get(running, "proof", old_size=2, size=1)).status_code == 404


async def test_export_of_a_range_comes_with_what_proves_it_contract_94(running: Proxied) -> None:
    """The checkpoint is of exactly the last exported entry; the first one has a proof."""
    await running.database.write(append, [action("old")] * 5, 1000.0)
    await running.database.write(append, [action("new")] * 2, 2000.0)
    hashes = hashes_of(await running.entries())
    answer = await get(running, "export", since=1500)
    assert hashes_of(answer.json()) == hashes[5:]
    assert answer.headers["x-vyrox-audit-first"] == "6"
    assert answer.headers["x-vyrox-audit-size"] == "7"
    found = verified(running, b64decode(answer.headers["x-vyrox-checkpoint"]))
    assert (found.size, found.root) == (7, root_of(hashes))
    for since, count in ((0, 7), (1000, 7), (1001, 2), (2001, 0)):
        assert len((await get(running, "export", since=since)).json()) == count
    await fill(running.database, 2, "events")
    events = (await get(running, "export", stream="events")).json()
    assert [each["kind"] for each in events].count("execute.refused") == 2
    assert (await get(running, "export", since="x")).status_code == 400


async def test_export_of_what_is_retained_of_an_archive_contract_103(running: Proxied) -> None:
    answer = await get(running, "export", stream="retained")
    assert (answer.text, answer.headers["x-vyrox-audit-first"]) == ("", "1")
    drafts = [
        event("tenant.changed" if number % 100 == 0 else "alert.accepted", TENANT, None, n=number)
        for number in range(600)
    ]
    await running.database.write(append, drafts, 1000.0)
    [last] = await running.database.read(read_entry_hashes, (TENANT, "events"), 511, 512)
    await record(running.database, Plan(TENANT, 1, 512), last.hex(), b"", 2000.0)
    answer = await get(running, "export", stream="retained")
    assert answer.headers["x-vyrox-audit-first"] == "513"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert [line.partition(" ")[0] for line in answer.text.splitlines()] == [
        *("1", "101", "201", "301", "401", "501")
    ]
    events = await get(running, "export", stream="events")
    assert events.headers["x-vyrox-audit-first"] == "513"
    assert events.json()[0]["previous_hash"] == last.hex()
    assert (await get(running, "export", stream="retaine")).status_code == 400
    assert (await get(running, "checkpoint", stream="retained")).status_code == 400
    assert (await get(running, "export", OTHER_SECRET, stream="retained")).status_code == 401


async def test_a_reader_reads_the_audit_log_of_its_tenant_and_nothing_else_contract_94(
    running: Proxied, settings: Settings
) -> None:
    """And only until it is removed."""
    await running.database.write(refuse_other_hosts, TENANT, 1.0)
    vault = running.proxy.readers._vault
    secret = await running.database.write(add_reader, vault, TENANT, "auditor", "jane", 1.0)
    await fill(running.database, 1)
    for path in ("checkpoint", "export"):
        assert (await get(running, path, secret)).status_code == 200
    assert (await get(running, "proof", secret, entry=1)).status_code == 200
    for path in ("/alerts", "/incidents", "/suppressions"):
        headers = export_headers(secret=secret)
        answer = await running.client.get(path, params={"tenant_id": TENANT}, headers=headers)
        assert answer.status_code == 401
    other = await running.client.get(
        "/audit/export",
        params={"tenant_id": "initech"},
        headers=export_headers("initech", secret=secret),
    )
    assert other.status_code == 401
    assert (await get(running, "export", OTHER_SECRET)).status_code == 401
    await running.database.write(remove_reader, TENANT, "auditor", "jane", 2.0)
    assert (await get(running, "export", secret)).status_code == 401


async def test_without_a_key_there_are_no_checkpoints_and_all_else_works_contract_93(
    settings: Settings, database_url: str | None
) -> None:
    """With DATABASE_URL; otherwise a key file is made, and it stays."""
    chosen = replace(settings, database_url=database_url, checkpoints=CheckpointSettings())
    async with proxied(chosen) as opened:
        answer = await opened.execute(wanted())
        assert answer.status_code == 200
        assert answer.headers["x-vyrox-audit-size"] == "1"
        status = (await get(opened, "checkpoint")).status_code
        assert (await get(opened, "export")).status_code == 200
        if database_url is not None:
            assert status == 404
            assert "x-vyrox-checkpoint" not in answer.headers
            return
        public = signer_of(opened).keys[0].public
    path = settings.data_dir / "checkpoint.key"
    assert path.stat().st_mode & 0o777 == 0o600
    async with proxied(chosen) as opened:
        assert signer_of(opened).keys[0].public == public
        assert verified(opened, (await get(opened, "checkpoint")).content).size == 1


async def test_a_new_key_is_endorsed_by_the_one_before_contract_93(database: Database) -> None:
    """An outsider with the old key follows the note to the new one; a lost key has no note."""
    old, new, lost = read_log_keys([new_key() for _ in range(3)])
    keys: list[tuple[LogKey, ...]] = [(old,), (new, old), (old,), (lost,)]
    for at, signing in enumerate(keys):
        await database.write(register, Signer("log/1", signing), 100.0 + at)
    first, second, third = await database.read(list_keys)
    assert [each.public_key for each in (first, second, third)] == [
        each.public for each in (old, new, lost)
    ]
    assert (first.endorsement, third.endorsement) == (None, None)
    assert second.endorsement is not None
    note = read_note(second.endorsement.encode())
    assert check(note, Key("log/1", old.public)) is None
    encoded = b64encode(b"\1" + new.public).decode()
    assert note.text == f"vyrox-checkpoint-key-v1\nlog/1\n{encoded}\n101\n"
    # While outsiders change over, both keys sign what they fetch.
    both = Signer("log/1", (new, old)).sign(TENANT, "actions", 0, bytes(32), 5)
    for each in (new, old):
        check(both, Key("log/1/acme-corp/actions", each.public))


async def test_a_cut_chain_gets_no_checkpoint_contract_93(database: Database) -> None:
    """Somebody with access to the database deletes rows: the service says so and signs nothing."""
    found = Checkpoints(database, wall_clock, Signer("log/1", (LOG_KEY,)))
    await fill(database, 3)
    assert read_checkpoint(await found.current(TENANT, "actions")).size == 3
    await database.write(delete_from, 3)
    with pytest.raises(BrokenChainError, match="deleted"):
        await found.current(TENANT, "actions")
    await database.write(delete_from, 2)
    await fill(database, 3)


async def test_trees_are_bounded_and_read_again_contract_93(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that was dropped, or grown by another container, has the same roots afterwards."""
    monkeypatch.setattr(module, "MAX_TREES", 1)
    monkeypatch.setattr(module, "READ_ON", 10)
    found, other = (Checkpoints(database, wall_clock, Signer("l/1", (LOG_KEY,))) for _ in range(2))
    for count in (300, 1, 9, 250):
        receipts = await fill(database, count)
        await found.current("initech", "actions")
        await found.current(TENANT, "actions")
        found.follow(receipts)  # those that were read already
        assert (await found.current(TENANT, "actions")).text == (
            await other.current(TENANT, "actions")
        ).text
    assert len(found._trees) == 1
    assert await database.read(_stored_subtrees) == 2


def delete_from(connection: Connection, sequence: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
    else:
        names = connection.execute(
            sa.text(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"
            )
        ).scalars()
        for name in list(names):
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
    connection.execute(audit_log.delete().where(audit_log.c.sequence >= sequence))


def _stored_subtrees(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(audit_tree)).scalar_one()
