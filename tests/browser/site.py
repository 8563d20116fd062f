"""A real service, mocked vendors, and Chromium with a virtual passkey for each person."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.cli import Vyrox, succeeded
from tests.service import HMAC_SECRET, Service, running_service
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

PHONE: Final = {"width": 360, "height": 740}
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

    async def scrolls_sideways(self) -> bool:
        script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(await self.page.evaluate(script))


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

    async def link_for(self, name: str) -> str:
        """Put a person on the list, and return the link that the operator hands over."""
        printed = await self.vyrox("approver", "add", TENANT, name)
        [link] = re.findall(r"http://localhost:\S+", printed)
        self.links[name] = link
        return str(link)

    async def enrolled(
        self, name: str, scheme: Scheme = "light", viewport: Mapping[str, int] = PHONE
    ) -> Person:
        """Return the browser of an approver whose passkey is confirmed, and who has signed in."""
        person = await self.person(name, scheme, viewport)
        await person.page.goto(await self.link_for(name))
        await self.make_key(person)
        await person.sign_in(self.origin)
        return person

    async def make_key(self, person: Person) -> None:
        """Make a passkey on the page of a link; the operator confirms what the person reads."""
        await person.page.get_by_role("button", name="Make a passkey").click()
        await person.page.wait_for_selector("#made:not([hidden])")
        shown = await person.page.inner_text("#thumbprint")
        thumbprint = "".join(shown.split())
        words = ("approver", "confirm", TENANT, person.name, f"--thumbprint={thumbprint}")
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
    page.set_default_timeout(15_000)
    cdp = await context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    person = Person(name, context, page, cdp)
    await person.add_authenticator()
    page.on("console", lambda m: person.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    return person


@asynccontextmanager
async def running_site(data_dir: Path) -> AsyncIterator[Site]:
    """Run everything until the block ends."""
    from playwright.async_api import async_playwright

    mock = MockEdr(wall_clock)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock))
        service = await stack.enter_async_context(
            running_service(data_dir, DRY_RUN="false", EDR_TEST_URL=url)
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
        site = Site(origin, service, mock, database, chromium, data_dir, url, stack)
        client = client_of(mock, "crowdstrike")
        await site.vyrox("tenant", "add", TENANT, "--vendor", "crowdstrike")
        at = ("--client-id", client.client_id, "--base-url", f"{url}/crowdstrike")
        words = ("tenant", "edr", "set", TENANT, "--vendor", "crowdstrike", *at)
        await site.vyrox(*words, stdin=client.client_secret)
        await add_alert(database, TENANT, ALERT)
        yield site
