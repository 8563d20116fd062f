"""Tenant identifiers, the vendors' customer identifiers, and random identifiers."""

import re
import uuid
from typing import Final

from vyrox.models import Vendor


def new_id() -> str:
    """Return a random UUID (version 4) as text."""
    return str(uuid.uuid4())


_TENANT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Use it with `fullmatch` only: `$` would also match before a final newline."""

_DOT_SEGMENTS = frozenset({".", ".."})
"""Path segments that clients and proxies remove from a path, so they cannot name a tenant."""


def is_tenant_id(text: str) -> bool:
    """Return whether `text` is a valid tenant identifier."""
    return _TENANT_ID.fullmatch(text) is not None and text not in _DOT_SEGMENTS


def parse_tenant_id(value: object) -> str | None:
    """Return the tenant identifier in a decoded JSON value, or None if it is not valid.

    An integer is read as its digits. A boolean or a float is not valid.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**128:
        # Compare before the conversion: `str` of an integer with more than 4,300 digits raises.
        value = str(value)
    return value if isinstance(value, str) and is_tenant_id(value) else None


_UUID: Final = r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
_SPELLINGS: Final = {
    "crowdstrike": re.compile(rf"{_UUID}(?:-?[0-9a-f]{{2}})?"),
    "defender": re.compile(rf"\{{?{_UUID}\}}?"),
}


def normal_customer_id(vendor: Vendor, text: str) -> str:
    """Return a vendor's customer id in one spelling (contract 73).

    Falcon's ids are 32 hexadecimal digits, in any case, with or without dashes and a checksum of
    two digits. Microsoft's are GUIDs. All others are compared exactly.
    """
    spelling = _SPELLINGS.get(vendor)
    match = None if spelling is None else spelling.fullmatch(text.lower())
    return "".join(match.groups()) if match else text
