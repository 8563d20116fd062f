"""`GET /health` of each listener."""

import os
from dataclasses import replace
from pathlib import Path

import httpx

from tests.ingestion import Application, running
from tests.service import HMAC_SECRET
from vyrox.app import create_app
from vyrox.settings import Settings


async def test_report_health_is_ok_while_both_stores_are_there(application: Application) -> None:
    answer = await application.client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["content-type"] == "application/json"


async def test_report_health_refuses_from_the_start_without_redis_contract_17(
    settings: Settings, redis_url: str
) -> None:
    away = replace(settings, redis_url="unix:///nowhere/valkey.sock")
    async with running(away, redis_url) as application:
        answer = await application.client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"detail": "service unavailable"})
    assert answer.headers["retry-after"] == "5"


async def test_report_health_of_the_proxy_touches_nothing_contract_28(data_dir: Path) -> None:
    """Not even the lifespan runs, so there is nothing open that it could touch."""
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir))
    transport = httpx.ASGITransport(whole.state.proxy_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vyrox") as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert os.listdir(data_dir) == []
