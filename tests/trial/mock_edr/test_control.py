"""The mock's own calls under `/_mock`, for tests in another process."""

import httpx
import pytest

from tests.trial.mock_edr import Caller, Falcon
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import DC_01, WORKSTATION_01


async def test_state_shows_every_vendor(http: httpx.AsyncClient) -> None:
    state = (await http.get("/_mock/state")).json()

    assert state.keys() == {"crowdstrike", "sentinelone", "defender"}
    assert state["crowdstrike"]["devices"][DC_01]["hostname"] == "dc-01"


async def test_state_is_patched(mock: MockEdr, http: httpx.AsyncClient, falcon: Falcon) -> None:
    patch = {
        "crowdstrike": {
            "devices": {DC_01: {"is_stuck": True, "processes": {"7": process(7)}}},
            "alerts": {"a:b": {"composite_id": "a:b", "device_id": DC_01}},
            "reads_until_done": None,
        },
        "defender": {"returns_open_action": True},
    }
    answer = await http.patch("/_mock/state", json=patch)
    read = await falcon.post("/alerts/entities/alerts/v2", {"composite_ids": ["a:b"]})

    assert answer.status_code == 200
    assert mock.crowdstrike.devices[DC_01].is_stuck
    assert mock.crowdstrike.devices[DC_01].hostname == "dc-01"
    assert mock.crowdstrike.devices[DC_01].processes[7].name == "calc"
    assert mock.defender.returns_open_action
    assert [each["composite_id"] for each in read.json()["resources"]] == ["a:b"]


def process(pid: int) -> dict[str, object]:
    return {"pid": pid, "name": "calc", "started_at": 0, "path": ""}


async def test_null_removes_what_a_patch_names(mock: MockEdr, http: httpx.AsyncClient) -> None:
    await http.patch("/_mock/state", json={"crowdstrike": {"devices": {DC_01: None}}})

    assert DC_01 not in mock.crowdstrike.devices
    assert WORKSTATION_01 in mock.crowdstrike.devices


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"crowdstrike": {"devices": {DC_01: {"online": False}}}}, id="reject_member"),
        pytest.param({"crowdstrike": {"devices": {DC_01: {"status": "gone"}}}}, id="reject_value"),
        pytest.param({"crowdstrike": {"devices": {"new": {}}}}, id="reject_half_a_device"),
        pytest.param({"mcafee": {}}, id="reject_vendor"),
        pytest.param([], id="reject_list"),
        pytest.param(
            {"defender": {"returns_open_action": True}, "sentinelone": {"affected": "x"}},
            id="reject_one_of_two",
        ),
    ],
)
async def test_a_patch_that_makes_no_state_changes_nothing(
    mock: MockEdr, http: httpx.AsyncClient, patch: object
) -> None:
    before = (await http.get("/_mock/state")).content
    answer = await http.patch("/_mock/state", json=patch)

    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert (await http.get("/_mock/state")).content == before


async def test_requests_show_what_came_in(falcon: Falcon, http: httpx.AsyncClient) -> None:
    await falcon.act("contain", WORKSTATION_01)
    requests = (await http.get("/_mock/requests")).json()

    assert [each["endpoint"] for each in requests] == ["token", "device_action"]
    last = requests[-1]
    assert (last["method"], last["query"], last["status"]) == ("POST", "action_name=contain", 202)
    assert last["body"] == f'{{"ids":["{WORKSTATION_01}"]}}'
    assert ["authorization", falcon.headers["authorization"]] in last["headers"]


async def test_effects_show_what_has_changed(falcon: Falcon, http: httpx.AsyncClient) -> None:
    await falcon.act("contain", WORKSTATION_01)

    assert (await http.get("/_mock/effects")).json() == [
        {
            "sequence": 1,
            "vendor": "crowdstrike",
            "device_id": WORKSTATION_01,
            "what": "contain",
            "detail": "",
            "request": 2,
            "at": 1_767_225_600.0,
        }
    ]


async def test_violations_show(sentinelone: Caller, http: httpx.AsyncClient) -> None:
    assert (await http.get("/_mock/violations")).json() == []
    await sentinelone.post("/agents/actions/disconnect", {"filter": {}, "data": {}})

    assert len((await http.get("/_mock/violations")).json()) == 1


async def test_faults_are_planned_shown_and_cleared(
    falcon: Falcon, http: httpx.AsyncClient
) -> None:
    planned = {
        "vendor": "crowdstrike",
        "endpoint": "device_action",
        "nth": 2,
        "fault": {"kind": "status", "effect": True, "status": 503},
    }
    answer = await http.post("/_mock/faults", json=planned)
    statuses = [(await falcon.act("contain", WORKSTATION_01)).status_code for _ in range(3)]

    assert answer.status_code == 200
    assert [each["nth"] for each in answer.json()] == [2]
    assert statuses == [202, 503, 202]
    await http.post("/_mock/faults", json=planned)
    assert len((await http.get("/_mock/faults")).json()) == 1
    assert (await http.delete("/_mock/faults")).json() == []
    assert (await http.get("/_mock/faults")).json() == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"fault": {"kind": "explode", "effect": True}}, id="reject_kind"),
        pytest.param(
            {"fault": {"kind": "status", "effect": True, "status": 200}}, id="reject_status"
        ),
        pytest.param(
            {"fault": {"kind": "slow", "effect": True, "delay": 1}}, id="reject_unknown_member"
        ),
        pytest.param({"vendor": "mcafee"}, id="reject_vendor"),
        pytest.param({"endpoint": "contain"}, id="reject_endpoint"),
        pytest.param({"nth": 0}, id="reject_nth"),
    ],
)
async def test_a_fault_that_cannot_strike_is_400(
    http: httpx.AsyncClient, changes: dict[str, object]
) -> None:
    planned = {
        "vendor": "crowdstrike",
        "endpoint": "device_action",
        "fault": {"kind": "reset", "effect": True},
    }
    answer = await http.post("/_mock/faults", json={**planned, **changes})

    assert answer.status_code == 400
    assert (await http.get("/_mock/faults")).json() == []


async def test_tick_lets_time_go_by_and_pending_things_happen(
    mock: MockEdr, falcon: Falcon, http: httpx.AsyncClient
) -> None:
    mock.crowdstrike.reads_until_done = None
    await falcon.act("contain", WORKSTATION_01)
    answer = await http.post("/_mock/tick", json={"seconds": 30})

    assert answer.json() == {"now": 1_767_225_630.0}
    assert await falcon.status(WORKSTATION_01) == "contained"
    assert (await http.post("/_mock/tick")).json() == {"now": 1_767_225_630.0}
    assert (await http.post("/_mock/tick", json={"hours": 1})).status_code == 400


async def test_the_mocks_own_calls_are_no_vendors(mock: MockEdr, http: httpx.AsyncClient) -> None:
    for path in ("state", "requests", "effects", "faults", "violations"):
        assert (await http.get(f"/_mock/{path}")).status_code == 200

    assert mock.requests == []
    assert (await http.get("/_mock/nowhere")).status_code == 404
    assert (await http.get("/_mock/tick")).status_code == 405
