"""Prometheus itself reads `/metrics`, the alert rules and the dashboard's queries (contract 98)."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.deploy.prometheus import RULES, panels, running_prometheus
from tests.polling import until
from tests.service import HMAC_SECRET
from vyrox.app import create_app
from vyrox.http.listener import address_of, bind, small_server
from vyrox.settings import Settings

PROGRAM: Final = shutil.which("promtool") or "/usr/bin/promtool"

pytestmark = pytest.mark.debian


def test_promtool_accepts_the_rules_contract_98() -> None:
    done = subprocess.run([PROGRAM, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_promtool_accepts_what_is_measured_contract_98(
    data_dir: Path, redis_url: str
) -> None:
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=redis_url))
    transport = httpx.ASGITransport(whole.state.proxy_app)
    async with (
        whole.router.lifespan_context(whole),
        httpx.AsyncClient(transport=transport, base_url="http://vyrox") as client,
    ):
        text = (await client.get("/metrics")).content
    check = [PROGRAM, "check", "metrics"]
    done = await asyncio.to_thread(subprocess.run, check, input=text, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[str]:
    """Run the private listener on a real socket, and return its address."""
    whole = create_app(settings)
    async with whole.router.lifespan_context(whole):
        server = small_server(whole.state.proxy_app)
        with bind("127.0.0.1", 0) as listener:
            listener.listen()
            task = asyncio.create_task(server.serve([listener]))
            try:
                yield address_of(listener)
            finally:
                server.stop()
                await task


async def test_prometheus_answers_every_panel_and_rule_contract_98(
    data_dir: Path, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=redis_url)
    async with (
        listening(settings) as address,
        running_prometheus(tmp_path, address) as prometheus,
    ):

        async def is_read() -> bool:
            return bool(await prometheus.ask("vyrox_build_info"))

        async def are_evaluated() -> bool:
            return all(rule["health"] != "unknown" for rule in await prometheus.rules())

        await until(is_read)
        answers = {
            panel.title: [await prometheus.ask(query.text) for query in panel.queries]
            for panel in panels()
            if panel.queries
        }
        # Those that need no traffic have something to show at once.
        for title in ("Stores", "Clocks", "Not finished", "Dead letters", "Alerts in Redis"):
            assert all(answers[title]), title
        await until(are_evaluated)
        rules = await prometheus.rules()
    assert len(answers) >= 20
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] != "inactive"] == []
