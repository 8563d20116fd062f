"""A stored secret as it may be shown: the first digits of its SHA-256 (contract 75)."""

from hashlib import sha256
from typing import Final

from cryptography.fernet import InvalidToken, MultiFernet

from vyrox.store.encryption import decrypt_secret

DIGITS: Final = 8
"""Hexadecimal digits that are shown."""


def fingerprint(
    vault: MultiFernet, tenant_id: str, vendor: str, encrypted: str | None
) -> str | None:
    """Return the fingerprint of a webhook's secret; None: not stored, or no key decrypts it."""
    if encrypted is None:
        return None
    try:
        secret = decrypt_secret(vault, encrypted, tenant_id, vendor, "webhook")
    except InvalidToken:
        return None
    return sha256(secret).hexdigest()[:DIGITS]
