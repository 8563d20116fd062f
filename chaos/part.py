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
