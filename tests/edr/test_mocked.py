"""Every call of every client at the mocked vendors, on a real socket, and every fault at each.

Reliability rows 76 to 78 and 84: whatever goes wrong, a host is changed at most once, and an error
that says that nothing has happened is true.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from tests.edr.mocked import ISOLATION, Mocks, Site, isolate, serving_mocks
from tests.edr.vendor import Refusing, alert, deadline
from vyrox.edr.client import ActionResult, Target
from vyrox.edr.crowdstrike import rtr
from vyrox.edr.transport.calls import open_http
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import EdrVendor, Isolation
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault

HOSTS: Final[dict[EdrVendor, str]] = {
    "crowdstrike": fleet.WORKSTATION_01,
    "sentinelone": fleet.S1_WORKSTATION_01,
    "defender": fleet.MDE_WORKSTATION_01,
}
NAMES: Final[dict[EdrVendor, str]] = {
    "crowdstrike": "workstation-01",
    "sentinelone": "workstation-01",
    "defender": "workstation-01.acme.local",
}
VENDORS: Final[tuple[EdrVendor, ...]] = ("crowdstrike", "sentinelone", "defender")

Spot = tuple[str, int]
"""An endpoint, as the mock names it, and which call of it."""

Perform = Callable[[Site, float], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """Something that a client does.

    Attributes:
        acting: The calls that change a host, or are about one that has.
        changes: What has changed in the end, at the vendor.
    """

    vendor: EdrVendor
    name: str
    perform: Perform
    prepare: Callable[[MockEdr], None] = lambda _mock: None
    acting: tuple[Spot, ...] = ()
    changes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.vendor}-{self.name}"


def finding(host: str) -> Perform:
    async def perform(site: Site, seconds: float) -> object:
        return await site.client.find_device(host, deadline(seconds))

    return perform


async def containing(site: Site, seconds: float) -> ActionResult:
    return await site.client.change("contained", site.order(HOSTS[site.vendor], seconds))


async def lifting(site: Site, seconds: float) -> ActionResult:
    return await site.client.change("lifted", site.order(HOSTS[site.vendor], seconds))


def killing(host: str, raw_id: str) -> Perform:
    async def perform(site: Site, seconds: float) -> ActionResult:
        told = alert(raw_id, site.vendor)
        return await site.client.kill(site.order(host, seconds), told)

    return perform


def reading(target: Target, host: str, reference: str | None = None) -> Perform:
    async def perform(site: Site, seconds: float) -> object:
        return await site.client.read_progress(host, target, reference, deadline(seconds))

    return perform


async def checking(site: Site, seconds: float) -> object:
    return await site.client.check(deadline(seconds))


def contained(mock: MockEdr) -> None:
    """Have the host cut off at every vendor, since earlier."""
    mock.crowdstrike.devices[fleet.WORKSTATION_01].status = "contained"
    mock.sentinelone.agents[fleet.S1_WORKSTATION_01].network_status = "disconnected"
    isolate(mock, fleet.MDE_WORKSTATION_01)


ACTIONS: Final = (
    Operation(
        "crowdstrike",
        "contain",
        containing,
        acting=(("device_action", 1),),
        changes=(("contain", fleet.WORKSTATION_01),),
    ),
    Operation(
        "crowdstrike",
        "lift",
        lifting,
        contained,
        acting=(("device_action", 1),),
        changes=(("lift_containment", fleet.WORKSTATION_01),),
    ),
    Operation(
        "crowdstrike",
        "kill",
        killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT),
        acting=(("rtr_responder_command", 2), ("rtr_responder_command_read", 2)),
        changes=(("kill", fleet.WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "contain",
        containing,
        acting=(("agent_action", 1),),
        changes=(("disconnect", fleet.S1_WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "lift",
        lifting,
        contained,
        acting=(("agent_action", 1),),
        changes=(("connect", fleet.S1_WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "kill",
        killing(fleet.S1_FILE_SRV_02, fleet.PSEXEC_THREAT),
        acting=(("mitigate", 1),),
        changes=(("kill", fleet.S1_FILE_SRV_02),),
    ),
    Operation(
        "defender",
        "contain",
        containing,
        acting=(("isolate", 1),),
        changes=(("isolate", fleet.MDE_WORKSTATION_01),),
    ),
    Operation(
        "defender",
        "lift",
        lifting,
        contained,
        acting=(("unisolate", 1),),
        changes=(("unisolate", fleet.MDE_WORKSTATION_01),),
    ),
)
LOOKS: Final = (
    *(Operation(vendor, "find-by-id", finding(HOSTS[vendor])) for vendor in VENDORS),
    *(Operation(vendor, "find-by-name", finding(NAMES[vendor])) for vendor in VENDORS),
    *(
        Operation(vendor, f"read-{target}", reading(target, HOSTS[vendor]), contained)
        for vendor in VENDORS
        for target in ("contained", "lifted")
    ),
    *(Operation(vendor, "check", checking) for vendor in VENDORS),
    Operation(
        "sentinelone", "read-killed", reading("killed", fleet.S1_FILE_SRV_02, fleet.PSEXEC_THREAT)
    ),
)
operations = pytest.mark.parametrize("operation", ACTIONS, ids=str)


class Field:
    """Mocks, each with the client of one case."""

    def __init__(self, mocks: Mocks, url: str, http: httpx.AsyncClient) -> None:
        self._mocks = mocks
        self._url = url
        self._http = http

    def site(self, operation: Operation) -> Site:
        mock = MockEdr()
        operation.prepare(mock)
        self._mocks.mocks.append(mock)
        root = f"{self._url}/{len(self._mocks.mocks) - 1}"
        return Site(operation.vendor, mock, root, self._http)

    def vendor(self, vendor: EdrVendor) -> Site:
        return self.site(Operation(vendor, "", checking))


@pytest.fixture
async def field() -> AsyncIterator[Field]:
    async with serving_mocks() as (mocks, url), open_http() as http:
        yield Field(mocks, url, http)
        assert mocks.strays == []
        assert [violation for mock in mocks.mocks for violation in mock.violations] == []


# Everything goes well.


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
    """Give another host than HOSTS' this name, as whoever controls that one can."""
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
        with pytest.raises(VendorError, match="another one has it as its name"):
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
        with pytest.raises(VendorOutcomeUnknownError, match="ONE WAS ASKED FOR"):
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


# Everything goes wrong.


def faults() -> list[Fault]:
    made = [
        Fault("status", effect=False, status=status)
        for status in (400, 401, 403, 404, 409, 405, 413)
    ]
    made += [
        Fault("status", effect=False, status=429, retry_after_s=2.0, retry_after_unit=unit)
        for unit in ("s", "ms")
    ]
    made += [
        Fault("status", effect=effect, status=status)
        for status in (408, 500, 503)
        for effect in (False, True)
    ]
    made += [
        Fault(kind, effect=effect, size_bytes=2 << 20, seconds=0.5 if kind == "dribble" else 60.0)
        for kind in (
            "bad_gateway",
            "empty",
            "truncated",
            "enormous",
            "redirect",
            "slow",
            "dribble",
            "cut",
            "reset",
        )
        for effect in (False, True)
    ]
    return [*made, Fault("errors", effect=False)]


def label(fault: Fault) -> str:
    status = f"-{fault.status}" if fault.kind == "status" else ""
    unit = f"-{fault.retry_after_unit}" if fault.status == 429 else ""
    return f"{fault.kind}{status}{unit}{'-after-effect' if fault.effect else ''}"


_spots: dict[Operation, list[Spot]] = {}


async def spots_of(field: Field, operation: Operation) -> list[Spot]:
    """Return every call that an operation makes; the operation is performed once for all tests."""
    if operation not in _spots:
        site = field.site(operation)
        await operation.perform(site, 30)
        made = site.endpoints
        _spots[operation] = [
            (name, nth) for name in dict.fromkeys(made) for nth in range(1, made.count(name) + 1)
        ]
    return _spots[operation]


class Trial:
    """One operation, with one fault at one of its calls."""

    def __init__(self, site: Site, operation: Operation, spot: Spot, fault: Fault) -> None:
        self.site = site
        self.operation = operation
        self.spot = spot
        self.fault = fault
        self.problems: list[str] = []
        site.mock.faults.plan(operation.vendor, spot[0], fault, spot[1])

    def check(self, is_as_it_should_be: bool, what: str) -> None:
        if not is_as_it_should_be:
            self.problems.append(f"{self.operation} at {self.spot}: {what}")

    async def run(self) -> list[str]:
        """Return all that is wrong about what came of it."""
        # These wait it out; all of them must have begun well before, on a busy machine too.
        seconds = 5.0 if self.fault.kind in {"slow", "dribble"} else 30.0
        try:
            await self.operation.perform(self.site, seconds)
        except VendorError as exc:
            self._judge_failure(exc)
        else:
            self.check(tuple(self.site.changes) == self.operation.changes, "done, and is not")
            self.check(self.spot not in self.operation.acting or self._is_settled, "a lie believed")
        struck = [request for request in self.site.mock.requests if request.fault]
        self.check(len(struck) == 1, f"struck {len(struck)} times")
        if self.operation.acting and self.operation.name != "kill":
            await self._ask_again()
        return self.problems

    @property
    def _is_settled(self) -> bool:
        """Whether the vendor has said that nothing was done, so that it is asked once more."""
        return self.fault.kind == "status" and self.fault.status in {401, 409, 429}

    @property
    def _proves_nothing(self) -> bool:
        """Whether the answer to the call that acts leaves open what was done."""
        if self.spot not in self.operation.acting:
            return False
        if self.spot[0] == "rtr_responder_command_read":
            return True
        refusals = {400, 401, 403, 404, 429} | (
            {409} if self.operation.vendor == "crowdstrike" else set()
        )
        is_refusal = self.fault.kind == "status" and self.fault.status in refusals
        return not is_refusal and self.fault.kind != "errors"

    def _judge_failure(self, error: VendorError) -> None:
        changes = tuple(self.site.changes)
        unknown = isinstance(error, VendorOutcomeUnknownError)
        self.check(unknown or not self._proves_nothing, "known, and nothing proves it")
        if unknown:
            self.check(self.spot in self.operation.acting, "unknown without a call that acts")
            self.check(changes in {(), self.operation.changes}, f"changed {changes}")
        else:
            self.check(changes == (), f"changed {changes}, and says that nothing was")
        told = "".join(traceback.format_exception(error))
        self.check(self.site.credentials.secret not in told, "the secret is told")
        authorizations = [
            value
            for request in self.site.mock.requests
            for name, value in request.headers
            if name == "authorization"
        ]
        tokens = {value.partition(" ")[2] for value in authorizations}
        self.check(not any(token in told for token in tokens), "a token is told")

    async def _ask_again(self) -> None:
        self.site.mock.faults.clear()
        done = await self.operation.perform(self.site, 30)
        self.check(isinstance(done, ActionResult), "asked again, and not done")
        self.check(tuple(self.site.changes) == self.operation.changes, "done twice, or never")


@pytest.mark.parametrize("fault", faults(), ids=label)
async def test_fault_at_every_call_of_every_operation(
    field: Field, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtr, "TIDY_S", 1.0)
    trials = [
        Trial(field.site(operation), operation, spot, fault)
        for operation in (ACTIONS if fault.effect else (*ACTIONS, *LOOKS))
        for spot in await spots_of(field, operation)
    ]
    assert len(trials) > 25
    results = await asyncio.gather(*(trial.run() for trial in trials))
    assert [problem for problems in results for problem in problems] == []
