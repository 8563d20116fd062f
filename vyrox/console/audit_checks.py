"""Verify a tenant's audit log here and now, and download all of it (contract 80)."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vyrox.chain import live
from vyrox.chain.archive import archive
from vyrox.chain.entry import Stream
from vyrox.chain.verify import Action, Approvals, Chain, Entry, TamperedError
from vyrox.console.pages import HTML, rendered
from vyrox.console.parts import console_of, read_form, sees, signed_in
from vyrox.console.streamed import Streamed, at_work, is_stopping
from vyrox.errors import UnavailableError
from vyrox.http.application import request_id_of
from vyrox.store.database import Database

MAX_S: Final = 600.0
"""The longest verification. A longer log is for the command line."""

MAX_ACTIONS: Final = 100_000
"""Actions whose approvals are checked: each is kept in memory until the events are read."""

MAX_SHOWN: Final = 50
"""Actions without a proof, and refused proofs, that the page lists."""

SHOWN_EVERY_S: Final = 1.0
"""How often the page gets a line while it grows."""

MARK: Final = "<!-- verified -->"
"""Where the template of the page is cut into what comes before and after the progress."""


class Progress(msgspec.Struct, frozen=True):
    """How far one chain is verified.

    Attributes:
        before: Entries before those, which are in an archive.
    """

    stream: Stream
    entries: int
    is_last: bool = False
    before: int = 0


class Problem(msgspec.Struct, frozen=True):
    """The first entry at which a chain does not hold."""

    stream: Stream
    number: int
    reason: str


class Approved(msgspec.Struct, frozen=True):
    """What the events prove of the actions.

    Attributes:
        not_proven: The number of an action and why nothing proves it, the newest first.
        failures: The number of an event whose proof is wrong, and why.
        is_whole: Whether all actions were checked.
    """

    proven: int
    not_proven: list[tuple[int, str]]
    failures: list[tuple[int, str]]
    is_whole: bool


class Ended(msgspec.Struct, frozen=True):
    """Why the verification ended before the end of the chains."""

    reason: str


Step = Progress | Problem | Approved | Ended


async def verify(request: Request) -> Response:
    """Verify both chains, and the proofs of approvals; the page grows with the progress.

    Raises:
        NotFoundError: Another person's tenant.
        NotPossibleError: The person's last one is in progress.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_id = (await read_form(request)).get("tenant", "")
    sees(person, tenant_id)
    whole = rendered("audit_verify", person, console.now(), tenant_id=tenant_id)
    before, _, after = whole.partition(MARK)

    async def body() -> AsyncIterator[str]:
        yield before
        try:
            async with aclosing(_checked(console.database, tenant_id, request)) as steps:
                async for step in steps:
                    yield _line(step, tenant_id)
        except UnavailableError:
            yield _line(Ended("The database could not be read to the end."), tenant_id)
        yield after

    return Streamed(person, body(), HTML)


async def download(request: Request) -> Response:
    """Send both chains, the verifier and how to use it, as one archive. Raises as `verify`."""
    person = await signed_in(request)
    console = console_of(request)
    tenant_id = (await read_form(request)).get("tenant", "")
    sees(person, tenant_id)
    # The first part is made before the response starts: an unavailable database is then an error.
    parts = archive(console.database, tenant_id, console.checkpoints)
    first = await anext(parts)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async with aclosing(parts):
            async for part in parts:
                yield part

    name = f"vyrox-audit-{tenant_id}.zip"  # a tenant's id has no character to escape
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    response = Streamed(person, body(), "application/zip", headers)
    console.events.note(
        "audit.exported", tenant_id, request_id_of(request), lines=True, by=person.approver
    )
    return response


async def _checked(database: Database, tenant_id: str, request: Request) -> AsyncGenerator[Step]:
    until = time.monotonic() + MAX_S
    actions: dict[str, Action] = {}

    def keep(number: int, entry: Entry, entry_hash: str) -> None:
        if len(actions) < MAX_ACTIONS:
            actions[entry_hash] = Action.of(number, entry)

    approvals = Approvals(actions, None)
    chains: tuple[tuple[Stream, Chain], ...] = (
        ("actions", Chain(keep)),
        ("events", Chain(approvals.add)),
    )
    shown_at = -math.inf
    for stream, chain in chains:
        try:
            async with aclosing(_paced(database, tenant_id, stream, chain)) as pages:
                async for now in pages:
                    if (ended := _ended(request, now, until)) is not None:
                        yield ended
                        return
                    if now > shown_at + SHOWN_EVERY_S:
                        yield Progress(stream, chain.entries)
                        shown_at = now
        except TamperedError as exc:
            yield Problem(stream, exc.number, exc.reason)
            return
        yield Progress(stream, chain.entries, is_last=True, before=chain.before)
    yield await asyncio.to_thread(_approved, actions, approvals, chains[0][1].entries)


def _ended(request: Request, now: float, until: float) -> Ended | None:
    if is_stopping(request):
        return Ended("The service shuts down.")
    return Ended("This log is too long for a page.") if now > until else None


async def _paced(
    database: Database, tenant_id: str, stream: Stream, chain: Chain
) -> AsyncGenerator[float]:
    """Verify a chain as `live.verifying`, with pauses; yield the time after each page."""
    async with aclosing(live.verifying(database, tenant_id, stream, chain)) as pages:
        began = time.monotonic()
        async for _ in pages:
            now = time.monotonic()
            yield now
            await asyncio.sleep(pause_s(now - began))
            began = time.monotonic()


def pause_s(worked_s: float) -> float:
    """Return how long a verification pauses, so that all of them take half of a core together."""
    return worked_s * (2 * max(1, at_work()) - 1)


def _approved(actions: dict[str, Action], approvals: Approvals, entries: int) -> Approved:
    findings = [approvals.finding(entry_hash) for entry_hash in actions]
    not_proven = [
        (each.action.number, each.not_proven) for each in findings if each.not_proven is not None
    ]
    return Approved(
        proven=len(findings) - len(not_proven),
        not_proven=not_proven[::-1],
        failures=[(each.event, each.reason) for each in approvals.failures],
        is_whole=len(actions) == entries,
    )


def _line(step: Step, tenant_id: str) -> str:
    kind = type(step).__name__
    return rendered("audit_step", kind=kind, step=step, tenant_id=tenant_id, most=MAX_SHOWN)
