"""The first page: what waits for a decision, what is contained, and what was decided before."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals.break_glass import Used, open_ones
from vyrox.approvals.changes import PendingChange, list_open
from vyrox.approvals.lease_rows import list_leases
from vyrox.approvals.proposal import DRILL
from vyrox.approvals.rows import decisions_on
from vyrox.approvals.shown import ListedProposal, list_proposals
from vyrox.console.changes import can_agree
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.parts import console_of, signed_in
from vyrox.console.sessions import Person
from vyrox.containment.contained import list_contained
from vyrox.tenants.freezes import frozen_since

MAX_OPEN: Final = 100
MAX_ENDED: Final = 10
MAX_CONTAINED: Final = 100


class Contained(msgspec.Struct, frozen=True):
    """A device that Vyrox has contained, or may have.

    Attributes:
        ends_at: The end of its lease; None: it has no end.
    """

    vendor: str
    name: str
    ends_at: float | None


class Overview(msgspec.Struct, frozen=True):
    """What the first page shows.

    Attributes:
        changes: Those that the person may endorse.
        decided: The ids of open proposals that the person has decided on.
        glasses: What was done without an approval and is not acknowledged.
    """

    open: Sequence[ListedProposal]
    ended: Sequence[ListedProposal]
    contained: Sequence[Contained]
    frozen_since: float | None
    changes: Sequence[PendingChange]
    decided: Sequence[str]
    glasses: Sequence[Used]


async def home(request: Request) -> Response:
    """Show the tenant of the approver. Raises as `signed_in`, and UnavailableError."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    overview = await console.database.read(_read, person, now)
    version = version_of(person, overview)
    if is_current(request, version):
        return not_modified()
    return page("home", person, now, version, overview=overview)


def _read(connection: Connection, person: Person, now: float) -> Overview:
    tenant_id = person.tenant_id
    newest = list_proposals(connection, tenant_id, now, MAX_OPEN + MAX_ENDED, only_open=False)
    waiting = list_proposals(connection, tenant_id, now, MAX_OPEN, only_open=True)
    shown = {each.proposal_id for each in waiting}
    return Overview(
        open=sorted(waiting, key=lambda each: (each.action_type == DRILL, each.expires_at)),
        ended=[each for each in newest if each.proposal_id not in shown][:MAX_ENDED],
        contained=_contained(connection, tenant_id),
        frozen_since=frozen_since(connection, tenant_id),
        decided=[
            each.proposal_id
            for each in waiting
            if any(
                by.approver == person.approver for by in decisions_on(connection, each.proposal_id)
            )
        ],
        glasses=open_ones(connection, tenant_id)[:MAX_OPEN],
        changes=[
            each
            for each in list_open(connection, tenant_id, now)
            if can_agree(connection, person, each, now)
        ],
    )


def _contained(connection: Connection, tenant_id: str) -> list[Contained]:
    leases = list_leases(connection, tenant_id)
    ends = {(str(each.vendor), each.device_id): each.ends_at for each in leases}
    found = list_contained(connection, tenant_id)[:MAX_CONTAINED]
    return [
        Contained(vendor, hostname or device_id, ends.get((vendor, device_id)))
        for vendor, device_id, hostname in found
    ]
