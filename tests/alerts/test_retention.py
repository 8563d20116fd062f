"""Alerts that triage has judged are kept while their incident is open (contract 50)."""

import re
from collections.abc import Callable
from typing import Final, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.plans import plans_of
from tests.sample_alerts import NOW, TENANT, all_ids, finish, new_delivery, store_all
from vyrox.alerts import retention
from vyrox.alerts.retention import delete_expired
from vyrox.store.database import Database
from vyrox.store.tables import (
    host_devices,
    incident_keys,
    incident_notes,
    incident_steps,
    incidents,
    verdicts,
)

DAY_S: Final = 86_400.0
KEPT_S: Final = 30 * DAY_S
LONG_AGO: Final = NOW - 100 * DAY_S


def _add_incident(
    connection: Connection,
    number: int,
    closed_at: float | None,
    merged_into: int | None = None,
    tenant_id: str = TENANT,
) -> None:
    connection.execute(
        incidents.insert().values(
            tenant_id=tenant_id,
            number=number,
            status="open" if closed_at is None else "closed",
            score=1,
            band="close",
            opened_at=LONG_AGO,
            first_at=LONG_AGO,
            last_at=LONG_AGO,
            updated_at=LONG_AGO,
            closed_at=closed_at,
            alerts=1,
            story=b"{}",
            merged_into=merged_into,
        )
    )
    key = {"tenant_id": tenant_id, "number": number}
    connection.execute(incident_keys.insert().values(key="host:1", **key))
    asked = {"digest": "d", "seen_at": 0, "asked_at": 0, "attempts": 1, "model": "m", "tokens": 0}
    connection.execute(incident_notes.insert().values(**asked, **key))
    connection.execute(
        incident_steps.insert().values(
            id=f"{tenant_id}-{number}", at=LONG_AGO, by="ann", step="close", **key
        )
    )


def _close(connection: Connection, number: int) -> None:
    row = incidents.update().where(incidents.c.number == number)
    connection.execute(row.values(status="closed", closed_at=LONG_AGO))


def _judge(connection: Connection, alert_id: str, incident: int) -> None:
    connection.execute(
        verdicts.insert().values(
            alert_id=alert_id,
            tenant_id=TENANT,
            incident=incident,
            score=1,
            band="close",
            happened_at=LONG_AGO,
            judged_at=LONG_AGO,
            fingerprint=b"",
            verdict=b"{}",
        )
    )


def _numbers(connection: Connection) -> dict[str, set[tuple[str, int]]]:
    found = {}
    for table in (incidents, incident_keys, incident_notes, incident_steps):
        rows = connection.execute(sa.select(table.c.tenant_id, table.c.number))
        found[table.name] = {(tenant_id, number) for tenant_id, number in rows}
    return found


def _judged(connection: Connection) -> set[str]:
    return set(connection.execute(sa.select(verdicts.c.alert_id)).scalars())


async def test_alerts_of_an_incident_are_deleted_after_its_closing_contract_50(
    database: Database,
) -> None:
    names = ("closed long ago", "open", "closed lately", "not judged", "not finished")
    new = {name: new_delivery(name.encode(), received_at=LONG_AGO) for name in names}
    await store_all(database, *new.values())
    ids = {name: each.alert_id for name, each in new.items()}
    for name in names[:-1]:
        await database.write(finish, ids[name], LONG_AGO)
    closings = {1: NOW - 31 * DAY_S, 2: None, 3: NOW - 29 * DAY_S}
    for number, closed_at in closings.items():
        await database.write(_add_incident, number, closed_at)
    # Another tenant's incident with the number of an open one changes nothing.
    await database.write(_add_incident, 2, LONG_AGO, None, "initech")
    for name, number in zip(names, (1, 2, 3), strict=False):
        await database.write(_judge, ids[name], number)
    await database.write(_judge, ids["not finished"], 1)

    await delete_expired(database, KEPT_S, NOW)

    kept = {ids["open"], ids["closed lately"], ids["not finished"]}
    assert await database.read(all_ids) == kept
    assert await database.read(_judged) == kept
    # The first incident still has an alert.
    numbers = {(TENANT, 1), (TENANT, 2), (TENANT, 3)}
    assert set(map(frozenset, (await database.read(_numbers)).values())) == {frozenset(numbers)}

    await database.write(finish, ids["not finished"], LONG_AGO)
    await delete_expired(database, KEPT_S, NOW + 2 * DAY_S)

    assert await database.read(all_ids) == {ids["open"]}
    assert set(map(frozenset, (await database.read(_numbers)).values())) == {
        frozenset({(TENANT, 2)})
    }


async def test_a_merged_incident_is_deleted_after_the_one_it_leads_to_contract_50(
    database: Database,
) -> None:
    await database.write(_add_incident, 1, None)
    await database.write(_add_incident, 2, LONG_AGO, 1)
    await database.write(_add_incident, 3, None, 2)
    await delete_expired(database, KEPT_S, NOW)
    assert {number for _, number in (await database.read(_numbers))["incidents"]} == {1, 2, 3}
    await database.write(_close, 1)
    await delete_expired(database, KEPT_S, NOW)
    assert (await database.read(_numbers))["incidents"] == set()


async def test_what_is_known_of_a_host_is_forgotten_with_the_retention_contract_50(
    database: Database,
) -> None:
    def known(connection: Connection) -> list[int]:
        hosts = sa.select(host_devices.c.host).order_by(host_devices.c.host)
        return list(connection.execute(hosts).scalars())

    def add(connection: Connection) -> None:
        for number, last_at in ((1, LONG_AGO), (2, NOW)):
            device = {"source": "defender", "device_id": f"d{number}", "first_at": LONG_AGO}
            connection.execute(
                host_devices.insert().values(
                    tenant_id=TENANT, host=number, last_at=last_at, **device
                )
            )

    await database.write(add)
    await delete_expired(database, KEPT_S, NOW)
    assert await database.read(known) == [2]


async def test_what_is_kept_is_passed_once_and_no_write_reads_a_whole_table_contract_82(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With very many alerts of open incidents, each transaction read all of them again."""
    monkeypatch.setattr(retention, "PAGE", 3)
    old = [new_delivery(b"%d" % number, received_at=LONG_AGO) for number in range(8)]
    await store_all(database, *old)
    await database.write(_add_incident, 1, None)
    for number, each in enumerate(old):
        await database.write(finish, each.alert_id, LONG_AGO)
        if number % 4 < 3:
            await database.write(_judge, each.alert_id, 1)
    for number in range(2, 5):
        await database.write(_add_incident, number, LONG_AGO, None, f"tenant-{number}")
    plans: list[str] = []

    class Watched:
        """Runs transactions, and notes the plans of those that write."""

        read = database.read

        async def write(self, transaction: Callable[..., int], *args: object) -> int:
            results: list[int] = []

            def run(connection: Connection) -> None:
                def noted(connection: Connection) -> None:
                    results.append(transaction(connection, *args))

                plans.extend(plans_of(connection, noted, ("seqscan",)))

            await database.write(run)
            return results[0]

    assert await delete_expired(cast(Database, Watched()), KEPT_S, NOW) == 5
    assert len(await database.read(all_ids)) == 6
    assert plans
    whole = r"SCAN (alerts|verdicts|incident|host_|person_)|Seq Scan on (?!quarantine)"
    assert not [plan for plan in plans if re.search(whole, plan)]
