"""The identity of this log: its name, and the keys that have signed for it (contract 93)."""

import logging
import secrets
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.entry import SERVICE, Stream
from vyrox.chain.events import event
from vyrox.chain.log_keys import LogKey
from vyrox.chain.notes import NOTE, Checkpoint, Key, Note, sign_note, sign_time
from vyrox.chain.writer import append
from vyrox.store.locks import lock_chains
from vyrox.store.tables import audit_identity, checkpoint_keys

SERVICE_NAME: Final = "~service"
"""The service's own chain in an origin. No tenant can have this id."""

NEW_KEY: Final = "vyrox-checkpoint-key-v1"
"""The first line of a note with which a key names the next one."""

_c: Final = checkpoint_keys.c


class KnownKey(msgspec.Struct, frozen=True):
    """A key that has signed checkpoints.

    Attributes:
        log: The name of the log when it was first used.
        since: When that was, in Unix seconds.
        endorsement: A note of the key before, that names this key; None: that key was missing.
    """

    public_key: bytes
    number: int
    log: str
    since: int
    endorsement: str | None


def origin_of(log_name: str, tenant_id: str, stream: Stream) -> str:
    """Return the origin of a chain's checkpoints, which is also the name of the key."""
    tenant = SERVICE_NAME if tenant_id == SERVICE else quote(tenant_id, safe="")
    return f"{log_name}/{tenant}/{stream}"


class Signer(msgspec.Struct, frozen=True):
    """What signs the checkpoints of a log.

    Attributes:
        log_name: The origin without tenant and stream.
        keys: The first one signs. Those before it are kept while outsiders change over.
    """

    log_name: str
    keys: tuple[LogKey, ...]

    def key(self, tenant_id: str, stream: Stream) -> Key:
        """Return the key that verifies a chain's checkpoints."""
        return Key(origin_of(self.log_name, tenant_id, stream), self.keys[0].public)

    def sign(
        self, tenant_id: str, stream: Stream, size: int, root: bytes, at: int | None = None
    ) -> Note:
        """Return a signed checkpoint.

        Args:
            at: Unix seconds, for a second signature that says when, and for those of the keys
                before. Without it, the note is as short as it can be.
        """
        origin = origin_of(self.log_name, tenant_id, stream)
        text = Checkpoint(origin, size, root).text()
        active, *earlier = self.keys
        signatures = [sign_note(text, origin, active.private, active.public)]
        if at is not None:
            signatures.append(sign_time(text, origin, active.private, active.public, at))
            signatures += [sign_note(text, origin, each.private, each.public) for each in earlier]
        return Note(text, tuple(signatures))


def read_log_name(connection: Connection, origin: str) -> str:
    """Return the name of this log below `origin` (VYROX_LOG_ORIGIN)."""
    return f"{origin}/{connection.execute(sa.select(audit_identity.c.log_id)).scalar_one()}"


def renew_log_id(connection: Connection) -> None:
    """Make this database another log: after a restore it may say another thing than before."""
    connection.execute(audit_identity.update().values(log_id=secrets.token_hex(8)))


def list_keys(connection: Connection) -> list[KnownKey]:
    """Return the keys that have signed checkpoints, in order of their first use."""
    query = sa.select(_c.public_key, _c.number, _c.log, _c.since, _c.endorsement)
    return [KnownKey(*row) for row in connection.execute(query.order_by(_c.number))]


def endorsements_up_to(public_key: bytes, known: Sequence[KnownKey]) -> list[str]:
    """Return the notes with which each key names the next one, up to the one that names this."""
    numbers = [each.number for each in known if each.public_key == public_key]
    return [
        each.endorsement
        for each in known
        if each.endorsement is not None and each.number <= max(numbers, default=0)
    ]


def register(connection: Connection, signer: Signer, now: float) -> None:
    """Note that the active key signs from now on, if it is new.

    If the key before is among the keys, it endorses the new one: so an outsider can follow.
    """
    lock_chains(connection, [(SERVICE, "events")])  # two containers may start together
    known = list_keys(connection)
    active = signer.keys[0].public
    if any(each.public_key == active for each in known):
        return
    note = _endorse(signer, known, int(now))
    connection.execute(
        checkpoint_keys.insert().values(
            public_key=active,
            number=len(known) + 1,
            log=signer.log_name,
            since=int(now),
            endorsement=note,
        )
    )
    if not known:
        return
    members = {"log": signer.log_name, "public_key": b64encode(active).decode()}
    changed = event("checkpoint.key_changed", SERVICE, None, **members, endorsed=note is not None)
    append(connection, [changed], now)
    if note is None:
        log.event("checkpoint.key_not_endorsed", logging.WARNING, **members)


def _endorse(signer: Signer, known: Sequence[KnownKey], now: int) -> str | None:
    if not known:
        return None
    before = next((k for k in signer.keys[1:] if k.public == known[-1].public_key), None)
    if before is None:
        return None
    new = b64encode(bytes([NOTE]) + signer.keys[0].public).decode()
    text = f"{NEW_KEY}\n{signer.log_name}\n{new}\n{now}\n"
    signature = sign_note(text, signer.log_name, before.private, before.public)
    return Note(text, (signature,)).encode().decode()
