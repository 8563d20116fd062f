"""What was done without an approval, which an approver acknowledges (contract 69)."""

from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import break_glass
from vyrox.console.pages import page
from vyrox.console.parts import Signed, console_of, read_json, signed_in
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
    person = await signed_in(request)
    console = console_of(request)
    glass_id = request.path_params["glass_id"]
    text, options = await console.database.write(
        break_glass.issue, person.tenant_id, glass_id, person.approver, console.now()
    )
    return JsonResponse({"statement": text, "options": options})


async def acknowledge(request: Request) -> Response:
    """Record an acknowledgement. Raises as `break_glass.acknowledge`."""
    person = await signed_in(request)
    console = console_of(request)
    signed = await read_json(request, Signed)
    console.check_clocks()
    used = await console.database.write(
        break_glass.acknowledge,
        person.tenant_id,
        request.path_params["glass_id"],
        signed.statement,
        signed.answer,
        console.relying_party,
        console.now(),
    )
    return JsonResponse({"acknowledged_by": used.acknowledged_by})
