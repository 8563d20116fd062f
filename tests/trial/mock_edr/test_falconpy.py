"""The mock as CrowdStrike's own SDK sees it, over a socket."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from falconpy import Alerts, Hosts, OAuth2, RealTimeResponse

from tests.trial.mock_edr import client_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import DC_01, LAPTOP_11, LAPTOP_23, MIMIKATZ_ALERT, WORKSTATION_01
from vyrox.trial.mock_edr.serve import serving


class Body(msgspec.Struct):
    """What the SDK has made of an answer's body."""

    resources: list[object] = []
    errors: list[dict[str, object]] = []


class Answer(msgspec.Struct):
    status_code: int
    body: Body


class Session(msgspec.Struct):
    session_id: str


class Command(msgspec.Struct):
    cloud_request_id: str


def read(answer: object) -> Answer:
    return msgspec.convert(answer, Answer)


class Sdk:
    """The SDK's classes, each with one login, all of them at the mock."""

    def __init__(self, root: str, client_id: str, client_secret: str) -> None:
        self.auth = OAuth2(
            client_id=client_id,
            client_secret=client_secret,
            base_url=f"{root}/crowdstrike",
            timeout=10,
        )
        self.hosts = Hosts(auth_object=self.auth)
        self.alerts = Alerts(auth_object=self.auth)
        self.rtr = RealTimeResponse(auth_object=self.auth)


@pytest.fixture
async def root(mock: MockEdr) -> AsyncIterator[str]:
    # The SDK goes on to the real cloud of the region that a token answer names. None has this name.
    mock.crowdstrike.region = "mock-1"
    async with serving(mock) as url:
        yield url


@pytest.fixture
async def sdk(mock: MockEdr, root: str) -> Sdk:
    client = client_of(mock, "crowdstrike")
    # In a thread, as all of its calls: it logs in at once, and would wait for this very loop.
    return await asyncio.to_thread(Sdk, root, client.client_id, client.client_secret)


async def test_login_and_logout(mock: MockEdr, sdk: Sdk) -> None:
    login = await asyncio.to_thread(sdk.auth.login)
    before = len(mock.crowdstrike.tokens)
    logout = await asyncio.to_thread(sdk.auth.logout)

    assert isinstance(login, dict)
    assert isinstance(logout, dict)
    assert (login["status_code"], logout["status_code"]) == (201, 200)
    assert len(mock.crowdstrike.tokens) == before - 1


async def test_login_with_a_wrong_secret(mock: MockEdr, root: str) -> None:
    client_id = client_of(mock, "crowdstrike").client_id
    sdk = await asyncio.to_thread(Sdk, root, client_id, "wrong")
    answer = await asyncio.to_thread(sdk.auth.login)

    assert isinstance(answer, dict)
    assert answer["status_code"] == 403
    assert sdk.auth.token_fail_reason.startswith("Failed to issue access token")


async def test_contain_and_lift(mock: MockEdr, sdk: Sdk) -> None:
    for action, pending, final in (
        ("contain", "containment_pending", "contained"),
        ("lift_containment", "lift_containment_pending", "normal"),
    ):
        answer = read(
            await asyncio.to_thread(
                sdk.hosts.perform_action, action_name=action, ids=WORKSTATION_01
            )
        )
        assert answer.status_code == 202
        assert answer.body.errors == []
        looks = [
            read(await asyncio.to_thread(sdk.hosts.get_device_details, ids=WORKSTATION_01))
            for _ in range(2)
        ]
        found = [msgspec.convert(look.body.resources[0], dict[str, object]) for look in looks]
        assert [each["status"] for each in found] == [pending, final]

    assert [effect.what for effect in mock.effects] == ["contain", "lift_containment"]
    assert mock.violations == []


async def test_query_by_name_and_online_state(sdk: Sdk) -> None:
    found = read(
        await asyncio.to_thread(
            sdk.hosts.query_devices_by_filter, filter="hostname:'laptop-11'", limit=10
        )
    )
    states = read(await asyncio.to_thread(sdk.hosts.get_online_state, ids=[DC_01, LAPTOP_23]))

    assert found.body.resources == list(LAPTOP_11)
    assert states.body.resources == [
        {"id": DC_01, "state": "online"},
        {"id": LAPTOP_23, "state": "offline"},
    ]


async def test_alert_by_composite_id(sdk: Sdk) -> None:
    answer = read(await asyncio.to_thread(sdk.alerts.get_alerts_v2, composite_ids=[MIMIKATZ_ALERT]))

    [alert] = answer.body.resources
    assert msgspec.convert(alert, dict[str, object])["local_process_id"] == "4312"


async def test_session_kill_and_close(mock: MockEdr, sdk: Sdk) -> None:
    opened = read(
        await asyncio.to_thread(
            sdk.rtr.init_session,
            device_id=WORKSTATION_01,
            queue_offline=False,
            timeout=30,
            timeout_duration="30s",
        )
    )
    session_id = msgspec.convert(opened.body.resources[0], Session).session_id
    sent = read(
        await asyncio.to_thread(
            sdk.rtr.execute_active_responder_command,
            base_command="kill",
            command_string="kill 4312",
            session_id=session_id,
        )
    )
    command = msgspec.convert(sent.body.resources[0], Command)
    looked = read(
        await asyncio.to_thread(
            sdk.rtr.check_active_responder_command_status,
            cloud_request_id=command.cloud_request_id,
            sequence_id=0,
        )
    )
    closed = await asyncio.to_thread(sdk.rtr.delete_session, session_id=session_id)

    assert [each.status_code for each in (opened, sent, looked)] == [201, 201, 200]
    assert not closed
    assert mock.requests[-1].status == 204
    result = msgspec.convert(looked.body.resources[0], dict[str, object])
    assert (result["complete"], result["stderr"]) == (True, "")
    assert [(effect.what, effect.detail) for effect in mock.effects] == [("kill", "4312 mimikatz")]
    assert mock.crowdstrike.sessions == {}
    assert mock.violations == []


async def test_session_on_an_offline_host(sdk: Sdk) -> None:
    answer = read(await asyncio.to_thread(sdk.rtr.init_session, device_id=LAPTOP_23))

    assert answer.status_code == 404
    assert answer.body.errors[0]["code"] == 40401
