"""The same bytes on the wire as CrowdStrike's own SDK: both send their calls to the mock.

falconpy is kept by CrowdStrike and made of its specification, so it knows the API from elsewhere.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import parse_qs

import msgspec
import pytest
from falconpy import Alerts, APIHarnessV2, Hosts, OAuth2, RealTimeResponse

from tests.edr.mocked import Site
from tests.edr.vendor import alert, deadline, order_for
from vyrox.edr.transport.calls import open_http
from vyrox.errors import VendorError
from vyrox.models import Device
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import MIMIKATZ_ALERT, WORKSTATION_01
from vyrox.trial.mock_edr.recording import RecordedRequest
from vyrox.trial.mock_edr.serve import serving
from vyrox.trial.mock_edr.state import RtrSession

DEVICE: Final = Device(WORKSTATION_01)


class Sent(msgspec.Struct, frozen=True):
    """What of a request has a meaning to the vendor.

    Attributes:
        scheme: Of the authorization; the token itself is new with each login.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    scheme: str | None
    content_type: str | None
    body: object


def sent(request: RecordedRequest) -> Sent:
    headers = dict(request.headers)
    content_type = headers.get("content-type") if request.body else None
    body: object = None
    if content_type == "application/json":
        body = json.loads(request.body)
    elif request.body:
        body = parse_qs(request.body.decode(), strict_parsing=True)
    return Sent(
        method=request.method,
        path=request.path,
        query=parse_qs(request.query, strict_parsing=True) if request.query else {},
        scheme=headers.get("authorization", "").partition(" ")[0] or None,
        content_type=content_type,
        body=body,
    )


class Resource(msgspec.Struct):
    session_id: str | None = None
    cloud_request_id: str | None = None


class Resources(msgspec.Struct):
    resources: list[Resource]


class Made(msgspec.Struct):
    """An answer, as the SDK gives it."""

    status_code: int
    body: Resources


class Sdk:
    """The SDK's calls, of which each blocks."""

    def __init__(self, site: Site, root: str) -> None:
        self.auth = OAuth2(
            client_id=site.credentials.client_id,
            client_secret=site.credentials.secret,
            base_url=f"{root}/crowdstrike",
            timeout=10,
        )
        self.hosts = Hosts(auth_object=self.auth)
        self.alerts = Alerts(auth_object=self.auth)
        self.rtr = RealTimeResponse(auth_object=self.auth)
        self.uber = APIHarnessV2(
            access_token=self.auth.token_value, base_url=f"{root}/crowdstrike", timeout=10
        )

    def contain(self) -> None:
        self.hosts.get_device_details(ids=WORKSTATION_01)
        self.hosts.perform_action(action_name="contain", ids=WORKSTATION_01)

    def lift(self) -> None:
        self.hosts.get_device_details(ids=WORKSTATION_01)
        self.hosts.perform_action(action_name="lift_containment", ids=WORKSTATION_01)

    def find(self) -> None:
        self.hosts.query_devices_by_filter(filter="hostname:'workstation-01'")
        self.hosts.get_device_details(ids=WORKSTATION_01)

    def _open_session(self) -> str | None:
        # `init_session` drops the timeout that it documents; the SDK's other class sends it.
        opened = self.uber.command(
            "RTR_InitSession",
            parameters={"timeout": 30},
            body={"device_id": WORKSTATION_01, "queue_offline": False},
        )
        return _first(opened).session_id

    def kill(self) -> None:
        self.alerts.get_alerts_v2(composite_ids=[MIMIKATZ_ALERT])
        session_id = self._open_session()
        for base, text in (("ps", "ps"), ("kill", "kill 4312")):
            command = self.rtr.execute_active_responder_command(
                base_command=base, command_string=text, session_id=session_id
            )
            self.rtr.check_active_responder_command_status(
                cloud_request_id=_first(command).cloud_request_id, sequence_id=0
            )
        self.rtr.delete_session(session_id=session_id)

    def take_back(self) -> None:
        session_id = self._open_session()
        command = self.rtr.execute_active_responder_command(
            base_command="ps", command_string="ps", session_id=session_id
        )
        self.rtr.delete_queued_session(
            session_id=session_id, cloud_request_id=_first(command).cloud_request_id
        )
        self.rtr.delete_session(session_id=session_id)

    def list_sessions(self) -> None:
        self.rtr.list_all_sessions(limit=1)


def _first(answer: object) -> Resource:
    return msgspec.convert(answer, Made).body.resources[0]


async def contain(site: Site) -> object:
    return await site.client.change("contained", order_for(DEVICE, 30.9))


async def lift(site: Site) -> object:
    return await site.client.change("lifted", order_for(DEVICE, 30.9))


async def find(site: Site) -> object:
    return await site.client.find_device("workstation-01", deadline())


async def kill(site: Site) -> object:
    told = alert(MIMIKATZ_ALERT, "crowdstrike")
    return await site.client.kill(order_for(DEVICE, 60), told)


class Both:
    """The SDK and the product's client, each with a mock of its own in the same state."""

    def __init__(self, ours: Site, theirs: Site, sdk: Sdk) -> None:
        self.ours = ours
        self.theirs = theirs
        self.sdk = sdk

    def set_both(self, change: Callable[[MockEdr], object]) -> None:
        for site in (self.ours, self.theirs):
            change(site.mock)

    def requests(self) -> tuple[list[Sent], list[Sent]]:
        """Return what either has sent. The mock numbers its identifiers, so they are the same."""
        return (
            [sent(request) for request in self.ours.mock.requests],
            [sent(request) for request in self.theirs.mock.requests],
        )


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    mocks = (MockEdr(), MockEdr())
    for mock in mocks:
        # The SDK goes on to the real cloud of the region that a token names. None has this name.
        mock.crowdstrike.region = "mock-1"
    async with serving(mocks[0]) as ours, serving(mocks[1]) as theirs, open_http() as http:
        reference = Site("crowdstrike", mocks[1], theirs, http)
        sdk = await asyncio.to_thread(Sdk, reference, theirs)
        yield Both(Site("crowdstrike", mocks[0], ours, http), reference, sdk)
        assert mocks[0].violations == []


async def test_token_contain_and_lift_are_the_sdks(both: Both) -> None:
    await contain(both.ours)
    await asyncio.to_thread(both.sdk.contain)
    both.set_both(lambda mock: mock.tick())
    await lift(both.ours)
    await asyncio.to_thread(both.sdk.lift)
    ours, theirs = both.requests()
    assert ours == theirs
    assert [request.path.rpartition("/crowdstrike")[2] for request in ours] == [
        "/oauth2/token",
        "/devices/entities/devices/v2",
        "/devices/entities/devices-actions/v2",
        "/devices/entities/devices/v2",
        "/devices/entities/devices-actions/v2",
    ]
    assert both.ours.changes == both.theirs.changes != []


async def test_find_device_is_the_sdks(both: Both) -> None:
    await find(both.ours)
    await asyncio.to_thread(both.sdk.find)
    ours, theirs = both.requests()
    assert ours == theirs


async def test_kill_is_the_sdks(both: Both) -> None:
    await kill(both.ours)
    await asyncio.to_thread(both.sdk.kill)
    ours, theirs = both.requests()
    assert ours == theirs
    assert len(ours) == 8
    assert both.ours.changes == both.theirs.changes != []


def queue_commands(mock: MockEdr) -> None:
    """Have the host take commands into a queue, though its session is not queued."""
    [client_id] = mock.crowdstrike.clients
    mock.crowdstrike.devices[WORKSTATION_01].rtr.queues_anyway = True
    mock.crowdstrike.sessions["session-1"] = RtrSession(
        session_id="session-1",
        client_id=client_id,
        device_id=WORKSTATION_01,
        used_at=mock.clock.now(),
        is_queued=False,
    )


async def test_taking_a_command_back_is_the_sdks(both: Both) -> None:
    both.set_both(queue_commands)
    await asyncio.to_thread(both.sdk.alerts.get_alerts_v2, composite_ids=[MIMIKATZ_ALERT])
    with pytest.raises(VendorError, match="offline"):
        await kill(both.ours)
    await asyncio.to_thread(both.sdk.take_back)
    ours, theirs = both.requests()
    assert ours == theirs
    assert [request.method for request in ours[-2:]] == ["DELETE", "DELETE"]
    assert both.ours.mock.crowdstrike.commands == {}


async def test_check_lists_sessions_as_the_sdk_does(both: Both) -> None:
    await both.ours.client.check(deadline())
    await asyncio.to_thread(both.sdk.list_sessions)
    ours, theirs = both.requests()
    assert theirs[-1] in ours
