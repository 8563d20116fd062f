"""Sends checkpoints to witnesses and collects their co-signatures (contract 95).

All of it is beside the requests: no action waits for a witness. A witness that is away is tried
again, less and less often, and what was to be sent to it is then sent as it is by then.
"""

import asyncio
import logging
import re
from base64 import b64decode
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain import cosignatures
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.entry import Receipt
from vyrox.chain.nodes import Chain
from vyrox.chain.notes import (
    Key,
    Note,
    NoteError,
    Signature,
    check,
    read_checkpoint,
    read_signatures,
)
from vyrox.chain.witness import Added, write_added
from vyrox.clock import Clock
from vyrox.errors import UnavailableError, VyroxError
from vyrox.http.posting import NoAnswerError, Post
from vyrox.store.database import Database
from vyrox.store.tables import audit_cosignatures

INTERVAL_S: Final = 1.0
"""How often is checked what is due. After an action it is checked at once."""

EVENTS_INTERVAL_S: Final = 60.0
"""Between two checkpoints of a tenant's events: there is an event for each alert."""

UNKNOWN_S: Final = 3600.0
"""After this time, a witness that does not know a log is asked again."""

FIRST_RETRY_S: Final = 5.0
LONGEST_RETRY_S: Final = 300.0
MAX_DUE: Final = 10_000

_TIMED_BYTES: Final = 72

_SIZE: Final = re.compile(r"[0-9]{1,18}")

_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500


class WitnessOutbox:
    """What is to be sent to one witness. `run` is called every INTERVAL_S."""

    def __init__(
        self,
        url: str,
        key: Key | None,
        database: Database,
        checkpoints: Checkpoints,
        post: Post,
        clocks: tuple[Clock, Clock],
        names: dict[str, str],
    ) -> None:
        """Create it.

        Args:
            key: Verifies its co-signatures; None: they are stored as they come.
            clocks: The time of the day, and one that only moves on.
            names: The URL of the witness that signs under a name, for all outboxes. Under the name
                of another, a wrong signature would make a verifier refuse the note. A name whose
                key is not configured is that of the first that uses it.
        """
        self._url = url
        self._key = key
        self._database = database
        self._checkpoints = checkpoints
        self._post = post
        self._clock, self._monotonic = clocks
        self._names = names
        if key is not None:
            names[key.name] = url
        self._due: dict[Chain, float] | None = None
        self._later: dict[Chain, float] = {}  # before then, it is not sent again
        self._retry_s = 0.0
        self._not_before = 0.0
        self.noticed = asyncio.Event()

    def follow(self, receipts: Iterable[Receipt]) -> None:
        """Note that chains have grown."""
        if self._due is None:
            return
        for receipt in receipts:
            chain = (receipt.tenant_id, receipt.stream)
            if chain not in self._due and len(self._due) < MAX_DUE:
                self._due[chain] = self._later.get(chain, 0.0)
                if receipt.stream == "actions":
                    self.noticed.set()

    async def run(self) -> None:
        """Send what is due. Raises DatabaseUnavailableError; then it is sent later."""
        if self._due is None:
            # What an earlier process of the service did not send any more.
            chains = await self._database.read(_cosigned_chains, self._url)
            self._due = dict.fromkeys(chains, 0.0)
        now = self._monotonic()
        if now < self._not_before:
            return
        for chain in [chain for chain, at in self._due.items() if at <= now]:
            del self._due[chain]
            wait_s = EVENTS_INTERVAL_S if chain[1] == "events" else 0.0
            try:
                if not await self._send(chain):
                    wait_s = UNKNOWN_S
            except NoAnswerError as exc:
                self._due.setdefault(chain, 0.0)
                self._mark_away(exc)
                return
            except UnavailableError:
                self._due.setdefault(chain, 0.0)
                raise
            except VyroxError as exc:  # of this chain alone: somebody has changed its rows
                log.event("checkpoint.failed", logging.ERROR, tenant=chain[0], reason=str(exc))
            self._mark_back()
            self._set_later(chain, self._monotonic() + wait_s)

    def _set_later(self, chain: Chain, at: float) -> None:
        self._later[chain] = at
        if len(self._later) > MAX_DUE:
            now = self._monotonic()
            self._later = {each: then for each, then in self._later.items() if then > now}

    def _mark_away(self, error: Exception) -> None:
        self._retry_s = min(max(self._retry_s * 2, FIRST_RETRY_S), LONGEST_RETRY_S)
        self._not_before = self._monotonic() + self._retry_s
        log.event(
            "witness.away",
            logging.WARNING,
            witness=self._url,
            reason=str(error),
            retry_s=self._retry_s,
        )

    def _mark_back(self) -> None:
        if self._retry_s:
            log.event("witness.back", logging.WARNING, witness=self._url)
        self._retry_s = self._not_before = 0.0

    async def _send(self, chain: Chain) -> bool:
        """Send the present checkpoint; return whether the witness knows this log."""
        note = await self._checkpoints.current(*chain)
        old = await self._database.read(cosignatures.cosigned_size, chain, self._url)
        status, text = await self._post_it(chain, note, old)
        is_size = status == _CONFLICT and _SIZE.fullmatch(text.strip())
        if is_size and int(text) <= read_checkpoint(note).size:
            # It has another one than we know of, such as one of another container.
            status, text = await self._post_it(chain, note, int(text))
        if status >= _SERVER_ERROR:
            raise NoAnswerError(f"answered {status}")
        if status == _NOT_FOUND:
            log.event("witness.unknown_log", witness=self._url, tenant=chain[0])
            return False
        if status == _OK:
            await self._store(chain, note, text)
        else:  # 409 and 422: it says that this log does not extend what it has seen
            fields = {"witness": self._url, "tenant": chain[0], "stream": chain[1]}
            log.event("witness.refused", logging.ERROR, **fields, status=status)
        return True

    async def _post_it(self, chain: Chain, note: Note, old: int) -> tuple[int, str]:
        proof: tuple[bytes, ...] = ()
        if old:
            size = read_checkpoint(note).size
            found = await self._checkpoints.consistency(*chain, old, size)
            proof = tuple(b64decode(each) for each in found.proof)
        body = write_added(Added(old, proof, note))
        return await self._post(f"{self._url}/add-checkpoint", body)

    async def _store(self, chain: Chain, note: Note, lines: str) -> None:
        wrong = None
        try:
            found = self._checked(note, read_signatures(lines))
        except NoteError as exc:
            found, wrong = [], str(exc)
        if wrong is not None:  # outside of the `except`: the log needs no traceback of it
            log.event("witness.bad_signature", logging.ERROR, witness=self._url, reason=wrong)
            return
        size = read_checkpoint(note).size
        cosigned = Note(note.text, (note.signatures[0], *found))
        await self._database.write(
            cosignatures.store_cosigned, chain, self._url, size, cosigned, self._clock()
        )

    def _checked(self, note: Note, signatures: tuple[Signature, ...]) -> list[Signature]:
        # Under the name of the log, its key would have to have signed: a verifier refuses the note.
        origin = read_checkpoint(note).origin
        found = [s for s in signatures if len(s.content) == _TIMED_BYTES and s.name != origin]
        if self._key is not None:
            check(Note(note.text, tuple(found)), self._key)
            found = [each for each in found if each.key_id == self._key.id]
        if not found:
            raise NoteError("no signature has a time")
        if self._key is None and self._names.setdefault(found[0].name, self._url) != self._url:
            raise NoteError(f"the name {found[0].name!a} is that of another witness")
        return found[:1]


def _cosigned_chains(connection: Connection, witness: str) -> list[Chain]:
    c = audit_cosignatures.c
    query = sa.select(c.tenant_id, c.stream).where(c.witness == witness).limit(MAX_DUE)
    return [(row.tenant_id, row.stream) for row in connection.execute(query)]
