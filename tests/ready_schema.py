"""The present schema, copied: running the migrations costs more than most tests."""

import asyncio
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.quick_files import QUICK_FILES
from vyrox.store import database
from vyrox.store.database import SQLITE_FILE, open_database


async def _migrate(directory: Path) -> None:
    async with open_database(None, directory):
        pass


def copy_file(source: Path, target: Path) -> None:
    """Copy `source` unless `target` exists. The copy appears as a whole."""
    part = target.with_name(str(uuid.uuid4()))
    with suppress(OSError):  # the product meets the same obstacle, and says so
        shutil.copyfile(source, part)
        with suppress(FileExistsError):
            os.link(part, target)
        part.unlink()


@contextmanager
def ready_schema() -> Iterator[None]:
    """Let each new SQLite database of this process begin as a copy of a migrated one."""
    connect = database._connect
    with tempfile.TemporaryDirectory(prefix="vx-", dir=QUICK_FILES) as directory:
        asyncio.run(_migrate(Path(directory)))
        migrated = Path(directory) / SQLITE_FILE

        @functools.wraps(connect)
        async def connect_to_copy(
            url: str | None, data_dir: Path, *, urgent: bool
        ) -> database._Connected:
            file = data_dir / SQLITE_FILE
            if url is None and not file.exists():
                copy_file(migrated, file)
            return await connect(url, data_dir, urgent=urgent)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "_connect", connect_to_copy)
            yield
