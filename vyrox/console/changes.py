"""Changes of who may decide, which another approver endorses with a passkey (contract 65, A17)."""

from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import changes, endorsing
from vyrox.console.pages import page
from vyrox.console.parts import Signed, console_of, read_json, signed_in
from vyrox.http.responses import JsonResponse


async def change_page(request: Request) -> Response:
    """Show a change that waits. Raises NotFoundError, if it does not wait any more."""
    person = await signed_in(request)
    console = console_of(request)
    pending = await console.database.read(
        changes.require_open, person.tenant_id, request.path_params["change_id"], console.now()
    )
    return page("change", person, console.now(), pending=pending, change=pending.change)


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
