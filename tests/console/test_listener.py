"""Where the console listens: on a port of its own, or on the public one by name (contract 66)."""

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.console.running import OWN, Running, ask, running
from tests.polling import PATIENCE_S
from tests.service import running_service
from tests.test_app import INGESTION, PROXY
from vyrox.console.application import create_routes
from vyrox.console.pages import _templates
from vyrox.errors import OperatorError, SettingsError
from vyrox.serve import serve
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings

PUBLIC_NAME: Final = {"host": "vyrox.example.com"}
CONSOLE_NAME: Final = {"host": "console.example.com"}


@contextmanager
def taken(port: int) -> Iterator[int]:
    """Take a port, unless another program has it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            assert port == DEFAULT_CONSOLE_PORT
        yield listener.getsockname()[1]


async def test_the_console_has_a_listener_of_its_own_contract_66(data_dir: Path) -> None:
    async with running_service(data_dir) as service:
        port = service.console_url.rpartition(":")[2]
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            page = await client.get(f"http://localhost:{port}/sign-in")
            assert (page.status_code, "Sign in" in page.text) == (200, True)
            by_address = await client.get(f"{service.console_url}/sign-in")
            assert by_address.status_code == 421
            for method, path in INGESTION | PROXY:
                url = f"http://localhost:{port}{path}"
                answer = await client.request(method, url, headers=OWN)
                assert is_refused_by_the_console(answer), path
            for url in (service.ingestion_url, service.proxy_url):
                for path in ("/sign-in", "/", "/static/console.js"):
                    assert (await client.get(f"{url}{path}")).status_code == 404


async def test_a_taken_default_port_starts_the_service_without_the_console_contract_66(
    data_dir: Path,
) -> None:
    with taken(DEFAULT_CONSOLE_PORT):
        command = (
            "-c",
            "import os; os.environ.pop('CONSOLE_PORT')\nfrom vyrox.cli import main\nmain()",
        )
        async with running_service(data_dir, *command, "serve") as service:
            line = await service.wait_for("console.port_taken")
            assert (line["level"], line["port"]) == ("warning", DEFAULT_CONSOLE_PORT)
            assert "console" not in await service.wait_for("serving")
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                assert (await client.get(f"{service.ingestion_url}/health")).status_code == 200


async def test_a_taken_port_that_was_set_stops_the_start_contract_66(settings: Settings) -> None:
    with taken(0) as port:
        chosen = dataclasses.replace(settings, ingestion_port=0, proxy_port=0, console_port=port)
        with pytest.raises(OperatorError, match=r"\(CONSOLE_HOST, CONSOLE_PORT\)"):
            await serve(chosen)


async def test_no_two_listeners_have_one_port_contract_66(settings: Settings) -> None:
    chosen = dataclasses.replace(settings, proxy_port=40_001, console_port=40_001)
    with pytest.raises(SettingsError, match="PROXY_PORT and CONSOLE_PORT must not be the same"):
        await serve(chosen)


async def test_on_the_public_port_the_name_decides_contract_66(settings: Settings) -> None:
    """The private group is not reachable by the console's name, nor the console by any other."""
    chosen = dataclasses.replace(
        settings, console_on_public=True, console_origin="https://console.example.com"
    )
    async with running(chosen) as opened:
        for app in (opened.app.state.ingestion_app, opened.app):
            assert (await ask(app, "GET", "/sign-in", CONSOLE_NAME)).status_code == 200
            assert (await ask(app, "GET", "/sign-in", PUBLIC_NAME)).status_code == 404
            assert (await ask(app, "GET", "/health", PUBLIC_NAME)).status_code == 200
            for method, path in INGESTION | PROXY:
                own = {**CONSOLE_NAME, "sec-fetch-site": "same-origin"}
                answer = await ask(app, method, path, own)
                assert is_refused_by_the_console(answer), path
            for path in (route.path for route in create_routes()):  # type: ignore[attr-defined]
                for other in (PUBLIC_NAME, {"host": "console.example.com.evil.example"}):
                    forwarded = {**other, "x-forwarded-host": "console.example.com"}
                    answer = await ask(app, "GET", path, forwarded)
                    assert "content-security-policy" not in answer.headers, path
        answer = await ask(opened.app.state.proxy_app, "GET", "/sign-in", CONSOLE_NAME)
        assert answer.status_code == 404


async def test_off_the_public_port_no_name_reaches_the_console_contract_66(
    opened: Running,
) -> None:
    for app in (opened.app.state.ingestion_app, opened.app, opened.app.state.proxy_app):
        assert (await ask(app, "GET", "/sign-in", {"host": "localhost:8002"})).status_code == 404


async def test_serve_has_the_console_on_the_public_port_contract_66(data_dir: Path) -> None:
    """As on a platform that routes one port."""
    extra = {"CONSOLE_ON_PUBLIC": "true", "CONSOLE_ORIGIN": "https://console.example.com"}
    async with running_service(data_dir, **extra) as service:
        assert "console" not in await service.wait_for("serving")
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            page = await client.get(f"{service.ingestion_url}/sign-in", headers=CONSOLE_NAME)
            assert page.status_code == 200
            health = await client.get(f"{service.ingestion_url}/health")
            assert health.json() == {"status": "ok"}
            for method, path in PROXY - INGESTION:  # /execute, the exports: from outside, nowhere
                url = f"{service.ingestion_url}{path}"
                answer = await client.request(method, url, headers=PUBLIC_NAME)
                assert answer.status_code in {404, 405}, path


def is_refused_by_the_console(answer: httpx.Response) -> bool:
    """Return whether the console answered: it has no such page, or asks to sign in first."""
    is_console = "content-security-policy" in answer.headers
    return is_console and (
        answer.status_code in {401, 404}
        or answer.headers.get("location", "").startswith("/sign-in")
    )


def test_every_template_can_be_compiled_contract_92() -> None:
    """A start does not do it, so a fault in one would be seen when it is first shown."""
    for name in _templates.list_templates():
        _templates.get_template(name)
