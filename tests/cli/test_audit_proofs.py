"""`vyrox audit key`, `reader`, `prove` and `watch` (contract 93 to 95)."""

import asyncio
import json
import os
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.audit import action
from tests.cli import Vyrox, refused, succeeded
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT, Proxied, proxied
from tests.routes.test_checkpoints import KEY, delete_from
from tests.service import HMAC_SECRET, ROOT, environment, running_service
from vyrox.chain import verify
from vyrox.chain.log_keys import new_key, open_log_keys, read_log_keys
from vyrox.chain.notes import Key, check, read_checkpoint, read_key, read_note
from vyrox.chain.tree import inclusion_holds
from vyrox.chain.witness import RewrittenError, Witness
from vyrox.chain.writer import append
from vyrox.cli import audit_fetch, cli
from vyrox.cli.audit_fetch import AuditClient
from vyrox.cli.audit_watch import Watch
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.settings import Settings
from vyrox.settings.checkpoints import CheckpointSettings
from vyrox.tenants.guard_rails import refuse_other_hosts

pytestmark = pytest.mark.usefixtures("anyio_backend")

OTHER_KEY: Final = new_key()


@pytest.fixture
def vyrox(data_dir: Path) -> Vyrox:
    """The command on SQLite, with a tenant and a key file."""
    running = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET).migrated()
    running.write(refuse_other_hosts, TENANT, 1.0)
    return running


def shown(vyrox: Vyrox, *args: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(succeeded(vyrox("audit", "key", TENANT, "--json", *args)))
    return found


def test_the_key_changes_and_an_outsider_can_follow_contract_93(
    vyrox: Vyrox, data_dir: Path
) -> None:
    assert "there is no key for checkpoints" in refused(vyrox("audit", "key"))
    open_log_keys((), data_dir, make=True)
    before = shown(vyrox)
    assert before["known"] == []
    shown(vyrox, "--rotate")
    after = shown(vyrox, "--rotate")
    assert after["log"] == before["log"]
    known = after["known"]
    assert isinstance(known, list)
    lines = succeeded(vyrox("audit", "key", TENANT)).splitlines()
    printed = verify.read_key_lines("\n".join(lines).encode() + b"\n")
    assert [each.text() for each in printed.notes] == [line.split()[1] for line in lines[:3]]
    assert printed.successions == [each["endorsement"] for each in known[1:]]
    for line in lines[:3]:
        assert read_key(line.split()[1]).public == b64decode(str(after["public_key"]))
    assert lines[0].split()[1] == after["log_key"]
    [_, first, second] = known
    assert first["public_key"] != second["public_key"]
    note = read_note(second["endorsement"].encode())
    check(note, Key(str(after["log"]), b64decode(first["public_key"])))
    path = data_dir / "checkpoint.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().split()) == 2
    path.chmod(0o660)  # as Kubernetes makes it on a volume with an fsGroup (contract 48)
    assert succeeded(vyrox("audit", "key", TENANT)).splitlines() == lines
    path.chmod(0o604)
    assert "chmod 600" in refused(vyrox("audit", "key"))
    in_environment = vyrox("audit", "key", "--rotate", env={"VYROX_CHECKPOINT_KEY": KEY})
    assert "VYROX_CHECKPOINT_KEY=OLD,NEW" in refused(in_environment)


def test_readers_are_made_listed_and_removed_contract_94(vyrox: Vyrox) -> None:
    secret = succeeded(vyrox("audit", "reader", TENANT, "--by", "jane")).strip()
    assert len(secret) == 64
    assert "has a reader reader already" in refused(vyrox("audit", "reader", TENANT))
    [listed] = json.loads(succeeded(vyrox("audit", "reader", TENANT, "--list", "--json")))
    assert (listed["name"], listed["added_by"]) == ("reader", "jane")
    assert secret not in str(listed)
    succeeded(vyrox("audit", "reader", TENANT, "--remove", "reader"))
    assert "no reader" in refused(vyrox("audit", "reader", TENANT, "--remove", "reader"))
    assert "did you mean" in refused(vyrox("audit", "reader", "acme-corb"))
    told = succeeded(vyrox("audit", "events", "--tenant", TENANT, "--json"))
    kinds = [json.loads(line)["kind"] for line in told.splitlines()]
    assert kinds[-2:] == ["audit.reader_added", "audit.reader_removed"]


def test_prove_prints_what_it_has_checked_contract_94(vyrox: Vyrox, data_dir: Path) -> None:
    open_log_keys((), data_dir, make=True)
    vyrox.write(_append, 5)
    found = json.loads(succeeded(vyrox("audit", "prove", TENANT, "2")))
    proof, root = [b64decode(each) for each in found["proof"]], b64decode(found["root"])
    assert inclusion_holds(1, 5, bytes.fromhex(found["hash"]), proof, root)
    grown = json.loads(succeeded(vyrox("audit", "prove", TENANT, "--old-size", "3", "--size", "4")))
    assert (grown["old_size"], grown["size"]) == (3, 4)
    assert "fewer" in refused(vyrox("audit", "prove", TENANT, "6"))
    for args in ((), ("1", "--old-size", "1"), ("1", "--url", "http://x"), ("1", "--key-stdin")):
        assert vyrox("audit", "prove", TENANT, *args).exit_code == 2


def _append(connection: Connection, count: int, host: str = "host") -> None:
    append(connection, [action(host)] * count, wall_clock())


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(
        data_dir=data_dir,
        hmac_secret=HMAC_SECRET,
        redis_url=NOWHERE,
        encryption_keys=(Fernet.generate_key().decode(),),
        checkpoints=CheckpointSettings(keys=(KEY,)),
    )


@asynccontextmanager
async def watched(settings: Settings, state: Path) -> AsyncIterator[tuple[Proxied, Watch]]:
    """Run a service, and a witness that watches it."""
    async with proxied(settings) as running:
        app = httpx.ASGITransport(running.app)
        async with httpx.AsyncClient(transport=app) as http:
            client = AuditClient(http, "http://vyrox", TENANT, HMAC_SECRET)
            witness = await asyncio.to_thread(Witness, state, "w.example.com", TENANT, wall_clock)
            yield running, Watch(witness, client)


_long = pytest.mark.long


@pytest.mark.parametrize("kept", [1, pytest.param(0, marks=_long), pytest.param(2, marks=_long)])
async def test_watch_ends_with_evidence_if_the_log_is_rewritten_contract_95(
    settings: Settings, data_dir: Path, kept: int
) -> None:
    """Cut at the end, from some entry on, and as a whole; also if the log is longer afterwards."""
    state = data_dir / "witness"
    async with watched(settings, state) as (running, watch):
        await running.database.write(_append, 3)
        assert await watch.check_all()
        await running.database.write(_append, 300)
        assert await watch.check_all()
        await running.database.write(delete_from, kept + 1)
        assert not await watch.check_all()  # the service itself sees it, and answers 500
    async with watched(settings, state) as (running, watch):
        with pytest.raises(RewrittenError, match="had 303"):
            await watch.check_all()
        await running.database.write(_append, 303 - kept, "other")
        with pytest.raises(RewrittenError, match="BEFORE"):
            await watch.check_all()
        await running.database.write(_append, 1, "other")
        with pytest.raises(RewrittenError, match="were changed"):
            await watch.check_all()
    assert list(state.glob("evidence-actions-*.txt"))


async def test_watch_says_what_it_could_not_check_contract_95(
    settings: Settings, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal or an answer of another form shows no rewrite, and nothing is co-signed."""

    async def nonsense(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"x-vyrox-key-endorsement": "x"}, content=request.url.raw_path
        )

    async with proxied(settings) as running:
        for transport in (httpx.ASGITransport(running.app), httpx.MockTransport(nonsense)):
            async with httpx.AsyncClient(transport=transport) as http:
                client = AuditClient(http, "http://vyrox", TENANT, OTHER_SECRET)
                witness = await asyncio.to_thread(Witness, data_dir / "w", "w", TENANT, wall_clock)
                assert not await Watch(witness, client).check_all()
                assert witness.last("actions") is None
    assert capsys.readouterr().err.count("NOT CHECKED") == 4


async def test_watch_does_not_wait_for_an_answer_that_never_ends_contract_95(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then renews the timeout of each read."""
    monkeypatch.setattr(audit_fetch, "WHOLE_TIMEOUT_S", 0.1)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drip())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = AuditClient(http, "http://vyrox", TENANT, OTHER_SECRET)
        witness = await asyncio.to_thread(Witness, data_dir / "w", "w", TENANT, wall_clock)
        assert not await Watch(witness, client).check_all()
    assert capsys.readouterr().err.count("was not whole within 0.1 s") == 2


async def test_watch_follows_a_key_that_is_endorsed_and_no_other_contract_95(
    settings: Settings, data_dir: Path
) -> None:
    state = data_dir / "witness"
    for keys in ((KEY,), (KEY, OTHER_KEY), (OTHER_KEY, KEY), (OTHER_KEY,)):
        chosen = replace(settings, checkpoints=CheckpointSettings(keys=keys))
        async with watched(chosen, state) as (running, watch):
            await running.database.write(_append, 1)
            assert await watch.check_all()
            known = watch.witness.log_key
            assert known is not None
            assert known.public == read_log_keys(keys)[0].public
    # The witness is away while the key changes twice.
    third, fourth = new_key(), new_key()
    for keys, watcher in (
        ((third, OTHER_KEY), data_dir / "another"),
        ((fourth, third), state),
    ):
        chosen = replace(settings, checkpoints=CheckpointSettings(keys=keys))
        async with watched(chosen, watcher) as (_, watch):
            assert await watch.check_all()
    chosen = replace(settings, checkpoints=CheckpointSettings(keys=(new_key(),)))
    async with watched(chosen, state) as (_, watch):
        with pytest.raises(RewrittenError, match="log-key"):
            await watch.check_all()


def test_watch_prints_no_control_character_of_the_log_contract_95(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evidence on the screen is what the log has sent: it must not steer a terminal."""

    async def rewritten(*_: object) -> int:
        raise RewrittenError("BEFORE\n\u009b2J\u202eevil")

    monkeypatch.setattr("vyrox.cli.audit_watch._watch", rewritten)
    args = ["--url", "http://x", "--tenant", TENANT, "--key-stdin", "--state", str(data_dir / "w")]
    # From the top: a command that is invoked alone would keep help without `-h`.
    ended = CliRunner().invoke(cli, ["audit", "watch", *args], input="k" * 64)
    assert ended.exit_code == 1
    assert "BEFORE\n\\x9b2J\\u202eevil" in ended.output


@pytest.mark.long
async def test_watch_and_prove_with_the_key_of_a_reader_contract_95(
    vyrox: Vyrox, data_dir: Path
) -> None:
    """The commands themselves, over http; the service sends to the witness as well."""
    secret = succeeded(await asyncio.to_thread(vyrox, "audit", "reader", TENANT)).strip().encode()
    async with running_service(data_dir, REDIS_URL=NOWHERE) as service:
        await asyncio.to_thread(vyrox.write, partial(_append, count=2))
        at = ("--url", service.proxy_url, "--key-stdin")
        proof = await asyncio.to_thread(vyrox, "audit", "prove", TENANT, "2", *at, stdin=secret)
        assert json.loads(succeeded(proof))["size"] == 2
        wrong = await asyncio.to_thread(vyrox, "audit", "prove", TENANT, "2", *at, stdin=b"x" * 64)
        assert "not one of a reader" in refused(wrong)
        watch = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "vyrox", "audit", "watch", *at, "--tenant", TENANT, "--once"),
            *("--state", str(data_dir / "witness"), "--name", "w", "--listen", "127.0.0.1:0"),
            cwd=ROOT,
            env=environment(data_dir, {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await watch.communicate(secret + os.linesep.encode())
    assert watch.returncode == 0
    assert b"actions: 2 entries, 2 of them new: co-signed" in printed
    assert b"WITNESS_URLS=http://127.0.0.1:" in printed
    kept = read_note((data_dir / "witness" / "checkpoint-actions.txt").read_bytes())
    assert read_checkpoint(kept).size == 2
    with pytest.raises(OperatorError):
        AuditClient(httpx.AsyncClient(), "ftp://x", TENANT, "key")
