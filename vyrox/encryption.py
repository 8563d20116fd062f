"""Encryption of stored secrets: Fernet, several keys for rotation."""

import fcntl
import logging
import os
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

from vyrox.errors import OperatorError
from vyrox.settings import Settings

KEY_FILE = "encryption.key"

logger = logging.getLogger("vyrox.encryption")


def open_vault(settings: Settings) -> MultiFernet:
    """Return what encrypts and decrypts stored secrets.

    The keys are those of VYROX_ENCRYPTION_KEY (the first encrypts, all decrypt), else the one in
    the data directory's key file, which is made on first use.

    Raises:
        OperatorError: The key file cannot be read or made, or holds no key. It is left as it is.
    """
    if settings.encryption_keys:
        return MultiFernet([Fernet(key) for key in settings.encryption_keys])
    path = settings.data_dir / KEY_FILE
    try:
        return MultiFernet([Fernet(_key_file(path))])
    except OSError as exc:
        raise OperatorError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise OperatorError(f"{path} holds no encryption key; restore it from a backup") from exc


def _key_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # Of two processes that start together, one makes the key and the other waits for it. One
        # that is killed here leaves an empty file, in which the next makes its own.
        fcntl.flock(file, fcntl.LOCK_EX)
        key = file.read()
        if key:
            return key
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
