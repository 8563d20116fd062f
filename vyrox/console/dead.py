"""Dead letters: alerts that no consumer has finished (contract 79)."""

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.alerts.found_rows import FoundRow, read_found, tenant_of_alert
from vyrox.alerts.reviving import revive_alert
from vyrox.alerts.waiting_lists import find_dead
from vyrox.console.alerts import place_of
from vyrox.console.pages import page
from vyrox.console.paging import PAGE_ROWS, cursor, here_with
from vyrox.console.parts import acts, console_of, done, signed_in, tenants_of
from vyrox.errors import NotPossibleError, OperatorError
from vyrox.store.newest import Found, Place


async def dead_page(request: Request) -> Response:
    """Show the dead letters, newest first.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the tenant, or the place is not valid.
    """
    person = await signed_in(request)
    console = console_of(request)
    before = place_of(request.query_params)
    found, rows = await console.database.read(_find, tenants_of(request, person), before)
    return page(
        "dead",
        person,
        console.now(),
        tenant=request.query_params.get("tenant", ""),
        rows=rows,
        older=None if found.older is None else here_with(request, before=cursor(*found.older)),
        newer=here_with(request, before=None) if before else None,
    )


async def revive(request: Request) -> Response:
    """Queue a dead letter again, as `vyrox queue dead revive` does.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the alert, or it does not exist.
        NotPossibleError: The person only looks, or the alert is not a dead letter any more.
    """
    person = await signed_in(request)
    console = console_of(request)
    alert_id = request.path_params["alert_id"]
    tenant_id = await console.database.read(tenant_of_alert, alert_id)
    acts(person, tenant_id)
    try:
        revived = await revive_alert(
            console.database, console.queue, tenant_id, alert_id, console.now(), person.approver
        )
    except OperatorError as exc:
        raise NotPossibleError("The alert is not a dead letter any more.") from exc
    return done(
        f"/alerts/{alert_id}", {"queued": "revived", "stored": "revive_stored"}[revived.status]
    )


def _find(
    connection: Connection, tenant_ids: tuple[str, ...], before: Place | None
) -> tuple[Found, list[FoundRow]]:
    found = find_dead(connection, tenant_ids, before, PAGE_ROWS)
    return found, read_found(connection, found.ids)
