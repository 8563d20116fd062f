"""Opens what signs the checkpoints of the audit log, and who is asked to co-sign (93 and 95)."""

import logging
from contextlib import AsyncExitStack

from vyrox import log
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosigning import WitnessOutbox
from vyrox.chain.identity import Signer, read_log_name, register
from vyrox.chain.log_keys import open_log_keys
from vyrox.chain.notes import NoteError, read_key
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.errors import SettingsError
from vyrox.http.posting import open_posting
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


async def open_witnesses(
    stack: AsyncExitStack, settings: Settings, database: Database, checkpoints: Checkpoints | None
) -> list[WitnessOutbox]:
    """Return what is to be sent to each witness.

    Raises:
        SettingsError: There is no key for checkpoints, or a verifier key is wrong.
    """
    wanted = settings.checkpoints.witnesses
    if not wanted:
        return []
    if checkpoints is None:
        raise SettingsError("VYROX_CHECKPOINT_KEY is required with WITNESS_URLS")
    post = await stack.enter_async_context(open_posting(settings.outbound))
    try:
        keys = [None if each.key is None else read_key(each.key) for each in wanted]
    except NoteError as exc:
        raise SettingsError(f"WITNESS_URLS: {exc}") from exc
    clocks, names = (wall_clock, monotonic_clock), dict[str, str]()
    outboxes = [
        WitnessOutbox(each.url, key, database, checkpoints, post, clocks, names)
        for each, key in zip(wanted, keys, strict=True)
    ]
    checkpoints.followers += [each.follow for each in outboxes]
    return outboxes
