"""Secrets from standard input or a prompt: the only ways in which commands take one."""

import sys
from collections.abc import Sequence

import click

from vyrox.errors import OperatorError
from vyrox.settings.values import check_ends


def read_secret(max_bytes: int, name: str = "secret") -> bytes:
    """Return what standard input holds, without one line end; a byte more if it holds too much.

    Raises:
        OperatorError: Other white space is at an end: it would become part of the secret.
    """
    with click.open_file("-", "rb") as stdin:
        secret: bytes = stdin.read(max_bytes + 3)
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    try:
        check_ends(secret.decode("utf-8", "replace"))
    except ValueError as exc:
        raise OperatorError(f"the {name} {exc}") from exc
    return secret


def is_terminal() -> bool:
    """Return whether a person types standard input."""
    return sys.stdin.isatty()


def read_secret_lines(names: Sequence[str], max_bytes: int) -> list[str]:
    """Return a text for each of `names`: from a prompt in a terminal, else a line each.

    Raises:
        OperatorError: Standard input does not hold this number of lines, or as `read_secret`.
    """
    if is_terminal():
        return [str(click.prompt(name, hide_input=True, err=True)) for name in names]
    try:
        lines = read_secret(max_bytes, " or the ".join(names)).decode().split("\n")
    except UnicodeDecodeError as exc:
        raise OperatorError("standard input must be UTF-8") from exc
    if len(lines) != len(names) or not all(lines):
        wanted = ", then ".join(f"the {name} on a line" for name in names)
        raise OperatorError(f"standard input must hold {wanted}, and nothing more")
    return [line.removesuffix("\r") for line in lines]
