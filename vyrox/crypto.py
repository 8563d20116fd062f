"""Sign and verify request bodies with HMAC-SHA256 (contract 4 and 5)."""

import base64
import binascii
import hmac
from typing import Final

STANDARD_PREFIX: Final = b"whsec_"
"""A secret of Standard Webhooks is this and then Base64 of the key."""

STANDARD_KEY_BYTES: Final = range(24, 65)
"""Sizes of a key that Standard Webhooks allow."""


def standard_key(secret: bytes) -> bytes | None:
    """Return the key in a secret of Standard Webhooks; None if it is not one."""
    try:
        key = base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    is_valid = secret.startswith(STANDARD_PREFIX) and len(key) in STANDARD_KEY_BYTES
    return key if is_valid else None


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def sign(payload: str | bytes, secret: str | bytes) -> str:
    """Return `"sha256=" + hex(HMAC-SHA256(secret, payload))`; text counts as its UTF-8 bytes."""
    return "sha256=" + hmac.digest(_to_bytes(secret), _to_bytes(payload), "sha256").hex()


def verify(payload: str | bytes, signature: str | bytes, secret: str | bytes) -> bool:
    """Return whether `signature` equals the result of `sign`, compared in constant time.

    The signature is compared as bytes and never decoded. So a signature in another form is as wrong
    as any other, and takes the same time. This never raises, whatever the `signature`.
    """
    expected = sign(payload, secret).encode("ascii")
    return hmac.compare_digest(_to_bytes(signature), expected)
