"""The table that a run ends with."""

import os
import platform
from collections.abc import Sequence
from typing import Final

from chaos.part import Row

_TITLES: Final = ("part", "what", "done", "losses", "figure")


def table(rows: Sequence[Row]) -> str:
    """Return `rows` as a Markdown table."""
    cells = [
        _TITLES,
        *((row.part, row.what, f"{row.done:,}", f"{row.losses:,}", row.figure) for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def machine() -> str:
    """Return a line about where the figures come from; the load is that of everything on it."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load average {load}"
