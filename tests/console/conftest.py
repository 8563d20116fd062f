"""The console, on real stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.console.running import Running, running
from tests.patience import patient_stores
from tests.service import HMAC_SECRET
from vyrox.settings import Settings


@pytest.fixture
def settings(data_dir: Path, redis_url: str, database_url: str | None) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=redis_url,
        database_url=database_url,
        dry_run=False,
        triage_enabled=False,
        encryption_keys=(Fernet.generate_key().decode(),),
    )


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Running]:
    with patient_stores():
        async with running(settings) as found:
            yield found
