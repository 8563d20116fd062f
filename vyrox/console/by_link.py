"""Signing in with a one-time link, to look and not to decide (contract 76).

The link's secret is in the fragment, which browsers send to no server. The script writes it into
the form; without the script the person does. Opening the page does not use the link up: programs
that look into messages open every link.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox import log
from vyrox.console import links
from vyrox.console.pages import page
from vyrox.console.parts import console_of, read_form
from vyrox.console.sign_in import with_session


async def link_page(_request: Request) -> Response:
    """Show the page. It is the same for everybody."""
    return page("link")


async def sign_in(request: Request) -> Response:
    """Use the link up, begin a session, and show the first page.

    Raises:
        NotPossibleError: The link is used, too old or not complete.
    """
    console = console_of(request)
    secret = (await read_form(request)).get("secret", "").strip().rpartition("#")[2]
    now = console.now()
    # Checked first in a read: an unauthenticated client takes no turn of the writer.
    await console.database.read(links.check, secret, now)
    name, tenants, session_id = await console.database.write(links.use, secret, now)
    log.event("console.signed_in_by_link", person=name, tenants=tenants)
    return with_session(RedirectResponse("/", 303), session_id)
