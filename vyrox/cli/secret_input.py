"""A secret from standard input: the one way in which commands take one."""

import click

from vyrox.errors import OperatorError
from vyrox.setting_values import check_ends


def read_secret(max_bytes: int) -> bytes:
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
        raise OperatorError(f"the secret {exc}") from exc
    return secret
