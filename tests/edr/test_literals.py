"""Requests letter for letter as SentinelOne's and Microsoft's own documents show them.

Neither publishes a client that could be asked instead, as CrowdStrike does.
"""

import json

import httpx
import msgspec
import pytest

from tests.edr.vendor import SECRET, FakeVendor, alert, answer, client_of, deadline, order_for
from vyrox.models import Device, Vendor

AGENT = "1234567890123456789"
THREAT = "1345678901234567890"
MACHINE = "1e5bc9d7e413ddd7902c2932e418702b84d0cc07"
ACTION = "5382f7ea-7557-4ab7-9782-d50480024a4e"

Literal = tuple[str, dict[str, str], object]
"""Method and URL, the headers that matter, and the JSON body."""

# SentinelOne management SDK 6.0, mgmtsdk_v2_1/services/agent.py and threat.py; Splunk's connector
# "sentinelone" (Apache-2.0), sentinelone_connector.py: the scheme and both bodies.
_S1 = "https://acme.sentinelone.net/web/api/v2.1"
_S1_HEADERS = {"Authorization": f"ApiToken {SECRET}"}
_S1_POST = {**_S1_HEADERS, "Content-Type": "application/json"}
SENTINELONE: dict[str, list[Literal]] = {
    "contain": [
        (f"GET {_S1}/agents?ids=1234567890123456789", _S1_HEADERS, None),
        (
            f"POST {_S1}/agents/actions/disconnect",
            _S1_POST,
            {"filter": {"ids": ["1234567890123456789"]}, "data": {}},
        ),
    ],
    "lift": [
        (f"GET {_S1}/agents?ids=1234567890123456789", _S1_HEADERS, None),
        (
            f"POST {_S1}/agents/actions/connect",
            _S1_POST,
            {"filter": {"ids": ["1234567890123456789"]}, "data": {}},
        ),
    ],
    "kill": [
        (f"GET {_S1}/threats?ids=1345678901234567890", _S1_HEADERS, None),
        (
            f"POST {_S1}/threats/mitigate/kill",
            _S1_POST,
            {"filter": {"ids": ["1345678901234567890"]}, "data": {}},
        ),
    ],
    "find": [(f"GET {_S1}/agents?computerName=WIN10-LAB", _S1_HEADERS, None)],
}

# Microsoft Learn, "Isolate machine API", "Release device from isolation API", "List machineActions
# API" (example 2, filter by machine), "Get machineAction API", "Get machine by ID API": the
# requests of their examples, with the host of today's pages.
_MDE = "https://api.security.microsoft.com/api"
_MDE_HEADERS = {"Authorization": "Bearer token-1"}
_MDE_POST = {**_MDE_HEADERS, "Content-Type": "application/json"}
_LISTING = (
    f"GET {_MDE}/machineactions?$filter=machineId eq '{MACHINE}'&$top=100",
    _MDE_HEADERS,
    None,
)
DEFENDER: dict[str, list[Literal]] = {
    "contain": [
        _LISTING,
        (
            f"POST {_MDE}/machines/1e5bc9d7e413ddd7902c2932e418702b84d0cc07/isolate",
            _MDE_POST,
            {"Comment": "Isolate machine due to alert 1234", "IsolationType": "Full"},
        ),
    ],
    "lift": [
        _LISTING,
        (
            f"POST {_MDE}/machines/1e5bc9d7e413ddd7902c2932e418702b84d0cc07/unisolate",
            _MDE_POST,
            {"Comment": "Isolate machine due to alert 1234"},
        ),
    ],
    "progress": [
        (
            f"GET {_MDE}/machineactions/5382f7ea-7557-4ab7-9782-d50480024a4e",
            _MDE_HEADERS,
            None,
        )
    ],
    "read": [(f"GET {_MDE}/machines/1e5bc9d7e413ddd7902c2932e418702b84d0cc07", _MDE_HEADERS, None)],
}


def machine_action(kind: str) -> dict[str, object]:
    return {
        "id": ACTION,
        "type": kind,
        "status": "Pending",
        "machineId": MACHINE,
        "creationDateTimeUtc": "2018-12-04T12:15:58.2136342Z",
    }


def answering() -> FakeVendor:
    fake = FakeVendor()
    agent = {"id": AGENT, "computerName": "WIN10-LAB", "networkStatus": "unknown"}
    threat = {"id": THREAT, "agentRealtimeInfo": {"agentId": AGENT}}
    machine = {"id": MACHINE, "computerDnsName": "mymachine1.contoso.com"}
    affected = answer(200, {"data": {"affected": 1}})
    root = "/web/api/v2.1"
    fake.on("GET", f"{root}/agents", answer(200, {"data": [agent]}))
    fake.on("GET", f"{root}/threats", answer(200, {"data": [threat]}))
    fake.on("POST", f"{root}/agents/actions/disconnect", affected)
    fake.on("POST", f"{root}/agents/actions/connect", affected)
    fake.on("POST", f"{root}/threats/mitigate/kill", affected)
    fake.on("GET", "/api/machineactions", answer(200, {"value": []}))
    fake.on("GET", f"/api/machineactions/{ACTION}", answer(200, machine_action("Isolate")))
    fake.on("GET", f"/api/machines/{MACHINE}", answer(200, machine))
    for kind in ("Isolate", "Unisolate"):
        path = f"/api/machines/{MACHINE}/{kind.lower()}"
        fake.on("POST", path, answer(201, machine_action(kind)))
    return fake


def matches(request: httpx.Request, literal: Literal) -> bool:
    line, headers, body = literal
    method, _, url = line.partition(" ")
    sent = json.loads(request.content) if request.content else None
    return (
        (request.method, request.url) == (method, httpx.URL(url))
        and all(request.headers.get(name) == value for name, value in headers.items())
        and sent == body
    )


async def sent_by(vendor: Vendor, operation: str) -> list[httpx.Request]:
    device = Device(AGENT if vendor == "sentinelone" else MACHINE)
    comment = "Isolate machine due to alert 1234"
    order = msgspec.structs.replace(order_for(device), comment=comment)
    fake = answering()
    async with client_of(fake, vendor) as client:
        match operation:
            case "contain":
                await client.change("contained", order)
            case "lift":
                await client.change("lifted", order)
            case "kill":
                await client.kill(order, alert(THREAT, vendor))
            case "find":
                await client.find_device("WIN10-LAB", deadline())
            case "read":
                await client.find_device(device.id, deadline(), device.id)
            case "progress":
                await client.read_progress(device.id, "contained", ACTION, deadline())
    return fake.requests


@pytest.mark.parametrize(
    ("vendor", "operation", "literals"),
    [
        *(("sentinelone", operation, literals) for operation, literals in SENTINELONE.items()),
        *(("defender", operation, literals) for operation, literals in DEFENDER.items()),
    ],
)
async def test_request_is_the_documented_one(
    vendor: Vendor, operation: str, literals: list[Literal]
) -> None:
    requests = await sent_by(vendor, operation)
    assert len(requests) == len(literals)
    for request, literal in zip(requests, literals, strict=True):
        assert matches(request, literal), (request, literal)


async def test_token_request_is_the_documented_one() -> None:
    """Microsoft Learn, "Create an app to access Defender for Endpoint without a user"."""
    fake = answering()
    async with client_of(fake, "defender") as client:
        await client.find_device(MACHINE, deadline(), MACHINE)
    [request] = fake.token_requests
    assert str(request.url) == (
        "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token"
    )
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.content.decode() == (
        "grant_type=client_credentials"
        "&client_id=c0ffee00c0ffee00c0ffee00c0ffee00"
        "&client_secret=Zm9vYmFyLXNlY3JldC1vZi1hLWNsaWVudA"
        "&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default"
    )
