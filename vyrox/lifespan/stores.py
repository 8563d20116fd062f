"""The stores of the service: the database, Redis, and the keys of what is encrypted in them."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import redis.asyncio
from cryptography.fernet import MultiFernet

from vyrox.errors import OperatorError, UnavailableError
from vyrox.settings import Settings
from vyrox.store import data_dir
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import open_vault
from vyrox.store.redis import connect
from vyrox.store.valkey import embedded_valkey
from vyrox.tenants.records import holds_secrets


@dataclass(frozen=True)
class Stores:
    """The open stores, and the keys of what is encrypted in them."""

    database: Database
    redis: redis.asyncio.Redis
    vault: MultiFernet


async def open_stores(stack: AsyncExitStack, settings: Settings) -> Stores:
    """Open the stores; the stack closes them.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    directory = data_dir.prepare(settings.data_dir)
    stack.enter_context(data_dir.owned(directory))
    try:
        database = await stack.enter_async_context(open_database(settings.database_url, directory))
    except UnavailableError as exc:
        raise OperatorError(f"the database cannot be opened: {exc}") from exc
    url = settings.redis_url
    if url is None:
        url = await stack.enter_async_context(embedded_valkey(directory))
    client = await stack.enter_async_context(connect(url))
    is_key_in_use = await database.read(holds_secrets)
    vault = open_vault(settings.encryption_keys, directory, is_key_in_use)
    return Stores(database, client, vault)
