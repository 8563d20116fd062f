"""Where the stores of tests have their files: in memory, as no test cuts the power."""

import shutil
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (every name in it is a random one)
_ENOUGH: Final = 4 << 30


def _in_memory() -> str | None:
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ENOUGH:
        return None
    return str(_MEMORY)


QUICK_FILES: Final = _in_memory()
"""The `dir` of `tempfile`'s functions; None, which is their own choice, where memory is scarce."""
