"""SentinelOne's agents and threats, and its filters, which can hit everything."""

import json

import httpx
import pytest

from tests.trial.mock_edr import FORM, Caller, client_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import (
    PSEXEC_THREAT,
    S1_DC_01,
    S1_FILE_SRV_02,
    S1_LAPTOP_11,
    S1_LAPTOP_23,
    S1_WORKSTATION_01,
)

UNKNOWN = "1000000000000000001"
DISCONNECT = "/agents/actions/disconnect"
KILL = "/threats/mitigate/kill"


def by_ids(*ids: str) -> dict[str, object]:
    return {"filter": {"ids": list(ids)}, "data": {}}


def effects(mock: MockEdr) -> list[tuple[str, str]]:
    return [(effect.device_id, effect.what) for effect in mock.effects]


async def agent(sentinelone: Caller, agent_id: str) -> dict[str, object]:
    answer = await sentinelone.get("/agents", {"ids": agent_id})
    [found] = answer.json()["data"]
    assert isinstance(found, dict)
    return found


async def threat(sentinelone: Caller) -> dict[str, object]:
    answer = await sentinelone.get("/threats", {"ids": PSEXEC_THREAT})
    [found] = answer.json()["data"]
    assert isinstance(found, dict)
    return found


async def test_health_is_ok(sentinelone: Caller) -> None:
    answer = await sentinelone.get("/system/status")

    assert (answer.status_code, answer.json()) == (200, {"data": {"health": "ok"}})


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("Bearer {token}", id="reject_bearer"),
        pytest.param("Token {token}", id="reject_token"),
        pytest.param("ApiToken wrong", id="reject_wrong"),
        pytest.param("ApiToken", id="reject_empty"),
        pytest.param("{token}", id="reject_no_scheme"),
        pytest.param(None, id="reject_missing"),
    ],
)
async def test_the_scheme_is_apitoken(
    mock: MockEdr, sentinelone: Caller, authorization: str | None
) -> None:
    del sentinelone.headers["authorization"]
    if authorization is not None:
        token = client_of(mock, "sentinelone").client_secret
        sentinelone.headers["authorization"] = authorization.format(token=token)
    answer = await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))

    assert answer.status_code == 401
    assert answer.json() == {
        "errors": [{"code": 4010010, "detail": None, "title": "Authentication Failed"}]
    }
    assert mock.effects == []


async def test_the_scheme_may_be_spelt_as_sdks_do(mock: MockEdr, sentinelone: Caller) -> None:
    token = client_of(mock, "sentinelone").client_secret
    sentinelone.headers["authorization"] = f"APIToken {token}"

    assert (await sentinelone.get("/system/status")).status_code == 200


async def test_the_token_expires_by_the_clock(mock: MockEdr, sentinelone: Caller) -> None:
    mock.clock.advance(180 * 86_400 - 1)
    assert (await sentinelone.get("/system/status")).status_code == 200
    mock.clock.advance(1)
    answer = await sentinelone.get("/system/status")

    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == 4010010


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("agents.view", "GET", "/agents"),
        ("agents.disconnect", "POST", DISCONNECT),
        ("agents.connect", "POST", "/agents/actions/connect"),
        ("threats.view", "GET", "/threats"),
        ("threats.mitigate", "POST", KILL),
    ],
)
async def test_each_call_needs_its_permission(
    mock: MockEdr, sentinelone: Caller, scope: str, method: str, path: str
) -> None:
    client_of(mock, "sentinelone").scopes.remove(scope)
    body = by_ids(S1_WORKSTATION_01)
    answer = await (sentinelone.post(path, body) if method == "POST" else sentinelone.get(path))

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["code"] == 4030010
    assert mock.effects == []


async def test_disconnect_goes_through_disconnecting(mock: MockEdr, sentinelone: Caller) -> None:
    answer = await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))

    assert (answer.status_code, answer.json()) == (200, {"data": {"affected": 1}})
    statuses = [(await agent(sentinelone, S1_WORKSTATION_01))["networkStatus"] for _ in range(3)]
    assert statuses == ["disconnecting", "disconnected", "disconnected"]
    assert effects(mock) == [(S1_WORKSTATION_01, "disconnect")]


async def test_connect_goes_through_connecting(mock: MockEdr, sentinelone: Caller) -> None:
    mock.sentinelone.agents[S1_WORKSTATION_01].network_status = "disconnected"
    answer = await sentinelone.post("/agents/actions/connect", by_ids(S1_WORKSTATION_01))

    assert answer.json() == {"data": {"affected": 1}}
    statuses = [(await agent(sentinelone, S1_WORKSTATION_01))["networkStatus"] for _ in range(2)]
    assert statuses == ["connecting", "connected"]
    assert effects(mock) == [(S1_WORKSTATION_01, "connect")]


async def test_a_tick_alone_disconnects_where_reads_do_not(
    mock: MockEdr, sentinelone: Caller
) -> None:
    mock.sentinelone.reads_until_done = None
    await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))
    before = {(await agent(sentinelone, S1_WORKSTATION_01))["networkStatus"] for _ in range(5)}
    mock.tick()

    assert before == {"disconnecting"}
    assert (await agent(sentinelone, S1_WORKSTATION_01))["networkStatus"] == "disconnected"


@pytest.mark.parametrize("agent_id", [pytest.param(S1_LAPTOP_23, id="inactive"), "stuck"])
async def test_an_agent_can_stay_disconnecting(
    mock: MockEdr, sentinelone: Caller, agent_id: str
) -> None:
    if agent_id == "stuck":
        agent_id = S1_WORKSTATION_01
        mock.sentinelone.agents[agent_id].is_stuck = True
    answer = await sentinelone.post(DISCONNECT, by_ids(agent_id))
    mock.tick()

    assert answer.json() == {"data": {"affected": 1}}
    assert {(await agent(sentinelone, agent_id))["networkStatus"] for _ in range(5)} == {
        "disconnecting"
    }


async def test_an_inactive_agent_may_say_that_it_is_connected(sentinelone: Caller) -> None:
    found = await agent(sentinelone, S1_LAPTOP_23)

    assert (found["isActive"], found["networkStatus"]) == (False, "connected")


async def test_a_repeated_disconnect_affects_and_changes_nothing(
    mock: MockEdr, sentinelone: Caller
) -> None:
    for _ in range(2):
        answer = await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))
        assert answer.json() == {"data": {"affected": 1}}
    mock.tick()
    await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))

    assert effects(mock) == [(S1_WORKSTATION_01, "disconnect")]


async def test_affected_0_is_200(mock: MockEdr, sentinelone: Caller) -> None:
    answer = await sentinelone.post(DISCONNECT, by_ids(UNKNOWN))

    assert (answer.status_code, answer.json()) == (200, {"data": {"affected": 0}})
    assert mock.effects == []


async def test_affected_3_of_three_ids(mock: MockEdr, sentinelone: Caller) -> None:
    ids = (S1_WORKSTATION_01, S1_DC_01, S1_FILE_SRV_02)
    answer = await sentinelone.post(DISCONNECT, by_ids(*ids, S1_DC_01))

    assert answer.json() == {"data": {"affected": 3}}
    assert effects(mock) == [(each, "disconnect") for each in ids]


@pytest.mark.parametrize("affected", [0, 3])
async def test_affected_can_be_said_to_be_anything(
    mock: MockEdr, sentinelone: Caller, affected: int
) -> None:
    mock.sentinelone.affected = affected
    answer = await sentinelone.post(DISCONNECT, by_ids(S1_WORKSTATION_01))

    assert answer.json() == {"data": {"affected": affected}}


WIDE = [
    pytest.param({}, id="reject_empty"),
    pytest.param({"ids": []}, id="reject_no_ids"),
    pytest.param({"ids": None}, id="reject_null_ids"),
    pytest.param({"ids": [S1_WORKSTATION_01], "isActive": "true"}, id="reject_another_key"),
    pytest.param({"computerName": "workstation-01"}, id="reject_name"),
    pytest.param({"query": "workstation"}, id="reject_query"),
    pytest.param({"siteIds": ["1"]}, id="reject_site"),
    pytest.param({"Ids": [S1_WORKSTATION_01]}, id="reject_other_case"),
]


@pytest.mark.parametrize("path", [DISCONNECT, "/agents/actions/connect", KILL])
@pytest.mark.parametrize("wanted", WIDE)
async def test_a_filter_of_anything_but_ids_is_a_violation(
    mock: MockEdr, sentinelone: Caller, path: str, wanted: dict[str, object]
) -> None:
    answer = await sentinelone.post(path, {"filter": wanted, "data": {}})

    assert answer.status_code == 500
    [violation] = mock.violations
    assert violation.startswith(f"sentinelone: /web/api/v2.1{path} with the filter {{")
    assert mock.effects == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="reject_no_filter"),
        pytest.param({"filter": None, "data": {}}, id="reject_null_filter"),
        pytest.param({"filter": [S1_WORKSTATION_01]}, id="reject_filter_no_object"),
        pytest.param({"filter": {"ids": S1_WORKSTATION_01}}, id="reject_ids_no_list"),
        pytest.param({"filter": {"ids": [int(S1_WORKSTATION_01)]}}, id="reject_number"),
        pytest.param({"filter": {"ids": ["workstation-01"]}}, id="reject_name"),
        pytest.param(
            {"filter": {"ids": [S1_WORKSTATION_01]}, "ids": []}, id="reject_unknown_member"
        ),
        pytest.param({"filter": {"ids": [S1_WORKSTATION_01]}, "data": []}, id="reject_data"),
    ],
)
async def test_disconnect_is_400(mock: MockEdr, sentinelone: Caller, body: object) -> None:
    answer = await sentinelone.post(DISCONNECT, body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 4000010
    assert mock.effects == []


async def test_disconnect_takes_json_and_no_query(mock: MockEdr, sentinelone: Caller) -> None:
    body = by_ids(S1_WORKSTATION_01)
    answers = [
        await sentinelone.post(DISCONNECT, body, {"ids": S1_WORKSTATION_01}),
        await sentinelone.http.post(
            f"{sentinelone.base}{DISCONNECT}",
            content=json.dumps(body),
            headers={**sentinelone.headers, **FORM},
        ),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert mock.effects == []


@pytest.mark.parametrize(
    "path",
    ["/agents/actions/shutdown", "/agents/actions/uninstall", "/threats/mitigate/quarantine"],
)
async def test_other_actions_are_violations(mock: MockEdr, sentinelone: Caller, path: str) -> None:
    answer = await sentinelone.post(path, by_ids(S1_WORKSTATION_01))

    assert answer.status_code == 400
    assert mock.violations == [f"sentinelone: {path.removeprefix('/')}"]


async def test_agents_are_found_by_name_which_several_share(sentinelone: Caller) -> None:
    one = await sentinelone.get("/agents", {"computerName": "dc-01"})
    two = await sentinelone.get("/agents", {"computerName": "laptop-11"})
    part = await sentinelone.get("/agents", {"query": "laptop"})

    assert [each["id"] for each in one.json()["data"]] == [S1_DC_01]
    assert [each["id"] for each in two.json()["data"]] == list(S1_LAPTOP_11)
    assert part.json()["pagination"]["totalItems"] == 3


async def test_an_agent_has_an_id_and_another_uuid(sentinelone: Caller) -> None:
    found = await agent(sentinelone, S1_DC_01)

    assert found["id"] == S1_DC_01 != found["uuid"]
    assert found["computerName"] == "dc-01"
    by_uuid = (await sentinelone.get("/agents", {"uuids": found["uuid"]})).json()["data"]
    assert [each["id"] for each in by_uuid] == [S1_DC_01]
    assert found["tags"] == {"sentinelone": [{"key": "role", "value": "domain-controller"}]}


async def test_agents_come_in_pages(mock: MockEdr, sentinelone: Caller) -> None:
    pages: list[dict[str, object]] = []
    params = {"limit": "4"}
    for _ in range(3):
        answer = (await sentinelone.get("/agents", params)).json()
        pages.append(answer["pagination"] | {"ids": [each["id"] for each in answer["data"]]})
        params["cursor"] = answer["pagination"]["nextCursor"] or ""

    assert [page["totalItems"] for page in pages] == [len(mock.sentinelone.agents)] * 3
    assert [page["nextCursor"] is None for page in pages] == [False, False, True]
    ids = list(mock.sentinelone.agents)
    assert [page["ids"] for page in pages] == [ids[:4], ids[4:8], ids[8:]]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"limit": "1001"}, id="reject_limit_too_high"),
        pytest.param({"limit": "0"}, id="reject_limit_0"),
        pytest.param({"cursor": "wrong"}, id="reject_cursor"),
        pytest.param({"ids": "workstation-01"}, id="reject_id"),
        pytest.param({"hostname": "dc-01"}, id="reject_unknown_parameter"),
    ],
)
async def test_agents_are_400(sentinelone: Caller, params: dict[str, str]) -> None:
    answer = await sentinelone.get("/agents", params)

    assert answer.status_code == 400


async def test_kill_changes_the_threats_mitigation(mock: MockEdr, sentinelone: Caller) -> None:
    before = await threat(sentinelone)
    answer = await sentinelone.post(KILL, by_ids(PSEXEC_THREAT))
    pending, done = [await threat(sentinelone) for _ in range(2)]

    assert answer.json() == {"data": {"affected": 1}}
    assert before["mitigationStatus"] == []
    [status] = listed(pending["mitigationStatus"])
    assert (status["action"], status["status"]) == ("kill", "pending")
    assert status["actionsCounters"] is None
    [status] = listed(done["mitigationStatus"])
    assert (status["action"], status["status"]) == ("kill", "success")
    assert effects(mock) == [(S1_FILE_SRV_02, "kill")]
    assert mock.effects[0].detail == PSEXEC_THREAT


def listed(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


async def test_threats_are_listed_without_ids_too(sentinelone: Caller) -> None:
    answer = await sentinelone.get("/threats")

    assert [each["id"] for each in answer.json()["data"]] == [PSEXEC_THREAT]


async def test_kill_can_fail(mock: MockEdr, sentinelone: Caller) -> None:
    mock.sentinelone.threats[PSEXEC_THREAT].kill_fails = True
    await sentinelone.post(KILL, by_ids(PSEXEC_THREAT))
    mock.tick()
    found = await threat(sentinelone)

    [status] = listed(found["mitigationStatus"])
    assert status["status"] == "failed"


async def test_a_second_kill_affects_nothing(mock: MockEdr, sentinelone: Caller) -> None:
    await sentinelone.post(KILL, by_ids(PSEXEC_THREAT))
    mock.tick()
    answer = await sentinelone.post(KILL, by_ids(PSEXEC_THREAT))

    assert (answer.status_code, answer.json()) == (200, {"data": {"affected": 0}})
    assert len(mock.effects) == 1


async def test_kill_takes_no_agent(mock: MockEdr, sentinelone: Caller) -> None:
    answer = await sentinelone.post(KILL, by_ids(S1_FILE_SRV_02))

    assert answer.json() == {"data": {"affected": 0}}
    assert mock.effects == []


async def test_a_threat_tells_its_agent_and_neither_pid_nor_severity(sentinelone: Caller) -> None:
    found = await threat(sentinelone)

    realtime, info = found["agentRealtimeInfo"], found["threatInfo"]
    assert isinstance(realtime, dict)
    assert isinstance(info, dict)
    assert realtime["agentId"] == S1_FILE_SRV_02
    assert realtime["agentComputerName"] == "file-srv-02"
    assert realtime["agentNetworkStatus"] == "connected"
    assert info["threatId"] == found["id"] == PSEXEC_THREAT
    assert (info["sha256"], info["md5"]) == (None, None)
    assert not {"severity", "pid"} & {*found, *info}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", DISCONNECT, 405, id="reject_get"),
        pytest.param("POST", "/agents", 405, id="reject_post"),
        pytest.param("GET", "/sites", 404, id="reject_unknown"),
        pytest.param("POST", "/agents/actions/disconnect/now", 404, id="reject_longer"),
    ],
)
async def test_wrong_methods_and_paths_are_the_consoles_errors(
    sentinelone: Caller, method: str, path: str, status: int
) -> None:
    answer = await sentinelone.http.request(
        method, sentinelone.base + path, headers=sentinelone.headers
    )

    assert answer.status_code == status
    assert answer.json()["errors"][0]["title"]


async def test_another_version_of_the_api_is_404(
    sentinelone: Caller, http: httpx.AsyncClient
) -> None:
    answer = await http.get("/sentinelone/web/api/v2.0/agents", headers=sentinelone.headers)

    assert answer.status_code == 404
