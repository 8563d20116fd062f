"""Sign and verify request bodies with HMAC-SHA256 (contract 4 and 5)."""

import hmac
import re

_SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}", re.ASCII)
"""The one documented form. No upper case, no other prefix, no white space."""


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def sign(payload: str | bytes, secret: str | bytes) -> str:
    """Return `"sha256=" + hex(HMAC-SHA256(secret, payload))`; text counts as its UTF-8 bytes."""
    return "sha256=" + hmac.digest(_to_bytes(secret), _to_bytes(payload), "sha256").hex()


def verify(payload: str | bytes, signature: str | bytes, secret: str | bytes) -> bool:
    """Return whether `signature` is what `sign` gives, compared as bytes in constant time.

    Never raises for any `signature`: a malformed one is computed against like any other and is
    False, so that neither the answer nor the time says what was wrong with it.
    """
    claimed = _to_bytes(signature)
    expected = sign(payload, secret).encode("ascii")
    well_formed = _SIGNATURE.fullmatch(claimed) is not None
    return hmac.compare_digest(claimed, expected) and well_formed
