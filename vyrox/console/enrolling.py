"""The page on which a person makes a passkey with a one-time link (contract 66, A39).

The link's secret is in the fragment, which browsers send to no server. The script posts it.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.approvals import enrolment
from vyrox.console.pages import page
from vyrox.console.parts import Answered, console_of, read_json
from vyrox.http.responses import JsonResponse


class _Secret(msgspec.Struct, frozen=True):
    secret: str


class _Registration(Answered, frozen=True):
    secret: str


async def enrol_page(_request: Request) -> Response:
    """Show the page. It is the same for everybody."""
    return page("enrol")


async def open_link(request: Request) -> Response:
    """Return for whom a link is, and what the browser needs to make the passkey.

    Raises:
        UnauthorizedError: The link is used, expired or unknown.
    """
    console = console_of(request)
    secret = (await read_json(request, _Secret)).secret
    opened = await console.database.read(enrolment.open_link, secret, console.now())
    return JsonResponse(
        {
            "approver": opened.approver,
            "tenant_id": opened.tenant_id,
            "options": opened.options(console.relying_party),
        }
    )


async def enrol(request: Request) -> Response:
    """Enrol the passkey that was made, use the link up, and return the key's thumbprint.

    Raises:
        UnauthorizedError: The link is used, expired or unknown, or the passkey is refused.
        NotPossibleError: It is enrolled already, or the approver has too many.
    """
    console = console_of(request)
    sent = await read_json(request, _Registration)
    console.check_clocks()
    # Checked first in a read: an unauthenticated client takes no turn of the writer.
    await console.database.read(enrolment.open_link, sent.secret, console.now())
    key = await console.database.write(
        enrolment.register, sent.secret, sent.answer, console.relying_party, console.now()
    )
    log.event("console.enrolled", tenant=key.tenant_id, approver=key.approver)
    return JsonResponse(
        {
            "thumbprint": key.thumbprint,
            "command": f"vyrox approver confirm {key.tenant_id} {key.approver}",
        }
    )
