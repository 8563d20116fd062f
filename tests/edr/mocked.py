"""The product's clients at the mocked vendors: many mocks on one socket, one for each case."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from starlette.types import Receive, Scope, Send

from tests.edr.vendor import allowed, order_for
from tests.trial.mock_edr import client_of
from vyrox.edr.client import Check, Order, VendorClient
from vyrox.edr.vendors import Credentials, make_client
from vyrox.models import Device, EdrVendor
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving
from vyrox.trial.mock_edr.state import MachineAction

ISOLATION: Final = "5382f7ea-7557-4ab7-9782-d50480024a4e"
"""A machine action that happened before the test."""


class Mocks(MockEdr):
    """Serves each mock of a list below its number.

    Attributes:
        strays: Paths that were asked for outside every mock, such as where a redirect leads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mocks: list[MockEdr] = []
        self.strays: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number, _, rest = scope["path"].removeprefix("/").partition("/")
        if not number.isdecimal():
            self.strays.append(scope["path"])
        else:
            await self.mocks[int(number)]({**scope, "path": f"/{rest}"}, receive, send)


@asynccontextmanager
async def serving_mocks() -> AsyncIterator[tuple[Mocks, str]]:
    """Serve what is put into the list, until the block ends."""
    mocks = Mocks()
    async with serving(mocks) as url:
        yield mocks, url


class Site:
    """One mock of all vendors, and a client of one of them.

    Attributes:
        slept: How long each wait was meant to be; none takes so long.
        check: Of each order.
    """

    def __init__(
        self, vendor: EdrVendor, mock: MockEdr, root: str, http: httpx.AsyncClient
    ) -> None:
        self.vendor: EdrVendor = vendor
        self.mock = mock
        self.slept: list[float] = []
        self.check: Check = allowed
        registered = client_of(mock, vendor)
        self.credentials = Credentials(
            vendor=vendor,
            secret=registered.client_secret,
            client_id=registered.client_id,
            azure_tenant=mock.defender.tenant_id,
            base_url=f"{root}/{vendor}",
        )
        self.client: VendorClient = make_client(
            self.credentials, http, root, clock=mock.clock.now, sleep=self._sleep
        )

    def order(self, device_id: str, seconds: float) -> Order:
        return order_for(Device(device_id), seconds, self.check)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What has changed, and on which host."""
        return [(effect.what, effect.device_id) for effect in self.mock.effects]

    @property
    def endpoints(self) -> list[str]:
        """The calls that were made, as the mock names them."""
        return [request.endpoint or "?" for request in self.mock.requests]


def isolate(mock: MockEdr, machine_id: str, age_s: float = 60) -> None:
    """Have Defender know of an isolation of somebody else's that has succeeded."""
    mock.defender.machines[machine_id].is_isolated = True
    earlier = mock.clock.now() - age_s
    mock.defender.actions[ISOLATION] = MachineAction(
        id=ISOLATION,
        type="Isolate",
        machine_id=machine_id,
        comment="earlier",
        scope="Full",
        requestor="someone",
        created_at=earlier,
        updated_at=earlier,
        status="Succeeded",
    )
