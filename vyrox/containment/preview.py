"""Which device a containment would affect. Nothing is changed (contract 43)."""

from typing import Literal

import msgspec
from sqlalchemy import Connection

from vyrox.containment.admission import NotSupported, Refused, admit, find_known
from vyrox.containment.attempt import Known
from vyrox.containment.responder import EdrClients, Responder, find_responders
from vyrox.edr.client import Deadline, VendorClient
from vyrox.errors import OperatorError
from vyrox.models import ContainmentRequest, Device, EdrVendor
from vyrox.store.database import Database
from vyrox.tenants.guard_rails import GuardRails

State = Literal["contained", "not contained", "cannot be told"]


class Preview(msgspec.Struct, frozen=True):
    """What the vendor and Vyrox know about a containment that was not requested yet.

    Attributes:
        device_id: The device that the request's `host` names at the vendor now.
        state: As the vendor reports it now. A change in progress looks like a finished one.
        refused_by: The rule that would refuse the request, or None.
        alert_known: See Known, also for the attributes that follow.
    """

    vendor: EdrVendor
    device_id: str
    hostname: str | None
    tags: tuple[str, ...] | None
    state: State
    refused_by: str | None
    alert_known: bool
    alert_device: str | None
    alert_host: str | None
    per_hour: int | None
    begun_in_hour: int | None


async def preview(
    database: Database,
    clients: EdrClients,
    request: ContainmentRequest,
    now: float,
    deadline: Deadline,
) -> Preview:
    """Read from the vendor and the database what `request` would do; write nothing.

    Raises:
        OperatorError: The tenant has no credentials for the vendor.
        VendorError: The vendor refused the request, or did not name one device.
    """
    responder = await database.read(_find_responder, request)
    if responder.vendor is None or responder.credentials is None:
        raise OperatorError(
            f"{request.tenant_id} has no credentials for {responder.vendor or 'just one vendor'}; "
            "see: vyrox tenant edr list"
        )
    client = clients.client(responder.credentials)
    known_id = None if responder.alert is None else responder.alert.device_id
    device = await client.find_device(request.host, deadline, known_id)
    state = await _read_state(client, device.id, deadline)
    refused_by, known = await database.read(_decide, request, device, now)
    return Preview(
        vendor=responder.vendor,
        device_id=device.id,
        hostname=device.hostname,
        tags=device.tags,
        state=state,
        refused_by=refused_by,
        alert_known=known.alert_known,
        alert_device=known.alert_device,
        alert_host=known.alert_host,
        per_hour=known.per_hour,
        begun_in_hour=known.begun_in_hour,
    )


def _find_responder(connection: Connection, request: ContainmentRequest) -> Responder:
    [responder] = find_responders(connection, [request])
    return responder


async def _read_state(client: VendorClient, device_id: str, deadline: Deadline) -> State:
    if await client.read_progress(device_id, "contained", None, deadline) == "reached":
        return "contained"
    lifted = await client.read_progress(device_id, "lifted", None, deadline)
    return "not contained" if lifted == "reached" else "cannot be told"


def _decide(
    connection: Connection, request: ContainmentRequest, device: Device, now: float
) -> tuple[str | None, Known]:
    responder = _find_responder(connection, request)
    rails = GuardRails(connection, [request.tenant_id], now)
    known = find_known(rails, request, responder)
    admitted = admit(connection, rails, request, responder, device, dry_run=False)
    match admitted:
        case NotSupported(reason=reason):
            return reason, known
        case Refused(rule=rule):
            return rule, known
        case _:
            return None, known
