"""Every operation of every client at the mocked vendors, on a real socket, without faults."""

import asyncio
from collections.abc import Callable

import pytest

from tests.edr.mocked import ISOLATION, isolate
from tests.edr.operations import (
    ACTIONS,
    HOSTS,
    NAMES,
    VENDORS,
    Field,
    Operation,
    containing,
    finding,
    killing,
    lifting,
    operations,
)
from tests.edr.vendor import Refusing, deadline
from vyrox.edr.client import ActionResult, Target
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import EdrVendor, Isolation
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault


@pytest.mark.parametrize("vendor", VENDORS)
async def test_find_device_by_id_and_by_name(field: Field, vendor: EdrVendor) -> None:
    client = field.vendor(vendor).client
    by_id = await client.find_device(HOSTS[vendor].upper(), deadline())
    assert by_id == await client.find_device(NAMES[vendor].upper(), deadline())
    assert (by_id.id, by_id.hostname) == (HOSTS[vendor], NAMES[vendor])


@pytest.mark.parametrize(
    ("vendor", "host", "tags"),
    [
        ("crowdstrike", "dc-01", ("FalconGroupingTags/domain-controller",)),
        ("sentinelone", "dc-01", ("role:domain-controller",)),
        ("defender", "dc-01.acme.local", ("domain-controller",)),
    ],
)
async def test_find_device_reads_the_customers_tags(
    field: Field, vendor: EdrVendor, host: str, tags: tuple[str, ...]
) -> None:
    assert (await field.vendor(vendor).client.find_device(host, deadline())).tags == tags


@pytest.mark.parametrize("vendor", VENDORS)
async def test_find_device_refuses_none_and_two(field: Field, vendor: EdrVendor) -> None:
    client = field.vendor(vendor).client
    for host in ("laptop-11", "laptop-11.acme.local", "nobody", "o'brien", "*", "workstation-*"):
        with pytest.raises(VendorError):
            await client.find_device(host, deadline())


async def test_find_device_finds_a_name_with_a_quote(field: Field) -> None:
    site = field.vendor("crowdstrike")
    site.mock.crowdstrike.devices[fleet.DC_01].hostname = r"o'brien\pc"
    assert (await site.client.find_device(r"O'Brien\PC", deadline())).id == fleet.DC_01
    site = field.vendor("defender")
    site.mock.defender.machines[fleet.MDE_DC_01].computer_dns_name = "o'brien.acme.local"
    assert (await site.client.find_device("o'brien.acme.local", deadline())).id == fleet.MDE_DC_01


@operations
async def test_action_sends_nothing_for_an_order_that_must_not_leave_contract_42(
    field: Field, operation: Operation
) -> None:
    """A kill inside its session too: what the look-ups found does not matter any more."""
    site = field.site(operation)
    site.check = Refusing()
    with pytest.raises(VendorError, match="frozen; nothing was sent") as caught:
        await operation.perform(site, 30)
    assert type(caught.value) is VendorError
    assert site.changes == []
    [(acting, number), *_] = operation.acting
    assert site.endpoints.count(acting) == number - 1


def rename(mock: MockEdr, vendor: EdrVendor, name: str) -> None:
    """Give another host than HOSTS' this name, as an attacker on that host can."""
    match vendor:
        case "crowdstrike":
            mock.crowdstrike.devices[fleet.WORKSTATION_07].hostname = name
        case "sentinelone":
            mock.sentinelone.agents[fleet.S1_DC_01].computer_name = name
        case "defender":
            mock.defender.machines[fleet.MDE_DC_01].computer_dns_name = name


@pytest.mark.parametrize("vendor", VENDORS)
async def test_find_device_refuses_an_id_that_is_also_a_name_contract_36(
    field: Field, vendor: EdrVendor
) -> None:
    """Unless the alert names the device with this id."""
    site = field.vendor(vendor)
    rename(site.mock, vendor, HOSTS[vendor].upper())
    for known_id in (None, "another", NAMES[vendor]):
        with pytest.raises(VendorError, match="and the name of another"):
            await site.client.find_device(HOSTS[vendor], deadline(), known_id)
    found = await site.client.find_device(HOSTS[vendor], deadline(), HOSTS[vendor])
    assert found.id == HOSTS[vendor]


@operations
async def test_action_changes_this_host_once(field: Field, operation: Operation) -> None:
    site = field.site(operation)
    done = await operation.perform(site, 30)
    assert isinstance(done, ActionResult)
    assert done.changed
    assert tuple(site.changes) == operation.changes
    target: Target = {"contain": "contained", "lift": "lifted", "kill": "killed"}[  # type: ignore[assignment]
        operation.name
    ]
    [(_, host)] = operation.changes
    site.mock.tick()
    progress = await site.client.read_progress(host, target, done.reference, deadline())
    assert progress == "reached"


@pytest.mark.parametrize("operation", [o for o in ACTIONS if o.name != "kill"], ids=str)
async def test_action_asked_for_twice_is_sent_once(field: Field, operation: Operation) -> None:
    site = field.site(operation)
    await operation.perform(site, 30)
    again = await operation.perform(site, 30)
    site.mock.tick()
    last = await operation.perform(site, 30)
    assert isinstance(again, ActionResult)
    assert isinstance(last, ActionResult)
    assert (again.changed, last.changed, last.confirmed) == (False, False, True)
    assert tuple(site.changes) == operation.changes
    [(acting, _)] = operation.acting
    assert site.endpoints.count(acting) == 1


@pytest.mark.parametrize(
    ("vendor", "stuck"),
    [
        ("crowdstrike", lambda m: m.crowdstrike.devices[fleet.WORKSTATION_01]),
        ("sentinelone", lambda m: m.sentinelone.agents[fleet.S1_WORKSTATION_01]),
        ("defender", lambda m: m.defender.machines[fleet.MDE_WORKSTATION_01]),
    ],
)
async def test_read_progress_of_a_host_that_does_not_answer_stays_pending(
    field: Field, vendor: EdrVendor, stuck: Callable[[MockEdr], object]
) -> None:
    site = field.vendor(vendor)
    vars(type(stuck(site.mock)))["is_stuck"].__set__(stuck(site.mock), True)
    done = await containing(site, 30)
    for _ in range(5):
        site.mock.tick()
        progress = await site.client.read_progress(
            HOSTS[vendor], "contained", done.reference, deadline()
        )
        assert progress == "pending"


async def test_read_progress_of_an_isolation_that_fails(field: Field) -> None:
    site = field.vendor("defender")
    site.mock.defender.machines[fleet.MDE_WORKSTATION_01].outcome = "Failed"
    done = await containing(site, 30)
    site.mock.tick()
    reading_it = site.client.read_progress(
        fleet.MDE_WORKSTATION_01, "contained", done.reference, deadline()
    )
    assert await reading_it == "failed"


@pytest.mark.parametrize("returns_open_action", [False, True])
async def test_contain_of_a_machine_whose_action_is_not_listed_yet(
    field: Field, returns_open_action: bool
) -> None:
    site = field.vendor("defender")
    site.mock.defender.returns_open_action = returns_open_action
    first = await containing(site, 30)
    nothing = Fault("status", effect=False, status=404)
    site.mock.faults.plan("defender", "action_list", nothing, 1)
    with pytest.raises(VendorError):
        await containing(site, 30)
    again = await containing(site, 30)
    assert (again.reference, again.changed) == (first.reference, False)
    assert len(site.changes) == 1


async def test_contain_after_an_isolation_ended_without_an_action_isolates_again_contract_41(
    field: Field,
) -> None:
    """Before, the answer was `confirmed`, nothing was sent, and the host stayed online."""
    site = field.vendor("defender")
    machine = site.mock.defender.machines[fleet.MDE_WORKSTATION_01]
    await containing(site, 30)
    site.mock.tick()
    machine.is_isolated = False
    site.mock.clock.advance(15 * 60 + 1)
    again = await containing(site, 30)
    assert (again.changed, again.confirmed) == (True, False)
    reading_it = site.client.read_progress(machine.id, "contained", None, deadline())
    assert await reading_it == "pending"  # the old action is no state
    site.mock.tick()
    assert machine.is_isolated
    reference = again.reference
    reading_it = site.client.read_progress(machine.id, "contained", reference, deadline())
    assert await reading_it == "reached"


async def test_read_containment_shows_who_isolated_again_contract_34(field: Field) -> None:
    """Vyrox's isolation was released by an analyst, who isolated the machine again later."""
    site = field.vendor("defender")
    machine = fleet.MDE_WORKSTATION_01
    done = await containing(site, 30)
    site.mock.tick()
    [vyroxs] = await site.client.read_containment(machine, deadline())
    assert vyroxs == Isolation(done.reference or "", "by jane")
    await lifting(site, 30)
    site.mock.tick(1)
    assert await site.client.read_containment(machine, deadline()) == ()
    isolate(site.mock, machine, age_s=0)
    assert await site.client.read_containment(machine, deadline()) == (
        Isolation(ISOLATION, "earlier"),
    )


async def test_contain_that_the_vendor_refuses_to_repeat(field: Field) -> None:
    site = field.vendor("crowdstrike")
    host = site.mock.crowdstrike.devices[fleet.WORKSTATION_01]
    site.mock.crowdstrike.refuses_repeats = True
    host.status = "contained"
    # As if it had been contained between the look and the call.
    done = await lifting(site, 30)
    assert done.changed
    assert await lifting(site, 30) == ActionResult(confirmed=False, changed=False)


@pytest.mark.parametrize("affected", [0, 2, 3])
async def test_contain_of_another_number_of_agents_is_an_error(field: Field, affected: int) -> None:
    site = field.vendor("sentinelone")
    site.mock.sentinelone.affected = affected
    site.mock.sentinelone.reads_until_done = None
    if affected == 0:
        assert await containing(site, 30) == ActionResult(confirmed=False, changed=False)
    else:
        with pytest.raises(VendorOutcomeUnknownError, match="1 host was requested"):
            await containing(site, 30)


@pytest.mark.parametrize("utc_offset_h", [-7, 0, 2])
async def test_kill_reads_the_hosts_own_time_and_output_in_parts(
    field: Field, utc_offset_h: int
) -> None:
    site = field.vendor("crowdstrike")
    behavior = site.mock.crowdstrike.devices[fleet.WORKSTATION_01].rtr
    behavior.utc_offset_h = utc_offset_h
    behavior.is_split = True
    behavior.polls_until_complete = 3
    done = await killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT)(site, 30)
    assert isinstance(done, ActionResult)
    assert done.confirmed
    assert site.changes == [("kill", fleet.WORKSTATION_01)]
    assert site.mock.effects[0].detail == "4312 mimikatz"
    assert site.mock.crowdstrike.sessions == {}


@pytest.mark.parametrize(
    ("trouble", "unknown"),
    [
        pytest.param({"stderr": {"kill": "Access is denied."}}, False, id="kill-stderr"),
        pytest.param({"stderr": {"ps": "Access is denied."}}, False, id="ps-stderr"),
        pytest.param({"stdout": {"ps": "nothing of use"}}, False, id="ps-unreadable"),
        pytest.param({"queues_anyway": True}, False, id="queued"),
        pytest.param({"never_completes": ["ps"]}, False, id="ps-never-ends"),
        pytest.param({"never_completes": ["kill"]}, True, id="kill-never-ends"),
    ],
)
async def test_kill_that_does_not_happen(
    field: Field, trouble: dict[str, object], unknown: bool
) -> None:
    site = field.vendor("crowdstrike")
    site.mock.patch({"crowdstrike": {"devices": {fleet.WORKSTATION_01: {"rtr": trouble}}}})
    with pytest.raises(VendorError) as caught:
        await killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT)(site, 2)
    assert isinstance(caught.value, VendorOutcomeUnknownError) is unknown
    assert site.changes == []
    assert site.mock.crowdstrike.sessions == {}
    site.mock.crowdstrike.devices[fleet.WORKSTATION_01].is_online = True
    site.mock.tick()  # what was queued would run now
    assert site.changes == []


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda device: setattr(device, "is_online", False), id="offline"),
        pytest.param(lambda device: device.processes.pop(4312), id="ended"),
        pytest.param(
            lambda device: setattr(device.processes[4312], "name", "notepad"), id="another-program"
        ),
        pytest.param(
            lambda device: setattr(device.processes[4312], "started_at", 1.0), id="another-start"
        ),
    ],
)
async def test_kill_of_what_is_not_there(field: Field, spoil: Callable[[object], object]) -> None:
    site = field.vendor("crowdstrike")
    spoil(site.mock.crowdstrike.devices[fleet.WORKSTATION_01])
    with pytest.raises(VendorError) as caught:
        await killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT)(site, 30)
    assert type(caught.value) is VendorError
    assert site.changes == []
    assert site.mock.crowdstrike.sessions == {}


async def test_kills_of_one_process_at_once_happen_once(field: Field) -> None:
    site = field.vendor("crowdstrike")
    kill = killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT)
    results = await asyncio.gather(*(kill(site, 30) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, ActionResult) for result in results) == 1
    assert len(site.changes) == 1
    assert site.mock.crowdstrike.sessions == {}


@pytest.mark.parametrize(("vendor", "life_s"), [("crowdstrike", 1799), ("defender", 3599)])
async def test_token_that_ended_at_the_vendor_is_renewed(
    field: Field, vendor: EdrVendor, life_s: int
) -> None:
    site = field.vendor(vendor)
    await finding(HOSTS[vendor])(site, 30)
    site.mock.clock.advance(life_s + 1)
    await containing(site, 30)
    assert site.endpoints.count("token") == 2
    assert len(site.changes) == 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_check_finds_what_is_there_and_what_is_not(field: Field, vendor: EdrVendor) -> None:
    site = field.vendor(vendor)
    assert False not in {finding.present for finding in await site.client.check(deadline())}
    client = next(iter(site.mock.states[vendor].clients.values()))  # type: ignore[attr-defined]
    client.scopes.clear()
    findings = await site.client.check(deadline())
    if vendor == "defender":
        return  # the mock's token says nothing of roles
    assert True not in {finding.present for finding in findings}
    assert False in {finding.present for finding in findings}
    assert site.changes == []
