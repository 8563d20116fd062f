"""What a tenant identifier may be, wherever one is read (contract 7)."""

import re

_TENANT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Used with `fullmatch` only: a trailing `$` would let a final newline through."""

_DOT_SEGMENTS = frozenset({".", ".."})
"""Path segments that a client or proxy resolves away, so that no route could name them."""


def is_tenant_id(text: str) -> bool:
    """Return whether `text` may name a tenant, in a path, on a command line or in a request."""
    return _TENANT_ID.fullmatch(text) is not None and text not in _DOT_SEGMENTS


def parse_tenant_id(value: object) -> str | None:
    """Return the tenant identifier that a decoded JSON value holds, or None where it holds none.

    An integer counts as its digits; a boolean and a float do not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**128:
        # Compared before it is converted: `str` of an integer beyond 4,300 digits raises.
        value = str(value)
    return value if isinstance(value, str) and is_tenant_id(value) else None
