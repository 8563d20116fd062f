"""Stores for tests of alerts. `sqlite` is for tests that need only one kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import redis.asyncio

from tests.polling import PATIENCE_S
from vyrox.alerts import health
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import AlertQueue
from vyrox.store import redis as store_redis
from vyrox.store.database import Database, open_database
from vyrox.store.redis import connect

MAX_ALERTS: Final = 1000


@pytest.fixture(autouse=True)
def stores_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine. A test of a store that hangs sets a limit of its own."""
    monkeypatch.setattr(store_redis, "CALL_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(health, "TIMEOUT_S", PATIENCE_S)


@pytest.fixture
async def sqlite(data_dir: Path) -> AsyncIterator[Database]:
    async with open_database(None, data_dir) as opened:
        yield opened


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as connected:
        yield connected


@pytest.fixture
def queue(client: redis.asyncio.Redis) -> AlertQueue:
    return AlertQueue(client, MAX_ALERTS)


@pytest.fixture
def consumer(client: redis.asyncio.Redis, sqlite: Database) -> AlertConsumer:
    return AlertConsumer(client, sqlite)
