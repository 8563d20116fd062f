"""Guard rails: which actions are refused, and in which transaction (contract 35)."""

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, action, entries, events
from tests.containment.test_execution import EXECUTED, ISOLATION, REPLAYED, Proxy, running
from tests.vendor import AID, add_alert, take_credentials
from vyrox.chain.writer import append
from vyrox.containment import claims
from vyrox.containment.execution import Executed
from vyrox.containment.remains import list_remains, remove_edr_credentials
from vyrox.errors import OperatorError, RefusedByPolicyError, VendorError, VendorLookUpError
from vyrox.models import ContainmentRequest, Device, NormalizedAlert
from vyrox.store.agenda import Agenda
from vyrox.store.database import Database
from vyrox.tenants import guard_rails, records, removal
from vyrox.tenants.containers import Container
from vyrox.tenants.device_rules import check_rule, is_of_alert, matches
from vyrox.tenants.guard_rails import Rails

DC = Device("d" * 32, "DC-01.acme.local", ("Tier0", "SensorGroupingTags/Office"))


def wanted(name: str, **changes: object) -> ContainmentRequest:
    """Return a request with a new id, for a host with a new name."""
    return msgspec.structs.replace(
        ISOLATION, **{"request_id": name, "host": f"host-{name}", **changes}
    )


async def set_rails(database: Database, rails: Rails, tenant_id: str = TENANT) -> None:
    await database.write(guard_rails.store, tenant_id, rails, "for a test", NOW)


async def refused_by(proxy: Proxy, request: ContainmentRequest) -> str:
    """Return the rule that refused `request`; check that only the event was written."""
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
    device = Device("a" * 32, name, ())
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
    """A replay stays a replay, even if a rule forbids the action now and the vendor is away."""
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
    """After an entry from a clock that is ahead, later entries of the chain have that time."""
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
        # Another container, whose time is a little earlier, must not use the last slot again.
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


async def test_a_container_that_has_not_read_a_freeze_reports_at_once_contract_39_and_92(
    database: Database,
) -> None:
    container = Container(database, lambda: NOW, lambda: None, is_dry_run=True)
    await container.start()
    behind = asyncio.Event()
    agenda = Agenda(database, dict, {"container": (container.is_behind(), behind)})
    await agenda.look()
    assert not behind.is_set()
    await database.write(freeze, True)
    await agenda.look()
    assert behind.is_set()
    behind.clear()
    await container.report()
    await agenda.look()
    assert not behind.is_set()


def freeze(connection: Connection, frozen: bool) -> bool:
    return guard_rails.freeze(connection, TENANT, NOW, frozen=frozen).changed


async def test_no_guard_rails_by_default_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        for number in range(20):
            assert await proxy.execute(wanted(str(number))) == EXECUTED


@pytest.mark.parametrize(
    ("device_id", "hostname", "found", "named"),
    [
        pytest.param(AID, None, Device(AID, "any"), True, id="id"),
        pytest.param("12345678-1234-1234-1234-123456789ABC", None, Device(AID), True, id="uuid"),
        pytest.param(AID, "ws-01", Device("b" * 32, "srv-02"), False, id="neither"),
        pytest.param(AID, "ws-01", Device("b" * 32, "WS-01.acme.local"), True, id="name"),
        pytest.param(None, "ws-01.acme.local", Device("b" * 32, "ws-01"), True, id="no_domain"),
        pytest.param(None, "ws-01.a.local", Device("b" * 32, "ws-01.b.local"), False, id="domain"),
        pytest.param(None, "ws-01", Device("b" * 32, "ws-011"), False, id="part_of_a_name"),
        pytest.param(None, "ws-01", Device("b" * 32), False, id="vendor_tells_no_name"),
        pytest.param(AID, None, Device("b" * 32, AID), False, id="name_that_is_the_id"),
    ],
)
def test_is_of_alert_goes_by_id_or_name_contract_35(
    device_id: str | None, hostname: str | None, found: Device, named: bool
) -> None:
    alert = NormalizedAlert(
        id="1",
        tenant_id=TENANT,
        source="crowdstrike",
        raw_id="1",
        timestamp=0.0,
        device_id=device_id,
        hostname=hostname,
    )
    assert is_of_alert(found, alert) is named


async def test_other_host_than_the_alerts_is_refused_contract_35(database: Database) -> None:
    """The rule is compared with the device that the vendor finds, not with the request."""
    async with running(database) as proxy:
        await add_alert(database, TENANT, "alt_ws", device_id=AID, hostname="workstation-01")
        await add_alert(database, TENANT, "alt_bare", device_id=None, hostname=None)
        proxy.acting.devices = {
            "workstation-01": Device(AID, "WORKSTATION-01"),
            "file-srv-02": Device("b" * 32, "file-srv-02"),
            "lying": Device("b" * 32, "workstation-02"),
        }
        other = wanted("1", alert_id="alt_ws", host="file-srv-02")
        assert await proxy.execute(other) == EXECUTED  # off by default
        await set_rails(database, Rails(other_hosts="refuse"))
        for number, host in enumerate(("file-srv-02", "lying")):
            refused = await refused_by(proxy, wanted(f"2{number}", alert_id="alt_ws", host=host))
            assert refused == "host is not the alert's"
        # The alert's own host, an alert that names no host, and an unknown alert.
        assert (
            await proxy.execute(wanted("3", alert_id="alt_ws", host="workstation-01")) == EXECUTED
        )
        assert await proxy.execute(wanted("4", alert_id="alt_bare", host="file-srv-02")) == EXECUTED
        assert await proxy.execute(wanted("5", alert_id="alt_none", host="file-srv-02")) == EXECUTED
        lift = wanted("6", alert_id="alt_ws", host="file-srv-02", action_type="LIFT_HOST_ISOLATION")
        proxy.acting.devices["file-srv-02"] = Device("b" * 32, "file-srv-02")
        assert await proxy.execute(lift) == EXECUTED
    assert [device for _, device in proxy.acting.did] == ["b" * 32, AID, *["b" * 32] * 3]


async def test_other_host_is_refused_in_a_dry_run_contract_35(database: Database) -> None:
    async with running(database, dry_run=True) as proxy:
        await add_alert(database, TENANT, "alt_ws", device_id=AID, hostname="ws-01")
        await set_rails(database, Rails(other_hosts="refuse"))
        for number, host in enumerate((AID, "ws-01", "WS-01.acme.local")):
            request = wanted(str(number), alert_id="alt_ws", host=host)
            assert await proxy.execute(request) == Executed("dry_run", True)
        refused = await refused_by(proxy, wanted("x", alert_id="alt_ws", host="file-srv-02"))
        assert refused == "host is not the alert's"
    assert proxy.acting.looking.is_set() is False


async def test_known_alerts_only_contract_35(database: Database) -> None:
    async with running(database) as proxy:
        assert await proxy.execute(wanted("1", alert_id="alt_none")) == EXECUTED
        await set_rails(database, Rails(known_alerts_only=True))
        refused = await refused_by(proxy, wanted("2", alert_id="alt_none"))
        assert refused == "the alert is not known"
        assert await proxy.execute(wanted("3")) == EXECUTED
        lift = wanted("4", host="host-3", alert_id="none", action_type="LIFT_HOST_ISOLATION")
        assert await proxy.execute(lift) == EXECUTED


async def test_removed_tenant_has_no_new_action_but_its_lifts_contract_35(
    database: Database,
) -> None:
    for vendor in ("crowdstrike", "generic"):
        assert await database.write(records.add_tenant, TENANT, vendor, "secret", None, NOW) is (
            vendor == "crowdstrike"
        )
    async with running(database) as proxy:
        await database.write(removal.remove_tenant, TENANT, "generic", NOW)
        assert await proxy.execute(wanted("1", host=AID)) == EXECUTED
        await database.write(removal.remove_tenant, TENANT, "crowdstrike", NOW)
        remains = await database.read(list_remains, TENANT)
        assert remains.contained == (("crowdstrike", AID, AID),)
        assert remains.edr_vendors == ("crowdstrike",)
        with pytest.raises(OperatorError, match=f"^{AID}.* is contained at crowdstrike"):
            await database.write(remove_edr_credentials, TENANT, "crowdstrike", NOW, False)
        assert await refused_by(proxy, wanted("2", host=AID)) == "the tenant is removed"
        assert await proxy.execute(wanted("1", host=AID)) == REPLAYED
        lift = wanted("3", host=AID, action_type="LIFT_HOST_ISOLATION")
        assert await proxy.execute(lift) == EXECUTED
        await database.write(remove_edr_credentials, TENANT, "crowdstrike", NOW, False)
        assert (await database.read(list_remains, TENANT)).edr_vendors == ()


async def test_credentials_of_a_contained_host_are_removed_with_force_only(
    database: Database,
) -> None:
    async with running(database) as proxy:
        assert await proxy.execute(wanted("1", host=AID)) == EXECUTED
        with pytest.raises(OperatorError, match="pass --force"):
            await database.write(remove_edr_credentials, TENANT, "crowdstrike", NOW, False)
        await database.write(remove_edr_credentials, TENANT, "crowdstrike", NOW, True)
        assert (await database.read(list_remains, TENANT)).edr_vendors == ()


async def test_dry_run_records_what_is_known_without_the_vendor_contract_43(
    database: Database,
) -> None:
    known = {
        "alert_known": True,
        "alert_device": AID,
        "alert_host": "dc-01",
        "per_hour": 2,
        "vendor": "crowdstrike",
        "credentials_stored": True,
    }
    async with running(database, dry_run=True) as proxy:
        await add_alert(database, TENANT, "alt_dc", device_id=AID, hostname="dc-01")
        await set_rails(database, Rails(per_hour=2, never_contain=("host:dc-*", "tag:tier0")))
        other = wanted("1", alert_id="alt_dc", host="file-srv-02")
        assert await proxy.execute(other) == Executed("dry_run", True)
        await refused_by(proxy, wanted("2", alert_id="alt_dc", host=AID))
        await take_credentials(database, TENANT)
        await proxy.execute(wanted("3", alert_id="alt_none"))
        await refused_by(proxy, wanted("4"))
        first, last = await events(database, kind="execute.outcome")
        refusals = await events(database, kind="execute.refused")
    protected = "never_contain host:dc-*"
    tags = "allowed, if its name and tags at the vendor are not in the list"
    assert first.items() >= {**known, "guard_rails": protected, "begun_in_hour": 0}.items()
    assert refusals[0].items() >= {**known, "guard_rails": protected, "begun_in_hour": 1}.items()
    unknown = {"alert_known": False, "credentials_stored": False, "guard_rails": tags}
    assert last.items() >= {**unknown, "per_hour": 2, "begun_in_hour": 1}.items()
    assert not last.keys() & {"alert_device", "alert_host", "vendor"}
    assert (refusals[1]["rule"], refusals[1]["begun_in_hour"]) == ("per_hour 2", 2)
    assert proxy.acting.looking.is_set() is False


async def test_events_name_the_alert_and_the_force_contract_27(database: Database) -> None:
    async with running(database) as proxy:
        lift = wanted("1", action_type="LIFT_HOST_ISOLATION")
        await refused_by(proxy, lift)
        forced = msgspec.structs.replace(lift, force=True)
        assert await proxy.execute(forced) == EXECUTED
        [refused] = await events(database, kind="execute.refused")
        [outcome] = await events(database, kind="execute.outcome")
        [entry] = await entries(database)
    assert (refused["alert_id"], refused["force"]) == ("alt_abc123", False)
    assert (outcome["alert_id"], outcome["force"]) == ("alt_abc123", True)
    assert entry.keys() == {
        *("timestamp", "tenant_id", "action_type", "host"),
        *("approved_by", "dry_run", "previous_hash", "hash"),
    }
    assert "alert_known" not in outcome


@pytest.mark.parametrize(
    ("rule", "device_id", "hostname", "verdict"),
    [
        ("host:dc-*", AID, None, "allowed, if its name at the vendor is not in the list"),
        ("device:" + "d" * 32, None, "ws-1", "allowed, if its id at the vendor is not in the list"),
        ("device:" + "d" * 32, AID, None, "allowed"),
        ("host:dc-*", None, "ws-1", "allowed"),
    ],
)
async def test_dry_run_says_what_only_the_vendor_knows_contract_43(
    database: Database, rule: str, device_id: str | None, hostname: str | None, verdict: str
) -> None:
    async with running(database, dry_run=True) as proxy:
        await add_alert(database, TENANT, "alt_1", device_id=device_id, hostname=hostname)
        await set_rails(database, Rails(never_contain=(rule,)))
        await proxy.execute(wanted("1", alert_id="alt_1"))
        [told] = await events(database, kind="execute.outcome")
    assert told["guard_rails"] == verdict


@pytest.mark.parametrize("spelling", [str.upper, "{} ".format, "urn:uuid:{}".format])
async def test_other_host_is_refused_for_any_spelling_of_the_alert_contract_35(
    database: Database, spelling: Callable[[str], str]
) -> None:
    alert_id = "6f0c3c1e-0a4b-4a53-9d63-0d8e2f3b7a11"
    async with running(database) as proxy:
        await add_alert(database, TENANT, alert_id, device_id=AID)
        await set_rails(database, Rails(other_hosts="refuse", known_alerts_only=True))
        other = wanted("1", alert_id=spelling(alert_id), host="b" * 32)
        assert await refused_by(proxy, other) == "host is not the alert's"
