"""`python -m chaos [PART ...]`: run the parts, print the table, fail on any loss."""

import argparse
import asyncio
import importlib
import sys
import time
import traceback
from pathlib import Path
from typing import Final, Protocol, cast

from chaos.part import Row, Size
from chaos.report import machine, table


class Part(Protocol):
    """A module of the harness."""

    async def run(self, size: Size) -> list[Row]:
        """Return what was done and lost."""
        ...


PART_LIMITS_S: Final = {
    "kill": 120.0,
    "steps": 120.0,
    "stores": 120.0,
    "disk": 60.0,
    "shutdown": 180.0,
    "flood": 120.0,
    "credentials": 60.0,
    "timing": 60.0,
    "fuzz": 240.0,
}
"""Each part, and how long its short form may take on a busy machine before it counts as hung."""

LONG_LIMIT_S: Final = 6 * 3600.0


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    asked = _parse()
    rows: list[Row] = []
    for name in asked.parts or PART_LIMITS_S:
        started_at = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += _run(name, _size(asked))
        print(f"{name}: {time.monotonic() - started_at:.1f} s", file=sys.stderr, flush=True)
    text = f"{table(rows)}\n\n{machine()}\n"
    print(text)
    if asked.out is not None:
        asked.out.write_text(text)
    return 1 if any(row.losses for row in rows) else 0


def _run(name: str, size: Size) -> list[Row]:
    part = cast(Part, importlib.import_module(f"chaos.{name}"))

    async def limited() -> list[Row]:
        async with asyncio.timeout(LONG_LIMIT_S if size.long else PART_LIMITS_S[name]):
            return await part.run(size)

    try:
        return asyncio.run(limited())
    except (Exception, asyncio.CancelledError) as exc:
        # The other parts go on, and the run fails.
        traceback.print_exc()
        return [Row(name, "did not end", 1, 1, f"{type(exc).__name__}: {exc}")]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PART_LIMITS_S], metavar="PART")
    parser.add_argument("--rounds", type=int, help="kills and stops; given, the long form is run")
    parser.add_argument("--out", type=Path, help="where the table is written as well")
    return parser.parse_args()


def _size(asked: argparse.Namespace) -> Size:
    if asked.rounds is None:
        return Size(rounds=20, requests=100_000, samples=2_000, long=False)
    return Size(rounds=asked.rounds, requests=1_000_000, samples=100_000, long=True)


if __name__ == "__main__":
    sys.exit(main())
