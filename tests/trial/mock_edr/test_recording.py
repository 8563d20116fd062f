"""What the mock remembers of each request, and that no request breaks it."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trial.mock_edr import Caller, Falcon, defender_of, falcon_of, sentinelone_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import (
    MDE_WORKSTATION_01,
    S1_FILE_SRV_02,
    S1_WORKSTATION_01,
    WORKSTATION_01,
)


async def test_a_request_is_kept_as_it_came_in(mock: MockEdr, http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/sentinelone/web/api/v2.1/agents/actions/dis%63onnect?a=%20&a=2",
        content=b"\x00{",
        headers=[("X-Thing", "1"), ("x-thing", "2")],
    )

    [request] = mock.requests
    assert (request.number, request.vendor, request.endpoint) == (1, "sentinelone", "agent_action")
    assert request.method == "POST"
    assert request.path == "/sentinelone/web/api/v2.1/agents/actions/disconnect"
    assert request.query == "a=%20&a=2"
    assert [value for name, value in request.headers if name == "x-thing"] == ["1", "2"]
    assert request.body == b"\x00{"
    assert request.status == answer.status_code == 401


async def test_a_request_that_leads_nowhere_is_kept(mock: MockEdr, http: httpx.AsyncClient) -> None:
    for path in ("/", "/crowdstrike", "/crowdstrike/nowhere", "/other/nowhere"):
        assert (await http.get(path)).status_code == 404

    assert [(each.vendor, each.endpoint, each.status) for each in mock.requests] == [
        (None, None, 404),
        ("crowdstrike", None, 404),
        ("crowdstrike", None, 404),
        (None, None, 404),
    ]


async def test_the_repr_of_a_request_holds_no_credential(mock: MockEdr, falcon: Falcon) -> None:
    await falcon.act("contain", WORKSTATION_01)

    [client] = mock.crowdstrike.clients.values()
    token = falcon.headers["authorization"].removeprefix("Bearer ")
    assert client.client_secret not in repr(mock.requests)
    assert token not in repr(mock.requests)


async def test_effects_are_numbered_over_all_vendors(
    mock: MockEdr, falcon: Falcon, sentinelone: Caller, defender: Caller
) -> None:
    body = {"filter": {"ids": [S1_WORKSTATION_01, S1_FILE_SRV_02]}, "data": {}}
    await falcon.act("contain", WORKSTATION_01)
    await sentinelone.post("/agents/actions/disconnect", body)
    await defender.post(
        f"/api/machines/{MDE_WORKSTATION_01}/isolate", {"Comment": "x", "IsolationType": "Full"}
    )

    assert [(each.sequence, each.vendor, each.device_id) for each in mock.effects] == [
        (1, "crowdstrike", WORKSTATION_01),
        (2, "sentinelone", S1_WORKSTATION_01),
        (3, "sentinelone", S1_FILE_SRV_02),
        (4, "defender", MDE_WORKSTATION_01),
    ]
    by_number = {request.number: request.vendor for request in mock.requests}
    assert all(by_number[each.request or 0] == each.vendor for each in mock.effects)


async def test_two_mocks_that_are_asked_the_same_answer_the_same() -> None:
    answers = []
    for _ in range(2):
        mock = MockEdr()
        transport = httpx.ASGITransport(mock.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://mock") as http:
            falcon = await falcon_of(mock, http)
            session = await falcon.open_session(WORKSTATION_01)
        answers.append((falcon.headers, session.content))

    assert answers[0] == answers[1]


POSTS = [
    ("crowdstrike", "/oauth2/token"),
    ("crowdstrike", "/oauth2/revoke"),
    ("crowdstrike", "/devices/entities/devices/v2"),
    ("crowdstrike", "/devices/entities/devices-actions/v2?action_name=contain"),
    ("crowdstrike", "/alerts/entities/alerts/v2"),
    ("crowdstrike", "/real-time-response/entities/sessions/v1"),
    ("crowdstrike", "/real-time-response/entities/active-responder-command/v1"),
    ("sentinelone", "/agents/actions/disconnect"),
    ("sentinelone", "/threats/mitigate/kill"),
    ("defender", "/login/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token"),
    ("defender", f"/api/machines/{MDE_WORKSTATION_01}/isolate"),
]

JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize(("vendor", "path"), POSTS)
@given(
    body=st.binary() | JSON_TEXTS,
    media_type=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "x"]),
)
async def test_no_body_breaks_the_mock_or_acts(
    vendor: str, path: str, body: bytes, media_type: str
) -> None:
    mock = MockEdr()
    transport = httpx.ASGITransport(mock.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://mock") as http:
        caller = {
            "crowdstrike": await falcon_of(mock, http),
            "sentinelone": sentinelone_of(mock, http),
            "defender": await defender_of(mock, http),
        }[vendor]
        answer = await http.post(
            caller.base + path,
            content=body,
            headers={**caller.headers, "content-type": media_type},
        )

    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/json"
    assert mock.effects == []
