"""A real service, mocked vendors, and Chromium with a virtual passkey for each person."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Literal

import httpx

from tests.cli import Vyrox, succeeded
from tests.ingestion import webhook
from tests.patient_service import patient_service
from tests.service import HMAC_SECRET, Service
from tests.trial.mock_edr import client_of
from tests.vendor import AID, add_alert
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.store.database import Database, open_database
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, CDPSession, Page

CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")

Scheme = Literal["light", "dark"]

PHONE: Final = {"width": 375, "height": 740}
DESK: Final = {"width": 1280, "height": 900}

TENANT: Final = "acme-corp"
ALERT: Final = "alt_abc123"

ISOLATION: Final = Wanted(
    tenant_id=TENANT,
    alert_id=ALERT,
    action_type="HOST_ISOLATION",
    host=AID,
    hostname="workstation-01",
    requested_by="vyrox",
    reason="live intrusion: credentials, comsvcs.dll MiniDump",
    lease_s=0,
)
"""An isolation without an end, so two persons must approve it."""


@dataclass
class Person:
    """One person's browser, with a virtual passkey.

    Attributes:
        complaints: What the browser's console had: errors, and violations of the page's policy.
            Also the requests to anywhere but the console.
    """

    name: str
    context: "BrowserContext"
    page: "Page"
    cdp: "CDPSession"
    authenticators: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def add_authenticator(self) -> str:
        """Add another device for passkeys, and return its id."""
        options = {
            "protocol": "ctap2",
            # A browser has one device inside; further ones are plugged in.
            "transport": "usb" if self.authenticators else "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        added = await self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.authenticators.append(added["authenticatorId"])
        return self.authenticators[-1]

    async def use_only(self, authenticator: str) -> None:
        """Take the other devices away."""
        for each in self.authenticators:
            if each != authenticator:
                which = {"authenticatorId": each}
                await self.cdp.send("WebAuthn.removeVirtualAuthenticator", which)
        self.authenticators = [authenticator]

    async def override(self, **bits: bool) -> None:
        """Make the next answers of the passkey wrong."""
        which = {"authenticatorId": self.authenticators[0]}
        await self.cdp.send("WebAuthn.setResponseOverrideBits", {**which, **bits})

    async def verified(self, is_verified: bool) -> None:
        """Set whether the passkey recognises its person."""
        which = {"authenticatorId": self.authenticators[0]}
        await self.cdp.send("WebAuthn.setUserVerified", {**which, "isUserVerified": is_verified})

    async def sign_in(self, origin: str) -> None:
        if "/sign-in" not in self.page.url:
            await self.page.goto(f"{origin}/sign-in")
        await self.page.get_by_role("button", name="Sign in with a passkey").click()
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)

    async def said(self) -> str:
        """Return what the page says, as soon as it says something that is not a step."""
        status = self.page.locator("#status.good, #status.bad")
        return str(await status.inner_text())


@dataclass
class Site:
    """The service and its surroundings."""

    origin: str
    service: Service
    mock: MockEdr
    database: Database
    browser: "Browser"
    data_dir: Path
    edr_url: str
    stack: AsyncExitStack
    secret: str
    links: dict[str, str] = field(default_factory=dict)

    async def vyrox(self, *arguments: str, stdin: str = "") -> str:
        settings = {"CONSOLE_ORIGIN": self.origin, "EDR_TEST_URL": self.edr_url}
        command = Vyrox(self.data_dir, VYROX_HMAC_SECRET=HMAC_SECRET, **settings)
        return succeeded(await asyncio.to_thread(command, *arguments, stdin=stdin.encode()))

    async def person(
        self, name: str, scheme: Scheme = "light", viewport: Mapping[str, int] = PHONE
    ) -> Person:
        """Return a browser with an empty virtual passkey, in front of no page."""
        person = await new_person(self.browser, name, scheme, viewport)
        self.stack.push_async_callback(person.context.close)
        return person

    async def signed_in_by_link(self, name: str) -> Person:
        """Return the browser of a new viewer of the tenant, who has signed in with a link."""
        await self.vyrox("viewer", "add", TENANT, name)
        person = await self.person(name)
        await person.page.goto(await self.console_link(name))
        await person.page.get_by_role("button", name="Sign in").click()
        await person.page.wait_for_url(f"{self.origin}/")
        return person

    async def console_link(self, name: str) -> str:
        """Return a link with which a person signs in to look."""
        [link] = re.findall(r"http://localhost:\S+", await self.vyrox("console", "link", name))
        return str(link)

    async def without_script(self, person: Person) -> "Page":
        """Return a page of a browser without JavaScript, with the person's cookie."""
        context = await self.browser.new_context(
            java_script_enabled=False,
            viewport=PHONE,
            storage_state=await person.context.storage_state(),
        )
        self.stack.push_async_callback(context.close)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        return page

    async def deliver(self, body: bytes) -> int:
        """Send a webhook of CrowdStrike, again while the service is busy, as vendors do."""
        sent = webhook("crowdstrike", body, secret=self.secret)
        async with httpx.AsyncClient(base_url=self.service.ingestion_url, timeout=60) as client:
            while True:
                response = await client.post(sent.path, headers=sent.headers, content=sent.body)
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return response.status_code

    async def link_for(self, name: str, tenant_id: str = TENANT) -> str:
        """Put a person on the list, and return the link that the operator hands over."""
        printed = await self.vyrox("approver", "add", tenant_id, name)
        [link] = re.findall(r"http://localhost:\S+", printed)
        self.links[name] = link
        return str(link)

    async def enrolled(
        self,
        name: str,
        scheme: Scheme = "light",
        viewport: Mapping[str, int] = PHONE,
        tenant_id: str = TENANT,
    ) -> Person:
        """Return the browser of an approver whose passkey is confirmed, and who has signed in."""
        person = await self.person(name, scheme, viewport)
        await person.page.goto(await self.link_for(name, tenant_id))
        await self.make_key(person, tenant_id)
        await person.sign_in(self.origin)
        return person

    async def make_key(self, person: Person, tenant_id: str = TENANT) -> None:
        """Make a passkey on the page of a link; the operator confirms what the person reads."""
        await person.page.get_by_role("button", name="Make a passkey").click()
        await person.page.wait_for_selector("#made:not([hidden])")
        shown = await person.page.inner_text("#thumbprint")
        thumbprint = "".join(shown.split())
        words = ("approver", "confirm", tenant_id, person.name, f"--thumbprint={thumbprint}")
        await self.vyrox(*words)

    async def propose(self, wanted: Wanted = ISOLATION) -> Proposed:
        return await self.database.write(propose, wanted, wall_clock(), DECIDE_S)

    @property
    def is_isolated(self) -> bool:
        return self.mock.crowdstrike.devices[AID].status != "normal"


async def new_person(
    browser: "Browser", name: str, scheme: Scheme, viewport: Mapping[str, int]
) -> Person:
    """Return a browser window of its own with an empty virtual passkey."""
    context = await browser.new_context(
        viewport=dict(viewport), color_scheme=scheme, reduced_motion="reduce"
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    cdp = await context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    person = Person(name, context, page, cdp)
    await person.add_authenticator()
    page.on("console", lambda m: person.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    context.on("request", lambda request: _complain(person, request.url))
    return person


def _complain(person: Person, url: str) -> None:
    is_own = re.match(r"http://localhost:\d+/|data:", url)
    if not is_own:
        person.complaints.append(f"a request to {url}")


@asynccontextmanager
async def running_site(data_dir: Path, **settings: str) -> AsyncIterator[Site]:
    """Run everything until the block ends."""
    from playwright.async_api import async_playwright

    mock = MockEdr(wall_clock)
    secret = token_hex(32)
    # Known before the service starts: it reads new tenants only now and then.
    command = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    await asyncio.to_thread(command.migrated)
    added = ("tenant", "add", TENANT, "--vendor", "crowdstrike", "--secret-stdin")
    succeeded(await asyncio.to_thread(command, *added, stdin=secret.encode()))
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock))
        service = await stack.enter_async_context(
            patient_service(data_dir, DRY_RUN="false", EDR_TEST_URL=url, **settings)
        )
        database = await stack.enter_async_context(open_database(None, data_dir))
        playwright = await stack.enter_async_context(async_playwright())
        # Debian's Chromium refuses its sandbox to root, as which containers often run.
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        stack.push_async_callback(chromium.close)
        port = service.console_url.rpartition(":")[2]
        origin = f"http://localhost:{port}"
        site = Site(origin, service, mock, database, chromium, data_dir, url, stack, secret)
        client = client_of(mock, "crowdstrike")
        at = ("--client-id", client.client_id, "--base-url", f"{url}/crowdstrike")
        words = ("tenant", "edr", "set", TENANT, "--vendor", "crowdstrike", *at)
        await site.vyrox(*words, stdin=client.client_secret)
        await add_alert(database, TENANT, ALERT)
        yield site
