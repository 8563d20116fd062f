"""Changes of who may decide, which another approver endorses with a passkey (contract 65, A17)."""

from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import changes, endorsing
from vyrox.approvals.changes import PendingChange
from vyrox.console.pages import page
from vyrox.console.parts import Owned, console_of, owner_of, recorded, signed_in, statement_of
from vyrox.console.sessions import Person
from vyrox.http.responses import JsonResponse
from vyrox.store.tables import approver_changes

_CHANGE: Final = Owned(approver_changes, "change_id")


async def change_page(request: Request) -> Response:
    """Show a change that waits. Raises NotFoundError, if it does not wait any more."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    tenant_id = await owner_of(request, person, _CHANGE)
    pending, is_able = await console.database.read(
        _read, person, tenant_id, request.path_params["change_id"], now
    )
    return page("change", person, now, pending=pending, change=pending.change, can_agree=is_able)


async def statement(request: Request) -> Response:
    """Return the statement that endorses the change."""
    return await statement_of(
        request, endorsing.issue, request.path_params["change_id"], about=_CHANGE
    )


async def endorse(request: Request) -> Response:
    """Record an endorsement. The statement names the change. Raises as `endorsing.endorse`."""
    return JsonResponse({"remaining": await recorded(request, endorsing.endorse, about=_CHANGE)})


def can_agree(connection: Connection, person: Person, pending: PendingChange, now: float) -> bool:
    """Return whether the person may endorse a change, and has not."""
    if pending.change.tenant_id not in person.acts_for:
        return False
    able = changes.endorsers(connection, pending.change, now)
    return person.approver in able.difference(pending.endorsed_by)


def _read(
    connection: Connection, person: Person, tenant_id: str, change_id: str, now: float
) -> tuple[PendingChange, bool]:
    pending = changes.require_open(connection, tenant_id, change_id, now)
    return pending, can_agree(connection, person, pending, now)
