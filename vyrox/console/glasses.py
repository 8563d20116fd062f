"""What was done without an approval, which an approver acknowledges (contract 69)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import break_glass
from vyrox.console.pages import page
from vyrox.console.parts import Owned, console_of, owner_of, recorded, signed_in, statement_of
from vyrox.errors import NotPossibleError
from vyrox.http.responses import JsonResponse
from vyrox.store.tables import break_glass as break_glass_table

_GLASS: Final = Owned(break_glass_table, "glass_id")


async def glass_page(request: Request) -> Response:
    """Show what was done.

    Raises:
        NotFoundError: The tenant of the person has no such record.
        NotPossibleError: The record was changed in the database.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_id = await owner_of(request, person, _GLASS)
    used = await console.database.read(
        break_glass.require, tenant_id, request.path_params["glass_id"]
    )
    try:
        asked = used.asked
    except ValueError as exc:
        raise NotPossibleError(f"the record was changed in the database: {exc}") from exc
    can_acknowledge = tenant_id in person.acts_for
    return page(
        "glass", person, console.now(), used=used, asked=asked, can_acknowledge=can_acknowledge
    )


async def statement(request: Request) -> Response:
    """Return the statement that acknowledges it."""
    return await statement_of(
        request, break_glass.issue, request.path_params["glass_id"], about=_GLASS
    )


async def acknowledge(request: Request) -> Response:
    """Record an acknowledgement. Raises as `break_glass.acknowledge`."""
    used = await recorded(
        request, break_glass.acknowledge, request.path_params["glass_id"], about=_GLASS
    )
    return JsonResponse({"acknowledged_by": used.acknowledged_by})
