"""The page on which an approver says "this is normal here" (contract 56 and 78)."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vyrox.console.incident import own_key
from vyrox.console.pages import page
from vyrox.console.parts import acts, console_of, signed_in
from vyrox.errors import InvalidRequestError
from vyrox.triage.preview import preview
from vyrox.triage.scope import DANGEROUS
from vyrox.triage.suppressing import Asked, wanted_by
from vyrox.triage.suppression_life import DAY_S, DEFAULT_DAYS, Wanted

PREVIEWED: Final = 400
"""The newest alerts that the preview compares."""

DAYS: Final = (7, 30, 90, 180)
"""How long a suppression may hold."""


async def benign_page(request: Request) -> Response:
    """Show what a suppression like one alert would hide. Nothing is made by that.

    Raises:
        NotFoundError: There is no such incident or alert, or the person may not see its tenant.
        NotPossibleError: The person only looks.
        InvalidRequestError: No suppression can take the alert in; the text says why.
    """
    person = await signed_in(request)
    console = console_of(request)
    key = own_key(request, person)
    acts(person, key.tenant_id)
    fields = dict(request.query_params)
    asked = asked_by(fields, key.tenant_id, person.approver, "")
    now = console.now()
    wanted = await console.database.read(wanted_by, asked)
    found = await preview(console.database, key.tenant_id, wanted.scope, now, PREVIEWED)
    return page(
        "benign",
        person,
        now,
        key=key.id,
        tenant_id=key.tenant_id,
        asked=asked,
        wanted=wanted,
        preview=found,
        days=DAYS,
        dangerous=sorted(DANGEROUS.intersection(wanted.scope.families)),
        seen=digest(wanted),
        ends_at=now + asked.days * DAY_S,
    )


def digest(wanted: Wanted) -> str:
    """Return what identifies the scope and the length that the page shows, for its form."""
    shown = [wanted.tenant_id, wanted.scope, wanted.command, wanted.days]
    return sha256(msgspec.json.encode(shown, order="deterministic")).hexdigest()


def asked_by(fields: Mapping[str, str], tenant_id: str, by: str, reason: str) -> Asked:
    """Return the suppression that a form asks for. Raises InvalidRequestError."""
    days = fields.get("days", str(DEFAULT_DAYS))
    if days not in {str(each) for each in DAYS}:
        raise InvalidRequestError("there is no such number of days")
    alert_id = fields.get("alert", "").strip()
    if not alert_id:
        raise InvalidRequestError("the form has no alert")
    return Asked(
        tenant_id=tenant_id,
        reason=reason,
        author=by,
        like=alert_id,
        any_host=bool(fields.get("any_host")),
        any_user=bool(fields.get("any_user")),
        days=int(days),
    )
