"""Makes the pages: templates in which every text is escaped, one style sheet and one script."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec
from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from vyrox.approvals.changes import Change
from vyrox.approvals.display import length
from vyrox.clock import utc_text
from vyrox.console.drawing import Drawing
from vyrox.console.sessions import Person
from vyrox.console.wording import family_means, incident_title, signal_words, status_words
from vyrox.errors import (
    InvalidRequestError,
    NotFoundError,
    NotPossibleError,
    UnauthorizedError,
    VyroxError,
)
from vyrox.http.responses import JsonResponse
from vyrox.triage.incident_list import ListedIncident
from vyrox.triage.techniques import technique_name

_HERE: Final = Path(__file__).parent
_TYPES: Final = {"console.css": "text/css", "console.js": "text/javascript"}
_FILES: Final = {name: (_HERE / "static" / name).read_bytes() for name in _TYPES}

TYPED: Final = {"note": "Note", "reason": "Reason"}
"""The fields of forms into which a person types a text."""

HTML: Final = "text/html; charset=utf-8"

MAX_TEXT: Final = 2000
"""Characters of one text of an alert."""

_ACTIONS: Final = {
    "HOST_ISOLATION": "Isolate a host from the network",
    "NETWORK_QUARANTINE": "Quarantine a host",
    "PROCESS_KILL": "End a process",
    "LIFT_HOST_ISOLATION": "Lift the isolation of a host",
    "LIFT_NETWORK_QUARANTINE": "Lift the quarantine of a host",
    "DRILL": "Drill: nothing will be done",
}

_STATES: Final = {
    "pending": "waits for a decision",
    "approved": "approved, not begun yet",
    "dispatched": "approved and begun",
    "rejected": "rejected",
    "expired": "expired",
    "withdrawn": "withdrawn",
    "superseded": "superseded",
    "lapsed": "was approved, but not carried out",
}

_DISPATCHED: Final = {
    "confirmed": "approved and done",
    "dry_run": "approved; dry run: nothing was sent",
    "failed": "approved, but it failed",
    "refused": "approved, but it was refused",
}

DONE: Final[dict[str, str]] = {
    "verdict": "Your verdict is recorded, and the alert is finished.",
    "replayed": "It is an alert now, and was queued.",
    "replay_stored": "It is an alert now. The queue is full, so it is queued later.",
    "replay_refused": "It still cannot be read. The reason below is the new one.",
    "dismissed": "Dismissed. If room is needed, it is deleted first.",
    "revived": "The alert is queued again, as if it had never been delivered.",
    "revive_stored": "The alert is open again. The queue is full, so it is queued later.",
    "frozen": "Frozen: every running container has read it. No action is carried out any more.",
    "frozen_late": "Frozen, but not every container has read it yet: one may still act. Look here "
    "again, or ask the operator to run vyrox tenant freeze.",
    "unfrozen": "Not frozen any more: approved actions are carried out again.",
    "still_frozen": "Still frozen, with every tenant: only the operator can end that.",
    "acknowledged": "You are on it now: others see your name.",
    "incident_closed": "The incident is closed.",
    "reopened": "The incident is open again.",
    "commented": "Your comment is recorded.",
    "suppressed": "Such alerts are hidden from now on. They are still stored and counted.",
    "suppression_waits": "It hides dangerous behaviour: another approver must confirm it.",
    "suppression_confirmed": "Confirmed: such alerts are hidden from now on.",
    "suppression_ended": "Such alerts are not hidden any more.",
    "proposed": "Proposed. Nothing is done before it is approved: this page says by whom.",
}
"""What `parts.done` may say, by the word in the address."""

_OUTCOMES: Final = {
    "confirmed": "confirmed: the vendor shows that it is done",
    "requested": "requested: the vendor has accepted it, and does not show it as done yet",
    "dry_run": "dry run: nothing was sent to the vendor",
    "failed": "failed",
    "refused": "refused",
}


_BANDS: Final = {
    "urgent": "urgent",
    "review": "review: a person should look",
    "close": "close: of no interest",
    "none": "not judged yet",
}


def plain(value: object) -> object:
    r"""Return a text with whatever is not printable as `\uXXXX`: no character hides or reorders."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(each if each.isprintable() else _escape(each) for each in value)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(rf"\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def cut(text: str) -> str:
    """Return at most MAX_TEXT characters: a sender decides how long a command line is."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def moment(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{utc_text(seconds)} UTC"


def raw_text(data: bytes) -> str:
    """Return bytes as text; what is not text becomes an escape."""
    return data.decode("utf-8", "backslashreplace")


def clock(seconds: float, has_days: bool) -> str:
    """Return a time of day (UTC), with its day if it is needed."""
    return utc_text(seconds, "%m-%d %H:%M" if has_days else "%H:%M")


def length_words(seconds: int) -> str:
    """Return how long a containment lasts, in words."""
    return length(seconds)


def action_words(action_type: str) -> str:
    """Return what an action does, in words."""
    return _ACTIONS.get(action_type, action_type)


def state_words(state: str, outcome: str | None = None) -> str:
    """Return the state of a proposal in words, with what became of its action if that is known."""
    if state == "dispatched" and outcome is not None:
        return _DISPATCHED.get(outcome, _STATES[state])
    return _STATES.get(state, state)


def outcome_words(outcome: str | None) -> str:
    """Return what became of an action, in words."""
    if outcome is None:
        return "not known yet"
    return _OUTCOMES.get(outcome, f"{outcome}: look at the vendor's console")


def band_words(band: str) -> str:
    """Return a band, and what it means."""
    return _BANDS.get(band, band)


def change_words(change: Change) -> str:
    """Return what a change of who may decide does, in words."""
    match change.kind:
        case "confirm_key":
            return f"Let a new passkey of {change.approver} decide"
        case "bind_discord":
            return f"Let an account at Discord decide as {change.approver}"
        case _:
            return f"End the rule that two persons must approve: {change.subject}"


def incident_words(incident: ListedIncident) -> str:
    """Return what happened in an incident, and where, as a title."""
    return incident_title(incident.families, incident.hosts)


_templates: Final = Environment(
    # Read now, as a request reads no file. Each is compiled when it is first used: a start would
    # wait for all of them.
    loader=DictLoader(
        {each.name: each.read_text("utf-8") for each in (_HERE / "templates").glob("*.html")}
    ),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=plain,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_templates.filters.update(
    {
        each.__name__: each
        for each in (
            *(
                clock,
                cut,
                length_words,
                moment,
                raw_text,
                action_words,
                state_words,
                outcome_words,
                change_words,
                band_words,
                incident_words,
            ),
            *(family_means, signal_words, status_words, technique_name),
        )
    }
)


def drawing_markup(drawing: Drawing) -> str:
    """Return the drawing of a timeline as SVG, as the page of an incident has it."""
    module = _templates.get_template("drawing.html").module
    return str(module.draw(drawing))  # type: ignore[attr-defined]


def page(
    name: str,
    person: Person | None = None,
    now: float | None = None,
    version: str | None = None,
    **values: object,
) -> Response:
    """Return the page of a template.

    Args:
        now: By it the script says how long ago something was; None: the page has no times.
        version: Of what the page shows; a page with one reloads itself when it changes.
    """
    text = rendered(name, person, now, version, **values)
    return Response(text, media_type=HTML)


def rendered(
    name: str,
    person: Person | None = None,
    now: float | None = None,
    version: str | None = None,
    **values: object,
) -> str:
    """Return the text of a page, as `page`, or a part of one."""
    said = None if person is None else DONE.get(person.done)
    return _templates.get_template(f"{name}.html").render(
        page=name, person=person, now=now, version=version, said=said, **values
    )


def version_of(person: Person, seen: object) -> str:
    """Return what identifies `seen`, which a page shows: the page reloads when it changes."""
    encoded = msgspec.json.encode([person.approver, seen], order="deterministic")
    return sha256(encoded).hexdigest()


def is_current(request: Request, version: str) -> bool:
    """Return whether the browser shows this version already."""
    return request.headers.get("if-none-match") == f'"{version}"'


def not_modified() -> Response:
    """Return the response to a page that shows the current version."""
    return Response(status_code=304)


def static_file(request: Request) -> Response:
    """Return the style sheet or the script."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise NotFoundError("no such file")
    return Response(_FILES[name], media_type=f"{_TYPES[name]}; charset=utf-8")


def error_page(scope: Scope, error: VyroxError) -> Response:
    """Return the response to an error: JSON to the script, a page to a person.

    A person who is not signed in is asked to, and then comes back. The page has the navigation if
    the request has found out who asks, and what a person has typed into a form, to send it again.
    """
    headers = Headers(scope=scope)
    # Only the texts of these errors are for the person who asked.
    message = str(error) if isinstance(error, NotPossibleError) else None
    if _is_by_script(scope["method"], headers):
        known = {} if message is None else {"message": message}
        return JsonResponse({"detail": error.detail, **known}, error.status, error.headers)
    if isinstance(error, UnauthorizedError):
        return RedirectResponse(f"/sign-in{_back(scope)}", 303)
    told = isinstance(error, (InvalidRequestError, NotPossibleError)) and str(error)
    state = scope.get("state", {})
    response = page(
        "error",
        state.get("person"),
        status=error.status,
        told=told,
        detail=error.detail,
        back=_form_of(scope, headers),
        path=scope["path"],
        fields=state.get("fields", {}),
        typed=TYPED,
    )
    response.status_code = error.status
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def _is_by_script(method: str, headers: Headers) -> bool:
    """Return whether the script has sent the request: a browser itself posts only forms."""
    if method in {"GET", "HEAD"}:
        return "if-none-match" in headers
    return not headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def _form_of(scope: Scope, headers: Headers) -> str | None:
    """Return the path of the page with the form that was sent, or None."""
    found = urlsplit(headers.get("referer", ""))
    if scope["method"] in {"GET", "HEAD"} or not re.match(r"/(?!/)", found.path):
        return None
    return f"{found.path}{'?' if found.query else ''}{found.query}"


def _back(scope: Scope) -> str:
    if scope["method"] not in {"GET", "HEAD"} or scope["path"] == "/":
        return ""
    query = scope["query_string"].decode("latin-1")
    return f"#{quote(scope['path'])}{'?' if query else ''}{query}"
