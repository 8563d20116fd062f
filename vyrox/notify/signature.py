"""The signature of a notification.

Source:
    Standard Webhooks 1.0.0, "Signature scheme" (HMAC-SHA256).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

PREFIX: Final = "whsec_"
"""A secret is this and then Base64 of the key."""

KEY_BYTES: Final = range(24, 65)
"""Sizes of a key that the standard allows."""


def make_secret() -> str:
    """Return a new random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Return the key in `secret`.

    Raises:
        ValueError: It is not a valid secret; the text does not contain it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError(f"must be {PREFIX} and Base64 of 24 to 64 bytes")
    return key


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers with which a receiver can verify `body`. Raises as `key_of`."""
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    digest = hmac.digest(key_of(secret), content, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
