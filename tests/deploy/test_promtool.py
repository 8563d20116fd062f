"""Prometheus' own program reads the alert rules, and what `/metrics` returns (contract 98)."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.service import HMAC_SECRET
from vyrox.app import create_app
from vyrox.settings import Settings

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
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
