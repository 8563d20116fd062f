"""What a plain `vyrox lift TENANT HOST` lifts: the containment says it (contract 88)."""

from typing import Final, NamedTuple

from vyrox.approvals.why_contained import list_why
from vyrox.cli.folding import say
from vyrox.cli.output import printable
from vyrox.cli.stores import read
from vyrox.errors import VyroxError
from vyrox.models import LiftType, normal_host

MAX_READ: Final = 1000
"""Contained devices of the tenant among which the host is searched."""

_LIFTS: Final[dict[str | None, LiftType]] = {"NETWORK_QUARANTINE": "LIFT_NETWORK_QUARANTINE"}


class Plain(NamedTuple):
    """An alert, if one is known, and the lift that undoes the containment."""

    alert_id: str | None
    action: LiftType


def plain_lift(tenant_id: str, host: str) -> Plain:
    """Return what undoes the containment of the host, as far as the database has it."""
    try:
        contained = read(list_why, [tenant_id], MAX_READ)
    except VyroxError as exc:  # the command may run on another machine
        say(printable(f"warning: not looked up what {host} is contained for: {exc}"))
        return Plain(None, "LIFT_HOST_ISOLATION")
    name = normal_host(host)
    for each in contained:
        if name in {normal_host(each.device_id), normal_host(each.hostname or "")}:
            return Plain(each.alert_id, _LIFTS.get(each.action_type, "LIFT_HOST_ISOLATION"))
    return Plain(None, "LIFT_HOST_ISOLATION")
