"""Asks a language model for notes on incidents in the middle of the score (contract 61).

It writes rows of `incident_notes` and nothing else: no score, band, incident or action depends on
them.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from vyrox import log
from vyrox.clock import Clock
from vyrox.models import DIRECT, Outbound
from vyrox.store.database import Database
from vyrox.triage.notes import rows
from vyrox.triage.notes.answer import DroppedError, checked
from vyrox.triage.notes.breaker import Breaker
from vyrox.triage.notes.client import AskError, NoteClient, Reply, open_note_http
from vyrox.triage.notes.rows import Claim

INTERVAL_S: Final = 5.0
"""Time between two searches."""

AT_ONCE: Final = 4
"""Requests of one search, one after the other."""


class NoteWriter:
    """Writes notes until cancelled, if there is a client."""

    def __init__(
        self, client: NoteClient | None, database: Database, clock: Clock, per_hour: int
    ) -> None:
        """Begin without a failure.

        Args:
            clock: The one by which the rows have their times.
        """
        self._client = client
        self._database = database
        self._clock = clock
        self._per_hour = per_hour
        self._breaker = Breaker()

    async def run(self) -> None:
        """Ask about some incidents that need a note.

        Raises:
            UnavailableError: The database is unavailable.
        """
        if self._client is None:
            return
        for _ in range(AT_ONCE):
            if not await self._ask_one(self._client):
                break

    async def _ask_one(self, client: NoteClient) -> bool:
        """Ask about one incident; return whether there was one."""
        if not self._breaker.may_ask(time.monotonic()):
            return False
        now = self._clock()
        found = await self._database.read(rows.due, now, self._per_hour)
        if not found:
            return False
        for tenant_id, number in found:
            claim = await self._database.read(rows.prepare, tenant_id, number)
            if claim is None:
                continue
            if await self._database.write(rows.take, claim, client.model, now):
                await self._ask(client, claim)
                return True
        return False

    async def _ask(self, client: NoteClient, claim: Claim) -> None:
        try:
            reply = await client.ask(claim.material.encoded())
        except AskError as exc:
            _report("note.failed", claim, exc)
            if self._breaker.failed(time.monotonic()):
                log.event("note.paused", logging.WARNING)
            await self._database.write(rows.finish, claim, "failed", None, 0)
            return
        self._breaker.succeeded()
        _count(reply)
        tokens = reply.tokens_in + reply.tokens_out
        try:
            answer = checked(reply.content, claim.material)
        except DroppedError as exc:
            _report("note.dropped", claim, exc)
            await self._database.write(rows.finish, claim, "dropped", None, tokens)
            return
        log.event("note.written", tenant=claim.tenant_id, incident=claim.number, tokens=tokens)
        await self._database.write(rows.finish, claim, "written", answer, tokens)


def _report(name: str, claim: Claim, exc: Exception) -> None:
    log.event(name, logging.WARNING, tenant=claim.tenant_id, incident=claim.number, reason=str(exc))


def _count(reply: Reply) -> None:
    """Add the cost to the counts of events, which are logged once a minute."""
    log.counts["note.tokens_in"] += reply.tokens_in
    log.counts["note.tokens_out"] += reply.tokens_out


@asynccontextmanager
async def open_notes(
    url: str | None,
    model: str | None,
    key: str | None,
    per_hour: int,
    database: Database,
    clock: Clock,
    outbound: Outbound = DIRECT,
) -> AsyncIterator[NoteWriter]:
    """Open the HTTP client, if there is a model to ask; close it at the end.

    Args:
        url: The base URL. None: no notes are written.
        per_hour: Requests for one tenant.
    """
    if url is None or model is None:
        yield NoteWriter(None, database, clock, per_hour)
        return
    async with open_note_http(outbound) as http:
        yield NoteWriter(NoteClient(http, url, model, key), database, clock, per_hour)
