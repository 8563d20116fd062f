"""Which alerts become one incident."""

import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.samples import alert, read
from vyrox.models import NormalizedAlert
from vyrox.triage.evaluation import measure
from vyrox.triage.incidents import Grouping
from vyrox.triage.judged import Judged
from vyrox.triage.proposal import propose
from vyrox.triage.score import judge
from vyrox.triage.trying import Read, group

NOW: Final = 1_788_220_800.0


def judged(at: float, command_line: str = "whoami", **members: object) -> Judged:
    made = alert(command_line, timestamp=NOW + at, **members)
    return Judged(made, judge(made), NOW + at)


def grouped(*alerts: Judged) -> list[int]:
    """Return the incident of each, renumbered in order of first appearance."""
    ended = [incident.id for incident in group(Read(each) for each in alerts)]
    names = {name: place for place, name in enumerate(dict.fromkeys(ended))}
    return [names[name] for name in ended]


def test_stories_of_the_samples_are_grouped_right() -> None:
    measures = measure(list(read("incidents")))
    assert measures.grouping_f1 == 1.0
    assert measures.tenants_mixed == 0


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        pytest.param([judged(0), judged(3600)], [0, 0], id="same_host"),
        pytest.param([judged(0), judged(5 * 3600)], [0, 1], id="after_the_gap"),
        pytest.param([judged(0), judged(3 * 3600), judged(6 * 3600)], [0, 0, 0], id="sliding"),
        pytest.param([judged(0), judged(1, tenant_id="other")], [0, 1], id="two_tenants"),
        pytest.param([judged(0, device_id=None), judged(1, device_id=None)], [0, 0], id="by_name"),
        pytest.param(
            [judged(0), judged(1, device_id=None, hostname="WS-1.acme.local")],
            [0, 0],
            id="name_of_a_known_device",
        ),
        pytest.param(
            [judged(0), judged(1, device_id="device-2"), judged(2, device_id=None)],
            [0, 1, 2],
            id="two_devices_with_one_name",
        ),
        pytest.param(
            [judged(0), judged(1, source="defender", device_id="other-vendors")],
            [0, 0],
            id="two_vendors_of_one_host",
        ),
        pytest.param(
            [judged(n, hostname=None, device_id=None) for n in range(2)], [0, 1], id="no_host"
        ),
        pytest.param(
            [judged(n, hostname="localhost", device_id="-") for n in range(2)],
            [0, 1],
            id="placeholders",
        ),
        pytest.param(
            [judged(n, hostname=f"10.0.0.{n}", device_id=None, username="root") for n in range(2)],
            [0, 1],
            id="addresses",
        ),
    ],
)
def test_add_joins_by_host_and_time(alerts: list[Judged], expected: list[int]) -> None:
    assert grouped(*alerts) == expected


def test_add_links_a_named_target_and_merges() -> None:
    far = {"hostname": "srv-2", "device_id": "device-2"}
    alerts = [
        judged(0, r"winrs.exe -r:srv-9 cmd /c C:\Temp\a.exe"),
        judged(10, **far),
        judged(60, r"wmic /node:srv-2 process call create C:\Temp\a.exe"),
    ]
    assert grouped(*alerts) == [0, 0, 0]


def test_propose_needs_one_certain_device() -> None:
    command = "vssadmin delete shadows /all"
    [nowhere] = group([Read(judged(0, command, hostname=None, device_id=None))])
    assert nowhere.band == "urgent"
    assert propose(nowhere).reason.startswith("the device is not certain")
    [sure] = group([Read(judged(0, command))])
    proposal = propose(sure)
    assert proposal.action == "HOST_ISOLATION"
    assert proposal.device is not None
    assert proposal.device.device_id == "device-1"


HOSTS = st.sampled_from([None, "", "ws-1", "WS-1.acme.local", "ws-2", "10.0.0.1", "localhost"])
DEVICES = st.sampled_from([None, "", "d1", "d2", "n/a"])
TENANTS = st.sampled_from(["a", "b"])


@given(
    st.lists(st.tuples(TENANTS, HOSTS, DEVICES, st.integers(0, 20_000)), max_size=25),
    st.randoms(use_true_random=False),
)
def test_add_never_mixes_tenants_and_loses_nothing(
    drawn: list[tuple[str, str | None, str | None, int]], rng: random.Random
) -> None:
    alerts = [
        judged(at, tenant_id=tenant, hostname=host, device_id=device)
        for tenant, host, device, at in drawn
    ]
    rng.shuffle(alerts)
    ended = group(Read(each) for each in alerts)
    assert [each.tenant_id for each in ended] == [each.alert.tenant_id for each in alerts]
    assert sum({each.id: each.alerts for each in ended}.values()) == len(alerts)


LOOKS: Final = ("whoami /all", "nltest /domain_trusts", "systeminfo", "tasklist /v", "quser")


def test_a_burst_of_discovery_stays_when_it_is_repeated_slowly_contract_54() -> None:
    grouping = Grouping("acme-corp")
    for at, look in enumerate(LOOKS):
        grouping.add(judged(at, look))
    [burst] = grouping.incidents.values()
    score = burst.score
    assert "story.discovery_burst" in burst.story.own_signals()
    for at, look in enumerate(LOOKS * 40):
        grouping.add(judged(1000 * (at + 1), look))
    assert burst.score >= score


@given(
    st.lists(st.tuples(st.sampled_from(LOOKS), st.integers(0, 60)), min_size=4, max_size=30),
    st.randoms(use_true_random=False),
)
def test_a_score_never_falls_and_ends_the_same_in_any_order_contract_54(
    drawn: list[tuple[str, int]], rng: random.Random
) -> None:
    ends = []
    for _ in range(2):
        grouping = Grouping("acme-corp")
        last = 0.0
        for look, minute in drawn:
            grouping.add(judged(60 * minute, look))
            [found] = grouping.incidents.values()
            assert found.score >= last
            last = found.score
        ends.append(last)
        rng.shuffle(drawn)
    assert ends[0] == pytest.approx(ends[1])


def test_storm_of_identical_alerts_is_one_incident() -> None:
    alerts: list[NormalizedAlert] = [alert("cscript x.vbs", timestamp=NOW + n) for n in range(500)]
    verdict = judge(alerts[0])
    assert set(grouped(*(Judged(each, verdict, each.timestamp) for each in alerts))) == {0}
