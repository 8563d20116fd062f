"""Slash commands: what they answer, to the person alone (contract 67). None of them acts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox.approvals.discord.answers import (
    NO_RIGHT,
    RefusedError,
    block,
    counted,
    moment,
)
from vyrox.approvals.discord.clicks import Application, checked_channel, find_approver
from vyrox.approvals.discord.interaction import Interaction
from vyrox.approvals.drills import DrillAnswer, show_drill
from vyrox.approvals.enrolment import bind_discord, open_code
from vyrox.approvals.lease_rows import find_ends
from vyrox.approvals.proposal import DRILL
from vyrox.approvals.shown import ListedProposal, list_proposals
from vyrox.clock import utc_text
from vyrox.containment.contained import list_contained
from vyrox.errors import NotPossibleError, UnauthorizedError
from vyrox.tenants.freezes import frozen_since
from vyrox.triage.incident_list import MAX_LISTED as MAX_INCIDENTS
from vyrox.triage.incident_list import IncidentFilter, ListedIncident, list_incidents

COMMAND: Final = "vyrox"
REGISTER: Final = "register"
CODE: Final = "code"
"""The argument of REGISTER."""

MAX_SHOWN: Final = 10
"""Lines of one kind in an answer."""

MAX_SEARCHED: Final = 200
"""The newest proposals that are read for an answer."""


class Typed(msgspec.Struct, frozen=True):
    """A command as it was typed, and where. `code` is the argument of REGISTER."""

    name: str
    code: str
    tenant_id: str
    user_id: str


def typed(connection: Connection, interaction: Interaction, application: Application) -> Typed:
    """Return the command, and the tenant in whose channel it was typed.

    Raises:
        RefusedError: It is no command of Vyrox, or of no tenant's channel.
    """
    channel = checked_channel(connection, interaction, application)
    data, member = interaction.data, interaction.member
    if data is None or member is None or data.name != COMMAND or not data.options:
        raise RefusedError("command", NO_RIGHT)
    chosen = data.options[0]
    codes = [each.value for each in chosen.options if each.name == CODE]
    code = codes[0] if codes and isinstance(codes[0], str) else ""
    return Typed(chosen.name, code.strip(), channel.tenant_id, member.user.id)


def check_code(connection: Connection, command: Typed, now: float) -> None:
    """Return if the code of REGISTER is valid.

    Any member of the server may type one, so it is checked in a read, which takes no turn of the
    writer.

    Raises:
        RefusedError: It is not.
    """
    try:
        open_code(connection, command.tenant_id, command.code, now)
    except UnauthorizedError as exc:
        raise RefusedError("code", NO_RIGHT, command.tenant_id) from exc


def register(connection: Connection, command: Typed, now: float) -> str:
    """Bind the account to the approver for whom the code was made.

    Raises:
        RefusedError: The code is not valid, or the account is another approver's.
    """
    tenant_id, user_id = command.tenant_id, command.user_id
    try:
        approver = bind_discord(connection, tenant_id, command.code, user_id, now)
    except UnauthorizedError as exc:
        raise RefusedError("code", NO_RIGHT, tenant_id) from exc
    except NotPossibleError as exc:
        raise RefusedError("account", f"Nothing was changed: {exc}.", tenant_id) from exc
    if approver.discord_user_id != user_id:
        return (
            f"The code is right. Another approver must now endorse in the console that this is the "
            f"account of `{approver.name}`."
        )
    return f"This account can now decide here, as the approver `{approver.name}`."


def report(connection: Connection, command: Typed, now: float) -> str:
    """Return what a command that only reads answers to an approver of the tenant.

    Raises:
        RefusedError: The account is no approver's, or there is no such command.
    """
    find_approver(connection, command.tenant_id, command.user_id)
    reports = {
        "status": _status,
        "incidents": _incidents,
        "contained": _contained,
        "drill": _drill,
    }
    if command.name not in reports:
        raise RefusedError("command", NO_RIGHT)
    return block(list(reports[command.name](connection, command.tenant_id, now)))


def _status(connection: Connection, tenant_id: str, now: float) -> Iterator[str]:
    yield f"Tenant {tenant_id}, {moment(now)}"
    since = frozen_since(connection, tenant_id)
    if since is not None:
        yield f"FROZEN since {moment(since)}: Vyrox changes nothing at the vendor."
    waiting = list_proposals(connection, tenant_id, now, MAX_SEARCHED, only_open=True)
    yield _at_most(MAX_SEARCHED, waiting, "proposal is open", "proposals are open")
    yield from _first(_proposal(each) for each in waiting)
    found = _open_incidents(connection, tenant_id)
    urgent = sum(each.band == "urgent" for each in found)
    yield f"{_open_count(found)}, {urgent} urgent"
    count = len(list_contained(connection, tenant_id))
    yield counted(count, "device is contained by Vyrox", "devices are contained by Vyrox")


def _incidents(connection: Connection, tenant_id: str, _now: float) -> Iterator[str]:
    found = _open_incidents(connection, tenant_id)
    yield _open_count(found)
    yield from _first(_incident(each) for each in found)


def _contained(connection: Connection, tenant_id: str, _now: float) -> Iterator[str]:
    found = list_contained(connection, tenant_id)
    yield counted(len(found), "device is contained by Vyrox", "devices are contained by Vyrox")
    ends = find_ends(connection, tenant_id)
    yield from _first(
        f"  {name or device_id} ({vendor}), {_end(ends.get((vendor, device_id)))}"
        for vendor, device_id, name in found
    )


def _end(at: float | None) -> str:
    return "without an end" if at is None else f"until {moment(at)}"


def _drill(connection: Connection, tenant_id: str, now: float) -> Iterator[str]:
    found = list_proposals(connection, tenant_id, now, MAX_SEARCHED, only_open=False)
    drill = next((each for each in found if each.action_type == DRILL), None)
    if drill is None:
        yield "There was no drill lately. The operator begins one: vyrox approver drill"
        return
    shown = show_drill(connection, tenant_id, drill.proposal_id, now)
    yield f"Drill of {moment(drill.created_at)}: {shown.state}"
    if shown.state == "pending":
        yield f"Answer it with a button or in the console, {_until(drill.expires_at)}"
    for each in shown.answers:
        yield f"  {each.approver}: {_answered(each)}"


def _answered(answer: DrillAnswer) -> str:
    if answer.proof is None or answer.after_s is None:
        return "no answer" if answer.can_decide else "cannot decide yet"
    channel = "Discord" if answer.proof == "discord" else "passkey"
    return f"by {channel}, after {answer.after_s:.0f} s"


def _open_incidents(connection: Connection, tenant_id: str) -> list[ListedIncident]:
    wanted = IncidentFilter(tenant_id, ("open", "acknowledged"))
    return list_incidents(connection, wanted, None, MAX_INCIDENTS).incidents


def _proposal(each: ListedProposal) -> str:
    if each.action_type == DRILL:
        return f"  a drill, {_until(each.expires_at)}"
    device = each.hostname or each.host
    approved = f"{each.approvals} of {each.required}"
    return f"  {each.action_type} on {device}: {each.state}, {approved}, {_until(each.expires_at)}"


def _until(seconds: float) -> str:
    return f"until {utc_text(seconds, '%H:%M')} UTC"


def _incident(each: ListedIncident) -> str:
    hosts = ", ".join(each.hosts) or "no host known"
    count = counted(each.alerts, "alert", "alerts")
    return f"  {each.id}: {each.band} {each.score:.0f}, {count}, {hosts}"


def _first(lines: Iterable[str]) -> Iterator[str]:
    """Yield the first lines, and whether there are more."""
    every = list(lines)
    yield from every[:MAX_SHOWN]
    if len(every) > MAX_SHOWN:
        yield "  and more"


def _open_count(found: Sequence[ListedIncident]) -> str:
    return _at_most(MAX_INCIDENTS, found, "incident is open", "incidents are open")


def _at_most(limit: int, found: Sequence[object], one: str, many: str) -> str:
    """Return how many were found, of which at most `limit` were read."""
    count = counted(len(found), one, many)
    return count if len(found) < limit else f"At least {count}"
