"""`vyrox serve` as a process: two listeners, one start, one stop."""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.http.test_protocol import connected, read_answers, send
from tests.ingestion import SECRET, Webhook, webhook
from tests.patience import PATIENT_VYROX
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S, until
from tests.ports import free_port
from tests.service import ROOT, Service, environment, running_service
from tests.test_app import INGESTION, PROXY
from tests.test_log import full_pipe
from vyrox.errors import VyroxError
from vyrox.http.listener import Server
from vyrox.serve import _settle_interpreter, _stop, serve
from vyrox.settings import Settings
from vyrox.store.data_dir import LOCK_FILE
from vyrox.store.valkey import is_running

DEFAULTS: Final = {"CROWDSTRIKE_WEBHOOK_SECRET": SECRET}

HASTY: Final = """
import vyrox.serve
from vyrox.cli import main
vyrox.serve.GRACE_S = 1
main()
"""
"""`vyrox` that waits one second for the requests in progress at the end."""

every_signal = pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, id="SIGHUP", marks=pytest.mark.long),
    ],
)


def port_of(url: str) -> int:
    port = httpx.URL(url).port
    assert port is not None
    return port


async def is_refused(port: int) -> bool:
    """Return whether `port` refuses connections."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it is being closed
    writer.close()
    return False


async def test_serve_has_two_listeners_contract_29(data_dir: Path) -> None:
    without_discord = INGESTION - {("POST", "/interactions")}
    async with running_service(data_dir) as service:
        assert service.ingestion_url != service.proxy_url
        for url, served in ((service.ingestion_url, without_discord), (service.proxy_url, PROXY)):
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
                health = await client.get("/health")
                assert (health.status_code, health.json()) == (200, {"status": "ok"})
                assert "server" not in health.headers
                for method, path in INGESTION | PROXY:
                    found = (await client.request(method, path)).status_code != 404
                    assert found == ((method, path) in served)


@every_signal
async def test_serve_ends_at_a_signal(data_dir: Path, number: signal.Signals) -> None:
    """Also with an idle connection, as load balancers keep them."""
    async with (
        patient_service(data_dir) as service,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):
        assert (await client.get("/health")).status_code == 200
        service.signal(number)
        assert await service.ended() == 0
    assert service.lines[-1]["event"] == "stopped"
    assert all(line.startswith("{") for line in service.output)
    assert not [line for line in service.lines if line["level"] == "error"]
    assert await is_refused(port_of(service.ingestion_url))
    assert await is_refused(port_of(service.proxy_url))
    assert not await is_running(data_dir)


FEW_FILES: Final = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
{PATIENT_VYROX}
"""
"""`vyrox` in a process that may open few files."""


@pytest.mark.long
async def test_serve_survives_idle_connections_to_the_private_listener_contract_29(
    data_dir: Path,
) -> None:
    """More of them than the process may open files do not reset a public connection."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            running_service(data_dir, "-c", FEW_FILES, "serve", **DEFAULTS)
        )
        public = port_of(service.ingestion_url)
        reader, writer = await stack.enter_async_context(connected(public))
        await send(writer, webhook("crowdstrike").raw()[:-10])
        for _ in range(300):
            await stack.enter_async_context(connected(port_of(service.proxy_url)))
        for url in (service.ingestion_url, service.proxy_url):
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=PATIENCE_S)
            )

            async def is_well(client: httpx.AsyncClient = client) -> bool:
                return (await client.get("/health")).status_code == 200

            await until(is_well)
        await send(writer, webhook("crowdstrike").raw()[-10:])
        (answer,) = await read_answers(reader)
        assert answer.status == 202


NOHUP: Final = """
import signal
from vyrox.cli import main
signal.signal(signal.SIGHUP, signal.SIG_IGN)
main()
"""


@pytest.mark.long
async def test_serve_under_nohup_goes_on_after_sighup(data_dir: Path) -> None:
    async with running_service(data_dir, "-c", NOHUP, "serve") as service:
        service.signal(signal.SIGHUP)
        await answered_elsewhere(service)
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert service.lines[-1]["event"] == "stopped"


async def test_serve_lets_requests_in_flight_end(data_dir: Path) -> None:
    raw = webhook("crowdstrike").raw()
    async with patient_service(data_dir, **DEFAULTS) as service:
        port = port_of(service.ingestion_url)
        async with connected(port) as (reader, writer):
            await send(writer, raw[:-10])
            await answered_elsewhere(service)
            service.signal(signal.SIGTERM)
            await until(lambda: is_refused(port))
            assert service.process.returncode is None
            await send(writer, raw[-10:])
            (answer,) = await read_answers(reader)
        assert await service.ended() == 0
    assert answer.status == 202
    assert service.lines[-1]["event"] == "stopped"


async def answered_elsewhere(service: Service) -> None:
    """Return when the service has received the bytes that were sent before."""
    async with httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client:
        await client.get("/health")


@pytest.mark.long
async def test_serve_cuts_short_what_does_not_end_contract_1(data_dir: Path) -> None:
    """The sender receives a response that allows a retry. The log contains no traceback."""
    async with running_service(data_dir, "-c", HASTY, "serve", **DEFAULTS) as service:
        async with connected(port_of(service.ingestion_url)) as (reader, writer):
            await send(writer, webhook("crowdstrike").raw()[:-10])
            await answered_elsewhere(service)
            service.signal(signal.SIGTERM)
            (answer,) = await read_answers(reader)
        assert await service.ended() == 0
    assert (answer.status, answer.body) == (503, b'{"detail":"service unavailable"}')
    assert answer.field("retry-after") == "5"
    assert answer.field("x-request-id")
    assert not [line for line in service.lines if "traceback" in line]


@every_signal
@pytest.mark.long
async def test_serve_ends_at_a_signal_while_it_starts(
    data_dir: Path, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "serve"),
        cwd=ROOT,
        env=environment(data_dir, {}),
        stderr=asyncio.subprocess.PIPE,
    )

    async def begun() -> bool:
        return LOCK_FILE in os.listdir(data_dir)

    await until(begun)
    process.send_signal(number)
    _, output = await process.communicate()
    assert process.returncode == 0
    assert json.loads(output.splitlines()[-1])["event"] == "stopped"
    assert not await is_running(data_dir)


@pytest.mark.long
async def test_serve_takes_the_port_of_the_platform(data_dir: Path) -> None:
    port = free_port()
    async with patient_service(data_dir, PORT=str(port), INGESTION_PORT="1") as service:
        assert port_of(service.ingestion_url) == port


@contextmanager
def bound() -> Iterator[socket.socket]:
    """Hold a port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


def serve_to_the_end(data_dir: Path, **extra: str) -> str:
    """Return the one line that `vyrox serve` prints before it ends with exit code 1."""
    ended = subprocess.run(
        [sys.executable, "-m", "vyrox", "serve"],
        cwd=ROOT,
        env={name: value for name, value in environment(data_dir, extra).items() if value},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    return line


def refusal(data_dir: Path, **extra: str) -> str:
    """Return the error that ends `serve` at its start, in this process."""
    env = {name: value for name, value in environment(data_dir, extra).items() if value}
    with pytest.raises(VyroxError) as caught:
        asyncio.run(serve(Settings.from_env(env)))
    return str(caught.value)


@pytest.mark.parametrize("name", ["INGESTION", "PROXY"])
def test_serve_refuses_a_port_that_is_in_use(data_dir: Path, name: str) -> None:
    """No store is opened before."""
    with bound() as listener:
        listener.listen()
        port = listener.getsockname()[1]
        found = refusal(data_dir, **{f"{name}_PORT": str(port)})
    assert found == (
        f"cannot listen on 127.0.0.1:{port} ({name}_HOST, {name}_PORT): Address already in use"
    )
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param(
            {"INGESTION_PORT": "40001", "PROXY_PORT": "40001"},
            "INGESTION_PORT (or PORT) and PROXY_PORT must not be the same",
            id="reject_one_port",
        ),
        pytest.param(
            {"PORT": "40001", "PROXY_PORT": "40001"},
            "INGESTION_PORT (or PORT) and PROXY_PORT must not be the same",
            id="reject_one_port_by_the_platform",
        ),
        pytest.param(
            {"INGESTION_HOST": "192.0.2.1"},
            "cannot listen on 192.0.2.1:0 (INGESTION_HOST, INGESTION_PORT): "
            "Cannot assign requested address",
            id="reject_address_of_another_host",
        ),
        pytest.param(
            {"PROXY_HOST": "a..b"},
            "cannot listen on a..b:0 (PROXY_HOST, PROXY_PORT): invalid host name",
            id="reject_no_host_name",
        ),
        pytest.param(
            {"VYROX_HMAC_SECRET": ""},
            "VYROX_HMAC_SECRET is required: at least 32 bytes that sign /execute and "
            "/audit/export. Make one with: openssl rand -hex 32",
            id="reject_no_secret",
        ),
        pytest.param(
            {"VYROX_HMAC_SECRET": "short-secret"},
            "VYROX_HMAC_SECRET must be at least 32 bytes",
            id="reject_short_secret",
        ),
        pytest.param(
            {"CROWDSTRIKE_WEBHOOK_SECRET": "short-secret"},
            "CROWDSTRIKE_WEBHOOK_SECRET must be 32 to 1024 bytes",
            id="reject_short_default_secret",
        ),
    ],
)
def test_serve_refuses_bad_settings(data_dir: Path, extra: dict[str, str], said: str) -> None:
    assert refusal(data_dir, **extra) == said
    assert list(data_dir.iterdir()) == []


async def test_serve_refuses_a_data_directory_in_use(data_dir: Path) -> None:
    async with patient_service(data_dir) as service:
        line = await asyncio.to_thread(serve_to_the_end, data_dir)
        assert line == (
            f"vyrox: {data_dir} is in use by another vyrox process: "
            "set another VYROX_DATA_DIR for each"
        )
        async with httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client:
            assert (await client.get("/health")).status_code == 200


@pytest.mark.long
async def test_serve_goes_on_while_its_log_is_blocked(data_dir: Path) -> None:
    """It also ends at a signal."""
    port = free_port()
    reading, writing = full_pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "serve"),
        cwd=ROOT,
        env=environment(data_dir, {"INGESTION_PORT": str(port), **DEFAULTS}),
        stderr=writing,
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S
        ) as client:

            async def serving() -> bool:
                return not await is_refused(port)

            await until(serving)
            for secret, status in ((SECRET, 202), (None, 401)) * 10:
                assert (await post(client, webhook("crowdstrike", secret=secret))) == status
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(reading)
        os.close(writing)


async def post(client: httpx.AsyncClient, sent: Webhook) -> int:
    answer = await client.post(sent.path, headers=sent.headers, content=sent.body)
    return answer.status_code


def test_the_console_learns_that_the_service_stops_contract_80() -> None:
    """Its long responses end themselves, and do not hold up the shutdown."""
    console = Starlette()
    server = Server(uvicorn.Config(console))
    _stop([server], console)
    assert (server.should_exit, console.state.is_stopping) == (True, True)


def test_garbage_is_collected_once_the_service_runs_contract_92() -> None:
    """A start does without the collector."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.disable()
    try:
        _settle_interpreter()
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
