"""What is checked immediately before a changing call is sent (contract 42)."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, entries
from tests.containment.test_execution import (
    EXECUTED,
    ISOLATION,
    KILL,
    LEASE_S,
    Proxy,
    outcomes,
    running,
)
from tests.tenants.test_guard_rails import refused_by, set_rails, wanted
from tests.vendor import AID, add_alert
from vyrox.containment import execution, vendor_action
from vyrox.errors import UnavailableError, VendorError
from vyrox.models import ContainmentRequest, Device
from vyrox.store.database import Database
from vyrox.store.tables import devices
from vyrox.tenants import device_names
from vyrox.tenants.device_names import MAX_NAMES
from vyrox.tenants.guard_rails import Rails

FORCED_LIFT = msgspec.structs.replace(ISOLATION, action_type="LIFT_HOST_ISOLATION", force=True)


async def _freeze(proxy: Proxy) -> None:
    await set_rails(proxy.database, Rails(frozen_at=NOW))


async def _rule_is_added(proxy: Proxy) -> None:
    await set_rails(proxy.database, Rails(never_contain=("host:workstation-*",)))


async def _lease_is_over(proxy: Proxy) -> None:
    proxy.clock.now += LEASE_S


async def _database_is_away(proxy: Proxy) -> None:
    proxy.database.always = "before"


async def _device_is_leased_again(proxy: Proxy) -> None:
    await proxy.database.write(_raise_token)


def _raise_token(connection: Connection) -> None:
    connection.execute(devices.update().values(token=devices.c.token + 1))


@pytest.mark.parametrize("request_", [ISOLATION, KILL, FORCED_LIFT], ids=lambda r: r.action_type)
@pytest.mark.parametrize(
    ("happens", "why"),
    [
        pytest.param(_freeze, "the tenant has been frozen", id="frozen"),
        pytest.param(_rule_is_added, "never_contain host:workstation-*", id="rule"),
        pytest.param(_lease_is_over, "the lease is over", id="clock"),
        pytest.param(_device_is_leased_again, "another action has leased the device", id="device"),
    ],
)
async def test_order_is_checked_when_it_is_sent_contract_42(
    database: Database,
    happens: Callable[[Proxy], Awaitable[None]],
    why: str,
    request_: ContainmentRequest,
) -> None:
    """The client has its data, and waits for a busy vendor."""
    async with running(database) as proxy:
        proxy.acting.prepared.clear()
        acting = proxy.start(request_)
        await proxy.acting.preparing.wait()
        await happens(proxy)
        proxy.acting.prepared.set()
        if happens is _rule_is_added and request_ is FORCED_LIFT:
            assert await acting == EXECUTED  # the never-contain list does not refuse a lift
            return
        with pytest.raises(VendorError) as caught:
            await acting
        assert str(caught.value).startswith(why)
        assert type(caught.value) is VendorError
        assert proxy.acting.did == []
    [entry] = await entries(database)
    assert await outcomes(database) == [(entry["hash"], "failed")]


async def test_order_is_not_carried_out_without_the_database_contract_42(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RECORD_RETRY_S", 0.01)
    async with running(database) as proxy:
        proxy.acting.prepared.clear()
        acting = proxy.start(KILL)
        await proxy.acting.preparing.wait()
        proxy.database.always = "before"
        proxy.acting.prepared.set()
        with pytest.raises(
            UnavailableError, match="nothing was sent"
        ):  # 500: not the vendor's fault
            await acting
        assert proxy.acting.did == []
        proxy.database.always = None


@pytest.mark.parametrize("error", [None, LookupError("a mistake")], ids=["time", "mistake"])
@pytest.mark.parametrize("request_", [ISOLATION, KILL], ids=lambda r: r.action_type)
async def test_execute_that_ends_before_anything_was_sent_has_failed_contract_22(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    request_: ContainmentRequest,
    error: Exception | None,
) -> None:
    """So it may be repeated immediately, even a kill."""
    monkeypatch.setattr(vendor_action, "CLIENT_GRACE_S", 0.05)
    async with running(database, deadline_s=0.05) as proxy:
        proxy.acting.prepared.clear()
        proxy.acting.unprepared = error
        with pytest.raises(VendorError, match="nothing was sent") as caught:
            await proxy.execute(request_)
        assert type(caught.value) is VendorError
        assert await outcomes(database) == [((await entries(database))[0]["hash"], "failed")]
    async with running(database) as unhurried:
        assert await unhurried.execute(request_) == EXECUTED


async def test_execute_passes_the_alerts_device_to_the_vendors_client_contract_36(
    database: Database,
) -> None:
    async with running(database) as proxy:
        assert await proxy.execute() == EXECUTED
        await set_rails(database, Rails(never_contain=("device:none",)))
        assert await proxy.execute(wanted("1")) == EXECUTED
        assert await proxy.execute(wanted("2", alert_id="unknown")) == EXECUTED
    assert proxy.acting.known_ids == [AID, AID, None]


def _fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [
        vars(record)["fields"]
        for record in caplog.records
        if record.getMessage() == "execute.refused_by_name" and record.levelno == logging.WARNING
    ]


async def test_refusal_by_a_name_is_logged_with_the_names_seen_contract_35(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """An attacker who renames a host must not protect it from containment unnoticed."""
    async with running(database) as proxy:
        await add_alert(database, TENANT, "alt_1", device_id=AID, hostname="laptop-11")
        proxy.acting.devices = {AID: Device(AID, "workstation-07", ())}
        isolate = wanted("1", host=AID, alert_id="alt_1")
        assert await proxy.execute(isolate) == EXECUTED
        rails = Rails(never_contain=("host:dc-*", "tag:tier0", "device:none"))
        await set_rails(database, rails)
        proxy.acting.devices = {AID: Device(AID, "dc-99", ())}
        again = wanted("2", host=AID, alert_id="alt_1")
        assert await refused_by(proxy, again) == "never_contain host:dc-*"
        [fields] = _fields(caplog)
        assert fields == {
            "tenant": TENANT,
            "rule": "never_contain host:dc-*",
            "device": AID,
            "hostname": "dc-99",
            "names_seen": "workstation-07, laptop-11, dc-99",
        }
        proxy.acting.devices = {AID: Device(AID, "workstation-07", ("tier0",))}
        assert await refused_by(proxy, wanted("3", host=AID)) == "never_contain tag:tier0"
        assert len(_fields(caplog)) == 1  # only the customer sets tags


async def test_never_contain_tag_refuses_a_device_whose_tags_are_unknown_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(never_contain=("tag:tier0",)))
        proxy.acting.devices = {"a": Device("a", "a", None), "b": Device("b", "b", ())}
        assert await refused_by(proxy, wanted("1", host="a")) == "never_contain tag:tier0"
        assert await proxy.execute(wanted("2", host="b")) == EXECUTED


async def test_names_of_a_device_are_bounded_and_the_oldest_stay_contract_35(
    database: Database,
) -> None:
    def rename(connection: Connection, name: str) -> tuple[str, ...]:
        device_names.remember(connection, TENANT, "crowdstrike", AID, name)
        device_names.remember(connection, TENANT, "crowdstrike", AID, name)
        return device_names.find(connection, TENANT, "crowdstrike", AID)

    seen: tuple[str, ...] = ()
    for number in range(MAX_NAMES + 3):
        seen = await database.write(rename, f"name-{number}")
    expected = [f"name-{number}" for number in (*range(MAX_NAMES - 1), MAX_NAMES + 2)]
    assert list(seen) == expected
    odd = await database.write(rename, "a\0" + "x" * 1000)
    assert odd[-1] == "a\N{REPLACEMENT CHARACTER}" + "x" * 254
