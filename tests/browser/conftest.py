"""Tests in a real browser. `make test-browser` runs them; no other target needs one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.site import Site, running_site


@pytest.fixture
async def site(data_dir: Path) -> AsyncIterator[Site]:
    async with running_site(data_dir, TRIAGE_ENABLED="true") as running:
        yield running
