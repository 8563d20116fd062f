"""The mock on a socket: what only a real connection shows."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.loop_time import time_passes_while_idle
from tests.polling import PATIENCE_S, until
from tests.trial.mock_edr import Falcon, falcon_of
from vyrox.errors import OperatorError
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault
from vyrox.trial.mock_edr.fleet import DC_01, WORKSTATION_01
from vyrox.trial.mock_edr.serve import serving


@pytest.fixture
async def http(mock: MockEdr) -> AsyncIterator[httpx.AsyncClient]:
    """In place of the client in process."""
    async with serving(mock) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def plan(mock: MockEdr, fault: Fault) -> None:
    mock.faults.plan("crowdstrike", "device_action", fault, 1)


async def test_a_request_over_the_socket_is_answered(mock: MockEdr, falcon: Falcon) -> None:
    answer = await falcon.act("contain", WORKSTATION_01)

    assert answer.status_code == 202
    assert len(mock.effects) == 1


@pytest.mark.parametrize("effect", [True, False])
async def test_reset_ends_the_connection_without_a_byte(
    mock: MockEdr, falcon: Falcon, effect: bool
) -> None:
    plan(mock, Fault("reset", effect))
    with pytest.raises(httpx.ReadError):
        await falcon.act("contain", WORKSTATION_01)

    assert len(mock.effects) == int(effect)
    assert mock.requests[-1].status is None
    assert (await falcon.act("contain", DC_01)).status_code == 202


async def test_reset_is_a_reset(mock: MockEdr, falcon: Falcon, http: httpx.AsyncClient) -> None:
    plan(mock, Fault("reset", effect=False))
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    path = "/crowdstrike/devices/entities/devices-actions/v2"
    writer.write(f"POST {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: 0\r\n\r\n".encode())

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_cut_ends_the_connection_within_the_body(mock: MockEdr, falcon: Falcon) -> None:
    plan(mock, Fault("cut", effect=True))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await falcon.act("contain", WORKSTATION_01)

    assert len(mock.effects) == 1
    assert mock.requests[-1].status == 202


async def test_slow_outlasts_a_caller_whose_patience_ends(mock: MockEdr, falcon: Falcon) -> None:
    plan(mock, Fault("slow", effect=True, seconds=3600))
    falcon.http.timeout = httpx.Timeout(0.2)
    with time_passes_while_idle(), pytest.raises(httpx.ReadTimeout):
        await falcon.act("contain", WORKSTATION_01)

    assert len(mock.effects) == 1
    assert mock.requests[-1].status is None


async def test_dribble_sends_a_byte_at_a_time(mock: MockEdr, falcon: Falcon) -> None:
    plan(mock, Fault("dribble", effect=True, seconds=3600))
    async with falcon.http.stream(
        "POST",
        "/crowdstrike/devices/entities/devices-actions/v2?action_name=contain",
        json={"ids": [WORKSTATION_01]},
        headers=falcon.headers,
        timeout=httpx.Timeout(PATIENCE_S, read=1.0),
    ) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"{"
        with time_passes_while_idle(), pytest.raises(httpx.ReadTimeout):
            await anext(pieces)

    assert len(mock.effects) == 1


async def test_serving_ends_while_a_fault_holds_an_answer(mock: MockEdr) -> None:
    plan(mock, Fault("slow", effect=True, seconds=3600))

    async def has_acted() -> bool:
        return mock.effects != []

    async with httpx.AsyncClient() as client:
        async with serving(mock) as url:
            client.base_url = httpx.URL(url)
            waiting = asyncio.create_task(failed(await falcon_of(mock, client)))
            await until(has_acted)
        assert await waiting


async def failed(falcon: Falcon) -> bool:
    """Return whether containing ends without a success."""
    try:
        answer = await falcon.act("contain", WORKSTATION_01)
    except httpx.TransportError:
        return True
    return not answer.is_success


async def test_serving_needs_its_address(mock: MockEdr) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OperatorError, match=f"127.0.0.1:{port}: Address already in use"):
            async with serving(mock, port=port):
                pass


async def test_serving_needs_a_host_name(mock: MockEdr) -> None:
    with pytest.raises(OperatorError, match="invalid host name"):
        async with serving(mock, host="." * 70):
            pass


async def test_serving_says_an_ipv6_address_as_urls_do(mock: MockEdr) -> None:
    async with serving(mock, host="::1") as url, httpx.AsyncClient(base_url=url) as client:
        assert url.startswith("http://[::1]:")
        assert (await client.get("/_mock/effects")).json() == []
