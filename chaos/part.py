"""What a part of the harness is told, and what it reports."""

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    part: str
    what: str
    done: int
    losses: int
    figure: str = ""


class Size(msgspec.Struct, frozen=True):
    """How much is to be done."""

    rounds: int
    requests: int
    samples: int
    long: bool


def quantile(values: list[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
