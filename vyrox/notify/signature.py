"""The signature of a notification.

Source:
    Standard Webhooks 1.0.0, "Signature scheme" (HMAC-SHA256).
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

from vyrox.crypto import STANDARD_PREFIX, standard_key

PREFIX: Final = STANDARD_PREFIX.decode()


def make_secret() -> str:
    """Return a new random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Return the key in `secret`.

    Raises:
        ValueError: It is not a valid secret; the text does not contain it.
    """
    key = standard_key(secret.encode("utf-8", "replace"))
    if key is None:
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
