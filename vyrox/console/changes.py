"""Changes of who may decide, which another approver endorses with a passkey (contract 65, A17)."""

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import changes, endorsing
from vyrox.approvals.changes import PendingChange
from vyrox.console.pages import page
from vyrox.console.parts import Signed, console_of, read_json, signed_in
from vyrox.console.sessions import Person
from vyrox.http.responses import JsonResponse


async def change_page(request: Request) -> Response:
    """Show a change that waits. Raises NotFoundError, if it does not wait any more."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    pending, is_able = await console.database.read(
        _read, person, request.path_params["change_id"], now
    )
    return page("change", person, now, pending=pending, change=pending.change, can_agree=is_able)


async def statement(request: Request) -> Response:
    """Return the statement that endorses the change."""
    person = await signed_in(request)
    console = console_of(request)
    change_id = request.path_params["change_id"]
    text, options = await console.database.write(
        endorsing.issue, person.tenant_id, change_id, person.approver, console.now()
    )
    return JsonResponse({"statement": text, "options": options})


async def endorse(request: Request) -> Response:
    """Record an endorsement. Raises as `endorsing.endorse`."""
    person = await signed_in(request)
    console = console_of(request)
    signed = await read_json(request, Signed)
    console.check_clocks()
    remaining = await console.database.write(
        endorsing.endorse,
        person.tenant_id,
        signed.statement,
        signed.answer,
        console.relying_party,
        console.now(),
    )
    return JsonResponse({"remaining": remaining})


def can_agree(connection: Connection, person: Person, pending: PendingChange, now: float) -> bool:
    """Return whether the person may endorse a change, and has not."""
    able = changes.endorsers(connection, pending.change, now)
    return person.approver in able.difference(pending.endorsed_by)


def _read(
    connection: Connection, person: Person, change_id: str, now: float
) -> tuple[PendingChange, bool]:
    pending = changes.require_open(connection, person.tenant_id, change_id, now)
    return pending, can_agree(connection, person, pending, now)
