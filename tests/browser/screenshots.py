"""`make screenshots`: pictures of every page of the console, from the demo's data.

It starts the demo, becomes an approver in it with a virtual passkey, and opens each page as a
person does. The pictures are in docs/images.
"""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from playwright.async_api import async_playwright

from tests.browser.pictures import small
from tests.browser.site import CHROMIUM, new_person

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.browser.site import Person

ROOT: Final = Path(__file__).parents[2]
IMAGES: Final = ROOT / "docs" / "images"

PHONE: Final = {"width": 375, "height": 740}
DESK: Final = {"width": 1280, "height": 800}

MAX_HEIGHT: Final = {375: 1550, 1280: 1200}
"""Pixels of a picture, by the width of the window: a longer page is cut."""

Scheme = Literal["light", "dark"]


class Shot(NamedTuple):
    """A picture.

    Attributes:
        path: Of the page.
    """

    name: str
    path: str
    size: Mapping[str, int] = DESK
    scheme: Scheme = "light"


class Demo(NamedTuple):
    """A running demo.

    Attributes:
        link: Signs in to look.
        enrol: Makes a passkey for the approver.
        env: Of its `vyrox` commands.
    """

    directory: Path
    link: str
    enrol: str
    env: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Of the console."""
        return self.link.partition("/link#")[0]

    async def vyrox(self, *words: str) -> str:
        """Run a command in the demo, and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vyrox", *words),
            cwd=self.directory,
            env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        if process.returncode != 0:
            sys.exit(f"vyrox {' '.join(words)} ended with {process.returncode}")
        return printed.decode()


@asynccontextmanager
async def demo() -> AsyncIterator[Demo]:
    """Run the demo until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "demo", "--keep"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async for raw in process.stdout:
            lines.append(raw.decode().strip())
            if "Ctrl-C here" in lines[-1]:
                break
        yield _read(lines)
    finally:
        process.terminate()
        await process.communicate()


def _read(lines: list[str]) -> Demo:
    text = "\n".join(lines)
    [directory] = {line.split()[-1] for line in lines if line.startswith("$ cd ")}
    exports = [line.removeprefix("$ export ") for line in lines if line.startswith("$ export ")]
    env = dict(pair.split("=", 1) for line in exports for pair in shlex.split(line))
    found = [re.search(rf"http://localhost:\d+/{page}#\S+", text) for page in ("link", "enrol")]
    if None in found:
        sys.exit(f"the demo did not end as it must:\n{text}")
    link, enrol = (each[0] for each in found if each is not None)
    return Demo(Path(directory), link, enrol, env)


async def enrolled(browser: "Browser", running: Demo) -> "Person":
    """Return the browser of Jane, who has made a passkey and signed in."""
    person = await new_person(browser, "jane", "light", DESK)
    await person.page.goto(running.enrol)
    await person.page.get_by_role("button", name="Make a passkey").click()
    await person.page.wait_for_selector("#made:not([hidden])")
    await save(person, "enrol-phone", PHONE, "light")
    thumbprint = "".join((await person.page.inner_text("#thumbprint")).split())
    await running.vyrox("approver", "confirm", "acme-corp", "jane", f"--thumbprint={thumbprint}")
    await person.page.goto(f"{running.origin}/sign-in")
    await save(person, "sign-in-phone", PHONE, "light")
    await person.sign_in(running.origin)
    return person


async def save(person: "Person", name: str, size: Mapping[str, int], scheme: Scheme) -> None:
    """Write a picture of the page that is open."""
    page = person.page
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.set_viewport_size({"width": size["width"], "height": size["height"]})
    await page.wait_for_load_state("networkidle")
    height = await page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": size["width"]}
    clip["height"] = min(height, MAX_HEIGHT[size["width"]])
    taken = await page.screenshot(full_page=True, clip=clip)
    blank = await person.context.new_page()
    (IMAGES / f"{name}.png").write_bytes(await small(blank, taken))
    await blank.close()


async def shots(person: "Person", origin: str) -> list[Shot]:
    """Return the pictures to be made, after asking the pages which ids there are."""
    page = person.page

    async def first(path: str, pattern: str) -> str:
        await page.goto(f"{origin}{path}")
        for link in await page.locator("main a").all():
            if re.fullmatch(pattern, href := await link.get_attribute("href") or ""):
                return href
        sys.exit(f"{path} links to nothing like {pattern}")

    incident = await first("/incidents", r"/incidents/acme-corp-\d+")
    decide = await first("/", "/approvals/.+")
    device = await first(incident, r"/devices/.+")
    alert = await first("/alerts?band=urgent", r"/alerts/[0-9a-f-]{36}")
    quarantined = await first("/quarantine", r"/quarantine/[0-9a-f-]{36}")
    entry = await first("/audit", r"/audit/.+/\d+")
    plain = [
        ("now", "/"),
        ("incidents", "/incidents"),
        ("incident", incident),
        ("decide", decide),
        ("device", device),
        ("alerts", "/alerts"),
        ("alert", alert),
        ("quarantine", "/quarantine"),
        ("quarantined", quarantined),
        ("audit", "/audit"),
        ("audit-entry", entry),
        ("reports", "/reports?tenant=acme-corp"),
        ("tenants", "/tenants"),
        ("tenant", "/tenants/acme-corp"),
        ("keys", "/keys"),
    ]
    on_phone = {"now", "incident", "decide", "device", "alerts", "reports"}
    dark = {"now", "incident"}
    return [
        *(Shot(name, path) for name, path in plain),
        *(Shot(f"{name}-phone", path, PHONE) for name, path in plain if name in on_phone),
        *(Shot(f"{name}-dark", path, DESK, "dark") for name, path in plain if name in dark),
    ]


async def main() -> None:
    """Make them all."""
    IMAGES.mkdir(exist_ok=True)
    async with demo() as running, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        person = await enrolled(browser, running)
        for shot in await shots(person, running.origin):
            await person.page.goto(f"{running.origin}{shot.path}")
            await save(person, shot.name, shot.size, shot.scheme)
            sys.stdout.write(f"{shot.name}: {shot.path}\n")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
