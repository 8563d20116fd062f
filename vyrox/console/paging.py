"""Places in the console's lists (contract 76).

A list is read from a place on, never by counting rows: the millionth row costs what the first does.
"""

import base64
import binascii
from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request

from vyrox.errors import NotFoundError

PAGE_ROWS: Final = 50
"""Rows of a list that one page shows."""

MAX_CURSOR: Final = 1024
"""Characters of a place."""


def cursor(value: float | str, row_id: str) -> str:
    """Return the place of a row: what the list is sorted by, and the row's id."""
    encoded = msgspec.json.encode((value, row_id))
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def parse_cursor(text: str | None) -> tuple[float | str, str] | None:
    """Return the place that the address of a page names, or None: the list's beginning.

    Raises:
        NotFoundError: The text is not a place.
    """
    if not text:
        return None
    try:
        if len(text) > MAX_CURSOR:
            raise NotFoundError("not a place in a list")
        encoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        value, row_id = msgspec.json.decode(encoded, type=tuple[float | str, str])
    except (binascii.Error, msgspec.DecodeError, ValueError) as exc:
        raise NotFoundError("not a place in a list") from exc
    if "\0" in row_id or (isinstance(value, str) and "\0" in value):
        raise NotFoundError("not a place in a list")
    return value, row_id


def here_with(request: Request, **changed: str | None) -> str:
    """Return the address of this page with other parameters; None leaves one out.

    A page that a form has led to says `done` once: it is left out.
    """
    kept = {**request.query_params, "done": None, **changed}
    query = urlencode({name: value for name, value in kept.items() if value})
    return f"{request.url.path}{'?' if query else ''}{query}"
