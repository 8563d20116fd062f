"""Every page of the console, in Chromium: axe, widths, schemes, and hostile texts (contract 66)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.browser.filled import Filled, fill, routes
from tests.browser.looks import problems, violations
from tests.browser.site import DESK, PHONE, Person, Site
from vyrox.console import application

pytestmark = pytest.mark.browser

FILES: Final = frozenset(
    {
        "/static/{name}",
        "/reports.csv",
        "/alerts/{alert_id}/raw",
        "/quarantine/{quarantine_id}/raw",
    }
)
"""Routes that send a file."""

WITHOUT_SESSION: Final = ("/sign-in", "/link", "/enrol")

EXPECTED: Final = {
    "/nothing": "status of 404",
    "/enrol": "status of 401",  # without the secret of a link
    "/benign": "status of 400",  # no suppression can be like a hostile alert
}
"""What the browser says about an answer that is a page too, by the end of its path."""

MORE: Final = ("/nothing", "/alerts?host=nobody", "/alerts?band=urgent", "/incidents?status=all")


def pages(filled: Filled) -> Iterator[str]:
    """Yield the address of every page."""
    for route in routes("GET"):
        if route.path not in FILES:
            yield from filled.addresses(route)
    yield from MORE


async def all_wrong(site: Site, person: Person, addresses: Iterable[str]) -> dict[str, list[str]]:
    """Return what is wrong with each page."""
    found = {}
    for path in addresses:
        person.complaints.clear()  # also of requests to anywhere else
        await person.page.goto(f"{site.origin}{path}")
        wrong = [*await problems(person.page), *await violations(person.page)]
        said = next((EXPECTED[end] for end in EXPECTED if urlsplit(path).path.endswith(end)), "-")
        found[path] = [*wrong, *(each for each in person.complaints if said not in each)]
    return {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize("half", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_no_page_has_a_violation_contract_66(
    site: Site, size: dict[str, int], half: int
) -> None:
    """Also under hostile texts. Each half has every second page: they run beside each other."""
    ann = await site.enrolled("ann", viewport=size)
    filled = await fill(site, ann)
    assert await all_wrong(site, ann, [*pages(filled)][half::2]) == {}


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_what_follows_a_button_has_no_violation_contract_66(
    site: Site, size: dict[str, int]
) -> None:
    """The verification of a log, and the page after a passkey was made."""
    ann = await site.enrolled("ann", viewport=size)
    await ann.page.goto(f"{site.origin}/audit")
    await ann.page.get_by_role("button", name="Verify").first.click()
    await ann.page.get_by_text("all entries hold").wait_for()
    assert [*await problems(ann.page), *await violations(ann.page), *ann.complaints] == []
    cyd = await site.person("cyd", viewport=size)
    await cyd.page.goto(await site.link_for("cyd"))
    assert [*await problems(cyd.page), *await violations(cyd.page)] == []
    await site.make_key(cyd)
    assert [*await problems(cyd.page), *await violations(cyd.page), *cyd.complaints] == []


async def test_the_page_of_the_api_has_no_violation_contract_100(site: Site) -> None:
    """A link to a schema opens it. With everything open, it is no wider than the window."""
    for size in (PHONE, DESK):
        page = await site.browser.new_page()
        await page.set_viewport_size({"width": size["width"], "height": size["height"]})
        await page.goto(f"{site.service.proxy_url}/docs")
        await page.locator("summary", has_text="POST /execute").click()
        await page.get_by_role("link", name="ExecuteBody").first.click()
        await page.get_by_text("A containment that a person has approved.").wait_for()
        assert await violations(page) == []
        await page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
        assert await problems(page) == []


def test_the_style_sheet_and_the_script_are_small_contract_66() -> None:
    static = Path(application.__file__).parent / "static"
    assert sum(each.stat().st_size for each in static.iterdir()) <= 60 * 1024
