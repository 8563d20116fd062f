"""Lists, timelines and what is shown of one incident, on both databases (contract 54)."""

from collections.abc import Sequence
from typing import Final

import pytest

from tests.triage.stored import NOW, TENANT, judged, new
from vyrox.errors import InvalidRequestError
from vyrox.store.database import Database
from vyrox.tenants.policy import Change, change_policy
from vyrox.triage import life, regrouping, timeline
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.incident_list import (
    IncidentFilter,
    IncidentPage,
    distinct,
    list_incidents,
    parse_place,
)
from vyrox.triage.life import Actor
from vyrox.triage.shown_incident import ShownIncident, show_incident
from vyrox.triage.timeline import AlertLine, PersonLine

SHADOWS: Final = "vssadmin delete shadows /all /quiet"
JANE: Final = Actor("jane", NOW + 10_000)
ALL: Final = IncidentFilter()


def key(number: int, tenant_id: str = TENANT) -> IncidentKey:
    return IncidentKey(tenant_id, number)


def on(host: str) -> dict[str, str]:
    return {"hostname": host, "device_id": f"id-{host}"}


async def listed(database: Database, wanted: IncidentFilter) -> list[str]:
    """Return the ids of all pages, each of two incidents."""
    ids: list[str] = []
    before = None
    while True:
        page: IncidentPage = await database.read(list_incidents, wanted, before, 2)
        ids += [each.id for each in page.incidents]
        if page.before is None:
            return ids
        assert len(page.incidents) == 2
        before = parse_place(page.before)


async def shown(database: Database, number: int) -> ShownIncident:
    return await database.read(show_incident, key(number))


async def test_lists_have_open_incidents_first_and_each_once_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, SHADOWS, **on("a")), new(1, SHADOWS, **on("b")))
    await judged(database, new(2, "ipconfig /all", **on("c")), new(2, SHADOWS, **on("d")))
    await judged(database, new(2, SHADOWS, **on("e"), tenant_id="other"), tenant_id="other")
    await judged(database, new(3, "hostname", **on("f")))
    await database.write(life.acknowledge, key(1), JANE)
    await database.write(life.close, key(4), JANE, "malicious")

    everything = await listed(database, ALL)
    # Newest change first; of the same time in the order of the ids.
    open_ones = [f"{TENANT}-1", "other-1", f"{TENANT}-2"]
    assert everything == [*open_ones, f"{TENANT}-4", f"{TENANT}-5", f"{TENANT}-3"]
    for wanted, expected in (
        (IncidentFilter("other"), ["other-1"]),
        (IncidentFilter(TENANT, ("acknowledged",)), [f"{TENANT}-1"]),
        (IncidentFilter(statuses=("closed",), bands=("urgent",)), [f"{TENANT}-4"]),
        (IncidentFilter(since=NOW + 3), [f"{TENANT}-1", f"{TENANT}-4", f"{TENANT}-5"]),
    ):
        assert await listed(database, wanted) == expected
    # What was merged is in another incident.
    await database.write(regrouping.merge, key(1), key(2), JANE)
    assert f"{TENANT}-2" not in await listed(database, ALL)


@pytest.mark.parametrize(
    "text", ["", "open", "open_1", "open_nan_a-1", "shut_1_a-1", "open_1_a-0", "open_x_a-1"]
)
def test_a_place_is_read_as_it_was_written_contract_54(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_place(text)


def test_names_are_shown_once_in_any_case() -> None:
    assert distinct(["WS-1", "ws-1", "ws-2"]) == ("WS-1", "ws-2")


def alert_lines(incident: ShownIncident) -> Sequence[AlertLine]:
    return [line for line in incident.timeline.lines if isinstance(line, AlertLine)]


async def test_a_timeline_has_repeats_as_one_line_contract_54(database: Database) -> None:
    pings = [new(n, f"ping -n {n} gateway") for n in range(40)]
    bad = new(20.5, SHADOWS)
    await judged(database, *pings, bad)
    await database.write(life.comment, key(1), JANE, "asked the owner")

    found = await shown(database, 1)

    repeats, alone = alert_lines(found)
    assert (repeats.at, repeats.last_at, repeats.count) == (NOW, NOW + 39, 40)
    assert (alone.at, alone.count, alone.alert_id, alone.band) == (NOW + 20.5, 1, bad.id, "urgent")
    last = found.timeline.lines[-1]
    assert last == PersonLine(at=JANE.now, by="jane", step="commented", text="asked the owner")
    assert found.timeline.deciding is not None
    assert found.timeline.deciding.alert_id == bad.id
    assert found.reasons[0].alert_id == bad.id


async def test_reading_a_timeline_is_bounded_contract_54(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert of the reasons is old, and is shown all the same."""
    monkeypatch.setattr(timeline, "MAX_READ", 10)
    monkeypatch.setattr(timeline, "MAX_LINES", 3)
    bad = new(0, SHADOWS)
    noise = [new(n, f"tool{'abcdefgh'[n % 8]}.exe") for n in range(1, 31)]
    await judged(database, bad, *noise)
    found = await shown(database, 1)
    lines = alert_lines(found)
    assert (len(lines), lines[0].alert_id) == (3, bad.id)
    signs = {reason.alert_id for reason in found.reasons}
    assert found.timeline.unread == 31 - len({each.id for each in noise[-10:]} | signs)
    assert found.timeline.left_out > 0

    monkeypatch.setattr(timeline, "MAX_BYTES", 0)
    [first, *_] = alert_lines(await shown(database, 1))
    assert (first.alert_id, first.command_line) == (bad.id, None)


async def test_an_incident_shows_why_and_what_to_do_contract_54(database: Database) -> None:
    bad = new(0, SHADOWS)
    await judged(database, bad)
    await database.write(life.close, key(1), JANE, "malicious")
    later = new(3 * 86_400, SHADOWS)
    await judged(database, later)

    found = await shown(database, 2)

    assert (found.earlier, found.redirected_from) == (f"{TENANT}-1", None)
    [reference] = found.references
    assert (reference.id, reference.why, reference.resolution) == (
        f"{TENANT}-1",
        "same host",
        "malicious",
    )
    assert found.proposal.command == (
        *("vyrox", "execute", "--tenant", TENANT, "--alert", later.id),
        *("--action", "HOST_ISOLATION", "--host", "device-1"),
    )
    await database.write(change_policy, TENANT, Change(added=("host:ws-1",), is_new=True), JANE.now)
    refused = (await shown(database, 2)).proposal
    assert (refused.action, refused.command) == (None, None)
    assert "never_contain" in refused.reason


async def test_a_merged_id_redirects_and_says_so_contract_54(database: Database) -> None:
    await judged(database, new(0, SHADOWS, **on("a")), new(1, SHADOWS, **on("b")))
    await database.write(regrouping.merge, key(1), key(2), JANE)
    found = await shown(database, 2)
    assert (found.id, found.redirected_from) == (f"{TENANT}-1", f"{TENANT}-2")
    assert [link.name for link in found.links] == ["manual"]
