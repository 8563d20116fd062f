"""What approvers do on the page of an incident: each form is one function here (contract 78).

They are the functions of the commands and of the signed routes, so rules and events are the same.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast, get_args

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.alerts.verdict import MAX_NOTE, Decision
from vyrox.approvals.of_incident import chosen, wanted_of
from vyrox.approvals.proposal import CONTAINMENTS
from vyrox.approvals.proposing import Wanted, propose
from vyrox.console.benign import asked_by, digest
from vyrox.console.incident import LEASES, own_key
from vyrox.console.parts import (
    acts,
    console_of,
    done,
    read_form,
    remove_entry,
    signed_in,
)
from vyrox.console.wording import RESOLUTIONS, VERDICTS
from vyrox.errors import InvalidRequestError, NotPossibleError
from vyrox.http.application import request_id_of
from vyrox.models import ActionType, LiftType, PersonVerdict
from vyrox.triage import life, suppression_life
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.life import Actor, PersonResolution
from vyrox.triage.suppressing import suppress, wanted_by

ACTIONS: Final[tuple[ActionType | LiftType, ...]] = (
    *get_args(ActionType),
    *get_args(LiftType),
)

SUGGESTED: Final = "suggested"
"""In place of an action: what triage suggests for the incident."""

Fields = dict[str, str]
Step = Callable[[Connection, IncidentKey, Fields, Actor], str | None]
"""Does a step; returns a word of `pages.DONE` if it is not always the same."""


def step_route(name: str) -> Callable[[Request], Awaitable[Response]]:
    """Return the route of one of STEPS: it does what an approver has asked for with a form.

    The page of the incident is shown again. The route raises:
        NotFoundError: There is no such incident, or the person may not see its tenant.
        NotPossibleError: The person may not do this, or it cannot be done now; the text says why.
        InvalidRequestError: A field of the form is missing or has another value.
    """
    word, step = STEPS[name]

    async def route(request: Request) -> Response:
        person = await signed_in(request)
        key = own_key(request, person)
        acts(person, key.tenant_id)
        fields = await read_form(request)
        console = console_of(request)
        actor = Actor(person.approver, console.now(), request_id_of(request))
        said = await console.database.write(_done, step, key, fields, actor)
        if name == "verdict":
            await remove_entry(console, key.tenant_id, field(fields, "alert"))
        return done(f"/incidents/{key.id}", said or word)

    return route


def _done(
    connection: Connection, step: Step, key: IncidentKey, fields: Fields, actor: Actor
) -> str | None:
    # Also for steps that are about an alert or a suppression: the page must be of an incident
    # that is there, and has not been merged into another.
    life.lock_incident(connection, key)
    return step(connection, key, fields, actor)


async def propose_action(request: Request) -> Response:
    """Propose what a form names, and show the proposal, which a passkey then decides on.

    Raises:
        VyroxError: As the routes of `step_route`; or the clocks cannot be trusted.
    """
    person = await signed_in(request)
    key = own_key(request, person)
    acts(person, key.tenant_id)
    fields = await read_form(request)
    console = console_of(request)
    console.check_clocks()
    actor = Actor(person.approver, console.now(), request_id_of(request))
    proposed = await console.database.write(_proposed, key, fields, actor, console.approval_ttl_s)
    return done(f"/approvals/{proposed}", "proposed")


def _proposed(
    connection: Connection, key: IncidentKey, fields: Fields, actor: Actor, ttl_s: int
) -> str:
    life.unmerged(connection, key)
    wanted = _wanted(connection, key, fields, actor.by)
    return propose(connection, wanted, actor.now, ttl_s, actor.request_id).proposal_id


def _wanted(connection: Connection, key: IncidentKey, fields: Fields, by: str) -> Wanted:
    action = field(fields, "action")
    if action == SUGGESTED:
        return wanted_of(connection, key, by)
    if action not in ACTIONS:
        raise InvalidRequestError("there is no such action")
    is_containment = action in CONTAINMENTS
    return chosen(
        connection,
        key,
        field(fields, "alert"),
        action,
        by,
        fields.get("reason", "").strip() or None,
        _lease_s(fields) if is_containment else None,
    )


def _lease_s(fields: Fields) -> int:
    text = fields.get("lease_s", "14400")
    if text not in {str(each) for each in LEASES}:
        raise InvalidRequestError("there is no such end")
    return int(text)


def field(fields: Fields, name: str) -> str:
    """Return a field that must be there. Raises InvalidRequestError."""
    value = fields.get(name, "").strip()
    if not value:
        raise InvalidRequestError(f"the form has no {name}")
    return value


def _note(fields: Fields) -> str | None:
    """Return the note of a form, if there is one. Raises InvalidRequestError."""
    note = fields.get("note", "").strip()
    if len(note) > MAX_NOTE:
        raise InvalidRequestError(f"a note has at most {MAX_NOTE} characters")
    return note or None


def _acknowledge(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    life.acknowledge(connection, key, actor, _note(fields))


def _close(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    resolution = field(fields, "resolution")
    if resolution not in RESOLUTIONS:
        raise InvalidRequestError("there is no such resolution")
    life.close(connection, key, actor, cast("PersonResolution", resolution), _note(fields))


def _reopen(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    life.reopen(connection, key, actor, _note(fields))


def _comment(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    life.comment(connection, key, actor, _note(fields) or "")


def _verdict(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    verdict = field(fields, "verdict")
    if verdict not in VERDICTS:
        raise InvalidRequestError("there is no such verdict")
    decision = Decision(
        key.tenant_id,
        (field(fields, "alert"),),
        cast("PersonVerdict", verdict),
        actor.by,
        _note(fields),
    )
    decide_alerts(connection, decision, actor.now, actor.request_id)


def _suppress(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> str:
    asked = asked_by(fields, key.tenant_id, actor.by, fields.get("note", ""))
    wanted = wanted_by(connection, asked)
    if field(fields, "seen") != digest(wanted):
        raise NotPossibleError(
            "What this would hide is not any more what the page has shown: look at it again"
        )
    made = suppress(connection, asked, actor.now, actor.request_id)
    if fields.get("close"):
        life.close(connection, key, actor, "benign_expected", _note(fields))
    return "suppression_waits" if made.scope.needs_second else "suppressed"


def _confirm(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    suppression_life.confirm(
        connection,
        key.tenant_id,
        field(fields, "suppression"),
        actor.by,
        actor.now,
        actor.request_id,
    )


def _end(connection: Connection, key: IncidentKey, fields: Fields, actor: Actor) -> None:
    suppression_life.end(
        connection,
        key.tenant_id,
        field(fields, "suppression"),
        actor.by,
        _note(fields) or "a person ended it",
        actor.now,
        actor.request_id,
    )


STEPS: Final[dict[str, tuple[str, Step]]] = {
    "acknowledge": ("acknowledged", _acknowledge),
    "close": ("incident_closed", _close),
    "reopen": ("reopened", _reopen),
    "comment": ("commented", _comment),
    "verdict": ("verdict", _verdict),
    "suppress": ("suppressed", _suppress),
    "confirm": ("suppression_confirmed", _confirm),
    "unsuppress": ("suppression_ended", _end),
}
"""For each path below an incident: the word of `pages.DONE`, and what it does."""
