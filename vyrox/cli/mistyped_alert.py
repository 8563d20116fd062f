"""An alert that is mistyped in `vyrox execute` and `lift` (contract 83)."""

import re
from typing import Final

import click

from vyrox.alerts.finding import tenant_of_alert
from vyrox.cli.folding import say
from vyrox.cli.mistyped import hint_of
from vyrox.cli.output import printable
from vyrox.cli.secret_input import is_terminal
from vyrox.cli.stores import read
from vyrox.errors import VyroxError
from vyrox.models import ContainmentRequest

_SHORTENED: Final = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{1,23}|-[0-9a-f-]{0,26})?")
"""The beginning of one of Vyrox's ids, with hyphens or without."""

unknown_alert_option: Final = click.option(
    "--unknown-alert",
    "may_be_unknown",
    is_flag=True,
    help="Also if --alert looks like the beginning of an id and no alert has it.",
)


def check_alert(
    request: ContainmentRequest, url: str | None, *, is_asked: bool, may_be_unknown: bool
) -> None:
    """Warn of an alert that the tenant does not have.

    The database of this machine is asked, so nothing is said about a service elsewhere. A person
    at a terminal decides. Otherwise what looks like a shortened id is refused: an alert of other
    origin may be named, but hardly so.

    Args:
        url: Of the private listener; None for that of this machine's settings.
        is_asked: The person is asked before something is sent, if there is a terminal.

    Raises:
        click.UsageError: It looks like a shortened id, and the person is not asked.
    """
    if url is not None:
        return
    try:
        tenant_id = read(tenant_of_alert, request.alert_id)
    except VyroxError as exc:  # the service decides, and answers
        text = f"not checked whether {request.alert_id} is an alert of {request.tenant_id}: {exc}"
        say(f"warning: {printable(text)}")
        return
    if tenant_id == request.tenant_id:
        return
    hint = hint_of(request.tenant_id)
    text = printable(f"Vyrox knows no alert {request.alert_id} of {request.tenant_id}{hint}")
    is_refused = not may_be_unknown and _SHORTENED.fullmatch(request.alert_id) is not None
    if is_refused and not (is_asked and is_terminal()):
        raise click.UsageError(f"{text}: nothing was sent. If it is right: '--unknown-alert'.")
    say(f"warning: {text}")
