"""`vyrox serve` as in `tests.service`, with long limits: a busy machine must not make it a 503."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.patience import PATIENT_VYROX
from tests.service import Service, running_service


def patient_service(data_dir: Path, **extra: str) -> AbstractAsyncContextManager[Service]:
    """Run it until the block ends."""
    return running_service(data_dir, "-c", PATIENT_VYROX, "serve", **extra)
