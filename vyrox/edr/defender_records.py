"""What Defender returns: machines, machine actions and errors, and what they mean."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from vyrox.edr.client import ActionResult, Progress
from vyrox.edr.transport.calls import VendorResponse

ACTION_VALID_S: Final = 900.0
"""How long an action shows the state of its machine. An isolation can end without an action."""

GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ALREADY_ACTIVE: Final = "ActiveRequestAlreadyExists"

FULL: Final = "Full"
"""The isolation that Vyrox requests. A selective one leaves some programs on the network."""

Kind = Literal["Isolate", "Unisolate"]
PATHS: Final[dict[str, str]] = {"Isolate": "isolate", "Unisolate": "unisolate"}
_PROGRESS: Final[dict[str, Progress]] = {
    "Pending": "pending",
    "InProgress": "pending",
    "Succeeded": "reached",
    "Failed": "failed",
    "TimeOut": "failed",
    "Cancelled": "failed",
}


class _Refusal(msgspec.Struct, frozen=True):
    code: str | None = None


class _Body(msgspec.Struct, frozen=True):
    error: _Refusal | None = None


class Machine(_Body, frozen=True, kw_only=True, rename="camel"):
    """One machine."""

    id: str
    computer_dns_name: str | None = None
    machine_tags: list[str] | None = None


class Machines(_Body, frozen=True, kw_only=True):
    """A page of machines."""

    value: list[Machine]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class MachineAction(_Body, frozen=True, kw_only=True, rename="camel"):
    """An isolation or its end, or another action."""

    id: Annotated[str, msgspec.Meta(pattern=rf"\A{GUID.pattern}\Z")]
    type: str
    status: str
    machine_id: str
    made_at: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="creationDateTimeUtc")
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(
        default=None, name="lastUpdateDateTimeUtc"
    )
    scope: str | None = None
    comment: str | None = msgspec.field(default=None, name="requestorComment")

    @property
    def progress(self) -> Progress:
        """The progress of the action. An unknown status is pending."""
        return _PROGRESS.get(self.status, "pending")

    def leads_to(self, kind: Kind) -> bool:
        """Return whether it is a full isolation, or its end, as `kind` says."""
        return self.type == kind and (kind == "Unisolate" or self.scope in {None, FULL})

    def is_fresh(self, now: float) -> bool:
        """Return whether the action still shows the state of its machine."""
        return abs(now - (self.updated_at or self.made_at).timestamp()) <= ACTION_VALID_S


class MachineActions(_Body, frozen=True, kw_only=True):
    """A page of machine actions."""

    value: list[MachineAction]


B = TypeVar("B", bound=_Body)

MACHINE = msgspec.json.Decoder(Machine)
MACHINES = msgspec.json.Decoder(Machines)
ACTION = msgspec.json.Decoder(MachineAction)
ACTIONS = msgspec.json.Decoder(MachineActions)
_REFUSED = msgspec.json.Decoder(_Body)


def read_body(response: VendorResponse, decoder: msgspec.json.Decoder[B]) -> B:
    """Return the body of a success without an error. Raises as VendorResponse.decode."""
    body = response.decode(decoder)
    if body.error is not None:
        raise response.unusable("the response has an error and a result")
    return body


def decisive_action(actions: list[MachineAction]) -> MachineAction | None:
    """Return the latest action that has not failed. Failed actions have changed nothing."""
    return next((action for action in actions if action.progress != "failed"), None)


def finished_result(decisive: MachineAction | None, kind: Kind, now: float) -> ActionResult | None:
    """Return the result if `kind` does not need to be sent, else None.

    Without a fresh action the state of the machine is unknown, so an `unisolate` is sent too.
    """
    if decisive is None or not decisive.leads_to(kind) or not decisive.is_fresh(now):
        return None
    reached = decisive.progress == "reached"
    return ActionResult(confirmed=reached, changed=False, reference=decisive.id)


def open_result(decisive: MachineAction | None, kind: Kind) -> ActionResult | None:
    """Return the result if the vendor reports that an action is in progress already.

    None if that action is not `kind`.
    """
    if decisive is None or decisive.progress == "reached":
        return ActionResult(confirmed=False, changed=False)  # the open action is not listed yet
    if not decisive.leads_to(kind):
        return None
    return ActionResult(confirmed=False, changed=False, reference=decisive.id)


def is_active_already(response: VendorResponse) -> bool:
    """Return whether the vendor refused because an action is in progress already."""
    if response.succeeded:
        return False
    try:
        refused = _REFUSED.decode(response.body)
    except (ValueError, RecursionError):
        return False
    return refused.error is not None and refused.error.code == _ALREADY_ACTIVE
