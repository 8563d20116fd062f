"""Encryption of stored secrets: Fernet, several keys for rotation, each secret bound to its place.

A database user without the key must not be able to give one tenant's secret to another by copying
its row. So the plaintext names the tenant, the vendor and the kind of the secret.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import Final, Literal

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.settings import Settings

KEY_FILE = "encryption.key"

Kind = Literal["webhook", "vendor"]
"""What a stored secret is for: a webhook's credential, or Vyrox's own at the vendor."""

_BOUND: Final = b"vyrox secret 1"
"""Begins the plaintext of a bound secret. Earlier versions stored the secret alone."""


class MisplacedSecretError(InvalidToken):
    """The secret was encrypted for another tenant, vendor or kind: its row was exchanged."""


def encrypt_secret(
    vault: MultiFernet, secret: bytes, tenant_id: str, vendor: Vendor, kind: Kind
) -> str:
    """Return `secret` encrypted, and bound to its place: in another it is not decrypted."""
    return vault.encrypt(_place(tenant_id, vendor, kind) + secret).decode()


def decrypt_secret(
    vault: MultiFernet, encrypted: str, tenant_id: str, vendor: Vendor, kind: Kind
) -> bytes:
    """Return the secret. One that was stored before secrets were bound is accepted anywhere.

    Raises:
        MisplacedSecretError: It is bound to another place.
        InvalidToken: No key decrypts it.
    """
    plain = vault.decrypt(encrypted)
    if not plain.startswith(_BOUND):
        return plain
    place = _place(tenant_id, vendor, kind)
    if not plain.startswith(place):
        raise MisplacedSecretError
    return plain[len(place) :]


def bind_secret(
    vault: MultiFernet, tenant_id: str, vendor: Vendor, kind: Kind, encrypted: str
) -> str:
    """Return `encrypted` bound to its place; as it is if it cannot be decrypted there."""
    try:
        secret = decrypt_secret(vault, encrypted, tenant_id, vendor, kind)
    except InvalidToken:
        return encrypted
    return encrypt_secret(vault, secret, tenant_id, vendor, kind)


def _place(tenant_id: str, vendor: Vendor, kind: Kind) -> bytes:
    # None of the three can hold a NUL (contract 7).
    return b"\0".join((_BOUND, tenant_id.encode(), vendor.encode(), kind.encode(), b""))


logger = logging.getLogger("vyrox.store.encryption")


def open_vault(settings: Settings, is_key_in_use: bool = False) -> MultiFernet:
    """Return what encrypts and decrypts stored secrets.

    The keys are those of VYROX_ENCRYPTION_KEY (the first encrypts, all decrypt), else the one in
    the data directory's key file, which is made on first use.

    Args:
        settings: Where the keys are.
        is_key_in_use: The database holds secrets already, so a new key could not decrypt them: a
            missing key file is an error.

    Raises:
        OperatorError: The key file cannot be read or made, is missing, or holds no key. It is left
            as it is.
    """
    if settings.encryption_keys:
        return MultiFernet([Fernet(key) for key in settings.encryption_keys])
    path = settings.data_dir / KEY_FILE
    try:
        return MultiFernet([Fernet(_key_file(path, may_make=not is_key_in_use))])
    except FileNotFoundError as exc:
        raise OperatorError(
            f"{path} is missing, and the database holds secrets that its key has encrypted: "
            "restore it from a backup. If it is lost, set VYROX_ENCRYPTION_KEY to a new key "
            "and set every secret again"
        ) from exc
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise OperatorError(f"{path} holds no encryption key; restore it from a backup") from exc


def _key_file(path: Path, *, may_make: bool) -> bytes:
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if may_make else 0)
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # Of two processes that start together, one makes the key and the other waits for it. One
        # that is killed here leaves an empty file, in which the next makes its own.
        fcntl.flock(file, fcntl.LOCK_EX)
        key = file.read()
        if key:
            return key
        if not may_make:
            raise FileNotFoundError(path)
        key = Fernet.generate_key()
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
        _sync_directory(path.parent)
    logger.warning(
        "VYROX_ENCRYPTION_KEY is not set: a key was made in %s. Back it up; without it the stored "
        "secrets cannot be read.",
        path,
    )
    return key


def _sync_directory(path: Path) -> None:
    # A new file's name is in its directory, which power loss can take back on its own.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
