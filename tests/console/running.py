"""The console in process, and a person in front of it with a passkey in software."""

import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from starlette.applications import Starlette

from tests.approvals.authenticator import UP, UV, Authenticator
from tests.vendor import FakeVendor, add_alert, give_credentials
from vyrox.app import create_app
from vyrox.approvals import approvers, enrolment
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.console import links, viewers
from vyrox.console.application import create_console
from vyrox.console.parts import Console
from vyrox.lifespan.listeners import for_routes
from vyrox.lifespan.making import make_parts
from vyrox.lifespan.stores import open_stores
from vyrox.settings import Settings
from vyrox.store.database import Database
from vyrox.store.encryption import open_vault

ORIGIN: Final = "http://localhost:8002"
TENANT: Final = "acme-corp"
ALERT: Final = "alt_abc123"

OWN: Final = {"sec-fetch-site": "same-origin", "origin": ORIGIN}
"""What a browser sends with a request of one of the console's own pages."""

KILL: Final = Wanted(
    tenant_id=TENANT,
    alert_id=ALERT,
    action_type="PROCESS_KILL",
    host="workstation-01",
    requested_by="vyrox",
    reason="a miner",
)
"""One person is enough for it."""


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """One person's browser: it keeps the cookie, and has one passkey."""

    client: httpx.AsyncClient
    passkey: Authenticator = field(default_factory=lambda: Authenticator("ES256"))

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, content: object, **headers: str) -> httpx.Response:
        return await self.client.post(
            path, content=json.dumps(content), headers=headers if headers else OWN
        )

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form, as a page without the script does."""
        headers = {**OWN, "content-type": "application/x-www-form-urlencoded"}
        return await self.client.post(path, content=urlencode(fields), headers=headers)

    async def enrol(self, secret: str) -> dict[str, Any]:
        opened = await self.post("/enrol/open", {"secret": secret})
        assert opened.status_code == 200, opened.text
        challenge = unb64(opened.json()["options"]["challenge"])
        response = json.loads(self.passkey.create(challenge))
        made = await self.post("/enrol", {"secret": secret, "response": response})
        assert made.status_code == 200, made.text
        found: dict[str, Any] = made.json()
        return found

    async def sign_in(self) -> httpx.Response:
        page = await self.get("/sign-in")
        ceremony = ceremonies(page.text)[0]
        return await self.post("/sign-in", self.answered(ceremony))

    def answered(self, ceremony: dict[str, Any], flags: int = UP | UV) -> dict[str, Any]:
        """Return what the script posts after the passkey has answered."""
        response = self.passkey.get(unb64(ceremony["options"]["challenge"]), flags)
        return {
            **{name: value for name, value in ceremony.items() if name != "options"},
            "response": json.loads(response),
        }

    async def statements(self, proposal_id: str, comment: str = "") -> dict[str, Any]:
        answer = await self.post(f"/approvals/{proposal_id}/statements", {"comment": comment})
        assert answer.status_code == 200, answer.text
        issued: dict[str, Any] = answer.json()
        return issued

    async def decide(
        self, proposal_id: str, decision: str = "approve", comment: str = ""
    ) -> httpx.Response:
        issued = await self.statements(proposal_id, comment)
        return await self.post(f"/approvals/{proposal_id}", self.answered(issued[decision]))


def ceremonies(html: str) -> list[dict[str, Any]]:
    """Return what the page has for the script."""
    return [json.loads(unescape(text)) for text in re.findall(r"data-ceremony='([^']*)'", html)]


@dataclass
class Running:
    """The application, and the people."""

    app: Starlette
    vendor: FakeVendor

    @property
    def console(self) -> Console:
        opened: Console = self.app.state.console_app.state.console
        return opened

    @property
    def database(self) -> Database:
        return self.console.database

    def browser(self, app: Starlette | None = None) -> Browser:
        transport = httpx.ASGITransport(app or self.app.state.console_app)
        # Secure cookies: httpx sends them over https only. A browser does for localhost too.
        client = httpx.AsyncClient(
            transport=transport, base_url="https://localhost", headers={"host": "localhost:8002"}
        )
        return Browser(client)

    async def link_for(self, name: str, tenant_id: str = TENANT) -> str:
        """Put a person on the list, and return the secret of the link."""
        now = wall_clock()
        await self.database.write(approvers.add, tenant_id, name, "operator", now)
        return await self.database.write(enrolment.new_code, tenant_id, name, "passkey", now)

    async def viewer(
        self, name: str, *tenants: str, add_to: Sequence[str] = (TENANT,), home: str | None = None
    ) -> Browser:
        """Return the browser of a viewer of `add_to` who has signed in with a link.

        Args:
            tenants: Those that the link is for; none: all of the person.
        """
        now = wall_clock()
        for tenant_id in add_to:
            await self.database.write(viewers.add, tenant_id, name, home, "operator", now)
        secret, _ = await self.database.write(links.make, name, tenants, now)
        browser = self.browser()
        assert (await browser.send("/link", secret=secret)).status_code == 303
        return browser

    async def confirm(self, name: str, thumbprint: str, tenant_id: str = TENANT) -> None:
        now = wall_clock()
        await self.database.write(enrolment.confirm, tenant_id, name, thumbprint, "operator", now)

    async def person(self, name: str, tenant_id: str = TENANT) -> Browser:
        """Return the browser of a new approver who has signed in."""
        browser = self.browser()
        of = "" if tenant_id == TENANT else f"-of-{tenant_id}"
        browser.passkey.credential_id = f"key-of-{name}{of}".encode()
        key = await browser.enrol(await self.link_for(name, tenant_id))
        await self.confirm(name, key["thumbprint"], tenant_id)
        assert (await browser.sign_in()).status_code == 200
        return browser

    async def propose(self, wanted: Wanted = KILL) -> Proposed:
        return await self.database.write(propose, wanted, wall_clock(), DECIDE_S)


async def ask(app: Starlette, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Send one request as it is, without a cookie."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.request(method, path, headers=headers)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run the application in process until the block ends."""
    vendor = FakeVendor()
    whole = create_app(settings, vendor.make)
    async with whole.router.lifespan_context(whole):
        opened = Running(whole, vendor)
        vault = open_vault(settings.encryption_keys, settings.data_dir)
        await give_credentials(opened.database, [TENANT], vault=vault)
        await add_alert(opened.database, TENANT, ALERT)
        yield opened


@asynccontextmanager
async def quiet(settings: Settings) -> AsyncIterator[Running]:
    """Open the console without the service's background tasks: their queries are not the pages'."""
    vendor = FakeVendor()
    async with AsyncExitStack() as stack:
        stores = await open_stores(stack, settings)
        parts = await make_parts(stack, settings, stores, vendor.make)
        await parts.health.probe()
        app = Starlette()
        app.state.console_app = create_console(ORIGIN)
        opened = await for_routes(settings, stores, parts)
        app.state.console_app.state.console = opened.console
        yield Running(app, vendor)
