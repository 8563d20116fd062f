"""`vyrox execute`: what it signs and sends, and what its exit code and its words say."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import httpx
import msgspec
import pytest
from click.testing import Result
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT
from tests.service import HMAC_SECRET, running_service
from tests.vendor import insert_alert
from vyrox.chain.entry import Draft
from vyrox.chain.writer import append
from vyrox.cli import acting, mistyped_alert, signed_request
from vyrox.clock import wall_clock
from vyrox.containment.attempt import Outcome
from vyrox.containment.events import outcome_event
from vyrox.crypto import verify
from vyrox.models import NormalizedAlert
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

WANTED: Final = {
    "--tenant": TENANT,
    "--alert": "alt_abc123",
    "--action": "HOST_ISOLATION",
    "--host": "workstation-01",
    "--approved-by": "jane.smith#1234",
}
DRY_RUN: Final = b'{"status":"dry_run","dry_run":true}'


def command(url: str, **changes: str) -> list[str]:
    options = {**WANTED, "--url": url}
    options.update((f"--{name.replace('_', '-')}", value) for name, value in changes.items())
    return ["execute", *(word for option in options.items() for word in option)]


@pytest.fixture
def vyrox(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)


async def run(vyrox: Vyrox, *args: str, **env: str) -> Result:
    """Run a command in a thread, beside the server that answers it."""
    return await asyncio.to_thread(vyrox, *args, env=env)


async def answered(vyrox: Vyrox, stdin: bytes, *args: str) -> Result:
    """Run a command that asks."""
    return await asyncio.to_thread(vyrox, *args, stdin=stdin)


@dataclass
class Listener:
    """A listener that keeps the requests it got, and answers each with the same bytes."""

    answer: bytes
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(sum(lengths)))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


def answer(status: int, body: bytes, *fields: bytes) -> bytes:
    head = [b"HTTP/1.1 %d Status" % status, b"content-length: %d" % len(body), *fields]
    return b"\r\n".join([*head, b"connection: close", b"", body])


@asynccontextmanager
async def listening(sent: bytes) -> AsyncIterator[Listener]:
    listener = Listener(sent)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield listener


async def test_execute_signs_what_it_sends_contract_5(vyrox: Vyrox) -> None:
    began_at = int(wall_clock())
    async with listening(answer(200, DRY_RUN)) as listener:
        printed = succeeded(await run(vyrox, *command(listener.url, host="größe-端末 01")))
    [head], [body] = listener.heads, listener.bodies
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /execute HTTP/1.1"
    fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
    headers = {name.lower(): value for name, value in fields.items()}
    assert verify(body, headers[b"x-vyrox-signature"], HMAC_SECRET)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-vyrox-explain"] == b"1"
    sent = msgspec.json.decode(body)
    request_id, approved_at = sent.pop("request_id"), sent.pop("approved_at")
    assert sent == {
        "tenant_id": TENANT,
        "alert_id": "alt_abc123",
        "action_type": "HOST_ISOLATION",
        "host": "größe-端末 01",
        "approved_by": "jane.smith#1234",
    }
    assert uuid.UUID(request_id).version == 4
    assert headers[b"x-request-id"] == request_id.encode()
    assert began_at <= approved_at <= wall_clock()
    assert printed == f"request {request_id}\n200 {DRY_RUN.decode()}\n"


async def test_execute_sends_the_id_and_the_time_that_it_is_given(vyrox: Vyrox) -> None:
    """An empty id as well: a new one in its place would let a script act twice."""
    async with listening(answer(200, DRY_RUN)) as listener:
        for request_id in ("request-1", ""):
            args = command(listener.url, request_id=request_id, approved_at="1704067200")
            succeeded(await run(vyrox, *args))
    sent = [msgspec.json.decode(body) for body in listener.bodies]
    assert [fields["request_id"] for fields in sent] == ["request-1", ""]
    assert [fields["approved_at"] for fields in sent] == [1704067200, 1704067200]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  (it is not bound)
@pytest.mark.parametrize("name", ["execute", "lift"])
async def test_execute_goes_to_the_proxy_of_its_environment(
    vyrox: Vyrox, host: str, name: str
) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        port = listener.url.rpartition(":")[2]
        args = command(listener.url)
        args[args.index("--url") : args.index("--url") + 2] = []
        if name == "lift":
            args[0] = name
            args[args.index("HOST_ISOLATION")] = "LIFT_HOST_ISOLATION"
        succeeded(await run(vyrox, *args, PROXY_HOST=host, PROXY_PORT=port))
    assert len(listener.bodies) == 1


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PROXY_HOST": "::", "PROXY_PORT": "1"}, "http://[::1]:1: "),
        ({"PROXY_PORT": "0"}, "PROXY_PORT is 0, any free port: pass --url"),
    ],
)
def test_execute_says_where_it_has_looked(vyrox: Vyrox, env: dict[str, str], said: str) -> None:
    args = command("")
    args[args.index("--url") : args.index("--url") + 2] = []
    result = vyrox(*args, env=env)
    assert result.exit_code == 4
    warning, error = result.stderr.splitlines()
    assert warning.startswith(f"warning: not checked whether alt_abc123 is an alert of {TENANT}: ")
    assert error.startswith(f"vyrox: {said}")


async def test_execute_prints_the_answer_alone_with_json(vyrox: Vyrox) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        result = await run(vyrox, *command(listener.url), "--json")
    assert msgspec.json.decode(succeeded(result)) == {"status": "dry_run", "dry_run": True}
    [sent] = listener.bodies
    assert result.stderr == f"request {msgspec.json.decode(sent)['request_id']}\n"


@pytest.mark.parametrize(
    ("name", "action"), [("execute", "HOST_ISOLATION"), ("lift", "LIFT_HOST_ISOLATION")]
)
async def test_break_glass_goes_the_way_of_its_own_contract_69(
    vyrox: Vyrox, name: str, action: str
) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        args = command(listener.url)
        args[0] = name
        args[args.index("HOST_ISOLATION")] = action
        del args[args.index("--approved-by") : args.index("--approved-by") + 2]
        glass = ("--break-glass", "--reason", "Discord is away", "--by", "jane")
        succeeded(await run(vyrox, *args, *glass))
        assert (await run(vyrox, *args, "--break-glass")).exit_code == 2
        assert (await run(vyrox, *args, *glass, "--approved-by", "x")).exit_code == 2
        assert (await run(vyrox, *args, "--reason", "x", "--approved-by", "x")).exit_code == 2
    [head], [body] = listener.heads, listener.bodies
    assert head.startswith(b"POST /break-glass HTTP/1.1\r\n")
    sent = msgspec.json.decode(body)
    assert uuid.UUID(sent.pop("request_id")).version == 4
    assert wall_clock() - 60 < sent.pop("at") <= wall_clock()
    assert sent == {
        "tenant_id": TENANT,
        "alert_id": "alt_abc123",
        "action_type": action,
        "host": sent["host"],
        "by": "jane",
        "reason": "Discord is away",
    }


STATUSES: Final = {
    **dict.fromkeys((400, 401, 403, 404, 410, 413, 422, 429, 501), 3),
    503: 4,
    **dict.fromkeys((201, 307, 409, 500, 502), 5),
}
"""The exit code for a response that does not say what became of the request."""


@pytest.mark.parametrize("status", STATUSES)
async def test_execute_fails_with_any_other_answer_contract_83(vyrox: Vyrox, status: int) -> None:
    """A redirect is not followed either: the request was signed for one listener."""
    async with listening(answer(status, b'{"detail":"why"}', b"location: /execute")) as listener:
        result = await run(vyrox, *command(listener.url, request_id="request-1"))
    assert result.exit_code == STATUSES[status]
    assert result.stdout == f'request request-1\n{status} {{"detail":"why"}}\n'
    assert len(listener.bodies) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            401,
            "VYROX_HMAC_SECRET here is not the service's\n"
            "why: vyrox audit events --kind auth.failed --since 5m\n",
        ),
        (403, f"why: vyrox audit events {TENANT} --kind execute.refused --since 5m\n"),
        (
            410,
            "--approved-at is more than 30 s from the service's time\n"
            f"why: vyrox audit events {TENANT} --kind execute.refused --since 5m\n",
        ),
        (502, f"why: vyrox audit events {TENANT} --since 5m\n"),
    ],
)
async def test_execute_says_where_the_reason_is(vyrox: Vyrox, status: int, said: str) -> None:
    async with listening(answer(status, b"{}", b"x-request-id: trace-1")) as listener:
        result = await run(vyrox, *command(listener.url))
    assert result.stderr == f"{said}log id: trace-1\n"


async def test_execute_lets_no_answer_drive_the_terminal(vyrox: Vyrox) -> None:
    hostile = answer(500, "\x1b[2Jx\x9b31m\u202e".encode())
    async with listening(hostile) as listener:
        result = await run(vyrox, *command(listener.url, request_id="\x1b[2J"))
        as_json = await run(vyrox, *command(listener.url), "--json")
    for printed in (result.stdout, as_json.stdout):
        assert printed.replace("\n", "").isprintable()


async def test_execute_acts_through_the_running_service_contract_19(
    vyrox: Vyrox, data_dir: Path
) -> None:
    async with running_service(data_dir, REDIS_URL=NOWHERE) as service:
        once = command(service.proxy_url, request_id="request-1")
        first = await run(vyrox, *once)
        again = await run(vyrox, *once, "--json")
        other = await run(vyrox, *command(service.proxy_url, request_id="request-1", host="x"))
        stale = await run(vyrox, *command(service.proxy_url, approved_at="1704067200"))
        wrong = await run(vyrox, *command(service.proxy_url), VYROX_HMAC_SECRET=OTHER_SECRET)
    assert succeeded(first).splitlines()[1] == f"200 {DRY_RUN.decode()}"
    assert msgspec.json.decode(succeeded(again)) == {"status": "replayed", "dry_run": True}
    for result, said, why in (
        (other, '422 {"detail":"request_id reused"}', "refused: this request_id was used for "),
        (stale, '410 {"detail":"outside the replay window"}', "refused: the request's time is "),
        (wrong, '401 {"detail":"unauthorized"}', "VYROX_HMAC_SECRET here is not the service's"),
    ):
        assert (result.exit_code, result.stdout.splitlines()[1]) == (3, said)
        assert result.stderr.startswith(why)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1", id="reject_nobody_listens"),
        pytest.param("127.0.0.1:3000", id="reject_no_scheme"),
        pytest.param("ftp://127.0.0.1", id="reject_other_scheme"),
        pytest.param("http://", id="reject_no_host"),
        pytest.param("http://[", id="reject_no_url"),
        pytest.param("http://127.0.0.1:port", id="reject_no_port"),
        pytest.param("http://nobody.invalid", id="reject_unknown_host"),
        pytest.param("", id="reject_empty"),
    ],
)
def test_execute_says_that_nothing_was_sent(vyrox: Vyrox, url: str) -> None:
    line = refused(vyrox(*command(url)), 4)
    assert line.startswith(f"{url}: ")
    assert line.endswith("Nothing was sent")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="reject_no_answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{", id="reject_cut_answer"),
        pytest.param(b"\x16\x03\x01 no HTTP\r\n\r\n", id="reject_no_http"),
    ],
)
async def test_execute_says_that_it_may_have_been_carried_out(vyrox: Vyrox, sent: bytes) -> None:
    """And how to ask again for the same, not for another."""
    async with listening(sent) as listener:
        line = refused(await run(vyrox, *command(listener.url, request_id="request 1")), 5)
    assert line.endswith("It may have been carried out; ask again with --request-id 'request 1'")
    assert len(listener.bodies) == 1


async def test_execute_takes_no_proxy_from_the_environment(vyrox: Vyrox) -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    async with listening(answer(200, DRY_RUN)) as listener:
        succeeded(await run(vyrox, *command(listener.url), **nowhere))


@pytest.mark.parametrize(
    "args",
    [
        *(
            pytest.param(
                [
                    word
                    for name, value in WANTED.items()
                    if name != left_out
                    for word in (name, value)
                ],
                id=f"reject_without_{left_out.removeprefix('--')}",
            )
            for left_out in WANTED
        ),
        pytest.param(command("http://x", action="REBOOT")[1:], id="reject_unknown_action"),
        pytest.param(command("http://x", action="host_isolation")[1:], id="reject_lower_case"),
        pytest.param(command("http://x", approved_at="-1")[1:], id="reject_negative_time"),
        pytest.param(command("http://x", approved_at="1.5")[1:], id="reject_fraction"),
        pytest.param(command("http://x", approved_at="9" * 30)[1:], id="reject_far_future"),
        pytest.param(command("http://x", host=os.fsdecode(b"\xff"))[1:], id="reject_no_utf_8"),
        pytest.param([*command("http://x")[1:], "surplus"], id="reject_argument"),
    ],
)
def test_execute_refuses_wrong_usage(vyrox: Vyrox, args: list[str]) -> None:
    result = vyrox("execute", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: vyrox execute")


def test_execute_needs_the_secret_and_does_not_repeat_it(data_dir: Path) -> None:
    line = refused(Vyrox(data_dir)(*command("http://127.0.0.1:1")), 4)
    assert line == "set VYROX_HMAC_SECRET to the service's own value: it signs requests"
    short = Vyrox(data_dir, VYROX_HMAC_SECRET="CANARY")
    line = refused(short(*command("http://127.0.0.1:1")), 4)
    assert line.startswith("VYROX_HMAC_SECRET must be")
    assert "CANARY" not in line


async def test_lift_signs_and_sends_its_own_request_contract_34(vyrox: Vyrox) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        args = command(listener.url, action="LIFT_HOST_ISOLATION")
        succeeded(await run(vyrox, "lift", *args[1:]))
        succeeded(await run(vyrox, "lift", *args[1:], "--force"))
    assert [head.split(b"\r\n")[0] for head in listener.heads] == [b"POST /lift HTTP/1.1"] * 2
    sent = [msgspec.json.decode(body) for body in listener.bodies]
    assert [fields["action_type"] for fields in sent] == ["LIFT_HOST_ISOLATION"] * 2
    assert [fields.get("force", False) for fields in sent] == [False, True]


def test_lift_takes_no_containment_contract_34(vyrox: Vyrox) -> None:
    result = vyrox("lift", *command("http://127.0.0.1:9")[1:])
    assert result.exit_code == 2
    assert "LIFT_HOST_ISOLATION" in result.stderr


async def test_preview_reads_the_device_and_writes_nothing_contract_43(data_dir: Path) -> None:
    vyrox = await asyncio.to_thread(Vyrox(data_dir).migrated)
    mock = MockEdr(wall_clock)
    async with serving(mock) as url:
        vyrox.env["EDR_TEST_URL"] = url
        [client] = mock.crowdstrike.clients.values()
        options = ("--client-id", client.client_id, "--base-url", f"{url}/crowdstrike")
        credentials = ("tenant", "edr", "set", TENANT, "--new", "--vendor", "crowdstrike", *options)
        await asyncio.to_thread(vyrox, *credentials, stdin=client.client_secret.encode())

        async def preview(host: str, *more: str) -> Result:
            words = ("--tenant", TENANT, "--alert", "alt_abc123", "--action", "HOST_ISOLATION")
            return await run(vyrox, "execute", *words, "--host", host, "--preview", *more)

        [device] = [
            each for each in mock.crowdstrike.devices.values() if each.hostname == "file-srv-02"
        ]
        shown = succeeded(await preview("FILE-SRV-02"))
        assert shown == (
            "vendor        crowdstrike\n"
            f"device        {device.device_id}\n"
            "host name     file-srv-02\n"
            "tags          -\n"
            "state         not contained\n"
            "alert         not known\n"
            "used in hour  no limit\n"
            "would be      sent (a service with DRY_RUN=true would send nothing)\n"
        )
        device.status = "contained"
        contained = succeeded(await preview(device.device_id))
        assert 'would be      answered "executed" without a call: it is contained' in contained
        rule = "host:file-*"
        policy = ("--never-contain", rule, "--per-hour", "3")
        succeeded(await run(vyrox, "tenant", "policy", TENANT, *policy))
        device.tags = [f"FalconGroupingTags/{number:040}" for number in range(3)]
        found = await preview(device.device_id, "--json")
        assert found.exit_code == 1
        assert json.loads(found.stdout) == {
            "vendor": "crowdstrike",
            "device_id": device.device_id,
            "hostname": "file-srv-02",
            "tags": device.tags,
            "state": "contained",
            "refused_by": f"never_contain {rule}",
            "alert_known": False,
            "alert_device": None,
            "alert_host": None,
            "per_hour": 3,
            "begun_in_hour": 0,
        }
        folded = await preview(device.device_id)
        assert f"would be      refused: never_contain {rule}\n" in folded.stdout
        assert max(map(len, folded.stdout.splitlines())) <= 80
        error = refused(await preview("no-such-host"))
        assert error == "the device cannot be identified: no host is called no-such-host"
        assert mock.effects == []
        assert mock.violations == []
    events = succeeded(await run(vyrox, "audit", "events", "--tenant", TENANT, "--json"))
    assert {json.loads(line)["kind"] for line in events.splitlines()} == {"tenant.changed"}


def test_execute_needs_an_approval_but_a_preview_does_not_contract_43(vyrox: Vyrox) -> None:
    vyrox.migrated()
    words = [word for option in WANTED.items() if option[0] != "--approved-by" for word in option]
    result = vyrox("execute", *words)
    assert (result.exit_code, "--approved-by" in result.stderr) == (2, True)
    assert "has no credentials" in refused(vyrox("execute", *words, "--preview"))


def explained(outcome: str, reason: str) -> bytes:
    return msgspec.json.encode({"detail": "vendor error", "reason": reason, "outcome": outcome})


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ("refused", 3, "refused: "),
        ("not_done", 4, "not done: "),
        ("unknown", 5, "not known whether it was done: "),
    ],
)
async def test_execute_prints_the_reason_contract_83(
    vyrox: Vyrox, outcome: str, code: int, said: str
) -> None:
    """And on standard output what it printed before; with --json, all of the body."""
    body = explained(outcome, "2 devices have this name\x1b[2J")
    async with listening(answer(502, body)) as listener:
        plain = await run(vyrox, *command(listener.url, request_id="request-1"))
        as_json = await run(vyrox, *command(listener.url), "--json")
    assert (plain.exit_code, as_json.exit_code) == (code, code)
    assert plain.stdout == 'request request-1\n502 {"detail":"vendor error"}\n'
    assert plain.stderr.startswith(f"{said}2 devices have this name\\x1b[2J\n")
    assert msgspec.json.decode(as_json.stdout)["outcome"] == outcome


async def test_execute_sends_no_id_that_a_header_cannot_hold_contract_83(vyrox: Vyrox) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        for request_id in ("a\r\nX-Evil: 1", "größe", "a b", "x" * 129):
            succeeded(await run(vyrox, *command(listener.url, request_id=request_id)))
    for head in listener.heads:
        assert b"x-request-id" not in head.lower()
        assert b"evil" not in head.lower()


ALERT: Final = {
    "received_at": 1_764_417_600.0,
    "severity": "high",
    "hostname": "ws-01",
    "device_id": "workstation-01",
    "username": "CORP\\jsmith\x1b[2J",
    "process_name": "cmd.exe",
}


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "is_terminal", lambda: True)


@pytest.mark.usefixtures("on_terminal")
async def test_execute_names_the_nearest_tenant_when_it_asks_contract_88(vyrox: Vyrox) -> None:
    succeeded(await answered(vyrox, b"", "tenant", "add", "acme-corp", "--vendor", "crowdstrike"))
    words = ("HOST", "--isolate", "--alert", "alt_1", "--approved-by", "jane")
    mistyped = await answered(vyrox, b"n\n", "execute", "acme-crop", *words)
    assert "there is no tenant acme-crop: did you mean acme-corp?" in " ".join(
        mistyped.stderr.split()
    )
    right = await answered(vyrox, b"n\n", "execute", "acme-corp", *words)
    assert "did you mean" not in right.stderr


def _store_alert(connection: Connection, alert_id: str, tenant_id: str) -> None:
    alert = NormalizedAlert(
        id=alert_id, tenant_id=tenant_id, source="generic", raw_id=alert_id, timestamp=0.0
    )
    insert_alert(connection, alert)


def listening_port(listener: Listener) -> dict[str, str]:
    """Return the settings of a service that listens there."""
    return {"PROXY_PORT": listener.url.rpartition(":")[2]}


async def test_execute_warns_of_an_alert_that_the_tenant_does_not_have_contract_83(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks like a shortened id is refused, unless the person says so or is asked."""
    await asyncio.to_thread(vyrox.migrated)
    other = "0b8e0000-1111-4222-8333-444455556666"
    await asyncio.to_thread(vyrox.write, _store_alert, other, "initech")
    options = ("--isolate", "--approved-by", "jane", "--alert")
    words = ("execute", TENANT, "HOST", *options)
    async with listening(answer(200, DRY_RUN)) as listener:
        env = listening_port(listener)
        for alert in ("deadbeef", "deadbeef-0", "0b8e0000-2222-4222-8333-44445555666"):
            mistyped = await run(vyrox, *words, alert, "--yes", **env)
            assert (mistyped.exit_code, listener.heads) == (2, [])
            assert "--unknown-alert" in mistyped.stderr
        assert (await run(vyrox, *words, "deadbeef", **env)).exit_code == 2
        sent = (
            ("deadbeef", "--unknown-alert"), ("alt_abc123", "--yes"), (other, "--yes"),
            ("deadbeef-0000-4000-8000-000000000000", "--yes"), ("0b8e0000", "--yes"),
        )  # fmt: skip
        for each in sent:
            warned = await run(vyrox, *words, *each, **env)
            assert f"no alert {other if each[0] == '0b8e0000' else each[0]}" in warned.stderr
            assert warned.exit_code == 0
        assert len(listener.heads) == len(sent)
        own = "0c000000-1111-4222-8333-444455556666"
        await asyncio.to_thread(vyrox.write, _store_alert, own, TENANT)
        assert "warning" not in (await run(vyrox, *words, "0c000000", "--yes", **env)).stderr
        for module in (acting, mistyped_alert):
            monkeypatch.setattr(module, "is_terminal", lambda: True)
        asked = await asyncio.to_thread(vyrox, *words, "deadbeef", stdin=b"n\n", env=env)
    assert asked.exit_code == 4
    assert asked.stderr.index("warning: ") < asked.stderr.index("Do it?")


@pytest.mark.usefixtures("on_terminal")
async def test_execute_asks_in_words_on_a_terminal_contract_83(vyrox: Vyrox) -> None:
    async with listening(answer(200, msgspec.json.encode(ALERT))) as listener:
        args = command(listener.url)
        no = await answered(vyrox, b"n\n", *args)
        assert no.exit_code == 4
        assert listener.heads[0].startswith(b"GET /alerts/alt_abc123?tenant_id=acme-corp ")
        assert len(listener.heads) == 1  # nothing was sent but the question for the alert
        yes = await answered(vyrox, b"y\n", *args)
        asked_nothing = await run(vyrox, *args, "--yes")
    assert listener.heads[2].startswith(b"POST /execute ")
    assert len(listener.heads) == 4
    assert succeeded(yes).startswith("request ")
    assert "Do it?" not in asked_nothing.stderr
    for part in (
        "Isolate workstation-01?",
        "host    workstation-01 (ws-01)",
        r"user    CORP\jsmith\x1b[2J",
        "alert   alt_abc123: high, cmd.exe, received 2025-11-29 12:00 UTC",
        "cut off from the network",
    ):
        assert part in no.stderr, no.stderr
    assert max(map(len, no.stderr.splitlines())) <= 80


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (answer(404, b"{}"), "alt_abc123: Vyrox does not know it"),
        (answer(401, b"{}"), "alt_abc123: it cannot be read"),
        (answer(200, b"[]"), "alt_abc123: it cannot be read"),
        (answer(200, msgspec.json.encode(ALERT)), "elsewhere, but the alert is of ws-01"),
    ],
)
async def test_execute_says_what_it_does_not_know_contract_83(
    vyrox: Vyrox, sent: bytes, said: str
) -> None:
    async with listening(sent) as listener:
        result = await answered(vyrox, b"\n", *command(listener.url, host="elsewhere"))
    assert result.exit_code == 4
    assert said in " ".join(result.stderr.split())


def outcome(request_id: str, outcome: Outcome) -> Draft:
    return outcome_event(TENANT, None, request_id, "0" * 64, outcome, None)


@pytest.mark.parametrize(
    ("last", "code"), [("confirmed", 0), ("failed", 4), ("outcome_unknown", 5)]
)
async def test_wait_ends_with_the_outcome_contract_83(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch, last: Outcome, code: int
) -> None:
    monkeypatch.setattr(acting, "WAIT_INTERVAL_S", 0.05)
    await asyncio.to_thread(vyrox.migrated)
    # An earlier attempt with this id ended in another way, and this one is accepted.
    earlier: list[Outcome] = ["failed" if last == "confirmed" else "confirmed", "requested"]
    begun = [outcome("request-1", each) for each in earlier]
    await asyncio.to_thread(vyrox.write, append, begun, wall_clock())
    done = answer(200, b'{"status":"executed","dry_run":false}')
    async with listening(done) as listener:
        args = command(listener.url, request_id="request-1")
        waiting = asyncio.create_task(run(vyrox, *args, "--wait"))
        drafts = [outcome("request-2", "confirmed"), outcome("request-1", last)]
        for draft in drafts:
            await asyncio.to_thread(vyrox.write, append, [draft], wall_clock())
        result = await waiting
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1] == last


async def test_wait_ends_without_an_outcome_contract_83(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another action on the device may have followed: then no outcome comes."""
    monkeypatch.setattr(acting, "WAIT_AT_MOST_S", 0.0)
    await asyncio.to_thread(vyrox.migrated)
    async with listening(answer(200, b'{"status":"executed","dry_run":false}')) as listener:
        result = await run(vyrox, *command(listener.url), "--wait")
    assert result.exit_code == 5
    assert "outcome_unknown: none within 20 minutes" in result.stdout


async def test_wait_needs_the_database_before_it_acts_contract_83(vyrox: Vyrox) -> None:
    async with listening(answer(200, DRY_RUN)) as listener:
        line = refused(await run(vyrox, *command(listener.url), "--wait"), 4)
    assert line.startswith("--wait reads the service's database: ")
    assert listener.heads == []


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"status":"executed","dry_run":false}', "executed"),
        (200, b'{"status":"replayed","dry_run":true}', "replayed: a dry run, no vendor was called"),
        (403, b'{"detail":"refused by policy","reason":"frozen"}', "403 refused by policy"),
        (502, b"<html>", "502 <html>"),
    ],
)
def test_response_is_in_words_on_a_terminal_only_contract_83(
    status: int, body: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = httpx.Response(status, content=body)
    assert signed_request._words(answer).startswith(f"{status} ")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    assert signed_request._words(answer) == words
