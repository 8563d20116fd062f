"""The application of the ingestion listener, on real stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.ingestion import Application, running
from tests.service import HMAC_SECRET
from vyrox.settings import Settings


@pytest.fixture
def settings(data_dir: Path, redis_url: str) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=redis_url,
        triage_enabled=False,  # the tests read the queue themselves
        encryption_keys=(Fernet.generate_key().decode(),),
    )


@pytest.fixture
async def application(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """The application on SQLite; the tenants of the documented payloads are onboarded."""
    async with running(settings, redis_url) as opened:
        await opened.onboard_documented()
        yield opened
