"""The list of incidents: filtered, in pages, bounded (contract 78)."""

import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.console.running import TENANT, Running
from tests.console.test_incident_plans import plans_of
from tests.triage.stored import judged, new
from vyrox.store.database import Database
from vyrox.store.tables import incidents
from vyrox.triage import found_incidents
from vyrox.triage.found_incidents import Found, Place, find_incidents
from vyrox.triage.incidents import Incident
from vyrox.triage.rows import store_incident

TENANTS = ("a-one", "b-two", "c-three")


async def test_the_list_is_filtered_and_says_what_happened_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await judged(opened.database, new(0.0, "rundll32.exe comsvcs.dll, MiniDump 624 x"))
    await judged(opened.database, new(9.0, "ping", hostname="silent-one", device_id="silent-one"))
    text = (await ann.get("/incidents")).text
    assert "Passwords or keys were read on ws-1" in text
    assert "silent-one" not in text
    assert "silent-one" in (await ann.get("/incidents?status=closed")).text
    assert "silent-one" in (await ann.get("/incidents?status=all")).text
    assert "ws-1" not in (await ann.get("/incidents?status=all&band=close")).text
    assert "ws-1" in (await ann.get(f"/incidents?tenant={TENANT}&band=urgent")).text


@pytest.mark.parametrize(
    "query", ["tenant=initech", "status=x", "band=x", "before=x", "before=WzEsIiJd", "before=%00"]
)
async def test_a_filter_or_place_that_there_is_not_is_404_contract_78(
    opened: Running, query: str
) -> None:
    ann = await opened.person("ann")
    assert (await ann.get(f"/incidents?{query}")).status_code == 404


async def test_another_tenants_incidents_are_not_listed_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    other = new(0.0, "mimikatz", tenant_id="initech", hostname="other-host")
    await judged(opened.database, other, tenant_id="initech")
    assert "other-host" not in (await ann.get("/incidents?status=all")).text


async def test_pages_joined_are_the_whole_contract_78(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(_store, [made(TENANT, n, float(n // 7)) for n in range(1, 121)])
    seen: list[str] = []
    path: str | None = "/incidents"
    while path:
        page = (await ann.get(path)).text
        seen += re.findall(r'<a href="/incidents/(acme-corp-\d+)">', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert seen == [f"{TENANT}-{n}" for n in range(120, 0, -1)]


def made(tenant_id: str, number: int, at: float, **members: object) -> Incident:
    values = {"status": "open", "resolution": None, "band": "urgent", **members}
    return Incident(tenant_id, number, at, at, at, at, **values)  # type: ignore[arg-type]


def _store(connection: Connection, found: list[Incident]) -> None:
    for each in found:
        store_incident(connection, each)


INCIDENTS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.integers(0, 4),  # many with equal times
        st.sampled_from(["open", "acknowledged", "closed"]),
        st.sampled_from(["urgent", "review", "close"]),
    ),
    max_size=30,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(INCIDENTS, st.integers(1, 4), st.integers(1, 5))
async def test_pages_of_several_tenants_joined_equal_the_whole_contract_78(
    database: Database, rows: list[tuple[str, int, str, str]], limit: int, room: int
) -> None:
    """Also when few rows may be searched for one page."""
    found = [
        made(tenant_id, number, float(at), status=status, band=band)
        for number, (tenant_id, at, status, band) in enumerate(rows, 1)
    ]
    await database.write(lambda c: c.execute(incidents.delete()).rowcount)
    await database.write(_store, found)
    wanted = [
        Place(each.updated_at, each.tenant_id, each.number)
        for each in found
        if each.status != "closed" and each.band == "urgent"
    ]
    seen: list[Place] = []
    before: Place | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found_incidents, "MAX_SEARCHED", 1)
        patch.setattr(found_incidents, "_LEAST", room)
        while True:
            page: Found = await database.read(
                find_incidents, TENANTS, "open", "urgent", before, limit
            )
            seen += [Place(e.updated_at, e.tenant_id, e.number) for e in page.incidents]
            if page.after is None:
                break
            assert before is None or page.after < before
            before = page.after
    assert seen == sorted(wanted, reverse=True)
    assert all(later < earlier for earlier, later in pairwise(seen))


async def test_the_list_reads_an_index_contract_78(database: Database) -> None:
    """Neither the open incidents of a tenant nor all of them are sorted or scanned."""

    def plans(connection: Connection) -> list[tuple[str, str]]:
        place = Place(5.0, "a-one", 3)
        found = plans_of(
            connection, lambda c: find_incidents(c, ["a-one"], "open", "urgent", place, 50)
        )
        return found + plans_of(
            connection, lambda c: find_incidents(c, ["a-one"], "all", None, place, 50)
        )

    found = await database.read(plans)
    assert "incidents_open_tenant" in found[0][1]
    assert "incidents_updated" in found[-1][1]
