"""Encryption of stored secrets: Fernet, with several keys for rotation.

Each secret is bound to its place: the plaintext names the tenant, the kind, and the vendor or the
target of notifications. So a database user without the key cannot move a secret to another tenant
by copying its row.
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vyrox.errors import OperatorError

logger = logging.getLogger("vyrox.store.encryption")

KEY_FILE: Final = "encryption.key"
"""The name of the key file in the data directory."""

Kind = Literal["webhook", "vendor", "notify url", "notify secret", "audit reader"]
"""What the secret authenticates: a vendor to a webhook, or Vyrox to the vendor or to a target of
notifications. The URL of a target is a secret too. A reader's key signs requests to Vyrox."""

_BOUND: Final = b"vyrox secret 1"
"""The plaintext of a bound secret begins with this. Earlier versions stored the secret alone."""


class MisplacedSecretError(InvalidToken):
    """The secret was encrypted for another tenant, place or kind: somebody changed its row."""


def encrypt_secret(
    vault: MultiFernet, secret: bytes, tenant_id: str, place: str, kind: Kind
) -> str:
    """Return `secret` encrypted. It can be decrypted only for the same tenant, place and kind.

    Args:
        place: The vendor, the id of the target, or the name of the reader.
    """
    return vault.encrypt(_bound_to(tenant_id, place, kind) + secret).decode()


def decrypt_secret(
    vault: MultiFernet, encrypted: str, tenant_id: str, place: str, kind: Kind
) -> bytes:
    """Return the secret. A secret that was stored before secrets were bound is valid everywhere.

    Raises:
        MisplacedSecretError: It was encrypted for another tenant, place or kind.
        InvalidToken: No key decrypts it.
    """
    plain = vault.decrypt(encrypted)
    if not plain.startswith(_BOUND):
        return plain
    prefix = _bound_to(tenant_id, place, kind)
    if not plain.startswith(prefix):
        raise MisplacedSecretError
    return plain[len(prefix) :]


def bind_secret(vault: MultiFernet, tenant_id: str, place: str, kind: Kind, encrypted: str) -> str:
    """Return `encrypted` bound to its place, or unchanged if it cannot be decrypted there."""
    try:
        secret = decrypt_secret(vault, encrypted, tenant_id, place, kind)
    except InvalidToken:
        return encrypted
    return encrypt_secret(vault, secret, tenant_id, place, kind)


def _bound_to(tenant_id: str, place: str, kind: Kind) -> bytes:
    # None of the three can hold a NUL (contract 7).
    return b"\0".join((_BOUND, tenant_id.encode(), place.encode(), kind.encode(), b""))


def open_vault(keys: Sequence[str], data_dir: Path, is_key_in_use: bool = False) -> MultiFernet:
    """Return the object that encrypts and decrypts stored secrets.

    Args:
        keys: Of VYROX_ENCRYPTION_KEY: the first encrypts, all decrypt. If there are none, the key
            in the data directory's key file is used, which is made on first use.
        data_dir: Where the key file is.
        is_key_in_use: The database holds secrets already, and a new key could not decrypt them. So
            a missing key file is an error.

    Raises:
        OperatorError: The key file is missing, cannot be read or made, or holds no key. The file is
            not changed.
    """
    if keys:
        return MultiFernet([Fernet(key) for key in keys])
    path = data_dir / KEY_FILE
    try:
        return MultiFernet([Fernet(_key_file(path, may_make=not is_key_in_use))])
    except FileNotFoundError as exc:
        raise OperatorError(
            f"{path} is missing, and the database holds secrets that were encrypted with its key: "
            "restore the file from a backup. If it is lost, set VYROX_ENCRYPTION_KEY to a new key "
            "and set every secret again"
        ) from exc
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise OperatorError(f"{path} holds no encryption key: restore it from a backup") from exc


def _key_file(path: Path, *, may_make: bool) -> bytes:
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if may_make else 0)
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # If two processes start together, the first makes the key and the second waits for it. A
        # process that is killed here leaves an empty file, and the next process fills it.
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
        "VYROX_ENCRYPTION_KEY is not set: a key was made in %s. Back it up: without it the stored "
        "secrets cannot be read.",
        path,
    )
    return key


def _sync_directory(path: Path) -> None:
    # The name of a new file is in its directory, and power loss can undo that alone.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
