"""What encrypts and decrypts the stored secrets, for the commands that need it."""

from cryptography.fernet import MultiFernet

from vyrox.cli.stores import Opened
from vyrox.store import encryption
from vyrox.tenants.records import holds_secrets


async def open_vault(opened: Opened) -> MultiFernet:
    """Return what encrypts the secrets of the opened database. It may make the key file.

    Raises:
        OperatorError: The key file is missing, or cannot be read or made.
    """
    settings = opened.settings
    is_key_in_use = await opened.database.read(holds_secrets)
    return encryption.open_vault(settings.encryption_keys, settings.data_dir, is_key_in_use)
