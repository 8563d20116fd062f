"""Witnesses: what they co-sign, what they refuse, and how the service asks them (contract 95)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest
from sqlalchemy import Connection

from tests.audit import action
from tests.routes.test_checkpoints import delete_from
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosignatures import add_cosignatures, read_cosigned
from vyrox.chain.cosigning import FIRST_RETRY_S, WitnessOutbox
from vyrox.chain.entry import Receipt
from vyrox.chain.identity import Signer
from vyrox.chain.log_keys import LogKey, new_key, read_log_keys
from vyrox.chain.notes import TIMED, Key, Note, Signature, check, read_checkpoint, read_note
from vyrox.chain.tree import Frontier
from vyrox.chain.witness import (
    Added,
    RefusedError,
    RewrittenError,
    Witness,
    read_added,
    write_added,
)
from vyrox.chain.writer import append
from vyrox.errors import OperatorError
from vyrox.http.posting import posting
from vyrox.routes.witness import create_witness
from vyrox.store.database import Database

NOW: Final = 1_700_000_000
TENANT: Final = "acme-corp"
ORIGIN: Final = f"vyrox/1/{TENANT}/actions"

KEY, OTHER = read_log_keys([new_key() for _ in range(2)])
SIGNER: Final = Signer("vyrox/1", (KEY,))


def signed(count: int, *, history: bytes = b"a", key: LogKey = KEY, tenant: str = TENANT) -> Note:
    """Return a checkpoint of a log with `count` entries."""
    frontier = Frontier()
    for number in range(count):
        frontier.append((history + b"%d" % number).ljust(32, b"."))
    return Signer("vyrox/1", (key,)).sign(tenant, "actions", count, frontier.root())


def opened(directory: Path, *, known: bool = True) -> Witness:
    """Return a witness, as it is after a start."""
    witness = Witness(directory, "witness.example.com/w", TENANT, lambda: float(NOW))
    if known:
        witness.know(SIGNER.key(TENANT, "actions"))
    return witness


def test_a_witness_cosigns_what_it_has_seen_grow_contract_95(data_dir: Path) -> None:
    """From 0, 1, 2 entries on: there the proof needs no hash of its own. It survives a restart."""
    witness = opened(data_dir)
    for count, old, proof in ((0, 0, ()), (1, 0, ()), (2, 1, (leaf(1),)), (2, 2, ())):
        note = signed(count)
        line = witness.extend(Added(old, proof, note))
        assert check(Note(note.text, (line,)), witness.key) == NOW
    again = opened(data_dir, known=False)
    assert (again.key, again.log_key) == (witness.key, witness.log_key)
    stored = read_note((data_dir / "checkpoint-actions.txt").read_bytes())
    assert again.last("actions") == stored
    assert check(stored, SIGNER.key(TENANT, "actions")) is None
    assert check(stored, witness.key) == NOW
    assert (data_dir / "witness.key").stat().st_mode & 0o777 == 0o600
    changed = stored.encode().replace(b"\n2\n", b"\n1\n")
    (data_dir / "checkpoint-actions.txt").write_bytes(changed)
    with pytest.raises(OperatorError):
        opened(data_dir)


def leaf(number: int) -> bytes:
    frontier = Frontier()
    frontier.append((b"a%d" % number).ljust(32, b"."))
    return frontier.root()


def test_a_witness_refuses_as_c2sp_says_contract_95(data_dir: Path) -> None:
    witness = opened(data_dir)
    witness.extend(Added(0, (), signed(1)))
    refused = {
        400: Added(3, (), signed(2)),
        403: Added(1, (leaf(1),), signed(2, key=OTHER)),
        404: Added(1, (leaf(1),), signed(2, tenant="initech")),
        409: Added(0, (), signed(2)),
        422: Added(1, (leaf(2),), signed(2)),
    }
    for status, added in refused.items():
        with pytest.raises(RefusedError) as raised:
            witness.extend(read_added(write_added(added)))
        assert raised.value.answer == (status, 1 if status == 409 else None)
    for body in (
        b"",
        b"old 1",
        b"old 01\n\n",
        b"old 1\nAAAA\n\n" + signed(2).encode(),
        b"\xff\n\n",
    ):
        with pytest.raises(RefusedError) as raised:
            read_added(body)
        assert raised.value.answer == (400, None)
    assert witness.last_size("actions") == 1


def test_two_logs_of_one_size_are_a_rewrite_with_evidence_contract_95(data_dir: Path) -> None:
    witness = opened(data_dir)
    witness.extend(Added(0, (), signed(2)))
    with pytest.raises(RewrittenError, match="BEFORE") as raised:
        witness.extend(Added(2, (), signed(2, history=b"b")))
    [path] = data_dir.glob("evidence-actions-*.txt")
    assert path.read_text() in str(raised.value)
    for each in (signed(2), signed(2, history=b"b")):
        assert each.text in path.read_text()
    assert witness.last_size("actions") == 2


def test_another_key_must_be_named_by_the_one_before_contract_95(data_dir: Path) -> None:
    witness = opened(data_dir)
    other = Key(ORIGIN, OTHER.public)
    for endorsements in ((), (b"",), (signed(1).encode(), b"x")):
        with pytest.raises(RewrittenError, match="log-key"):
            witness.know(other, endorsements)
    assert witness.know(other, force=True)
    assert not witness.know(other)


@asynccontextmanager
async def served(witness: Witness) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the witness; the client sends all requests to it."""
    app = create_witness(witness, asyncio.Lock(), lambda _error: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        yield client


class Clock:
    """A clock that moves when it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def grow(database: Database, count: int) -> list[Receipt]:
    """Append actions; return their receipts."""
    return await database.write(append, [action("host")] * count, float(NOW))


def outbox(
    database: Database, client: httpx.AsyncClient, clock: Clock, key: Key | None
) -> WitnessOutbox:
    """Return what sends to the witness behind `client`."""
    found = Checkpoints(database, lambda: float(NOW), SIGNER)
    clocks = (lambda: float(NOW), clock)
    return WitnessOutbox("http://witness", key, database, found, posting(client), clocks, {})


async def cosigned(database: Database) -> list[Note]:
    """Return what is stored of the actions."""
    return await database.read(read_cosigned, (TENANT, "actions"))


async def test_the_service_collects_cosignatures_contract_95(
    database: Database, data_dir: Path
) -> None:
    """They are verified, and belong to the checkpoint of that size. A restart forgets nothing."""
    witness, clock = opened(data_dir / "witness"), Clock()
    async with served(witness) as client:
        sending = outbox(database, client, clock, witness.key)
        await sending.run()
        for count in (1, 2):
            sending.follow(await grow(database, count))
            assert sending.noticed.is_set()
            await sending.run()
        [note] = await cosigned(database)
        assert read_checkpoint(note).size == 3
        assert check(note, witness.key) == NOW
        bare = Note(note.text, note.signatures[:1])
        assert await database.read(add_cosignatures, (TENANT, "actions"), bare) == note
        await grow(database, 1)
        await outbox(database, client, clock, witness.key).run()
        assert witness.last_size("actions") == 4
        # The witness has seen more than this service knows of: it says so, and is asked again.
        await database.write(_forget_cosignatures)
        sending.follow(await grow(database, 1))
        await sending.run()
        assert witness.last_size("actions") == 5


async def test_a_witness_gets_another_key_under_its_name_contract_104(
    database: Database, data_dir: Path
) -> None:
    """Both co-sign for a while. The new one begins where the log is; what was co-signed stays."""
    old, new, clock = opened(data_dir / "old"), opened(data_dir / "new"), Clock()
    names: dict[str, str] = {}
    async with served(old) as with_old, served(new) as with_new:
        found = Checkpoints(database, lambda: float(NOW), SIGNER)
        clocks = (lambda: float(NOW), clock)

        def sending(url: str, witness: Witness, client: httpx.AsyncClient) -> WitnessOutbox:
            return WitnessOutbox(url, witness.key, database, found, posting(client), clocks, names)

        first = sending("http://old", old, with_old)
        await first.run()
        first.follow(await grow(database, 3))
        await first.run()
        [kept] = await cosigned(database)
        both = [sending("http://old", old, with_old), sending("http://new", new, with_new)]
        for each in both:  # as after a restart with both lines in WITNESS_URLS
            await each.run()
        receipts = await grow(database, 1)
        for each in both:
            each.follow(receipts)
            await each.run()
        [note] = await cosigned(database)
        assert [check(note, each.key) for each in (old, new)] == [NOW, NOW]
        both[1].follow(await grow(database, 1))
        await both[1].run()
        newest, earlier = await cosigned(database)
    assert (read_checkpoint(newest).size, check(newest, new.key)) == (5, NOW)
    # Of the witness that is gone, what it has co-signed last is in each export as before.
    assert (read_checkpoint(earlier).size, check(earlier, old.key)) == (4, NOW)
    assert check(kept, old.key) == NOW


async def test_a_witness_that_is_away_delays_nothing_contract_95(
    database: Database, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again later, and then gets the present state. It is said once each time."""
    witness, clock, is_away = opened(data_dir / "witness"), Clock(), True

    async with served(witness) as inner:

        async def answer(request: httpx.Request) -> httpx.Response:
            if is_away:
                raise httpx.ConnectError("away")
            return await inner.post(request.url, content=request.content)

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            sending = outbox(database, client, clock, None)
            await sending.run()
            sending.follow(await grow(database, 1))
            for _ in range(3):
                await sending.run()
            assert events(caplog) == ["witness.away"]
            is_away = False
            clock.now = FIRST_RETRY_S
            sending.follow(await grow(database, 1))
            await sending.run()
    assert events(caplog) == ["witness.away", "witness.back"]
    assert witness.last_size("actions") == 2


async def test_what_a_witness_refuses_is_an_error_contract_95(
    database: Database, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A log that was rewritten; a log that the witness does not know is not sent again for long."""
    witness, clock = opened(data_dir / "witness"), Clock()
    stranger = Witness(data_dir / "other", "w", "initech", lambda: float(NOW))
    async with served(witness) as client, served(stranger) as elsewhere:
        sending = outbox(database, client, clock, witness.key)
        await sending.run()
        sending.follow(await grow(database, 2))
        await sending.run()
        await database.write(delete_from, 1)
        rewritten = await database.write(append, [action("x"), action("y")], float(NOW))
        again = outbox(database, client, clock, witness.key)
        await again.run()
        assert events(caplog) == ["witness.refused"]
        unknown = outbox(database, elsewhere, clock, None)
        await unknown.run()
        unknown.follow(rewritten)
        await unknown.run()
        unknown.follow(rewritten)
        await unknown.run()
    assert events(caplog) == ["witness.refused", "witness.unknown_log"]


@pytest.mark.parametrize("is_compressed", [True, False])
async def test_a_witness_that_never_ends_its_answer_is_away_contract_95(
    database: Database, caplog: pytest.LogCaptureFixture, is_compressed: bool
) -> None:
    """A byte now and then renews the timeout of each read; a compressed answer could be huge."""

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * is_compressed
            await asyncio.sleep(0.01)

    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        headers = {"content-encoding": "gzip"} if is_compressed else {}
        return httpx.Response(200, headers=headers, content=drip())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        found = Checkpoints(database, lambda: float(NOW), SIGNER)
        clocks = (lambda: float(NOW), Clock())
        post = posting(client, deadline_s=0.1)
        sending = WitnessOutbox("http://witness", None, database, found, post, clocks, {})
        await sending.run()
        sending.follow(await grow(database, 1))
        await sending.run()
    assert events(caplog) == ["witness.away"]


async def test_a_witness_cannot_sign_in_the_name_of_the_log_contract_95(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A verifier that knows the log's key would refuse the whole checkpoint."""
    line = Signature(ORIGIN, Key(ORIGIN, KEY.public, TIMED).id, bytes(72)).line()

    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=line)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        sending = outbox(database, client, Clock(), None)
        await sending.run()
        sending.follow(await grow(database, 1))
        await sending.run()
    assert events(caplog) == ["witness.bad_signature"]
    assert await cosigned(database) == []


async def test_a_wrong_cosignature_is_not_stored_contract_95(
    database: Database, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    witness = opened(data_dir / "witness")
    async with served(witness) as client:
        sending = outbox(database, client, Clock(), msgspec.structs.replace(witness.key, name="x"))
        await sending.run()
        sending.follow(await grow(database, 1))
        await sending.run()
    assert events(caplog) == ["witness.bad_signature"]
    assert not any(each.exc_info for each in caplog.records)
    assert await cosigned(database) == []
    assert witness.key.kind == TIMED


async def test_a_witness_without_a_key_cannot_sign_in_the_name_of_another_contract_95(
    database: Database, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of one whose key is set, nor of one that was first. Its own name it keeps."""
    witness, names = opened(data_dir / "witness"), dict[str, str]()
    claimed = {"http://liar": witness.key.name, "http://one": "one", "http://two": "one"}

    async def answer(request: httpx.Request) -> httpx.Response:
        name = claimed[f"http://{request.url.host}"]
        return httpx.Response(200, text=Signature(name, bytes(4), bytes(72)).line())

    found = Checkpoints(database, lambda: float(NOW), SIGNER)
    clocks = (lambda: float(NOW), Clock())
    async with (
        served(witness) as known,
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
    ):
        keyed = ("http://witness", witness.key, database, found, posting(known), clocks, names)
        outboxes = [WitnessOutbox(*keyed)] + [
            WitnessOutbox(url, None, database, found, posting(client), clocks, names)
            for url in claimed
        ]
        for count in (1, 2):
            for each in outboxes:
                await each.run()
            receipts = await grow(database, count)
            for each in outboxes:
                each.follow(receipts)
                await each.run()
    assert events(caplog) == ["witness.bad_signature"] * 4
    [newest, *_] = await cosigned(database)
    assert [each.name for each in newest.signatures[1:]] == ["one", witness.key.name]
    assert check(newest, witness.key) == NOW


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the names of the events about witnesses."""
    caplog.set_level(logging.INFO, "vyrox")
    return [each.message for each in caplog.records if each.message.startswith("witness.")]


def _forget_cosignatures(connection: Connection) -> None:
    connection.exec_driver_sql("DELETE FROM audit_cosignatures")
