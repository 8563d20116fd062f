"""A tenant that is polled, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.audit import Clock
from tests.pollers.site import NOW, Site
from vyrox.edr.transport.calls import open_http
from vyrox.models import EdrVendor
from vyrox.store.database import open_database
from vyrox.store.redis import connect
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving


@pytest.fixture(params=["crowdstrike", "sentinelone", "defender"])
def vendor(request: pytest.FixtureRequest) -> EdrVendor:
    found: EdrVendor = request.param
    return found


@pytest.fixture
async def site(
    vendor: EdrVendor, data_dir: Path, redis_url: str, database_url: str | None
) -> AsyncIterator[Site]:
    clock = Clock(NOW)
    mock = MockEdr(clock)
    async with (
        open_database(database_url, data_dir) as database,
        connect(redis_url) as client,
        serving(mock) as url,
        open_http() as http,
    ):
        made = Site(vendor, database, client, mock, http, url, clock)
        made.forget()
        await made.set_up()
        yield made
        assert mock.violations == []
