"""The directory of `vyrox audit export` is enough for an auditor (contract 97)."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.progress import Progress
from sqlalchemy import Connection

from tests.approvals.story import START
from tests.audit import TENANT, action
from tests.chain.test_verify_approvals import KEY, whole_story
from tests.cli import Vyrox, succeeded
from tests.cli.test_audit import embedded, files_of
from tests.proxy import NOWHERE
from tests.service import HMAC_SECRET, running_service
from vyrox.chain import verify
from vyrox.chain.events import event
from vyrox.chain.identity import Signer, read_log_name, register
from vyrox.chain.keys_file import KeysInForce
from vyrox.chain.log_keys import new_key, read_log_keys
from vyrox.chain.writer import append
from vyrox.cli import audit_source
from vyrox.cli.audit_source import NDJSON, FromService, Wanted
from vyrox.errors import OperatorError

pytestmark = pytest.mark.usefixtures("anyio_backend")

OLD, NEW = new_key(), new_key()


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return Vyrox(data_dir, database_url, VYROX_HMAC_SECRET=HMAC_SECRET, VYROX_CHECKPOINT_KEY=OLD)


def export(vyrox: Vyrox, directory: Path, *options: str) -> dict[str, bytes]:
    succeeded(vyrox("audit", "export", TENANT, "--out", str(directory), *options))
    return files_of(directory)


def lift(connection: Connection, now: int) -> None:
    append(connection, [action("host")], now)
    append(connection, [event("alert.accepted", TENANT, None, alert_id="a")], now)


def test_the_directory_is_enough_contract_97(vyrox: Vyrox, tmp_path: Path) -> None:
    vyrox.write(whole_story().append)
    out = tmp_path / "out"
    written = export(vyrox, out)
    assert sorted(written) == [
        "audit-2024-01-01.jsonl",
        "checkpoint-actions.txt",
        "checkpoint-events.txt",
        "events-2024-01-01.jsonl",
        "keys.json",
        "verify_audit.py",
    ]
    keys = json.loads(written["keys.json"])
    [jane] = keys["approvers"]
    assert (jane["approver"], jane["until"]) == ("jane", None)
    assert jane["since"] == START + 10
    assert [each["until"] for each in keys["discord"]] == [None]
    found = embedded(out)
    assert found.returncode == 0, found.stdout
    for line in (b"PROVEN: the actions 1 to 7 are", b"    PROVEN by passkey ('jane') and Discord"):
        assert line in found.stdout

    kept = [f"--checkpoint={tmp_path / stream}" for stream in verify.STREAMS]
    for stream in verify.STREAMS:
        (tmp_path / stream).write_bytes(written[f"checkpoint-{stream}.txt"])
    vyrox.write(lift, 1_800_000_000)
    after = export(vyrox, out)
    assert after["checkpoint-actions.txt"] != written["checkpoint-actions.txt"]
    found = embedded(out, *kept)
    assert found.returncode == 0, found.stdout
    assert b"PROVEN: the actions 1 to 8 are" in found.stdout
    (out / "audit-2027-01-15.jsonl").unlink()
    assert embedded(out, *kept).returncode == 1  # the checkpoint beside it has one action more


def test_a_range_is_exported_with_its_proofs_contract_97(vyrox: Vyrox, tmp_path: Path) -> None:
    vyrox.write(whole_story().append)
    for number in range(3):
        vyrox.write(lift, 1_800_000_000 + number)
    out = tmp_path / "out"
    written = export(vyrox, out, "--since", "2027-01-15T08:00:01")
    assert [written[f"{each}-2027-01-15.jsonl"].count(b"\n") for each in ("audit", "events")] == [
        2,
        2,
    ]
    assert {"proof-actions.json", "proof-events.json"} <= written.keys()
    found = embedded(out)
    assert found.returncode == 0, found.stdout
    assert b"PROVEN: the actions 9 to 10 are" in found.stdout
    assert b"NOT PROVEN: who approved the actions: that needs an export of all" in found.stdout
    (out / "proof-actions.json").unlink()
    assert embedded(out).returncode == 1


def test_a_new_key_of_the_log_is_followed_contract_97(vyrox: Vyrox, tmp_path: Path) -> None:
    vyrox.write(whole_story().append)
    export(vyrox, tmp_path / "before")
    keys = tmp_path / "keys.txt"
    shown = json.loads(succeeded(vyrox("audit", "key", TENANT, "--json")))
    keys.write_text("".join(f"{key}\n" for key in shown["keys"].values()))
    rotated = {"VYROX_CHECKPOINT_KEY": f"{NEW},{OLD}"}
    for number, env in enumerate(({}, rotated)):
        vyrox.write(_register, env.get("VYROX_CHECKPOINT_KEY", OLD), number)
    out = tmp_path / "after"
    succeeded(vyrox("audit", "export", TENANT, "--out", str(out), env=rotated))
    written = json.loads((out / "keys.json").read_bytes())
    assert len(written["log_keys"]) == 2
    assert len(written["successions"]) == 1
    # Without the signature that the old key adds for a while, the new one must be followed.
    for stream in verify.STREAMS:
        path = out / f"checkpoint-{stream}.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    found = embedded(out, f"--keys={keys}")
    assert found.returncode == 0, found.stdout
    (out / "keys.json").unlink()
    assert embedded(out, f"--keys={keys}").returncode == 1


def _register(connection: Connection, keys: str, number: int) -> None:
    name = read_log_name(connection, "vyrox")
    register(connection, Signer(name, read_log_keys(keys.split(","))), START + number)


async def test_a_reader_fetches_all_of_it_from_the_service_contract_97(
    data_dir: Path, tmp_path: Path
) -> None:
    vyrox = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    await asyncio.to_thread(vyrox.write, whole_story().append)
    async with running_service(data_dir, REDIS_URL=NOWHERE) as service:
        onboarded = await asyncio.to_thread(vyrox, "tenant", "add", TENANT, "--vendor", "generic")
        succeeded(onboarded)
        made = await asyncio.to_thread(vyrox, "audit", "reader", TENANT)
        for name, options in (("whole", ()), ("range", ("--since", "2024-01-01T01:00"))):
            out = tmp_path / name
            args = ("audit", "export", TENANT, "--out", str(out), "--url", service.proxy_url)
            done = await asyncio.to_thread(
                vyrox, *args, "--key-stdin", *options, stdin=succeeded(made).encode()
            )
            succeeded(done)
        shown = await asyncio.to_thread(vyrox, "audit", "key", TENANT, "--json")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{key}\n" for key in json.loads(succeeded(shown))["keys"].values()))
    for name in ("whole", "range"):
        assert embedded(tmp_path / name).returncode == 3  # no key is named: it is known elsewhere
        found = embedded(tmp_path / name, f"--keys={keys}")
        assert found.returncode == 0, found.stdout


async def test_a_line_that_never_ends_is_not_read_to_its_end_contract_97() -> None:
    """A service that is not one must not fill the memory of the reader."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        headers = {"content-type": NDJSON, "x-vyrox-audit-first": "1", "x-vyrox-audit-size": "1"}
        return httpx.Response(200, headers=headers, content=endless())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        wanted = Wanted(TENANT, ("actions",), 0)
        source = FromService(client, "http://vyrox", wanted, HMAC_SECRET, Progress(disable=True))
        lines = await source.lines("actions")
        assert lines is not None
        with pytest.raises(OperatorError, match="an entry has more than"):
            await anext(lines)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [(b"x" * 65_536, "an entry has more than"), (b"1 {}\n" * 9_999, "more than")],
)
async def test_retained_events_that_never_end_are_not_read_to_their_end_contract_103(
    monkeypatch: pytest.MonkeyPatch, chunk: bytes, reason: str
) -> None:
    monkeypatch.setattr(audit_source, "MAX_RETAINED_BYTES", 200_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield chunk

    async def answer(request: httpx.Request) -> httpx.Response:
        part = {"x-vyrox-audit-first": "257", "x-vyrox-audit-size": "300"}
        if request.url.params["stream"] == "retained":
            return httpx.Response(200, headers=part, content=endless())
        note = {"content-type": NDJSON, "x-vyrox-checkpoint": "bm90ZQ=="}
        return httpx.Response(200, headers=part | note, content=b"")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        wanted = Wanted(TENANT, ("events",), 0)
        source = FromService(client, "http://vyrox", wanted, HMAC_SECRET, Progress(disable=True))
        lines = await source.lines("events")
        assert lines is not None
        assert [line async for line in lines] == []
        retained = await source.retained()
        assert retained is not None
        with pytest.raises(OperatorError, match=reason):
            assert [each async for each in retained] == []


def test_keys_in_force_have_their_times() -> None:
    story = whole_story()
    story.now += 100
    key: dict[str, Any] = json.loads(
        next(line for line in story.lines["events"] if b"approver.key_added" in line)
    )
    story.key_event("removed", key)
    in_force = KeysInForce()
    for line in [*story.lines["events"], b"{", b'{"kind":"approver.key_added"}']:
        in_force.add(line)
    [found] = in_force.approvers
    assert (found["since"], found["until"]) == (START + 10, story.now)
    assert found["origin"] == KEY.origin
