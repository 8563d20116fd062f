"""The search of the console (contract 79)."""

import uuid
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.sample_alerts import WINDOW_S
from vyrox.alerts import searching
from vyrox.alerts.intake import delivery, store
from vyrox.alerts.searching import AlertSearch, Text, search_alerts, text_of
from vyrox.errors import NotPossibleError
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.database import Database
from vyrox.store.newest import Place, Sought, read_newest
from vyrox.store.tables import alerts, verdicts

TENANTS = ("acme", "bolt", "coil")
HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def alert(number: int, tenant_id: str = "acme", source: Vendor = "crowdstrike") -> NormalizedAlert:
    return NormalizedAlert(
        id=str(uuid.UUID(int=number * 2**100)),
        tenant_id=tenant_id,
        source=source,
        raw_id=f"EVT:{number % 7}:{number}",
        timestamp=1.0,
        hostname=f"WS-{number % 5}",
        username=f"CORP\\user{number % 3}",
        sha256=HASH if number % 4 else None,
        technique="T1059.001" if number % 2 else "T1003",
    )


def add(connection: Connection, made: Sequence[tuple[NormalizedAlert, float]]) -> None:
    store(connection, [delivery(each, each.id.encode(), at) for each, at in made], WINDOW_S)
    finish(connection)


def finish(connection: Connection) -> None:
    is_waiting = alerts.c.finished_at.is_(None)
    connection.execute(alerts.update().where(is_waiting).values(finished_at=5.0))


def judge(connection: Connection, alert_id: str, band: str) -> None:
    row = {
        "alert_id": alert_id,
        "tenant_id": "acme",
        "incident": 1,
        "score": 90.0,
        "band": band,
        "happened_at": 1.0,
        "judged_at": 1.0,
        "fingerprint": b"",
        "verdict": b"{}",
    }
    connection.execute(verdicts.insert().values(**row))


def whole(connection: Connection, search: AlertSearch, limit: int = 50) -> list[str]:
    """Return what all pages show, one after the other."""
    found: list[str] = []
    before: Place | None = None
    for _ in range(10_000):
        page = search_alerts(connection, search, before, limit)
        found += page.ids
        if page.older is None:
            return found
        before = page.older
    raise AssertionError("the pages do not end")


SEARCHES = [
    ({}, range(40)),
    ({"hostname": "ws-3"}, range(3, 40, 5)),
    ({"hostname": "ws-*"}, range(40)),
    ({"username": r"corp\user1"}, range(1, 40, 3)),
    ({"sha256": HASH.upper()}, [each for each in range(40) if each % 4]),
    ({"sha256": "E3B0*"}, [each for each in range(40) if each % 4]),
    ({"technique": "t1003"}, range(0, 40, 2)),
    ({"technique": "T1059*"}, range(1, 40, 2)),
    ({"raw_id": "evt:2:9"}, [9]),
    ({"raw_id": "EVT:2:*"}, range(2, 40, 7)),
    ({"alert_id": alert(9).id}, [9]),
    ({"alert_id": alert(9).id[:9] + "*"}, [9]),
    ({"hostname": "ws-3", "technique": "T1059*"}, [3, 13, 23, 33]),
    ({"hostname": "ws-3", "sha256": HASH}, [3, 13, 18, 23, 33, 38]),
    ({"alert_id": alert(9).id, "hostname": "ws-1"}, []),
    ({"hostname": "ws"}, []),
    ({"hostname": "%*"}, []),
]


@pytest.mark.parametrize(("asked", "numbers"), SEARCHES, ids=lambda each: str(each)[:40])
async def test_a_search_finds_by_each_field_whole_or_by_its_beginning_contract_79(
    database: Database, asked: dict[str, str], numbers: Sequence[int]
) -> None:
    made = [(alert(number), float(number)) for number in range(40)]
    others = [(alert(100 + number, "other"), float(number)) for number in range(40)]
    await database.write(add, [*made, *others])
    fields = {name: text_of(text) for name, text in asked.items()}
    search = AlertSearch(tenant_ids=("acme",), **fields)  # type: ignore[arg-type]
    expected = [alert(number).id for number in sorted(numbers, reverse=True)]
    assert await database.read(whole, search) == expected


async def test_source_band_and_time_narrow_a_search_contract_79(database: Database) -> None:
    sources: list[Vendor] = ["crowdstrike", "defender"]
    made = [(alert(number, source=sources[number % 2]), float(number)) for number in range(10)]
    await database.write(add, made)
    await database.write(judge, alert(3).id, "urgent")

    async def found(**asked: object) -> list[str]:
        search = AlertSearch(tenant_ids=("acme", "bolt"), **asked)  # type: ignore[arg-type]
        return await database.read(whole, search)

    assert await found(source="defender") == [alert(each).id for each in (9, 7, 5, 3, 1)]
    assert await found(band="urgent") == [alert(3).id]
    assert alert(3).id not in await found(band="none")
    assert await found(since=3.0, until=4.0) == [alert(4).id, alert(3).id]
    assert await found(since=3.0, source="defender", hostname=Text("ws-2")) == [alert(7).id]


async def test_the_beginning_of_an_id_must_not_be_short_contract_79(database: Database) -> None:
    search = AlertSearch(tenant_ids=("acme",), alert_id=Text("a", is_beginning=True))
    with pytest.raises(NotPossibleError, match="first 8 characters"):
        await database.read(search_alerts, search, None, 50)


async def test_more_values_than_are_read_are_said_to_be_there_contract_79(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_RANGES", 3)
    await database.write(add, [(alert(number), float(number)) for number in range(20)])
    search = AlertSearch(tenant_ids=("acme",), hostname=Text("ws-", is_beginning=True))
    found = await database.read(search_alerts, search, None, 50)
    assert found.has_too_many
    assert len(found.ids) == 12  # of three of the five hosts


async def test_a_search_reads_a_bounded_number_of_rows_and_goes_on_contract_79(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_ROWS_READ", 1000)
    await database.write(add, [(alert(number), float(number)) for number in range(2500)])
    search = AlertSearch(tenant_ids=("acme",), source="generic")
    page = await database.read(search_alerts, search, None, 50)
    assert page.ids == []
    assert page.older is not None
    assert page.rows_read <= 1200
    assert await database.read(whole, search) == []


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(TENANTS), st.integers(0, 4), st.booleans()), max_size=40
    ),
    tenants=st.sets(st.sampled_from(TENANTS), min_size=1),
    limit=st.integers(1, 9),
    most=st.integers(1, 30),
    narrow=st.booleans(),
)
async def test_the_pages_joined_are_the_whole_also_at_equal_times_contract_79(
    database: Database,
    rows: list[tuple[str, int, bool]],
    tenants: set[str],
    limit: int,
    most: int,
    narrow: bool,
) -> None:
    made = [
        (alert(number, tenant_id, "defender" if is_match else "generic"), float(at))
        for number, (tenant_id, at, is_match) in enumerate(rows)
    ]
    a = alerts.c
    sought = Sought(
        alerts,
        "received_at",
        ("tenant_id",),
        [(each,) for each in sorted(tenants)],
        matches=a.source == "defender" if narrow else None,
    )

    def pages(connection: Connection) -> list[str]:
        connection.execute(sa.delete(alerts))
        add(connection, made)
        found: list[str] = []
        before: Place | None = None
        while True:
            page = read_newest(connection, sought, before, limit, most)
            assert len(page.ids) <= limit
            found += page.ids
            if page.older is None:
                return found
            assert before is None or page.older < before
            before = page.older

    expected = [
        (at, each.id)
        for each, at in made
        if each.tenant_id in tenants and (each.source == "defender" or not narrow)
    ]
    expected.sort(reverse=True)
    assert await database.write(pages) == [alert_id for _, alert_id in expected]
