"""The arguments and the result of every part of the harness, and the limit on its waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec


class Size(msgspec.Struct, frozen=True):
    """How much is done.

    Attributes:
        rounds: Kills, and stops, under load.
        requests: Of the fuzzer.
        samples: Of the timing comparison, for each class.
        long: Whether to do and judge what needs hours, or a quiet machine.
    """

    rounds: int
    requests: int
    samples: int
    long: bool


class Row(msgspec.Struct, frozen=True):
    """One line of the table.

    Attributes:
        part: The module that has found it.
        done: How often it was tried, or how many there were.
        losses: How many of them broke the promise: any makes the run fail.
        figure: What was measured.
    """

    part: str
    what: str
    done: int
    losses: int
    figure: str = ""


class HangError(Exception):
    """Something did not end in time; the text says what."""


@asynccontextmanager
async def limit(seconds: float, what: str) -> AsyncIterator[None]:
    """Allow the block `seconds`.

    Raises:
        HangError: It took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise HangError(f"{what}: not within {seconds:g} s") from exc


def quantile(values: list[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
