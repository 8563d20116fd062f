"""`vyrox mock-edr`, as its users run it: a process of its own."""

import asyncio
import json
import os
import pty
import signal
import socket
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli import Vyrox, refused
from tests.ports import free_port
from vyrox.trial.simulate.scenarios import SCENARIOS


@asynccontextmanager
async def running(
    *options: str, command: str = "mock-edr"
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vyrox", command),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_json_is_one_line_and_a_signal_ends_it(number: signal.Signals) -> None:
    async with running("--json") as process:
        started = json.loads(await line(process))
        async with httpx.AsyncClient() as client:
            effects = await client.get(f"{started['url']}/_mock/effects")
        process.send_signal(number)
        rest, errors = await process.communicate()

    assert effects.json() == []
    assert (process.returncode, rest) == (0, b"")
    assert errors == b"vyrox: this is a mock of the vendors: no real host is ever contained\n"


async def test_json_tells_what_vyrox_needs_for_each_vendor() -> None:
    async with running("--json") as process:
        started = json.loads(await line(process))
        url = started["url"]
        crowdstrike, sentinelone, defender = started["credentials"]
        async with httpx.AsyncClient() as client:
            tokens = [
                await client.post(
                    f"{crowdstrike['base_url']}/oauth2/token",
                    data={name: crowdstrike[name] for name in ("client_id", "client_secret")},
                ),
                await client.get(
                    f"{sentinelone['base_url']}/web/api/v2.1/system/status",
                    headers={"authorization": f"ApiToken {sentinelone['client_secret']}"},
                ),
                await client.post(
                    f"{defender['base_url']}/login/{defender['azure_tenant']}/oauth2/v2.0/token",
                    data={
                        "grant_type": "client_credentials",
                        "scope": "https://api.securitycenter.microsoft.com/.default",
                        **{name: defender[name] for name in ("client_id", "client_secret")},
                    },
                ),
            ]

    assert url.startswith("http://127.0.0.1:")
    assert [answer.status_code for answer in tokens] == [201, 200, 200]
    assert [each["vendor"] for each in started["credentials"]] == [
        "crowdstrike",
        "sentinelone",
        "defender",
    ]


async def test_json_names_the_devices_with_their_tags() -> None:
    async with running("--json") as process:
        devices = json.loads(await line(process))["devices"]

    known = {each["id"].replace("-", "") for each in devices}
    simulated = {
        stage.host.device_id.replace("-", "")
        for scenario in SCENARIOS.values()
        for stage in scenario.stages
        if scenario.vendor != "generic"
    }
    assert simulated <= known
    assert {each["name"] for each in devices if not each["online"]} == {
        "laptop-23",
        "laptop-23.acme.local",
    }
    tags = [each["tags"] for each in devices if each["name"].startswith("dc-01")]
    assert tags == [
        ["FalconGroupingTags/domain-controller"],
        ["role=domain-controller"],
        ["domain-controller"],
    ]


async def test_text_is_there_while_it_serves() -> None:
    async with running() as process:
        first = await line(process)
        text = ""
        while "laptop-23.acme.local" not in text:  # the last of the tables' hosts to be asserted
            text += await line(process)

    assert first.startswith("mock EDR on http://127.0.0.1:")
    assert "mock-Qx7RkP2mWv9TzL4bYc8NfD1hSg6JuE3aA5oK" in text
    assert "12345678123412341234123456789abc" in text


async def test_it_serves_although_a_terminal_is_shorter_than_its_tables() -> None:
    """A pager would hold the mock back until its reader leaves it."""
    control, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "mock-edr", "--port", str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    shown = b""
    try:
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while b"laptop-23.acme.local" not in shown:
                shown += await asyncio.to_thread(os.read, control, 65_536)
            effects = await client.get(f"http://127.0.0.1:{port}/_mock/effects")
    finally:
        process.kill()
        await process.wait()
        os.close(terminal)
        os.close(control)
    assert effects.json() == []


async def test_a_port_of_ones_own() -> None:
    port = free_port()
    async with running("--port", str(port), "--json") as process:
        assert json.loads(await line(process))["url"] == f"http://127.0.0.1:{port}"


def test_a_taken_port_is_one_line(data_dir: Path, anyio_backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = Vyrox(data_dir)("mock-edr", "--port", str(port))

    assert refused(result) == f"cannot listen on 127.0.0.1:{port}: Address already in use"
