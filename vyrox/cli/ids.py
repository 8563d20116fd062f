"""Ids that people type: the first characters are enough (contract 87)."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import click

from vyrox.cli.stores import read
from vyrox.errors import OperatorError, VyroxError
from vyrox.store.prefixes import Kind, find_ids

MAX_NAMED: Final = 5
"""Ids that the error about an ambiguous beginning names."""

_BEGINNING: Final = re.compile(r"[0-9a-z-]{4,35}")
"""A whole id has 36 characters. What is neither is an id that the command does not find."""

V = TypeVar("V", str, str | None, tuple[str, ...])


class AmbiguousIdError(OperatorError):
    """Several ids begin with what was typed."""


def whole(kind: Kind, least: int = 4) -> Callable[[click.Context, click.Parameter, V], V]:
    """Return the callback of an argument or option that takes ids of a kind.

    Args:
        least: Characters from which on a text can be the beginning of an id.
    """

    def check(_context: click.Context, _parameter: click.Parameter, value: V) -> V:
        if isinstance(value, str):
            return _whole(kind, value, least)
        if isinstance(value, tuple):
            return tuple(_whole(kind, each, least) for each in value)
        return value

    return check


def _whole(kind: Kind, text: str, least: int) -> str:
    """Return the id that begins with `text`; the text itself if no id does.

    Raises:
        AmbiguousIdError: There are several.
    """
    if len(text) < least or _BEGINNING.fullmatch(text) is None:
        return text
    try:
        found = read(find_ids, kind, text, MAX_NAMED + 1)
    except VyroxError:
        return text  # the command says so itself, or needs no database
    if len(found) > 1:
        more = ", and more" if len(found) > MAX_NAMED else ""
        raise AmbiguousIdError(
            f"several {kind}s begin with {text}: {', '.join(found[:MAX_NAMED])}{more}"
        )
    return found[0] if found else text
