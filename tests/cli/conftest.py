"""The commands' stores may be slow: no test of a command is about how long it waits for them."""

from collections.abc import Iterator

import pytest

from tests.patience import patient_stores


@pytest.fixture(autouse=True)
def patient_commands() -> Iterator[None]:
    with patient_stores():
        yield
