"""Which action an incident suggests (contract 57)."""

import pytest

from tests.triage.stored import NOW, new
from vyrox.models import NormalizedAlert
from vyrox.tenants.guard_rails import Rails
from vyrox.triage.announcement import message_of
from vyrox.triage.incidents import Incident
from vyrox.triage.judged import Judged
from vyrox.triage.proposal import propose
from vyrox.triage.score import judge
from vyrox.triage.story import MAX_KEPT
from vyrox.triage.trying import Read, group

SHADOWS = "vssadmin delete shadows /all /quiet"
MINER = "xmrig.exe -o stratum+tcp://pool.minexmr.com:4444 -u 4A wallet --donate-level 1"
COMPOSITE = f"{'a' * 32}:ind:{'b' * 32}:1-2-3"


def incident_of(*alerts: NormalizedAlert) -> Incident:
    ended = group(Read(Judged(each, judge(each), each.timestamp)) for each in alerts)
    assert len({each.id for each in ended}) == 1
    return ended[0]


def test_propose_isolates_the_device_that_shows_the_intrusion() -> None:
    quiet = new(0, "winrs -r:srv-2 whoami", username="CORP\\alice")
    loud = new(60, SHADOWS, hostname="srv-2", device_id="device-2", username="CORP\\alice")
    proposal = propose(incident_of(quiet, loud))
    assert proposal.action == "HOST_ISOLATION"
    assert proposal.device is not None


def test_propose_without_a_device_says_why() -> None:
    proposal = propose(incident_of(new(0, SHADOWS, device_id=None)))
    assert proposal.action is None
    assert "the device is not certain" in proposal.reason


def test_propose_never_a_device_that_shows_nothing_contract_57() -> None:
    task = 'schtasks /create /tn x /tr "powershell -enc SQBFAFgA" /sc minute /ru system'
    group = {"vendor_group": "g"}
    attack = new(0, task, device_id=None, hostname=None, vendor_severity="HIGH", **group)
    bystander = new(1, "ipconfig", device_id="innocent", hostname="dc-1", **group)
    incident = incident_of(attack, bystander)
    assert incident.band == "urgent"
    proposal = propose(incident)
    assert proposal.action is None
    assert "the device is not certain" in proposal.reason


def test_propose_the_device_that_shows_most_though_many_came_before_contract_57() -> None:
    flood = [
        new(n, "ipconfig", device_id=f"d-{n}", hostname=f"h-{n}", vendor_group="g")
        for n in range(MAX_KEPT + 8)
    ]
    attack = new(60, SHADOWS, device_id="victim", hostname="victim-1", vendor_group="g")
    later = new(61, "ipconfig", device_id="d-x", hostname="h-x", vendor_group="g")
    incident = incident_of(*flood, attack, later)
    proposal = propose(incident)
    assert proposal.device is not None
    assert proposal.device.device_id == "victim"
    assert message_of(incident, "opened", NOW).title.endswith(" on victim-1, h-0, h-1")
    assert len(incident.story.devices) == MAX_KEPT


@pytest.mark.parametrize("device_id", ["device\0-1", "d" * 201])
def test_propose_no_device_whose_id_was_changed_contract_57(device_id: str) -> None:
    assert propose(incident_of(new(0, SHADOWS, device_id=device_id))).action is None


def test_propose_nothing_below_urgent() -> None:
    proposal = propose(incident_of(new(0, "ipconfig")))
    assert (proposal.action, proposal.reason) == (None, "the incident is not urgent")


def test_propose_nothing_for_a_source_that_cannot_act() -> None:
    proposal = propose(incident_of(new(0, SHADOWS, source="generic")))
    assert proposal.action is None
    assert "generic" in proposal.reason


@pytest.mark.parametrize(
    ("rails", "reason"),
    [
        (Rails(never_contain=("host:ws-*",)), "never_contain host:ws-*"),
        (Rails(never_contain=("device:device-1",)), "never_contain device:device-1"),
        (Rails(frozen_at=1.0), "frozen"),
    ],
)
def test_propose_asks_the_guard_rails_first(rails: Rails, reason: str) -> None:
    incident = incident_of(new(0, SHADOWS, device_id="device-1"))
    assert propose(incident).action == "HOST_ISOLATION"
    proposal = propose(incident, rails)
    assert proposal.action is None
    assert reason in proposal.reason


def test_propose_kills_one_process_where_the_vendor_can() -> None:
    sure = {"vendor_severity": "HIGH"}
    killed = propose(incident_of(new(0, MINER, raw_id=COMPOSITE, **sure)))
    assert killed.action == "PROCESS_KILL"
    isolated = propose(incident_of(new(0, MINER, raw_id="other", **sure)))
    assert isolated.action == "HOST_ISOLATION"
