"""Every webhook secret that is stored, decrypted: for `vyrox tenant explain` only."""

from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.crypto import standard_key
from vyrox.models import Vendor
from vyrox.store.encryption import MisplacedSecretError, decrypt_secret
from vyrox.store.tables import tenant_credentials
from vyrox.tenants.webhook_options import WebhookOptions, decode_options

_table = tenant_credentials.c


class Stored(msgspec.Struct, frozen=True):
    """The secrets of one tenant at one vendor; None: not stored, or no key decrypts it.

    Attributes:
        previous_until: Until when the previous secret is valid, in Unix seconds.
        removed: The secret of a removed tenant.
        text: The present secret as it was configured, if it holds another key.
    """

    tenant_id: str
    vendor: Vendor
    options: WebhookOptions
    present: bytes | None
    previous: bytes | None
    previous_until: float
    removed: bytes | None
    text: bytes | None

    def __repr__(self) -> str:
        """Return a text without secrets: an error could print it."""
        return f"Stored({self.tenant_id!r}, {self.vendor!r})"


def read_stored(connection: Connection, vault: MultiFernet) -> list[Stored]:
    """Return the secrets of all tenants, in order of name."""
    query = sa.select(tenant_credentials).order_by(_table.tenant_id, _table.vendor)
    return [_stored(row, vault) for row in connection.execute(query)]


def _stored(row: sa.Row[Any], vault: MultiFernet) -> Stored:
    options = decode_options(row.webhook_options)
    texts = {
        column: _decrypted(row, column, vault)
        for column in ("secret", "previous_secret", "kept_secret")
    }
    is_standard = options.signature == "standard"
    keys = {
        column: (standard_key(text) or text) if is_standard and text else text
        for column, text in texts.items()
    }
    present = keys["secret"]
    return Stored(
        tenant_id=row.tenant_id,
        vendor=row.vendor,
        options=options,
        present=present,
        previous=keys["previous_secret"],
        previous_until=row.previous_expires_at or 0.0,
        removed=keys["kept_secret"],
        text=texts["secret"] if texts["secret"] != present else None,
    )


def _decrypted(row: sa.Row[Any], column: str, vault: MultiFernet) -> bytes | None:
    encrypted: str | None = row._mapping[column]
    if encrypted is None:
        return None
    try:
        return decrypt_secret(vault, encrypted, row.tenant_id, row.vendor, "webhook")
    except (InvalidToken, MisplacedSecretError):
        return None
