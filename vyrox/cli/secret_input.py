"""Secrets from standard input or a hidden prompt: the only ways in which commands take one (88)."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from vyrox.errors import OperatorError
from vyrox.settings.values import check_ends


@contextmanager
def ctrl_c_ends() -> Iterator[None]:
    """Let Ctrl-C end a prompt at once, also within `asyncio.run`, which only notes the first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prompt(name: str) -> str:
    with ctrl_c_ends():
        return str(click.prompt(name, hide_input=True, err=True))


def read_secret(max_bytes: int, name: str = "secret") -> bytes:
    """Return what is typed at a hidden prompt, or what standard input holds without one line end.

    Of what is too long, it may return a byte more than allowed.

    Raises:
        OperatorError: Other white space is at an end: it would become part of the secret.
    """
    if is_terminal():
        secret = _prompt(name).encode(errors="surrogateescape")
    else:
        with click.open_file("-", "rb") as stdin:
            secret = stdin.read(max_bytes + 3)
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
        return [_prompt(name) for name in names]
    try:
        lines = read_secret(max_bytes, " or the ".join(names)).decode().split("\n")
    except UnicodeDecodeError as exc:
        raise OperatorError("standard input must be UTF-8") from exc
    if len(lines) != len(names) or not all(lines):
        wanted = ", then ".join(f"the {name} on a line" for name in names)
        raise OperatorError(f"standard input must hold {wanted}, and nothing more")
    return [line.removesuffix("\r") for line in lines]
