"""How long a containment is to last, for the commands that propose one (contract 68)."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MAX_LEASE_S: Final = 31_536_000

_LENGTH: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _check_length(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | None:
    if text is None:
        return None
    found = _LENGTH.fullmatch(text)
    seconds = 0 if found is None else int(found[1]) * _UNITS_S[found[2]]
    if not 1 <= seconds <= MAX_LEASE_S:
        raise click.BadParameter("must be a time such as 30m, 4h or 2d, at most 365d")
    return seconds


def lease_options(command: F) -> F:
    """Add the options `--lease` and `--no-end`; see `lease_of`."""
    lease = click.option(
        "--lease",
        "lease_s",
        callback=_check_length,
        help="How long the containment lasts (30m, 4h, 2d). Default: 4h.",
    )
    no_end = click.option(
        "--no-end", "has_no_end", is_flag=True, help="The containment does not end by itself."
    )
    return lease(no_end(command))


def lease_of(lease_s: int | None, *, has_no_end: bool) -> int | None:
    """Return `lease_s` of a proposal; None is the default. Raises UsageError."""
    if has_no_end and lease_s is not None:
        raise click.UsageError("Give either '--lease' or '--no-end'.")
    return 0 if has_no_end else lease_s
