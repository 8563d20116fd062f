"""Encryption of stored secrets: Fernet, several keys for rotation."""

import logging
import os
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

from vyrox.settings import Settings

KEY_FILE = "encryption.key"

logger = logging.getLogger("vyrox.encryption")


def open_vault(settings: Settings) -> MultiFernet:
    """Return what encrypts and decrypts stored secrets.

    The keys are those of VYROX_ENCRYPTION_KEY (the first encrypts, all decrypt), else the one in
    the data directory's key file, which is made on first use.
    """
    keys = settings.encryption_keys or (_key_file(settings.data_dir / KEY_FILE),)
    return MultiFernet([Fernet(key) for key in keys])


def _key_file(path: Path) -> str:
    try:
        # O_EXCL: of two processes that start together, one makes the key and the other reads it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii")
    key = Fernet.generate_key()
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    logger.warning(
        "VYROX_ENCRYPTION_KEY is not set: a key was made in %s. Back it up; without it the stored "
        "secrets cannot be read.",
        path,
    )
    return key.decode("ascii")
