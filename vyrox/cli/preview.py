"""`vyrox execute --preview`: the device is read at the vendor, and nothing is sent."""

import asyncio
from typing import Final

import click

from vyrox.cli.output import print_json, print_record, printable
from vyrox.cli.signed_request import encoded
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.containment.preview import Preview, preview
from vyrox.containment.responder import EdrClients
from vyrox.edr.actions import target_of
from vyrox.edr.client import Deadline
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, VendorError
from vyrox.models import ActionType, ContainmentRequest, LiftType

PREVIEW_DEADLINE_S: Final = 60.0


def print_preview(request: ContainmentRequest, as_json: bool) -> None:
    """Print what the containment would do. Exits with 1 if a guard rail is against it.

    Raises:
        OperatorError: No device can be identified at the vendor.
        VyroxError: As `opened_database`.
    """
    encoded(request)

    async def run() -> Preview:
        async with (
            opened_database() as opened,
            open_http(outbound=opened.settings.outbound) as http,
        ):
            clients = EdrClients(
                await open_vault(opened),
                lambda credentials: make_client(credentials, http, opened.settings.edr_test_url),
            )
            deadline = Deadline(PREVIEW_DEADLINE_S)
            return await preview(opened.database, clients, request, wall_clock(), deadline)

    try:
        found = asyncio.run(run())
    except VendorError as exc:
        raise OperatorError(f"the device cannot be identified: {printable(str(exc))}") from exc
    if as_json:
        print_json(found)
    else:
        _print_fields(found, request.action_type)
    if found.refused_by is not None:
        raise click.exceptions.Exit(1)


def _print_fields(found: Preview, action: ActionType | LiftType) -> None:
    alert = "known" if found.alert_known else "not known"
    names = ", ".join(name for name in (found.alert_host, found.alert_device) if name)
    used = "no limit" if not found.per_hour else f"{found.begun_in_hour} of {found.per_hour}"
    fields = {
        "vendor": found.vendor,
        "device": found.device_id,
        "host name": found.hostname or "-",
        "tags": "not given" if found.tags is None else ", ".join(found.tags) or "-",
        "state": found.state,
        "alert": f"{alert}, names {names}" if names else alert,
        "used in hour": used,
        "would be": _would_be(found, action),
    }
    print_record(fields)


def _would_be(found: Preview, action: ActionType | LiftType) -> str:
    if found.refused_by is not None:
        if found.refused_by.startswith("per_hour "):
            return f"refused: the limit of {found.per_hour} containments an hour is used up"
        return f"refused: {found.refused_by}"
    if target_of(action) == found.state:
        return f'answered "executed" without a call: it is {found.state} already'
    return "sent (a service with DRY_RUN=true would send nothing)"
