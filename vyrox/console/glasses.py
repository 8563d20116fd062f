"""What was done without an approval, which an approver acknowledges (contract 69)."""

from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import break_glass
from vyrox.console.pages import page
from vyrox.console.parts import console_of, recorded, signed_in, statement_of
from vyrox.errors import NotPossibleError
from vyrox.http.responses import JsonResponse


async def glass_page(request: Request) -> Response:
    """Show what was done.

    Raises:
        NotFoundError: The tenant of the person has no such record.
        NotPossibleError: The record was changed in the database.
    """
    person = await signed_in(request)
    console = console_of(request)
    used = await console.database.read(
        break_glass.require, person.tenant_id, request.path_params["glass_id"]
    )
    try:
        asked = used.asked
    except ValueError as exc:
        raise NotPossibleError(f"the record was changed in the database: {exc}") from exc
    return page("glass", person, console.now(), used=used, asked=asked)


async def statement(request: Request) -> Response:
    """Return the statement that acknowledges it."""
    return await statement_of(request, break_glass.issue, request.path_params["glass_id"])


async def acknowledge(request: Request) -> Response:
    """Record an acknowledgement. Raises as `break_glass.acknowledge`."""
    used = await recorded(request, break_glass.acknowledge, request.path_params["glass_id"])
    return JsonResponse({"acknowledged_by": used.acknowledged_by})
