"""`python -m chaos [PART ...]`: run the parts, print the table, fail on any loss.

Each part is a process of its own, which is killed if it hangs. In the short form some run at the
same time, as most of them mostly wait. The long form runs one part after the other, so that the
figures can be compared.
"""

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import msgspec

from chaos.part import Row, Size
from chaos.report import machine, table

PART_LIMITS_S: Final = {
    "kill": 300.0,
    "steps": 240.0,
    "triage": 360.0,
    "decisions": 400.0,
    "stores": 240.0,
    "disk": 180.0,
    "shutdown": 300.0,
    "clocks": 180.0,
    "flood": 200.0,
    "malformed": 120.0,
    "credentials": 60.0,
    "timing": 180.0,
    "fuzz": 400.0,
}
"""Each part, and how long its short form may take on a busy machine before it counts as hung."""

LONG_ALONE: Final = ("mutants",)
"""Run in the long form, or when named."""

AT_ONCE: Final = 3
"""How many parts run at the same time in the short form. Those that may take longest begin."""

LONG_LIMIT_S: Final = 6 * 3600.0

SHORT: Final = Size(rounds=12, requests=60_000, samples=500, long=False)


class Part(Protocol):
    """A module of the harness."""

    async def run(self, size: Size) -> list[Row]:
        """Return what was done and lost."""
        ...


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    asked = _parse()
    size = _size(asked)
    if asked.inside:
        rows = asyncio.run(_run_inside(asked.parts[0], size))
        sys.stdout.buffer.write(msgspec.json.encode(rows))
        return 0
    names = asked.parts or [*PART_LIMITS_S, *(LONG_ALONE if size.long else ())]
    rows = asyncio.run(_run_all(names, size))
    text = f"{table(rows)}\n\n{machine()}\n"
    print(text)
    if asked.out is not None:
        asked.out.write_text(text)
    return 1 if any(row.losses for row in rows) else 0


async def _run_all(names: Sequence[str], size: Size) -> list[Row]:
    found: dict[str, list[Row]] = {}
    begin = names if size.long else sorted(names, key=_limit_s, reverse=True)
    waiting = iter(begin)

    async def run_some() -> None:
        for name in waiting:
            found[name] = await _run_apart(name, size)

    async with asyncio.TaskGroup() as group:
        for _ in range(1 if size.long else AT_ONCE):
            group.create_task(run_some())
    return [row for name in names for row in found[name]]


def _limit_s(name: str) -> float:
    return PART_LIMITS_S.get(name, LONG_LIMIT_S)


async def _run_apart(name: str, size: Size) -> list[Row]:
    """Run a part in a process of its own; return its failure as a row."""
    started_at = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos", name, "--inside"),
        *(("--rounds", str(size.rounds)) if size.long else ()),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    limit_s = LONG_LIMIT_S if size.long else _limit_s(name)
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
        rows = msgspec.json.decode(output, type=list[Row])
    except TimeoutError:
        rows = [Row(name, "did not end", 1, 1, f"hung: not within {limit_s:g} s")]
    except msgspec.DecodeError as exc:
        rows = [Row(name, "did not end", 1, 1, f"exit code {process.returncode}; {exc}")]
    finally:
        # And every process that a part has left running.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    print(f"{name}: {time.monotonic() - started_at:.0f} s", file=sys.stderr, flush=True)
    return rows


async def _run_inside(name: str, size: Size) -> list[Row]:
    part = cast(Part, importlib.import_module(f"chaos.{name}"))
    try:
        return await part.run(size)
    except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001  (a row, so the run fails)
        traceback.print_exc()
        return [Row(name, "did not end", 1, 1, f"{type(exc).__name__}: {exc}")]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PART_LIMITS_S))
    parser.add_argument("--rounds", type=int, help="kills and stops; given, the long form is run")
    parser.add_argument("--out", type=Path, help="where the table is written as well")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PART_LIMITS_S.keys() - set(LONG_ALONE):
        parser.error(f"no such part: {min(unknown)}")
    return asked


def _size(asked: argparse.Namespace) -> Size:
    if asked.rounds is None:
        return SHORT
    return Size(rounds=asked.rounds, requests=1_000_000, samples=100_000, long=True)


if __name__ == "__main__":
    sys.exit(main())
