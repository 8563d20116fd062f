"""Mocked vendors on a real socket, for every test that asks for `field`."""

from collections.abc import AsyncIterator

import pytest

from tests.edr.mocked import serving_mocks
from tests.edr.operations import Field
from vyrox.edr.transport.calls import open_http


@pytest.fixture
async def field() -> AsyncIterator[Field]:
    async with serving_mocks() as (mocks, url), open_http() as http:
        yield Field(mocks, url, http)
        assert mocks.strays == []
        assert [violation for mock in mocks.mocks for violation in mock.violations] == []
