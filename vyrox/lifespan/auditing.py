"""Opens what signs the checkpoints of the audit log (contract 93)."""

import logging

from vyrox import log
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.identity import Signer, read_log_name, register
from vyrox.chain.log_keys import open_log_keys
from vyrox.clock import wall_clock
from vyrox.settings import Settings
from vyrox.store.database import Database


async def open_checkpoints(settings: Settings, database: Database) -> Checkpoints | None:
    """Return the checkpoints, or None if there is no key for them.

    Raises:
        OperatorError: The key file cannot be used.
    """
    # A file in one container would be another key than that of the other containers.
    directory = settings.data_dir.resolve() if settings.database_url is None else None
    keys = open_log_keys(settings.checkpoints.keys, directory, make=True)
    if not keys:
        log.event("checkpoint.off", logging.WARNING, use="VYROX_CHECKPOINT_KEY")
        return None
    name = await database.read(read_log_name, settings.checkpoints.origin)
    signer = Signer(name, tuple(keys))
    await database.write(register, signer, wall_clock())
    return Checkpoints(database, wall_clock, signer)
