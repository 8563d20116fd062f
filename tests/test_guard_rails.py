"""Guard rails: what is refused whoever approves it, and in which transaction (contract 35)."""

import asyncio
from collections import Counter

import msgspec
import pytest
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, action, entries, events
from tests.test_containment import EXECUTED, ISOLATION, REPLAYED, Proxy, running
from tests.vendor import AID, add_alert
from vyrox import claims, guard_rails
from vyrox.chain.writer import append
from vyrox.containment import Executed
from vyrox.db import Database
from vyrox.edr import Device
from vyrox.errors import RefusedByPolicyError, VendorError, VendorLookUpError
from vyrox.guard_rails import Rails, check_rule, matches
from vyrox.models import ContainmentRequest

DC = Device("d" * 32, "DC-01.acme.local", ("Tier0", "SensorGroupingTags/Office"))


def wanted(name: str, **changes: object) -> ContainmentRequest:
    """Return a request of its own id, for a host of its own."""
    return msgspec.structs.replace(
        ISOLATION, **{"request_id": name, "host": f"host-{name}", **changes}
    )


async def set_rails(database: Database, rails: Rails, tenant_id: str = TENANT) -> None:
    await database.write(guard_rails.store, tenant_id, rails, "for a test", NOW)


async def refused_by(proxy: Proxy, request: ContainmentRequest) -> str:
    """Return the rule by which `request` was refused; nothing of it was written but the event."""
    entries_before = await entries(proxy.database)
    with pytest.raises(RefusedByPolicyError) as caught:
        await proxy.execute(request)
    told = (await events(proxy.database, kind="execute.refused"))[-1]
    assert (told["execution"], told["status"]) == (request.request_id, 403)
    assert (told["reason"], told["rule"]) == ("refused by policy", str(caught.value))
    assert told["request_id"] == "trace-1"
    assert await entries(proxy.database) == entries_before
    return str(caught.value)


@pytest.mark.parametrize(
    ("rule", "matched"),
    [
        pytest.param("device:" + "D" * 32, True, id="device_in_any_case"),
        pytest.param(f"device:{'e' * 32}", False, id="another_device"),
        pytest.param("host:dc-*", True, id="pattern"),
        pytest.param("host:DC-0?", True, id="pattern_without_the_domain"),
        pytest.param("host:dc-01.acme.local", True, id="whole_name"),
        pytest.param("host:dc-02", False, id="another_name"),
        pytest.param("host:c-01", False, id="part_of_a_name"),
        pytest.param("tag:tier0", True, id="tag_in_any_case"),
        pytest.param("tag:office", True, id="tag_without_its_kind"),
        pytest.param("tag:SensorGroupingTags/office", True, id="tag_with_its_kind"),
        pytest.param("tag:tier", False, id="part_of_a_tag"),
        pytest.param("tag:dc-01", False, id="name_is_no_tag"),
    ],
)
def test_matches_devices_names_and_tags_contract_35(rule: str, matched: bool) -> None:
    assert matches(check_rule(rule), DC) == matched


@pytest.mark.parametrize(
    ("rule", "name", "matched"),
    [
        ("host:dc-01.corp.local", "DC-01", True),
        ("host:dc-*.corp.local", "dc-01", True),
        ("host:dc-01.corp.local", "dc-01.corp.local", True),
        ("host:dc-01.corp.local", "dc-01.other.local", False),
        ("host:dc-01.corp.local", "dc-011", False),
        ("host:*.corp.local", "workstation-01", False),
        ("host:?*.corp.local", "workstation-01", False),
    ],
)
def test_matches_names_with_and_without_their_domain_contract_35(
    rule: str, name: str, matched: bool
) -> None:
    assert matches(check_rule(rule), Device("a" * 32, name)) == matched


@pytest.mark.parametrize("name", [None, ""])
def test_matches_any_name_where_the_vendor_tells_none_contract_35(name: str | None) -> None:
    device = Device("a" * 32, name)
    assert matches("host:dc-*", device)
    assert not matches("tag:tier0", device)
    assert not matches("device:" + "b" * 32, device)


def test_matches_device_id_in_either_spelling_contract_35() -> None:
    rule = check_rule("device:12345678-1234-1234-1234-123456789ABC")
    assert matches(rule, Device(AID))


@pytest.mark.parametrize(
    "text", ["", "dc-01", "name:dc-01", "host:", "host: ", "tag", "device:" + "x" * 257]
)
def test_check_rule_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be device:ID"):
        check_rule(text)


async def test_never_contain_is_checked_at_the_vendor_before_anything_is_claimed_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(never_contain=("host:dc-*", "tag:tier0")))
        proxy.acting.devices = {
            "a" * 32: Device("a" * 32, "dc-02"),
            "file-srv-02": Device("b" * 32, "file-srv-02", ("Tier0",)),
        }
        assert await refused_by(proxy, wanted("1", host="a" * 32)) == "never_contain host:dc-*"
        assert await refused_by(proxy, wanted("2", host="file-srv-02")) == "never_contain tag:tier0"
        assert await proxy.execute(wanted("3")) == EXECUTED
        assert proxy.acting.did == [("contained", "host-3")]
        proxy.acting.devices["nameless"] = Device("c" * 32)
        refused = await refused_by(proxy, wanted("4", host="nameless"))
        assert refused == "never_contain host:dc-*"


async def test_never_contain_asks_nobody_about_a_known_id_contract_35(database: Database) -> None:
    """A replay stays a replay, whatever the rules say by now, with the vendor away."""
    async with running(database) as proxy:
        assert await proxy.execute() == EXECUTED
        await set_rails(database, Rails(never_contain=("host:*",)))
        proxy.acting.lost = VendorError("away")
        assert await proxy.execute() == REPLAYED


async def test_never_contain_fails_closed_without_the_vendor_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(never_contain=("host:dc-*",)))
        proxy.acting.lost = VendorError("3 devices have this name")
        with pytest.raises(VendorLookUpError, match="3 devices"):
            await proxy.execute()
        assert await entries(database) == []
        proxy.acting.lost = None
        assert await proxy.execute() == EXECUTED
    assert len(proxy.acting.did) == 1


async def test_never_contain_acts_on_the_device_that_was_checked_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(never_contain=("host:dc-*",)))
        proxy.acting.devices = {"workstation-01": Device("c" * 32, "workstation-01")}

        class Fickle(dict[str, Device]):
            def get(self, key: str, default: object = None) -> Device:
                found = self.pop(key, None)
                return found or Device("e" * 32, "dc-01")

        proxy.acting.devices = Fickle(proxy.acting.devices)
        assert await proxy.execute() == EXECUTED
    assert proxy.acting.did == [("contained", "c" * 32)]


async def test_never_contain_look_up_and_action_share_one_deadline_contract_36(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(never_contain=("host:dc-*",)))
        assert await proxy.execute() == EXECUTED
    assert len(proxy.acting.deadlines) == 1


async def test_never_contain_in_a_dry_run_of_an_alert_without_a_name_contract_35(
    database: Database,
) -> None:
    async with running(database, dry_run=True) as proxy:
        await add_alert(database, TENANT, "alt_dc", device_id=AID, hostname=None)
        await set_rails(database, Rails(never_contain=("host:dc-*",)))
        named = wanted("1", host=AID, alert_id="alt_dc")
        assert await proxy.execute(named) == Executed("dry_run", True)


@pytest.mark.parametrize("host", [AID, "12345678-1234-1234-1234-123456789abc", "DC-01"])
async def test_never_contain_in_a_dry_run_goes_by_what_is_known_contract_35(
    database: Database, host: str
) -> None:
    async with running(database, dry_run=True) as proxy:
        await add_alert(database, TENANT, "alt_dc", device_id=AID, hostname="dc-01")
        await set_rails(database, Rails(never_contain=("host:dc-*",)))
        await refused_by(proxy, wanted("1", host=host, alert_id="alt_dc"))
        assert await proxy.execute(wanted("2", alert_id="alt_dc")) == Executed("dry_run", True)
    assert proxy.acting.looking.is_set() is False


async def test_per_hour_the_last_slot_is_taken_once_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(per_hour=5))
        tasks = [proxy.start(wanted(str(number))) for number in range(32)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = Counter(type(result) for result in results)
        assert kinds == {Executed: 5, RefusedByPolicyError: 27}
        assert await refused_by(proxy, wanted("more")) == "per_hour 5"
        done = [
            request
            for request, result in zip(range(32), results, strict=True)
            if isinstance(result, Executed)
        ]
        assert await proxy.execute(wanted(str(done[0]))) == REPLAYED
        proxy.clock.now += 3599
        assert await refused_by(proxy, wanted("later")) == "per_hour 5"
        proxy.clock.now += 2
        assert await proxy.execute(wanted("later still")) == EXECUTED
    assert len(proxy.acting.did) == 6


async def test_per_hour_counts_attempts_of_this_tenant_alone_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(per_hour=1))
        other = wanted("1", tenant_id="other-corp", alert_id="none")
        with pytest.raises(VendorError, match="no vendor credentials"):
            await proxy.execute(other)
        proxy.acting.failure = VendorError("refused")
        with pytest.raises(VendorError):
            await proxy.execute(wanted("2"))
        assert await refused_by(proxy, wanted("3")) == "per_hour 1"


async def test_per_hour_does_not_count_lifts_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(per_hour=2))
        assert await proxy.execute(wanted("1")) == EXECUTED
        lift = wanted("2", host="host-1", action_type="LIFT_HOST_ISOLATION")
        assert await proxy.execute(lift) == EXECUTED
        assert await proxy.execute(wanted("3")) == EXECUTED
        assert await refused_by(proxy, wanted("4")) == "per_hour 2"


@pytest.mark.parametrize("ahead_s", [30 * 86_400, 60])
async def test_per_hour_is_not_counted_by_the_chain_contract_35_and_40(
    database: Database, ahead_s: float
) -> None:
    """One entry from a clock that is ahead, and all after it in the chain, have that time."""
    async with running(database) as proxy:
        await set_rails(database, Rails(per_hour=2))
        await database.write(append, [action("host-0")] * 2, NOW + ahead_s)
        assert await proxy.execute(wanted("1")) == EXECUTED
        assert await proxy.execute(wanted("2")) == EXECUTED
        assert await refused_by(proxy, wanted("3")) == "per_hour 2"
        proxy.clock.now += 3601
        assert await proxy.execute(wanted("4")) == EXECUTED


async def test_per_hour_does_not_count_the_future_contract_40(database: Database) -> None:
    async with running(database) as proxy:
        await set_rails(database, Rails(per_hour=1))
        proxy.clock.now += 30 * 86_400
        assert await proxy.execute(wanted("1")) == EXECUTED
        proxy.clock.now = NOW
        assert await proxy.execute(wanted("2")) == EXECUTED
        # Another container that measures the time a little earlier must not take the last slot too.
        proxy.clock.now = NOW - 1
        assert await refused_by(proxy, wanted("3")) == "per_hour 1"


async def test_per_hour_counts_what_has_no_claim_any_more_until_it_is_forgotten_contract_35(
    database: Database,
) -> None:
    async with running(database) as proxy:
        assert await proxy.execute(wanted("1")) == EXECUTED
        await database.write(claims.delete_expired, NOW + 3599)
        assert await database.read(guard_rails.count_begun, TENANT, NOW + 3599) == 1
        await database.write(claims.delete_expired, NOW + 3600)
        assert await database.read(guard_rails.count_begun, TENANT, NOW + 3599) == 0


async def test_frozen_tenant_has_nothing_done_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        assert await proxy.execute() == EXECUTED
        assert await database.write(freeze, True)
        assert not await database.write(freeze, True)
        assert await refused_by(proxy, wanted("1")) == "frozen"
        lift = wanted("2", host=ISOLATION.host, action_type="LIFT_HOST_ISOLATION", force=True)
        assert await refused_by(proxy, lift) == "frozen"
        assert await proxy.execute() == REPLAYED
        assert await database.write(freeze, False)
        assert await proxy.execute(wanted("1")) == EXECUTED
    changes = [event["change"] for event in await events(database, kind="tenant.changed")]
    assert changes == ["frozen", "unfrozen"]


def freeze(connection: Connection, frozen: bool) -> bool:
    return guard_rails.freeze(connection, TENANT, NOW, frozen=frozen).changed


async def test_no_guard_rails_by_default_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        for number in range(20):
            assert await proxy.execute(wanted(str(number))) == EXECUTED
