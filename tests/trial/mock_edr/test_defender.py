"""Microsoft's tokens, and Defender's machines and machine actions."""

import base64
import json
import re

import httpx
import pytest

from tests.trial.mock_edr import FORM, Caller, client_of, defender_of, token_form, token_path
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import MDE_DC_01, MDE_LAPTOP_11, MDE_LAPTOP_23, MDE_WORKSTATION_01

UNKNOWN = "f" * 40
MACHINE = f"/api/machines/{MDE_WORKSTATION_01}"
FULL = {"Comment": "approved by jane", "IsolationType": "Full"}


def effects(mock: MockEdr) -> list[tuple[str, str]]:
    return [(effect.device_id, effect.what) for effect in mock.effects]


async def status(defender: Caller, action_id: str) -> str:
    return str((await defender.get(f"/api/machineactions/{action_id}")).json()["status"])


async def test_token_is_given_for_an_hour(mock: MockEdr, http: httpx.AsyncClient) -> None:
    answer = await http.post(token_path(mock), data=token_form(mock))

    assert answer.status_code == 200
    granted = answer.json()
    assert granted.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 3599)


async def test_token_tells_its_audience_and_roles(mock: MockEdr, http: httpx.AsyncClient) -> None:
    answer = await http.post(token_path(mock), data=token_form(mock))

    _, payload, _ = answer.json()["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["aud"] == "https://api.securitycenter.microsoft.com"
    assert claims["roles"] == ["Machine.Isolate", "Machine.Read.All", "SecurityAlert.Read.All"]
    assert claims["tid"] == mock.defender.tenant_id


@pytest.mark.parametrize(
    ("changes", "status_code", "error", "number"),
    [
        pytest.param(
            {"client_secret": "wrong"}, 401, "invalid_client", 7000215, id="reject_wrong_secret"
        ),
        pytest.param(
            {"client_id": "wrong"}, 400, "unauthorized_client", 700016, id="reject_unknown_app"
        ),
        pytest.param({"scope": ""}, 400, "invalid_request", 900144, id="reject_no_scope"),
        pytest.param(
            {"scope": "https://graph.microsoft.com/User.Read"},
            400,
            "invalid_scope",
            1002012,
            id="reject_scope_not_default",
        ),
        pytest.param(
            {"scope": "https://example.com/.default"},
            400,
            "invalid_resource",
            500011,
            id="reject_unknown_resource",
        ),
        pytest.param(
            {"grant_type": "password"},
            400,
            "unsupported_grant_type",
            70003,
            id="reject_other_grant",
        ),
    ],
)
async def test_token_is_refused_with_an_aadsts_error(
    mock: MockEdr,
    http: httpx.AsyncClient,
    changes: dict[str, str],
    status_code: int,
    error: str,
    number: int,
) -> None:
    answer = await http.post(token_path(mock), data=token_form(mock, **changes))

    assert answer.status_code == status_code
    refused = answer.json()
    assert (refused["error"], refused["error_codes"]) == (error, [number])
    assert refused["error_description"].startswith(f"AADSTS{number}: ")
    assert refused.keys() >= {"timestamp", "trace_id", "correlation_id", "error_uri"}


async def test_token_is_refused_once_the_secret_has_expired(
    mock: MockEdr, http: httpx.AsyncClient
) -> None:
    client_of(mock, "defender").secret_expires_at = mock.clock.now() + 60
    assert (await http.post(token_path(mock), data=token_form(mock))).status_code == 200
    mock.clock.advance(60)
    answer = await http.post(token_path(mock), data=token_form(mock))

    assert answer.status_code == 401
    assert answer.json()["error_codes"] == [7000222]


async def test_token_is_refused_in_another_tenant(mock: MockEdr, http: httpx.AsyncClient) -> None:
    path = token_path(mock).replace(mock.defender.tenant_id, "common")
    answer = await http.post(path, data=token_form(mock))

    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])


async def test_token_takes_no_json(mock: MockEdr, http: httpx.AsyncClient) -> None:
    answer = await http.post(token_path(mock), json=token_form(mock))

    assert (answer.status_code, answer.json()["error_codes"]) == (400, [900144])


async def test_a_token_for_graph_is_401_here(mock: MockEdr, http: httpx.AsyncClient) -> None:
    caller = await defender_of(mock, http, scope="https://graph.microsoft.com/.default")
    answer = await caller.post(f"{MACHINE}/isolate", FULL)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "Unauthorized"
    assert mock.effects == []


async def test_a_token_expires_by_the_clock(mock: MockEdr, defender: Caller) -> None:
    mock.clock.advance(3598)
    assert (await defender.get(MACHINE)).status_code == 200
    mock.clock.advance(1)

    assert (await defender.get(MACHINE)).status_code == 401


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Basic {token}", "{token}"])
async def test_calls_without_a_token_in_force_are_401(defender: Caller, authorization: str) -> None:
    token = defender.headers["authorization"].removeprefix("Bearer ")
    defender.headers["authorization"] = authorization.format(token=token)

    assert (await defender.get(MACHINE)).status_code == 401


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("Machine.Isolate", "POST", f"{MACHINE}/isolate"),
        ("Machine.Isolate", "POST", f"{MACHINE}/unisolate"),
        ("Machine.Read.All", "GET", MACHINE),
        ("Machine.Read.All", "GET", "/api/machines"),
        ("Machine.Read.All", "GET", "/api/machineactions"),
        ("Machine.Read.All", "GET", "/api/machineactions/x"),
    ],
)
async def test_each_call_needs_its_permission(
    mock: MockEdr, defender: Caller, permission: str, method: str, path: str
) -> None:
    client_of(mock, "defender").scopes.remove(permission)
    answer = await (defender.post(path, FULL) if method == "POST" else defender.get(path))

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "Forbidden"
    assert permission in answer.json()["error"]["message"]
    assert mock.effects == []


async def test_isolate_is_201_with_a_pending_action(mock: MockEdr, defender: Caller) -> None:
    answer = await defender.post(f"{MACHINE}/isolate", FULL)

    assert answer.status_code == 201
    action = answer.json()
    assert (action["type"], action["status"], action["scope"]) == ("Isolate", "Pending", "Full")
    assert action["machineId"] == MDE_WORKSTATION_01
    assert action["computerDnsName"] == "workstation-01.acme.local"
    assert action["requestorComment"] == "approved by jane"
    assert action["requestor"] == client_of(mock, "defender").client_id
    assert re.fullmatch(r"2026-01-01T00:00:00\.\d{7}Z", action["creationDateTimeUtc"])
    assert (action["errorHResult"], action["commands"]) == (0, [])
    assert effects(mock) == [(MDE_WORKSTATION_01, "isolate")]


@pytest.mark.parametrize(
    ("outcome", "is_isolated"), [("Succeeded", True), ("Failed", False), ("TimeOut", False)]
)
async def test_an_action_ends_at_the_second_look(
    mock: MockEdr, defender: Caller, outcome: str, is_isolated: bool
) -> None:
    machine = mock.defender.machines[MDE_WORKSTATION_01]
    machine.outcome = outcome  # type: ignore[assignment]
    action = (await defender.post(f"{MACHINE}/isolate", FULL)).json()
    looks = [await status(defender, action["id"]) for _ in range(3)]

    assert looks == ["Pending", outcome, outcome]
    assert machine.is_isolated is is_isolated


async def test_an_action_ends_with_a_tick_alone_where_looks_do_nothing(
    mock: MockEdr, defender: Caller
) -> None:
    mock.defender.reads_until_done = None
    action = (await defender.post(f"{MACHINE}/isolate", FULL)).json()
    before = {await status(defender, action["id"]) for _ in range(5)}
    mock.tick(30)
    answer = (await defender.get(f"/api/machineactions/{action['id']}")).json()

    assert before == {"Pending"}
    assert answer["status"] == "Succeeded"
    assert answer["lastUpdateDateTimeUtc"] == "2026-01-01T00:00:30.0000000Z"


@pytest.mark.parametrize("machine_id", [pytest.param(MDE_LAPTOP_23, id="inactive"), "stuck"])
async def test_an_action_can_stay_pending(mock: MockEdr, defender: Caller, machine_id: str) -> None:
    if machine_id == "stuck":
        machine_id = MDE_WORKSTATION_01
        mock.defender.machines[machine_id].is_stuck = True
    action = (await defender.post(f"/api/machines/{machine_id}/isolate", FULL)).json()
    mock.tick()

    assert {await status(defender, action["id"]) for _ in range(5)} == {"Pending"}


async def test_unisolate_ends_the_isolation(mock: MockEdr, defender: Caller) -> None:
    mock.defender.machines[MDE_WORKSTATION_01].is_isolated = True
    answer = await defender.post(f"{MACHINE}/unisolate", {"Comment": "false alarm"})
    mock.tick()

    assert (answer.status_code, answer.json()["type"]) == (201, "Unisolate")
    assert not mock.defender.machines[MDE_WORKSTATION_01].is_isolated
    assert effects(mock) == [(MDE_WORKSTATION_01, "unisolate")]


@pytest.mark.parametrize("name", ["isolate", "unisolate"])
async def test_a_second_request_while_one_is_open_is_400(
    mock: MockEdr, defender: Caller, name: str
) -> None:
    await defender.post(f"{MACHINE}/isolate", FULL)
    body = FULL if name == "isolate" else {"Comment": "again"}
    answer = await defender.post(f"{MACHINE}/{name}", body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "ActiveRequestAlreadyExists"
    assert effects(mock) == [(MDE_WORKSTATION_01, "isolate")]


async def test_a_second_request_can_be_answered_with_the_open_action(
    mock: MockEdr, defender: Caller
) -> None:
    mock.defender.returns_open_action = True
    first, second = [(await defender.post(f"{MACHINE}/isolate", FULL)).json() for _ in range(2)]
    opposite = await defender.post(f"{MACHINE}/unisolate", {"Comment": "no"})

    assert first == second
    assert opposite.json()["error"]["code"] == "ActiveRequestAlreadyExists"
    assert len(mock.effects) == len(mock.defender.actions) == 1


async def test_isolating_what_is_isolated_is_an_action_and_no_effect(
    mock: MockEdr, defender: Caller
) -> None:
    for _ in range(2):
        assert (await defender.post(f"{MACHINE}/isolate", FULL)).status_code == 201
        mock.tick()

    assert len(mock.defender.actions) == 2
    assert effects(mock) == [(MDE_WORKSTATION_01, "isolate")]


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        pytest.param("isolate", {}, "MissingRequiredParameter", id="reject_nothing"),
        pytest.param(
            "isolate",
            {"comment": "x", "IsolationType": "Full"},
            "InvalidRequestBody",
            id="reject_comment_in_lower_case",
        ),
        pytest.param(
            "isolate",
            {"Comment": "x", "isolationType": "Full"},
            "InvalidRequestBody",
            id="reject_type_in_lower_case",
        ),
        pytest.param(
            "isolate",
            {"Comment": "x", "IsolationType": "full"},
            "InvalidRequestBody",
            id="reject_value_in_lower_case",
        ),
        pytest.param(
            "isolate",
            {"Comment": " ", "IsolationType": "Full"},
            "MissingRequiredParameter",
            id="reject_blank_comment",
        ),
        pytest.param("isolate", {"Comment": "x"}, "MissingRequiredParameter", id="reject_no_type"),
        pytest.param("unisolate", FULL, "InvalidRequestBody", id="reject_type_for_unisolate"),
        pytest.param("unisolate", [], "InvalidRequestBody", id="reject_list"),
    ],
)
async def test_bodies_are_case_sensitive_and_whole(
    mock: MockEdr, defender: Caller, name: str, body: object, code: str
) -> None:
    answer = await defender.post(f"{MACHINE}/{name}", body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"].keys() == {"code", "message", "target"}
    assert mock.effects == []


async def test_isolate_takes_json_and_no_query(mock: MockEdr, defender: Caller) -> None:
    answers = [
        await defender.post(f"{MACHINE}/isolate", FULL, {"Comment": "x"}),
        await defender.http.post(
            f"{defender.base}{MACHINE}/isolate",
            content=json.dumps(FULL),
            headers={**defender.headers, **FORM},
        ),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert mock.effects == []


@pytest.mark.parametrize(
    ("machine_id", "status_code", "code"),
    [
        pytest.param(UNKNOWN, 404, "ResourceNotFound", id="reject_unknown"),
        pytest.param("workstation-01.acme.local", 400, "InvalidInput", id="reject_name"),
    ],
)
async def test_isolate_takes_the_id_of_a_machine(
    mock: MockEdr, defender: Caller, machine_id: str, status_code: int, code: str
) -> None:
    answer = await defender.post(f"/api/machines/{machine_id}/isolate", FULL)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status_code, code)
    assert mock.defender.actions == {}


@pytest.mark.parametrize(
    "name",
    ["restrictCodeExecution", "runAntiVirusScan", "StopAndQuarantineFile", "runliveresponse"],
)
async def test_other_actions_are_violations(mock: MockEdr, defender: Caller, name: str) -> None:
    answer = await defender.post(f"{MACHINE}/{name}", {"Comment": "x", "Sha1": "0" * 40})

    assert answer.status_code == 400
    assert mock.violations == [f"defender: {MACHINE}/{name}"]


async def test_a_machine_is_read(defender: Caller) -> None:
    answer = await defender.get(f"/api/machines/{MDE_DC_01}")

    machine = answer.json()
    assert answer.status_code == 200
    assert machine["id"] == MDE_DC_01
    assert machine["computerDnsName"] == "dc-01.acme.local"
    assert machine["healthStatus"] == "Active"
    assert machine["machineTags"] == ["domain-controller"]
    assert (await defender.get(f"/api/machines/{UNKNOWN}")).status_code == 404


async def filtered(defender: Caller, path: str, text: str, **options: str) -> httpx.Response:
    return await defender.get(path, {"$filter": text, **options})


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        pytest.param("dc-01.acme.local", [MDE_DC_01], id="allow_one"),
        pytest.param("DC-01.ACME.local", [MDE_DC_01], id="allow_other_case"),
        pytest.param("laptop-11.acme.local", list(MDE_LAPTOP_11), id="allow_two"),
    ],
)
async def test_machines_are_found_by_name(defender: Caller, name: str, ids: list[str]) -> None:
    answer = await filtered(defender, "/api/machines", f"computerDnsName eq '{name}'")

    assert [each["id"] for each in answer.json()["value"]] == ids


@pytest.mark.parametrize("text", ["startswith(computerDnsName,'DC-01.')", "startswith(id, '')"])
async def test_machines_are_found_by_the_beginning_of_a_name(defender: Caller, text: str) -> None:
    answer = await filtered(defender, "/api/machines", text)

    found = [each["id"] for each in answer.json()["value"]]
    assert (found == [MDE_DC_01]) == ("DC-01" in text)
    assert MDE_DC_01 in found


async def test_machines_of_no_such_name_are_404(defender: Caller) -> None:
    answer = await filtered(defender, "/api/machines", "computerDnsName eq 'nowhere'")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


async def test_a_quote_in_a_filter_is_doubled(mock: MockEdr, defender: Caller) -> None:
    mock.defender.machines[MDE_DC_01].computer_dns_name = "o'brien"
    doubled = await filtered(defender, "/api/machines", "computerDnsName eq 'o''brien'")
    single = await filtered(defender, "/api/machines", "computerDnsName eq 'o'brien'")

    assert [each["id"] for each in doubled.json()["value"]] == [MDE_DC_01]
    assert (single.status_code, single.json()["error"]["code"]) == (400, "InvalidInput")


async def two_actions(mock: MockEdr, defender: Caller) -> list[str]:
    """Isolate a machine, then let it go, and isolate another; return the first two actions."""
    first = (await defender.post(f"{MACHINE}/isolate", FULL)).json()
    mock.tick(60)
    second = (await defender.post(f"{MACHINE}/unisolate", {"Comment": "x"})).json()
    await defender.post(f"/api/machines/{MDE_DC_01}/isolate", FULL)
    return [first["id"], second["id"]]


async def test_actions_are_listed_by_machine_and_kind(mock: MockEdr, defender: Caller) -> None:
    first, second = await two_actions(mock, defender)
    of_machine = f"machineId eq '{MDE_WORKSTATION_01}'"
    both = await filtered(defender, "/api/machineactions", of_machine)
    one = await filtered(defender, "/api/machineactions", f"{of_machine} and type eq 'Unisolate'")
    none = await filtered(defender, "/api/machineactions", f"machineId eq '{UNKNOWN}'")

    assert [each["id"] for each in both.json()["value"]] == [first, second]
    assert [each["id"] for each in one.json()["value"]] == [second]
    assert (none.status_code, none.json()["value"]) == (200, [])


async def test_actions_are_ordered_and_cut_off(mock: MockEdr, defender: Caller) -> None:
    first, second = await two_actions(mock, defender)
    of_machine = f"machineId eq '{MDE_WORKSTATION_01}'"
    options = {"$orderby": "creationDateTimeUtc desc", "$top": "1"}
    newest = await filtered(defender, "/api/machineactions", of_machine, **options)
    rest = await filtered(defender, "/api/machineactions", of_machine, **options, **{"$skip": "1"})

    assert [each["id"] for each in newest.json()["value"]] == [second]
    assert [each["id"] for each in rest.json()["value"]] == [first]


async def test_actions_of_one_instant_are_in_the_order_asked_for(
    mock: MockEdr, defender: Caller
) -> None:
    await defender.post(f"{MACHINE}/isolate", FULL)
    mock.tick()
    await defender.post(f"{MACHINE}/unisolate", {"Comment": "x"})
    newest = await defender.get(
        "/api/machineactions", {"$orderby": "creationDateTimeUtc desc", "$top": "1"}
    )

    assert newest.json()["value"][0]["type"] == "Unisolate"


async def test_a_list_is_a_look_at_what_it_shows(mock: MockEdr, defender: Caller) -> None:
    await defender.post(f"{MACHINE}/isolate", FULL)
    of_machine = f"machineId eq '{MDE_WORKSTATION_01}'"
    looks = [
        (await filtered(defender, "/api/machineactions", of_machine)).json()["value"][0]["status"]
        for _ in range(2)
    ]

    assert looks == ["Pending", "Succeeded"]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"$filter": "machineId eq workstation"}, id="reject_unquoted"),
        pytest.param({"$filter": "machineid eq 'x'"}, id="reject_field_in_other_case"),
        pytest.param({"$filter": "type eq 'x' or type eq 'y'"}, id="reject_or"),
        pytest.param({"$filter": "type eq 'x' and "}, id="reject_half"),
        pytest.param({"$filter": ""}, id="reject_empty"),
        pytest.param({"$top": "-1"}, id="reject_top"),
        pytest.param({"$orderby": "type up"}, id="reject_direction"),
        pytest.param({"$orderby": "name"}, id="reject_order"),
        pytest.param({"$expand": "x"}, id="reject_unknown_option"),
        pytest.param({"machineId": "x"}, id="reject_parameter"),
    ],
)
async def test_actions_are_400(mock: MockEdr, defender: Caller, params: dict[str, str]) -> None:
    await two_actions(mock, defender)
    answer = await defender.get("/api/machineactions", params)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidInput")


async def test_an_unknown_action_is_404(defender: Caller) -> None:
    answer = await defender.get("/api/machineactions/6b001073-5500-4205-8287-6f1184936f67")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    ("method", "path", "status_code"),
    [
        pytest.param("GET", f"{MACHINE}/isolate", 405, id="reject_get"),
        pytest.param("DELETE", MACHINE, 405, id="reject_delete"),
        pytest.param("GET", "/api/alerts", 404, id="reject_unknown"),
        pytest.param("GET", "/api/Machines", 404, id="reject_other_case"),
    ],
)
async def test_wrong_methods_and_paths_are_microsofts_errors(
    defender: Caller, method: str, path: str, status_code: int
) -> None:
    answer = await defender.http.request(method, defender.base + path, headers=defender.headers)

    assert answer.status_code == status_code
    assert answer.json()["error"]["code"] in {"NotFound", "MethodNotAllowed"}
