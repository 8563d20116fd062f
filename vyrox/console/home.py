"""The first page: what waits for a decision, what is contained, and what was decided before."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals.changes import PendingChange, endorsers, list_open
from vyrox.approvals.rows import decisions_on
from vyrox.approvals.shown import ListedProposal, list_proposals
from vyrox.console.pages import live_page
from vyrox.console.parts import console_of, signed_in
from vyrox.console.sessions import Person
from vyrox.containment.contained import list_contained
from vyrox.tenants.freezes import frozen_since

MAX_OPEN: Final = 100
MAX_ENDED: Final = 10
MAX_CONTAINED: Final = 100


class Overview(msgspec.Struct, frozen=True):
    """What the first page shows.

    Attributes:
        contained: Vendor, device id and host name of each device.
        changes: Those that the person may endorse.
        decided: The ids of open proposals that the person has decided on.
    """

    open: Sequence[ListedProposal]
    ended: Sequence[ListedProposal]
    contained: Sequence[tuple[str, str, str | None]]
    frozen_since: float | None
    changes: Sequence[PendingChange]
    decided: Sequence[str]


async def home(request: Request) -> Response:
    """Show the tenant of the approver. Raises as `signed_in`, and UnavailableError."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    overview = await console.database.read(_read, person, now)
    return live_page(request, "home", person, now, overview=overview)


def _read(connection: Connection, person: Person, now: float) -> Overview:
    tenant_id = person.tenant_id
    newest = list_proposals(connection, tenant_id, now, MAX_OPEN + MAX_ENDED, only_open=False)
    waiting = list_proposals(connection, tenant_id, now, MAX_OPEN, only_open=True)
    shown = {each.proposal_id for each in waiting}
    return Overview(
        open=sorted(waiting, key=lambda each: each.expires_at),
        ended=[each for each in newest if each.proposal_id not in shown][:MAX_ENDED],
        contained=list_contained(connection, tenant_id)[:MAX_CONTAINED],
        frozen_since=frozen_since(connection, tenant_id),
        decided=[
            each.proposal_id
            for each in waiting
            if any(
                by.approver == person.approver for by in decisions_on(connection, each.proposal_id)
            )
        ],
        changes=[
            each
            for each in list_open(connection, tenant_id, now)
            if person.approver in endorsers(connection, each.change, now) - {*each.endorsed_by}
        ],
    )
