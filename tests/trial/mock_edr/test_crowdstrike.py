"""CrowdStrike's token, hosts, containment and alerts, as its swagger has them."""

import base64

import httpx
import pytest

from tests.trial.mock_edr import FORM, Falcon, client_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import DC_01, LAPTOP_11, LAPTOP_23, MIMIKATZ_ALERT, WORKSTATION_01

UNKNOWN = "f" * 32
DEVICES = "/devices/entities/devices/v2"
ACTIONS = "/devices/entities/devices-actions/v2"


def credentials(mock: MockEdr, **changes: str) -> dict[str, str]:
    client = client_of(mock, "crowdstrike")
    members = {"client_id": client.client_id, "client_secret": client.client_secret}
    return {**members, **changes}


def effects(mock: MockEdr) -> list[tuple[str, str]]:
    return [(effect.device_id, effect.what) for effect in mock.effects]


async def test_token_is_given_with_201_and_half_an_hour(
    mock: MockEdr, http: httpx.AsyncClient
) -> None:
    answer = await http.post("/crowdstrike/oauth2/token", data=credentials(mock))

    assert answer.status_code == 201
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 1799)


async def test_token_is_another_each_time(mock: MockEdr, http: httpx.AsyncClient) -> None:
    first, second = [
        (await http.post("/crowdstrike/oauth2/token", data=credentials(mock))).json()
        for _ in range(2)
    ]

    assert first["access_token"] != second["access_token"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_secret": "wrong"}, id="reject_wrong_secret"),
        pytest.param({"client_id": "wrong"}, id="reject_unknown_client"),
        pytest.param({"client_secret": ""}, id="reject_empty_secret"),
    ],
)
async def test_token_is_refused_with_403_of_csam(
    mock: MockEdr, http: httpx.AsyncClient, changes: dict[str, str]
) -> None:
    answer = await http.post("/crowdstrike/oauth2/token", data=credentials(mock, **changes))

    assert answer.status_code == 403
    assert answer.json()["meta"]["powered_by"] == "csam"
    [error] = answer.json()["errors"]
    assert error["code"] == 403
    assert error["message"].startswith(
        "Failed to issue access token - Client authentication failed"
    )


async def test_token_takes_no_json(mock: MockEdr, http: httpx.AsyncClient) -> None:
    answer = await http.post("/crowdstrike/oauth2/token", json=credentials(mock))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{form}&grant_type=client_credentials", id="reject_unknown_member"),
        pytest.param("{form}&client_id=other", id="reject_member_twice"),
        pytest.param("{form}&", id="reject_what_is_no_form"),
    ],
)
async def test_token_takes_only_the_form(
    mock: MockEdr, http: httpx.AsyncClient, content: str
) -> None:
    form = str(httpx.QueryParams(credentials(mock)))
    answer = await http.post(
        "/crowdstrike/oauth2/token", content=content.format(form=form), headers=FORM
    )

    assert answer.status_code == 400


async def test_token_expires_by_the_clock(mock: MockEdr, falcon: Falcon) -> None:
    mock.clock.advance(1798)
    assert (await falcon.get(DEVICES, {"ids": DC_01})).status_code == 200

    mock.clock.advance(1)
    answer = await falcon.get(DEVICES, {"ids": DC_01})

    assert answer.status_code == 401
    assert answer.json()["errors"] == [
        {"code": 401, "message": "access denied, invalid bearer token"}
    ]


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="reject_missing"),
        pytest.param("Bearer wrong", id="reject_unknown"),
        pytest.param("Bearer", id="reject_empty"),
        pytest.param("Basic {token}", id="reject_other_scheme"),
        pytest.param("{token}", id="reject_no_scheme"),
    ],
)
async def test_calls_without_a_token_in_force_are_401(
    mock: MockEdr, falcon: Falcon, authorization: str | None
) -> None:
    token = falcon.headers.pop("authorization").removeprefix("Bearer ")
    if authorization is not None:
        falcon.headers["authorization"] = authorization.format(token=token)
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.status_code == 401
    assert mock.effects == []


async def test_a_revoked_token_is_401(mock: MockEdr, falcon: Falcon) -> None:
    token = falcon.headers["authorization"].removeprefix("Bearer ")
    client = client_of(mock, "crowdstrike")
    pair = base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
    revoked = await falcon.http.post(
        "/crowdstrike/oauth2/revoke",
        data={"token": token},
        headers={"authorization": f"Basic {pair}"},
    )
    answer = await falcon.get(DEVICES, {"ids": DC_01})

    assert (revoked.status_code, answer.status_code) == (200, 401)


async def test_revocation_takes_the_clients_secret(mock: MockEdr, falcon: Falcon) -> None:
    token = falcon.headers["authorization"].removeprefix("Bearer ")
    pair = base64.b64encode(f"{client_of(mock, 'crowdstrike').client_id}:wrong".encode()).decode()
    revoked = await falcon.http.post(
        "/crowdstrike/oauth2/revoke",
        data={"token": token},
        headers={"authorization": f"Basic {pair}"},
    )
    answer = await falcon.get(DEVICES, {"ids": DC_01})

    assert (revoked.status_code, answer.status_code) == (403, 200)


async def call_everything(falcon: Falcon) -> dict[str, list[int]]:
    """Make one call for each scope and return the statuses."""
    session = {"device_id": WORKSTATION_01, "queue_offline": False}
    rtr = "/real-time-response/entities"
    command = {"base_command": "ps", "command_string": "ps", "session_id": "x"}
    answers = {
        "hosts:read": [
            await falcon.get("/devices/queries/devices/v1"),
            await falcon.get(DEVICES, {"ids": DC_01}),
            await falcon.get("/devices/entities/online-state/v1", {"ids": DC_01}),
        ],
        "hosts:write": [await falcon.act("contain", WORKSTATION_01)],
        "alerts:read": [
            await falcon.post("/alerts/entities/alerts/v2", {"composite_ids": [MIMIKATZ_ALERT]})
        ],
        "real-time-response:read": [
            await falcon.post(f"{rtr}/sessions/v1", session),
            await falcon.delete(f"{rtr}/sessions/v1", session_id="x"),
            await falcon.post(f"{rtr}/command/v1", command),
        ],
        "real-time-response:write": [
            await falcon.post(f"{rtr}/active-responder-command/v1", command),
            await falcon.get(
                f"{rtr}/active-responder-command/v1", {"cloud_request_id": "x", "sequence_id": "0"}
            ),
        ],
    }
    return {scope: [answer.status_code for answer in found] for scope, found in answers.items()}


@pytest.mark.parametrize(
    "scope",
    [
        "hosts:read",
        "hosts:write",
        "alerts:read",
        "real-time-response:read",
        "real-time-response:write",
    ],
)
async def test_each_call_needs_its_scope(mock: MockEdr, falcon: Falcon, scope: str) -> None:
    client_of(mock, "crowdstrike").scopes.remove(scope)
    statuses = await call_everything(falcon)

    assert set(statuses.pop(scope)) == {403}
    assert 403 not in {status for found in statuses.values() for status in found}


async def test_a_missing_scope_is_said_as_falcon_says_it(mock: MockEdr, falcon: Falcon) -> None:
    client_of(mock, "crowdstrike").scopes.clear()
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.json()["errors"] == [
        {"code": 403, "message": "access denied, authorization failed"}
    ]
    assert mock.effects == []


async def test_every_answer_carries_falcons_headers(mock: MockEdr, falcon: Falcon) -> None:
    mock.crowdstrike.region = "eu-1"
    mock.crowdstrike.rate_limit_remaining = 7
    for answer in (
        await falcon.http.post("/crowdstrike/oauth2/token", data=credentials(mock)),
        await falcon.act("contain", WORKSTATION_01),
        await falcon.get("/nowhere"),
    ):
        assert answer.headers["x-cs-region"] == "eu-1"
        assert answer.headers["x-ratelimit-limit"] == "6000"
        assert answer.headers["x-ratelimit-remaining"] == "7"
        assert answer.headers["x-cs-traceid"]


async def test_contain_is_accepted_then_pending_then_contained(
    mock: MockEdr, falcon: Falcon
) -> None:
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.status_code == 202
    assert [each["id"] for each in answer.json()["resources"]] == [WORKSTATION_01]
    assert answer.json()["errors"] == []
    statuses = [await falcon.status(WORKSTATION_01) for _ in range(3)]
    assert statuses == ["containment_pending", "contained", "contained"]
    assert effects(mock) == [(WORKSTATION_01, "contain")]


async def test_lift_is_accepted_then_pending_then_normal(mock: MockEdr, falcon: Falcon) -> None:
    mock.crowdstrike.devices[WORKSTATION_01].status = "contained"
    answer = await falcon.act("lift_containment", WORKSTATION_01)

    assert answer.status_code == 202
    statuses = [await falcon.status(WORKSTATION_01) for _ in range(2)]
    assert statuses == ["lift_containment_pending", "normal"]
    assert effects(mock) == [(WORKSTATION_01, "lift_containment")]


async def test_containment_waits_for_a_tick_where_reads_do_nothing(
    mock: MockEdr, falcon: Falcon
) -> None:
    mock.crowdstrike.reads_until_done = None
    await falcon.act("contain", WORKSTATION_01)
    before = [await falcon.status(WORKSTATION_01) for _ in range(5)]
    mock.tick()

    assert set(before) == {"containment_pending"}
    assert await falcon.status(WORKSTATION_01) == "contained"


@pytest.mark.parametrize("aid", [pytest.param(LAPTOP_23, id="offline"), "stuck"])
async def test_containment_stays_pending(mock: MockEdr, falcon: Falcon, aid: str) -> None:
    if aid == "stuck":
        aid = WORKSTATION_01
        mock.crowdstrike.devices[aid].is_stuck = True
    answer = await falcon.act("contain", aid)
    mock.tick(86_400 / 48)
    falcon.headers["authorization"] = await new_token(mock, falcon)
    statuses = {await falcon.status(aid) for _ in range(5)}

    assert answer.status_code == 202
    assert statuses == {"containment_pending"}


async def new_token(mock: MockEdr, falcon: Falcon) -> str:
    answer = await falcon.http.post("/crowdstrike/oauth2/token", data=credentials(mock))
    return f"Bearer {answer.json()['access_token']}"


async def test_a_host_that_comes_back_is_contained(mock: MockEdr, falcon: Falcon) -> None:
    await falcon.act("contain", LAPTOP_23)
    mock.crowdstrike.devices[LAPTOP_23].is_online = True
    mock.tick()

    assert await falcon.status(LAPTOP_23) == "contained"


async def test_a_repeated_contain_is_accepted_and_changes_nothing(
    mock: MockEdr, falcon: Falcon
) -> None:
    for _ in range(2):
        assert (await falcon.act("contain", WORKSTATION_01)).status_code == 202
    mock.tick()
    assert (await falcon.act("contain", WORKSTATION_01)).status_code == 202

    assert effects(mock) == [(WORKSTATION_01, "contain")]
    assert await falcon.status(WORKSTATION_01) == "contained"


async def test_a_repeated_contain_is_409_where_the_vendor_refuses_it(
    mock: MockEdr, falcon: Falcon
) -> None:
    mock.crowdstrike.refuses_repeats = True
    first = await falcon.act("contain", WORKSTATION_01)
    second = await falcon.act("contain", WORKSTATION_01)

    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["errors"][0]["code"] == 409


async def test_the_last_of_two_opposite_calls_wins(mock: MockEdr, falcon: Falcon) -> None:
    await falcon.act("contain", WORKSTATION_01)
    await falcon.act("lift_containment", WORKSTATION_01)
    mock.tick()

    assert await falcon.status(WORKSTATION_01) == "normal"
    assert [what for _, what in effects(mock)] == ["contain", "lift_containment"]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        pytest.param("", {"ids": [WORKSTATION_01]}, id="reject_no_action"),
        pytest.param("action_name=isolate", {"ids": [WORKSTATION_01]}, id="reject_other_action"),
        pytest.param(
            "action_name=contain&action_name=contain",
            {"ids": [WORKSTATION_01]},
            id="reject_action_twice",
        ),
        pytest.param(
            "action_name=contain&force=1", {"ids": [WORKSTATION_01]}, id="reject_unknown_query"
        ),
        pytest.param("action_name=contain", {"ids": []}, id="reject_no_ids"),
        pytest.param("action_name=contain", {}, id="reject_ids_missing"),
        pytest.param("action_name=contain", {"ids": WORKSTATION_01}, id="reject_ids_no_list"),
        pytest.param("action_name=contain", {"ids": ["workstation-01"]}, id="reject_hostname"),
        pytest.param(
            "action_name=contain",
            {"ids": ["12345678-1234-1234-1234-123456789abc"]},
            id="reject_uuid_spelling",
        ),
        pytest.param(
            "action_name=contain",
            {"ids": [WORKSTATION_01], "Ids": []},
            id="reject_unknown_member",
        ),
        pytest.param("action_name=contain", [WORKSTATION_01], id="reject_list"),
        pytest.param(
            "action_name=contain", {"ids": [WORKSTATION_01] * 101}, id="reject_too_many_ids"
        ),
    ],
)
async def test_contain_is_400(mock: MockEdr, falcon: Falcon, query: str, body: object) -> None:
    answer = await falcon.post(f"{ACTIONS}?{query}", body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 400
    assert mock.effects == []


async def test_contain_takes_no_form(mock: MockEdr, falcon: Falcon) -> None:
    answer = await falcon.http.post(
        f"/crowdstrike{ACTIONS}?action_name=contain",
        content=f'{{"ids":["{WORKSTATION_01}"]}}',
        headers={**falcon.headers, **FORM},
    )

    assert answer.status_code == 400
    assert mock.effects == []


async def test_contain_of_an_unknown_host_is_404_for_all(mock: MockEdr, falcon: Falcon) -> None:
    answer = await falcon.act("contain", WORKSTATION_01, UNKNOWN)

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == 404
    assert answer.json()["resources"] == []
    assert mock.effects == []


@pytest.mark.parametrize("action", ["hide_host", "lift_filesystem_containment_all"])
async def test_other_device_actions_are_violations(
    mock: MockEdr, falcon: Falcon, action: str
) -> None:
    answer = await falcon.act(action, WORKSTATION_01)

    assert answer.status_code == 400
    assert mock.violations == [f"crowdstrike: devices-actions with {action}"]


async def test_device_query_finds_one_by_name_in_any_case(falcon: Falcon) -> None:
    answer = await falcon.get("/devices/queries/devices/v1", {"filter": "hostname:'DC-01'"})

    assert answer.json()["resources"] == [DC_01]
    assert answer.json()["meta"]["pagination"] == {"offset": 0, "limit": 100, "total": 1}


async def test_device_query_finds_all_that_share_a_name(falcon: Falcon) -> None:
    answer = await falcon.get("/devices/queries/devices/v1", {"filter": "hostname:'laptop-11'"})

    assert answer.json()["resources"] == list(LAPTOP_11)


async def test_device_query_takes_escaped_quotes(mock: MockEdr, falcon: Falcon) -> None:
    mock.crowdstrike.devices[DC_01].hostname = r"o'brien\pc"
    answer = await falcon.get("/devices/queries/devices/v1", {"filter": r"hostname:'o\'brien\\pc'"})

    assert answer.json()["resources"] == [DC_01]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"filter": "hostname:'o'brien'"}, id="reject_unescaped_quote"),
        pytest.param({"filter": "hostname:dc-01"}, id="reject_unquoted"),
        pytest.param({"filter": "hostname='dc-01'"}, id="reject_other_operator"),
        pytest.param({"filter": "name:'dc-01'"}, id="reject_unknown_field"),
        pytest.param({"limit": "0"}, id="reject_limit_0"),
        pytest.param({"limit": "5001"}, id="reject_limit_too_high"),
        pytest.param({"hostname": "dc-01"}, id="reject_unknown_parameter"),
    ],
)
async def test_device_query_is_400(falcon: Falcon, params: dict[str, str]) -> None:
    answer = await falcon.get("/devices/queries/devices/v1", params)

    assert answer.status_code == 400


async def test_device_query_pages(falcon: Falcon) -> None:
    whole = (await falcon.get("/devices/queries/devices/v1")).json()["resources"]
    page = await falcon.get("/devices/queries/devices/v1", {"limit": "2", "offset": "1"})

    assert page.json()["resources"] == whole[1:3]
    assert page.json()["meta"]["pagination"]["total"] == len(whole)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_devices_are_read_and_unknown_ones_named(falcon: Falcon, method: str) -> None:
    if method == "GET":
        answer = await falcon.get(DEVICES, [("ids", DC_01), ("ids", UNKNOWN)])
    else:
        answer = await falcon.post(DEVICES, {"ids": [DC_01, UNKNOWN]})

    assert answer.status_code == 200
    [device] = answer.json()["resources"]
    assert (device["device_id"], device["hostname"]) == (DC_01, "dc-01")
    assert device["tags"] == ["FalconGroupingTags/domain-controller"]
    assert device["filesystem_containment_status"] == "normal"
    [error] = answer.json()["errors"]
    assert (error["code"], error["id"]) == (404, UNKNOWN)


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        pytest.param("GET", {}, id="reject_no_ids"),
        pytest.param("GET", {"ids": "dc-01"}, id="reject_name"),
        pytest.param("GET", {"ids": DC_01, "id": DC_01}, id="reject_unknown_parameter"),
        pytest.param("POST", {"ids": []}, id="reject_empty_list"),
        pytest.param("POST", {"device_ids": [DC_01]}, id="reject_unknown_member"),
    ],
)
async def test_devices_are_400(falcon: Falcon, method: str, sent: dict[str, object]) -> None:
    answer = await (falcon.get(DEVICES, sent) if method == "GET" else falcon.post(DEVICES, sent))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("aid", "state"),
    [
        pytest.param(WORKSTATION_01, "online", id="online"),
        pytest.param(LAPTOP_23, "offline", id="offline"),
    ],
)
async def test_online_state(falcon: Falcon, aid: str, state: str) -> None:
    answer = await falcon.get("/devices/entities/online-state/v1", {"ids": aid})

    assert answer.json()["resources"] == [{"id": aid, "state": state}]


async def test_alert_has_the_pid_as_text_beside_falcons_own_id(falcon: Falcon) -> None:
    answer = await falcon.post("/alerts/entities/alerts/v2", {"composite_ids": [MIMIKATZ_ALERT]})

    assert answer.status_code == 200
    [alert] = answer.json()["resources"]
    assert alert["local_process_id"] == "4312"
    assert alert["process_id"] == "173054625122"
    assert alert["filename"] == "mimikatz.exe"
    assert alert["composite_id"] == f"{alert['cid']}:{alert['id']}" == MIMIKATZ_ALERT
    assert alert["device"]["device_id"] == WORKSTATION_01


async def test_alert_starts_when_the_process_does(mock: MockEdr, falcon: Falcon) -> None:
    answer = await falcon.post("/alerts/entities/alerts/v2", {"composite_ids": [MIMIKATZ_ALERT]})

    process = mock.crowdstrike.devices[WORKSTATION_01].processes[4312]
    [alert] = answer.json()["resources"]
    assert alert["process_start_time"] == str(int(process.started_at))


async def test_alert_without_a_device_or_a_process_lacks_the_members(
    mock: MockEdr, falcon: Falcon
) -> None:
    alert = mock.crowdstrike.alerts[MIMIKATZ_ALERT]
    alert.device_id = alert.local_process_id = None
    answer = await falcon.post("/alerts/entities/alerts/v2", {"composite_ids": [MIMIKATZ_ALERT]})

    [entity] = answer.json()["resources"]
    assert entity.keys().isdisjoint({"device", "agent_id", "local_process_id"})


@pytest.mark.parametrize(
    ("body", "status", "count"),
    [
        pytest.param({"composite_ids": ["evt:1:2"]}, 200, 0, id="allow_unknown"),
        pytest.param({"composite_ids": []}, 400, 0, id="reject_none"),
        pytest.param({"ids": [MIMIKATZ_ALERT]}, 400, 0, id="reject_ids_of_version_1"),
    ],
)
async def test_alerts_are_read_by_composite_id(
    falcon: Falcon, body: object, status: int, count: int
) -> None:
    answer = await falcon.post("/alerts/entities/alerts/v2", body)

    assert answer.status_code == status
    assert len(answer.json().get("resources", [])) == count


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/oauth2/token", 405, id="reject_get_token"),
        pytest.param("GET", ACTIONS, 405, id="reject_get_action"),
        pytest.param("PUT", DEVICES, 405, id="reject_put_devices"),
        pytest.param("POST", "/devices/entities/devices-actions/v1", 404, id="reject_version_1"),
        pytest.param("GET", f"{DEVICES}/", 404, id="reject_trailing_slash"),
        pytest.param("GET", "", 404, id="reject_root"),
    ],
)
async def test_wrong_methods_and_paths_are_falcons_errors(
    falcon: Falcon, method: str, path: str, status: int
) -> None:
    answer = await falcon.http.request(method, f"/crowdstrike{path}", headers=falcon.headers)

    assert answer.status_code == status
    assert answer.json()["errors"][0]["code"] == status
