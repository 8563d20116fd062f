"""The mock in process, and one caller of each vendor."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.trial.mock_edr import Caller, Falcon, defender_of, falcon_of, sentinelone_of
from vyrox.trial.mock_edr.app import MockEdr


@pytest.fixture
def mock() -> MockEdr:
    return MockEdr()


@pytest.fixture
async def http(mock: MockEdr) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(mock.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://mock") as client:
        yield client


@pytest.fixture
async def falcon(mock: MockEdr, http: httpx.AsyncClient) -> Falcon:
    return await falcon_of(mock, http)


@pytest.fixture
def sentinelone(mock: MockEdr, http: httpx.AsyncClient) -> Caller:
    return sentinelone_of(mock, http)


@pytest.fixture
async def defender(mock: MockEdr, http: httpx.AsyncClient) -> Caller:
    return await defender_of(mock, http)
