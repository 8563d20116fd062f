"""Bodies as received, for people: as text that nothing can hide in, and as a file (contract 79)."""

import re
from typing import Final

import msgspec
from starlette.responses import Response

MAX_SHOWN_BYTES: Final = 32_768
"""Of a body on a page. A larger one is shown as far as that, as it is."""

MAX_SHOWN: Final = 65_536
"""Characters on a page: a body that is nested deeply becomes much longer when it is indented."""

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9-]+")


class ShownRaw(msgspec.Struct, frozen=True):
    """A body on a page.

    Attributes:
        lines: Bytes that are not text are escaped.
        size: Bytes of the whole.
        is_whole: Whether all of it is here.
    """

    lines: list[str]
    size: int
    is_whole: bool


def shown_raw(start: bytes, size: int) -> ShownRaw:
    """Return a body for a page, indented if it is JSON.

    Args:
        start: Its first MAX_SHOWN_BYTES.
        size: Of the whole.
    """
    is_whole = len(start) == size
    text = (_indented(start) if is_whole else start).decode("utf-8", "backslashreplace")
    if len(text) > MAX_SHOWN:
        is_whole = False
        text = text[:MAX_SHOWN]
    return ShownRaw(text.removesuffix("\n").replace("\r\n", "\n").split("\n"), size, is_whole)


def _indented(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=2)
    except (ValueError, RecursionError):
        return body


def as_file(body: bytes, name: str) -> Response:
    """Return a body as received, as a file that the browser saves and does not show."""
    safe = _NOT_IN_A_NAME.sub("-", name).strip("-")[:80]
    return Response(
        body,
        media_type="text/plain; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{safe}.txt"'},
    )
