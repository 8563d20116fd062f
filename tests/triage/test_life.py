"""What people do with incidents, on both databases (contract 54)."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.audit import events
from tests.quick_files import QUICK_FILES
from tests.triage.stored import NOW, TENANT, incident, judged, new, numbers_of
from vyrox.alerts.retention import delete_expired
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database, open_database
from vyrox.store.tables import alerts, incident_keys, incident_steps, incidents, verdicts
from vyrox.triage import life, regrouping, rows
from vyrox.triage.incident_ids import IncidentKey, find_survivor, key_of
from vyrox.triage.incidents import Incident
from vyrox.triage.life import Actor
from vyrox.triage.rebuild import rebuild

SHADOWS: Final = "vssadmin delete shadows /all /quiet"
DUMP: Final = "rundll32 comsvcs.dll, MiniDump 624 C:\\Temp\\l.dmp full"
JANE: Final = Actor("jane", NOW + 100)
ANN: Final = Actor("ann", NOW + 200)
FAR: Final = {"hostname": "srv-2", "device_id": "device-2"}
THIRD: Final = {"hostname": "srv-3", "device_id": "device-3"}


def key(number: int, tenant_id: str = TENANT) -> IncidentKey:
    return IncidentKey(tenant_id, number)


async def kinds(database: Database) -> list[object]:
    return [each["kind"] for each in await events(database, TENANT)]


async def steps(database: Database, number: int) -> list[tuple[str, str, str | None]]:
    c = incident_steps.c
    query = sa.select(c.by, c.step, c.text).where(c.number == number).order_by(c.at, c.step)

    def read(connection: Connection) -> list[tuple[str, str, str | None]]:
        return [(row.by, row.step, row.text) for row in connection.execute(query)]

    return await database.read(read)


async def test_an_incident_is_acknowledged_closed_and_reopened_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, SHADOWS))
    assert (await incident(database, 1)).due_at is not None

    mine = await database.write(life.acknowledge, key(1), JANE)
    assert (mine.status, mine.assignee) == ("acknowledged", "jane")
    await database.write(life.acknowledge, key(1), ANN)
    await database.write(life.comment, key(1), ANN, "asked the owner")
    closed = await database.write(life.close, key(1), ANN, "benign_expected", "the restore test")
    assert (closed.status, closed.resolution, closed.closed_at) == (
        "closed",
        "benign_expected",
        ANN.now,
    )
    assert (closed.due_at, closed.assignee) == (None, "ann")
    opened = await database.write(life.reopen, key(1), JANE, "it was not")
    assert (opened.status, opened.resolution, opened.closed_at) == ("open", None, None)
    assert opened == await incident(database, 1)
    assert await kinds(database) == [
        *("incident.opened", "incident.acknowledged", "incident.assigned"),
        *("incident.commented", "incident.closed", "incident.reopened"),
    ]
    assert {(by, step) for by, step, _ in await steps(database, 1)} == {
        ("jane", "acknowledged"),
        ("ann", "assigned"),
        ("ann", "commented"),
        ("ann", "closed"),
        ("jane", "reopened"),
    }


async def test_what_is_refused_says_why_and_changes_nothing_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, SHADOWS))
    await judged(database, new(1, SHADOWS, tenant_id="other"), tenant_id="other")
    before = await incident(database, 1)

    async def refused(
        change: Callable[[Connection], object],
        text: str,
        kind: type[Exception] = NotPossibleError,
    ) -> None:
        with pytest.raises(kind, match=text):
            await database.write(change)

    close = partial(life.close, key=key(1), actor=JANE)
    for note in (None, " "):
        noted = partial(close, resolution="benign_expected", note=note)
        await refused(noted, "needs a note", InvalidRequestError)
    blank = partial(life.comment, key=key(1), actor=JANE, text=" ")
    await refused(blank, "is empty", InvalidRequestError)
    await refused(partial(life.reopen, key=key(1), actor=JANE), "is not closed: it is open")
    await refused(
        partial(life.comment, key=key(9), actor=JANE, text="x"),
        "the nearest is acme-corp-1",
        NotFoundError,
    )
    await refused(
        partial(life.comment, key=key(1, "nowhere"), actor=JANE, text="x"),
        "nowhere is not onboarded",
        NotFoundError,
    )
    both = partial(regrouping.merge, one=key(1), actor=JANE)
    await refused(partial(both, another=key(1, "other")), "two tenants never share")
    await refused(partial(both, another=key(1)), "into itself")
    assert await incident(database, 1) == before
    assert await kinds(database) == ["incident.opened"]

    await database.write(life.close, key(1), JANE, "malicious")
    await refused(partial(close, resolution="unclear"), "closed as malicious: reopen it first")
    await refused(
        partial(life.acknowledge, key=key(1), actor=JANE), "closed as malicious: reopen it"
    )


async def test_a_person_may_confirm_what_triage_has_closed_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, "ipconfig /all"))
    confirmed = await database.write(life.close, key(1), JANE, "unclear")
    assert confirmed.is_decided


async def test_the_older_stays_after_a_merge_and_the_other_redirects_contract_54(
    database: Database,
) -> None:
    one, two, three = new(0, "ipconfig /all"), new(1, DUMP, **FAR), new(2, SHADOWS, **THIRD)
    await judged(database, one, two, three)
    await database.write(life.acknowledge, key(2), ANN)
    merged = await database.write(regrouping.merge, key(2), key(1), JANE, "one campaign")
    assert (merged.number, merged.status, merged.assignee) == (1, "acknowledged", "ann")
    assert (merged.alerts, merged.band) == (2, "urgent")
    assert "manual" in merged.story.links
    await database.write(regrouping.merge, key(1), key(3), JANE)
    assert await numbers_of(database, one, two, three) == [1, 1, 1]
    for number in (2, 3):
        assert (await database.read(find_survivor, key(number))).number == 1
        with pytest.raises(NotPossibleError, match=f"{number} was merged into acme-corp-1: use"):
            await database.write(life.acknowledge, key(number), JANE)
    event = (await events(database, TENANT, "incident.merged"))[0]
    assert (event["incident"], event["into"], event["why"]) == (
        f"{TENANT}-2",
        f"{TENANT}-1",
        "manual",
    )
    # The steps of the merged one are in the timeline of the other.
    assert ("ann", "acknowledged", None) in await steps(database, 1)


async def test_decided_incidents_are_merged_by_hand_only_for_one_reason_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, SHADOWS), new(1, SHADOWS, **FAR), new(2, SHADOWS, **THIRD))
    await database.write(life.close, key(1), JANE, "malicious")
    await database.write(life.close, key(2), JANE, "unclear")
    await database.write(life.close, key(3), ANN, "malicious")
    with pytest.raises(NotPossibleError, match="reopen one of them first"):
        await database.write(regrouping.merge, key(1), key(2), JANE)
    closed = await database.write(regrouping.merge, key(1), key(3), JANE)
    assert (closed.status, closed.resolution, closed.closed_at) == ("closed", "malicious", ANN.now)
    await database.write(life.reopen, key(2), JANE)
    opened = await database.write(regrouping.merge, key(1), key(2), JANE)
    assert (opened.status, opened.resolution) == ("open", None)


async def test_a_moved_alert_takes_its_share_of_the_score_with_it_contract_54(
    database: Database,
) -> None:
    quiet, loud = new(0, "ipconfig /all"), new(1, SHADOWS)
    await judged(database, quiet, loud)
    moved = await database.write(regrouping.move, [loud.id], None, JANE, "another matter")
    assert await numbers_of(database, quiet, loud) == [1, 2]
    left = await incident(database, 1)
    assert (left.band, left.alerts, left.last_at) == ("close", 1, quiet.timestamp)
    assert "recovery" not in left.story.families
    assert (moved.band, moved.status, moved.alerts, moved.earlier) == ("urgent", "open", 1, 1)
    assert moved.first_at == loud.timestamp
    [event] = await events(database, TENANT, "incident.moved")
    assert (event["alert_id"], event["incident"], event["source"]) == (
        loud.id,
        f"{TENANT}-2",
        f"{TENANT}-1",
    )
    # What follows on the host joins as before; the number is used only once.
    later, elsewhere = new(2, "whoami"), new(3, **FAR)
    await judged(database, later, elsewhere)
    assert (await numbers_of(database, later, elsewhere))[1] == 3


async def keys_of(database: Database, number: int) -> set[str]:
    c = incident_keys.c
    query = sa.select(c.key).where(c.tenant_id == TENANT, c.number == number)
    return await database.read(lambda connection: set(connection.execute(query).scalars()))


async def test_a_story_made_again_has_what_it_had_contract_54(database: Database) -> None:
    """Hosts, keys and devices, also of an alert that names only the host."""
    who = {"username": "CORP\\alice", "vendor_group": "group-1"}
    one = new(0, "wmic /node:srv-9 process call create a.exe", **who)
    two, three = new(1, SHADOWS, device_id=None), new(2, "ipconfig /all")
    await judged(database, one, two, three)
    before, keys = await incident(database, 1), await keys_of(database, 1)
    assert {"host:1", "group:crowdstrike:group-1", "person:alice", "lateral:alice"} <= keys
    await database.write(regrouping.move, [three.id], None, JANE)
    await database.write(regrouping.move, [three.id], key(1), JANE)
    after = await incident(database, 1)
    before.story.links = after.story.links
    assert after.story == before.story
    assert set(after.story.devices) == {"crowdstrike:device-1"}
    assert after.story.loose == {}
    assert await keys_of(database, 1) == keys


async def test_an_account_on_many_hosts_links_nothing_after_a_move_contract_54(
    database: Database,
) -> None:
    many = [new(n, hostname=f"h{n}", device_id=f"d{n}", username="CORP\\alice") for n in range(8)]
    await judged(database, many[0], new(1, hostname="h0", device_id="d0"))
    assert "person:alice" in await keys_of(database, 1)
    await judged(database, *many[1:])
    await database.write(regrouping.move, [many[0].id], None, JANE)
    [number] = await numbers_of(database, many[0])
    assert await keys_of(database, number) == {"host:1"}


async def test_alerts_of_a_very_large_incident_are_not_moved_contract_54(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = new(0), new(1), new(2, **FAR)
    await judged(database, one, two, other)
    monkeypatch.setattr("vyrox.triage.rebuild.MAX_REBUILT", 1)
    for alert_ids, into in (([one.id], None), ([other.id], key(1))):
        with pytest.raises(NotPossibleError, match="at most 1"):
            await database.write(regrouping.move, alert_ids, into, JANE)
    assert await numbers_of(database, one, two, other) == [1, 1, 2]


async def test_an_incident_without_alerts_redirects_to_where_they_are_contract_54(
    database: Database,
) -> None:
    one, two = new(0, SHADOWS), new(1, DUMP, **FAR)
    await judged(database, one, two)
    with pytest.raises(NotPossibleError, match="all alerts of acme-corp-1"):
        await database.write(regrouping.move, [one.id], None, JANE)
    moved = await database.write(regrouping.move, [one.id], key(2), JANE)
    assert (moved.number, moved.alerts) == (2, 2)
    assert (await database.read(find_survivor, key(1))).number == 2
    # The host's next alert joins it.
    later = new(60, "whoami")
    await judged(database, later)
    assert await numbers_of(database, later) == [2]


async def test_alerts_are_moved_within_one_tenant_contract_54(database: Database) -> None:
    one, two = new(0, SHADOWS), new(1, SHADOWS, tenant_id="other")
    await judged(database, one)
    await judged(database, two, tenant_id="other")
    move = regrouping.move
    for alert_ids, into in (([one.id, two.id], None), ([one.id], key(1, "other"))):
        with pytest.raises(NotPossibleError, match="two tenants never share"):
            await database.write(move, alert_ids, into, JANE)
    with pytest.raises(NotFoundError, match=f"no alert {two.id}"):
        await database.write(move, [two.id], None, JANE, None, key(1))
    with pytest.raises(NotPossibleError, match="has these alerts already"):
        await database.write(move, [one.id], key(1), JANE)


async def test_moving_into_a_benign_close_reopens_it_if_it_gets_worse_contract_54(
    database: Database,
) -> None:
    first, bad = new(0, "ipconfig /all"), new(1, SHADOWS, **FAR)
    await judged(database, first, bad)
    await database.write(life.close, key(1), JANE, "false_positive", "the help desk")
    moved = await database.write(regrouping.move, [bad.id], key(1), JANE)
    assert (moved.status, moved.band) == ("open", "urgent")
    assert (await kinds(database))[-1] == "incident.reopened"


async def test_nothing_of_an_open_incident_is_deleted_contract_54(database: Database) -> None:
    kept, gone = new(0, SHADOWS), new(1, SHADOWS, **FAR)
    await judged(database, kept, gone)
    await database.write(life.close, key(2), JANE, "malicious")
    day = 86_400.0
    assert await delete_expired(database, 30 * day, NOW + 29 * day) == 0
    await delete_expired(database, 30 * day, NOW + 31 * day)
    assert await numbers_of(database, kept) == [1]
    with pytest.raises(NotFoundError):
        await database.read(find_survivor, key(2))
    await database.write(life.close, key(1), Actor("jane", NOW + 31 * day), "malicious")
    assert await delete_expired(database, 30 * day, NOW + 60 * day) == 0
    assert await delete_expired(database, 30 * day, NOW + 62 * day) > 0


COMMANDS: Final = (
    "whoami",
    "ipconfig /all",
    SHADOWS,
    DUMP,
    "wmic /node:srv-2 process call create a.exe",
)
ALERT = st.tuples(
    st.just("alert"),
    st.sampled_from(["acme-corp", "other"]),
    st.sampled_from(["ws-1", "ws-2", None, "srv-2"]),
    st.sampled_from(COMMANDS),
    st.sampled_from([None, "CORP\\alice"]),
    st.integers(0, 30_000),
)
NUMBER = st.integers(0, 30)
CHANGE = st.tuples(
    st.sampled_from(["acknowledge", "close", "reopen", "merge", "move", "move_new"]),
    NUMBER,
    NUMBER,
    st.sampled_from(["malicious", "false_positive"]),
)


@settings(max_examples=12)
@given(st.lists(ALERT, min_size=2, max_size=6), st.lists(st.one_of(ALERT, CHANGE), max_size=12))
def test_any_sequence_keeps_rows_and_incidents_in_agreement_contract_54(
    first: Sequence[tuple[str, ...]], then: Sequence[tuple[str, ...]]
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory(dir=QUICK_FILES) as directory:
            async with open_database(None, Path(directory)) as database:
                await apply(database, [*first, *then])

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(3))
async def test_a_long_sequence_on_both_databases_contract_54(database: Database, seed: int) -> None:
    """The same as the property, for the database that it does not use."""
    places: list[tuple[str, ...]] = []
    for n in range(12):
        tenant, host = ("acme-corp", "other")[n % 3 == 0], ("ws-1", "ws-2", "srv-2")[(n + seed) % 3]
        places.append(("alert", tenant, host, COMMANDS[n % 5], None, n * 4000))  # type: ignore[arg-type]
        what = ("close", "merge", "move", "reopen", "move_new", "acknowledge")[(n + seed) % 6]
        places.append((what, n * 7, n * 3 + seed, "malicious"))  # type: ignore[arg-type]
    await apply(database, places)


async def test_people_and_the_worker_at_once_leave_no_gap_contract_54(database: Database) -> None:
    """Each waits for the tenant's lock, in any container."""
    first = [new(n, SHADOWS, hostname=f"h{n}", device_id=f"d{n}") for n in range(4)]
    await judged(database, *first)
    more = [new(60 + n, DUMP, hostname=f"h{n}", device_id=f"d{n}") for n in range(4)]
    results = await asyncio.gather(
        database.write(regrouping.merge, key(1), key(2), JANE),
        judged(database, more[0], more[1]),
        database.write(regrouping.move, [first[2].id], key(1), JANE),
        judged(database, more[2], more[3]),
        database.write(life.acknowledge, key(4), JANE),
        database.write(regrouping.merge, key(4), key(1), ANN),
        return_exceptions=True,
    )
    # What was merged meanwhile is refused.
    failed = [each for each in results if isinstance(each, BaseException)]
    assert all(isinstance(each, NotPossibleError) for each in failed)
    await database.read(check)
    assert len(await numbers_of(database, *first, *more)) == 8


async def apply(database: Database, steps: Sequence[tuple[object, ...]]) -> None:
    found: list[NormalizedAlert] = []
    now = NOW
    for step in steps:
        now += 1
        if step[0] == "alert":
            _, tenant_id, host, command, user, at = step
            alert = new(
                at,  # type: ignore[arg-type]
                command,  # type: ignore[arg-type]
                tenant_id=tenant_id,
                hostname=host,
                device_id=host,
                username=user,
            )
            found.append(alert)
            await judged(database, alert, tenant_id=str(tenant_id))
        else:
            await change(database, found, step, Actor("jane", now))
        await database.read(check)


async def change(
    database: Database,
    found: Sequence[NormalizedAlert],
    step: tuple[object, ...],
    actor: Actor,
) -> None:
    what, one, two, resolution = step
    keys = await database.read(all_keys)
    first, second = keys[int(one) % len(keys)], keys[int(two) % len(keys)]  # type: ignore[call-overload]
    alert = found[int(two) % len(found)].id  # type: ignore[call-overload]
    tried: dict[object, Callable[[], Awaitable[Incident]]] = {
        "acknowledge": lambda: database.write(life.acknowledge, first, actor),
        "close": lambda: database.write(life.close, first, actor, resolution, "a note"),  # type: ignore[arg-type]
        "reopen": lambda: database.write(life.reopen, first, actor),
        "merge": lambda: database.write(regrouping.merge, first, second, actor),
        "move": lambda: database.write(regrouping.move, [alert], first, actor),
        "move_new": lambda: database.write(regrouping.move, [alert], None, actor),
    }
    try:
        await tried[what]()
    except NotPossibleError:
        return


def all_keys(connection: Connection) -> list[IncidentKey]:
    c = incidents.c
    query = sa.select(c.tenant_id, c.number).order_by(c.tenant_id, c.number)
    return [IncidentKey(*row) for row in connection.execute(query)]


def check(connection: Connection) -> None:
    """Every verdict is in an incident of its tenant that was not merged, and they agree."""
    counts: dict[tuple[str, int], int] = {}
    query = sa.select(verdicts.c.tenant_id, verdicts.c.incident, alerts.c.tenant_id).join(
        alerts, alerts.c.id == verdicts.c.alert_id
    )
    for tenant_id, number, own in connection.execute(query):
        assert tenant_id == own
        counts[tenant_id, number] = counts.get((tenant_id, number), 0) + 1
    for key in all_keys(connection):
        found = rows.read_incident(connection, *key)
        assert found is not None
        assert (found.status == "closed") == (found.resolution is not None)
        assert (found.resolution == "merged") == (found.merged_into is not None)
        assert found.status != "closed" or found.due_at is None
        if found.merged_into is not None:
            assert key not in counts
            assert key_of(find_survivor(connection, key)) in counts
            continue
        assert found.alerts == counts[key]
        again = recomputed(connection, found)
        assert again.score == pytest.approx(found.score)
        assert (again.band, again.first_at, again.last_at) == (
            found.band,
            found.first_at,
            found.last_at,
        )
        assert again.story.families == found.story.families
    keyed = {
        IncidentKey(*row)
        for row in connection.execute(
            sa.select(incident_keys.c.tenant_id, incident_keys.c.number).distinct()
        )
    }
    assert keyed <= set(counts)


def recomputed(connection: Connection, found: Incident) -> Incident:
    """Return the incident made again from its rows; what that stores is undone."""
    again = rows.read_incident(connection, found.tenant_id, found.number)
    assert again is not None
    with connection.begin_nested() as nested:
        rebuild(connection, again)
        nested.rollback()
    return again
