"""The page of an incident (contract 78)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vyrox.alerts.verdict import MAX_NOTE
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.parts import console_of, sees, signed_in
from vyrox.console.sessions import Person
from vyrox.console.story import IncidentStory, read_story
from vyrox.console.wording import RESOLUTIONS, VERDICTS, incident_title
from vyrox.triage.incident_ids import IncidentKey, parse_id

LEASES: Final = {
    3600: "1 hour",
    14_400: "4 hours",
    86_400: "24 hours",
    0: "no end (two others must approve)",
}
"""How long a containment that is proposed here may last, in seconds."""


async def incident_page(request: Request) -> Response:
    """Show an incident; the id of one that was merged leads to the one that has its alerts.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: There is no such incident, or the person may not see its tenant.
    """
    person = await signed_in(request)
    console = console_of(request)
    key = own_key(request, person)
    now = console.now()
    story = await console.database.read(read_story, key, now)
    if story.shown.redirected_from is not None:
        return RedirectResponse(f"/incidents/{story.shown.id}", 303)
    version = version_of(person, story)
    if is_current(request, version):
        return not_modified()
    return page("incident", person, now, version, **_values(story, person))


def own_key(request: Request, person: Person) -> IncidentKey:
    """Return the incident that the address names.

    Raises:
        NotFoundError: No incident can have this id, or the person may not see its tenant.
    """
    key = parse_id(request.path_params["incident_id"])
    sees(person, key.tenant_id)
    return key


def _values(story: IncidentStory, person: Person) -> dict[str, object]:
    shown = story.shown
    return {
        "story": story,
        "shown": shown,
        "title": incident_title(shown.families, shown.hosts),
        "can_act": shown.tenant_id in person.acts_for,
        "resolutions": RESOLUTIONS,
        "verdicts": VERDICTS,
        "leases": LEASES,
        "max_note": MAX_NOTE,
    }
