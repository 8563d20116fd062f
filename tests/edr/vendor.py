"""A vendor that answers from a table, and the clients that call it without a network."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import httpx

from tests.audit import NOW, TENANT
from vyrox.chain.entry import Receipt
from vyrox.edr.client import Check, Deadline, Order, VendorClient
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import Credentials, make_client
from vyrox.errors import VendorError
from vyrox.models import Device, NormalizedAlert, Vendor

RECEIPT = Receipt(TENANT, "actions", 1, "0" * 64)
SECRET = "Zm9vYmFyLXNlY3JldC1vZi1hLWNsaWVudA"
CLIENT_ID = "c0ffee00c0ffee00c0ffee00c0ffee00"
AZURE_TENANT = "11111111-2222-3333-4444-555555555555"

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def deadline(seconds: float = 30.0) -> Deadline:
    return Deadline(seconds)


async def allowed() -> None:
    """Check an order that may be carried out."""


class Refusing:
    """Allows an order so many times, and then refuses it."""

    def __init__(self, allowed: int = 0) -> None:
        self.left = allowed

    async def __call__(self) -> None:
        if self.left == 0:
            raise VendorError("the tenant has been frozen; nothing was sent")
        self.left -= 1


def order_for(device: Device, seconds: float = 30.0, check: Check = allowed) -> Order:
    return Order(device, "by jane", RECEIPT, deadline(seconds), check)


class FakeVendor:
    """Answers each (method, path) with its replies in turn; the last one stays.

    Attributes:
        requests: What was asked, in order, tokens left out.
        token_requests: How often a token was asked for.
        slept: How long each wait was meant to be.
    """

    def __init__(self) -> None:
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self.requests: list[httpx.Request] = []
        self.token_requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._replies[method, path] = list(replies)

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        is_token = path.endswith("/token")
        (self.token_requests if is_token else self.requests).append(request)
        replies = self._replies.get((request.method, path))
        if replies is None:
            raise AssertionError(f"nobody expected {request.method} {path}")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        return unread(reply(request) if callable(reply) else reply)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)  # others have their turn, as in any wait

    @property
    def asked(self) -> list[str]:
        """Every request as one line, without its body."""
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def paths(self) -> list[str]:
        """Every request as one line, without its query."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def bodies(self, path: str) -> list[object]:
        """Return the JSON bodies sent to `path`."""
        return [json.loads(r.content) for r in self.requests if r.url.path == path and r.content]


def unread(response: httpx.Response) -> httpx.Response:
    """Return the same response as it comes off a network: nothing of its body was read yet."""
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=httpx.ByteStream(response.content),
    )


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    """Return a response with a JSON body, or the bytes that are given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(
        status,
        content=b"" if body is None else content,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def token(value: str = "token-1", expires_in: object = 1799, status: int = 201) -> httpx.Response:
    return answer(status, {"access_token": value, "token_type": "bearer", "expires_in": expires_in})


def credentials(vendor: Vendor) -> Credentials:
    return Credentials(
        vendor=vendor,
        secret=SECRET,
        client_id=None if vendor == "sentinelone" else CLIENT_ID,
        azure_tenant=AZURE_TENANT if vendor == "defender" else None,
        base_url="https://acme.sentinelone.net" if vendor == "sentinelone" else None,
    )


@asynccontextmanager
async def client_of(fake: FakeVendor, vendor: Vendor) -> AsyncIterator[VendorClient]:
    """Open a client of `vendor` whose calls go to `fake`."""
    if vendor == "crowdstrike":
        fake.on("POST", "/oauth2/token", token())
    if vendor == "defender":
        fake.on("POST", f"/{AZURE_TENANT}/oauth2/v2.0/token", token(status=200))
    async with open_http(httpx.MockTransport(fake.handle)) as http:
        yield make_client(credentials(vendor), http, None, clock=lambda: NOW, sleep=fake.sleep)


def form(request: httpx.Request) -> dict[str, list[str]]:
    return parse_qs(request.content.decode(), strict_parsing=True)


def alert(raw_id: str, vendor: Vendor, process_name: str | None = None) -> NormalizedAlert:
    return NormalizedAlert(
        id="5d0b9a0e-8d0f-4c5e-9a3c-0f6f5c1f2b11",
        tenant_id=TENANT,
        source=vendor,
        raw_id=raw_id,
        timestamp=NOW,
        process_name=process_name,
    )
