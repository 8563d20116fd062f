"""A console with everything in it, so that each of its pages has something to show."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from re import findall
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.routing import Route

from tests.browser.site import TENANT, Person, Site
from tests.polling import until
from tests.triage.stored import new, stored_rows
from vyrox.alerts.dead_letters import mark_dead
from vyrox.approvals.break_glass import BrokenGlass
from vyrox.approvals.changes import Change, ask
from vyrox.approvals.proposing import Wanted
from vyrox.clock import wall_clock
from vyrox.console import viewers
from vyrox.console.application import create_routes
from vyrox.console.viewers import places_of
from vyrox.models import BreakGlass
from vyrox.store import tables as t
from vyrox.triage.suppressing import Asked, suppress

OTHER: Final = "initech"
"""A tenant that ann may see too, once `fill` has joined it."""

HOST: Final = "12345678-1234-1234-1234-123456789abc"
"""A device of the mock."""

RAN: Final = "window.ran = (window.ran || 0) + 1"
HOSTILE: Final = (
    f"</script></title></text></svg></textarea></pre><script>{RAN}</script>"
    f'<img src=x onerror="{RAN}">\'"`><b onclick="{RAN}">{{{{7*7}}}}\u202egpj.exe\u2066=cmd|'
)
LONG: Final = "W" * 400
"""A word that has no place to break."""


PROCESS: Final = {
    "file_name": "rundll32.exe",
    "command_line": "rundll32.exe comsvcs.dll, MiniDump 624 C:\\x.dmp full",
    "user_name": "CORP\\jsmith",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
BACKUPS: Final = "vssadmin.exe delete shadows /all /quiet"


def payload(number: int, **changes: object) -> bytes:
    """Return a detection as CrowdStrike sends it."""
    found = {
        "detect_id": f"evt:{number}",
        "customer_id": TENANT,
        "timestamp": int(wall_clock()) - 600 + number,
        "severity": "critical",
        "tactic": "TA0006",
        "technique": "T1003.001",
        "sensor": {"hostname": "workstation-01", "agent_id": HOST},
        "process": PROCESS,
    }
    return json.dumps({**found, **changes}).encode()


def hostile(number: int) -> bytes:
    """Return a detection of which an attacker has written each text."""
    process = {
        "file_name": f"{HOSTILE}{LONG}",
        "command_line": f"vssadmin delete shadows /all {HOSTILE} {LONG}",
        "user_name": f"{HOSTILE}{LONG}",
        "sha256": HOSTILE,
    }
    return payload(
        number,
        detect_id=f"{number}{HOSTILE}",
        severity="high",
        tactic=HOSTILE,
        technique=f"{HOSTILE}{LONG}",
        sensor={"hostname": f"{HOSTILE}{LONG}", "agent_id": f"{number}{HOSTILE}"},
        process=process,
    )


@dataclass(frozen=True)
class Filled:
    """What there is.

    Attributes:
        values: Of each parameter of the console's routes.
        incidents: One of the alerts of each incident.
    """

    values: Mapping[str, Sequence[str]]
    incidents: Mapping[str, str] = field(default_factory=dict)

    def addresses(self, route: Route) -> Iterator[str]:
        """Yield the address of each thing that a route is about.

        Raises:
            KeyError: The route has a parameter of a new kind: `values` must have some.
        """
        names = findall(r"\{([^}]+)\}", route.path)
        assert all(self.values[name] for name in names), route.path
        for values in product(*(self.values[name] for name in names)):
            path = route.path
            for name, value in zip(names, values, strict=True):
                path = path.replace(f"{{{name}}}", value)
            if route.path.endswith("/benign"):
                path += f"?alert={self.incidents.get(values[0], 'nothing')}"
            yield path


def routes(method: str) -> list[Route]:
    """Return the routes of the console for a method."""
    found = [route for route in create_routes() if isinstance(route, Route)]
    assert len(found) == len(create_routes())
    return [route for route in found if route.methods and method in route.methods]


async def fill(site: Site, ann: Person) -> Filled:
    """Let things happen, in the service and beside it: ann is an approver who has signed in."""
    now = wall_clock()
    for number in range(2):
        assert await site.deliver(payload(number)) == 202
    assert await site.deliver(payload(2, process={**PROCESS, "command_line": BACKUPS})) == 202
    for number in range(10, 13):
        assert await site.deliver(hostile(number)) == 202
    for reason in ("missing", HOSTILE):
        assert await site.deliver(payload(20, detect_id=None, note=reason)) == 422

    async def is_judged() -> bool:
        return await site.database.read(count, t.verdicts) >= 6

    await until(is_judged)
    # Alerts of which the consumer has never heard, so that it does not finish them.
    for number, hostname in enumerate(("workstation-07", HOSTILE)):
        dead = new(0.0, hostname, id=f"dead-{number}", tenant_id=TENANT, hostname=hostname)
        await stored_rows(site.database, [dead])
        await site.database.write(mark_dead, TENANT, f"dead-{number}", 5, now)
    await site.vyrox("tenant", "add", OTHER, "--vendor", "sentinelone")
    await site.database.write(viewers.add, OTHER, ann.name, TENANT, "operator", now)
    assert len(await site.database.read(places_of, ann.name)) > 1
    await site.enrolled("bob")  # with two persons, a change waits for one of them
    await site.database.write(hide_backups, now)
    change = Change(kind="bind_discord", tenant_id=TENANT, approver="bob", subject="8" * 17)
    await site.database.write(ask, change, "operator", now)
    glass = BreakGlass(
        request_id="glass-1",
        tenant_id=TENANT,
        alert_id="alt_abc123",
        action_type="HOST_ISOLATION",
        host=HOST,
        by=HOSTILE,
        reason=f"{HOSTILE}{LONG}",
        at=int(now),
    )
    await site.database.write(BrokenGlass(glass, now).begin, now)
    await contain(site, ann)
    await site.propose(
        Wanted(
            tenant_id=TENANT,
            alert_id="alt_abc123",
            action_type="PROCESS_KILL",
            host=HOST,
            hostname="workstation-01",
            requested_by="operator",
            reason=f"{HOSTILE} {LONG}",
        )
    )
    return await site.database.read(found_in)


async def contain(site: Site, ann: Person) -> None:
    """Approve what Vyrox proposes by itself for the first incident."""
    await ann.page.goto(site.origin)
    await ann.page.locator("main a[href^='/approvals/']", has_text="workstation-01").first.click()
    await ann.page.get_by_role("button", name="Approve").click()
    await ann.page.get_by_text("Result: confirmed").wait_for()


def hide_backups(connection: Connection, now: float) -> None:
    """Let bob say that an alert is normal. Another approver must confirm it."""
    alert_id = connection.execute(
        sa.select(t.alerts.c.id).where(t.alerts.c.raw_id == "evt:2")
    ).scalar_one()
    asked = Asked(tenant_id=TENANT, reason=HOSTILE, author="bob", like=alert_id, days=7)
    suppress(connection, asked, now)


def count(connection: Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def found_in(connection: Connection) -> Filled:
    """Return what there is: few of each kind."""

    def of(column: sa.ColumnElement[str], *where: sa.ColumnElement[bool]) -> list[str]:
        found = connection.execute(sa.select(column).where(*where).order_by(column))
        return [str(each) for each in found.scalars()]

    is_hostile = t.alerts.c.hostname.contains("<script>")
    is_dead = t.alerts.c.dead_reason.is_not(None)
    kinds = (
        (t.alerts.c.hostname == "workstation-01", sa.not_(is_dead)),
        (is_hostile, sa.not_(is_dead)),
        (is_hostile, is_dead),
    )
    alerts = [of(t.alerts.c.id, *each)[0] for each in kinds]
    incidents = {
        f"{TENANT}-{of(t.verdicts.c.incident, t.verdicts.c.alert_id == each)[0]}": each
        for each in alerts[:2]
    }
    found = {
        "name": ["console.css", "console.js"],
        "proposal_id": of(t.proposals.c.id),
        "incident_id": list(incidents),
        "alert_id": alerts,
        "quarantine_id": of(t.quarantine.c.id),
        "change_id": of(t.approver_changes.c.id),
        "glass_id": of(t.break_glass.c.id),
        "tenant_id": [TENANT],
        "stream": ["actions", "events"],
        "sequence:int": ["1"],
        "host:path": ["1", "workstation-01"],
    }
    return Filled(found, incidents)
