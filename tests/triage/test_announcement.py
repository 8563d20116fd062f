"""Incidents are announced through the outbox (contract 55 and 58)."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from tests.triage.stored import NOW, TENANT, incident, judged, new
from vyrox.notify.outbox import PER_HOUR
from vyrox.notify.targets import add_target, seal
from vyrox.notify.timers import DEFAULT, Intervals
from vyrox.store.database import Database
from vyrox.store.tables import notifications
from vyrox.triage.announcement import announce

SHADOWS: Final = "vssadmin delete shadows /all /quiet"


async def with_target(database: Database) -> None:
    vault = MultiFernet([Fernet(Fernet.generate_key())])
    sealed = seal(vault, TENANT, "https://hooks.example.test/x", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0")
    await database.write(add_target, sealed, ("hooks.example.test", "vyrox", "review"), NOW)


async def messages(
    database: Database, at: float, intervals: Intervals = DEFAULT
) -> list[dict[str, Any]]:
    """Announce what is due `at` seconds after NOW; return every message so far."""
    await database.write(announce, TENANT, NOW + at, intervals, PER_HOUR)
    query = sa.select(notifications.c.body).order_by(notifications.c.created_at)
    bodies = await database.read(lambda c: list(c.execute(query).scalars()))
    return [msgspec.json.decode(body) for body in bodies]


async def test_an_urgent_incident_is_announced_at_once_and_once_contract_58(
    database: Database,
) -> None:
    await with_target(database)
    await judged(database, new(0, SHADOWS))
    [message] = await messages(database, 0)
    assert message["type"] == "incident.opened"
    assert message["band"] == "urgent"
    assert message["proposed_action"]["action_type"] == "HOST_ISOLATION"
    assert message["proposed_action"]["device_id"] == "device-1"
    assert message["open_with"] == f"vyrox incident show {TENANT}-1"
    assert any("vssadmin" in reason for reason in message["reasons"])
    assert len(await messages(database, 1)) == 1


async def test_a_storm_is_one_message_contract_55(database: Database) -> None:
    await with_target(database)
    found: list[dict[str, Any]] = []
    for part in range(5):
        await judged(database, *(new(part + n / 100, SHADOWS) for n in range(40)))
        found = await messages(database, part)
    assert len(found) == 1
    assert (await incident(database, 1)).alerts == 200


async def test_an_urgent_incident_is_repeated_until_acknowledged_contract_58(
    database: Database,
) -> None:
    await with_target(database)
    await judged(database, new(0, SHADOWS))
    assert [each["type"] for each in await messages(database, 0)] == ["incident.opened"]
    assert (await incident(database, 1)).due_at == NOW + DEFAULT.repeat_s
    assert len(await messages(database, DEFAULT.repeat_s - 1)) == 1
    assert (await messages(database, DEFAULT.repeat_s))[-1]["type"] == "incident.reminder"


async def test_a_new_alert_does_not_put_off_a_shorter_repeat_contract_58(
    database: Database,
) -> None:
    """The worker does not know the operator's intervals, and must not replace them."""
    await with_target(database)
    often = msgspec.structs.replace(DEFAULT, repeat_s=3600)
    await judged(database, new(0, SHADOWS))
    await messages(database, 0, often)
    await judged(database, new(60, SHADOWS))
    assert len(await messages(database, 3599, often)) == 1
    assert [each["type"] for each in await messages(database, 3600, often)][1:] == [
        "incident.reminder"
    ]


async def test_a_rise_in_band_breaks_through_contract_58(database: Database) -> None:
    await with_target(database)
    await judged(database, new(0, None, vendor_severity="HIGH"))
    assert (await incident(database, 1)).band == "review"
    assert await messages(database, 29) == []
    assert [each["band"] for each in await messages(database, 30)] == ["review"]
    await judged(database, new(31, SHADOWS))
    assert [each["band"] for each in await messages(database, 31)] == ["review", "urgent"]


async def test_a_close_is_never_announced_contract_58(database: Database) -> None:
    await with_target(database)
    await judged(database, new(0, "ipconfig /all"))
    assert await messages(database, 100_000) == []
