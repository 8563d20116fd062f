"""Every form of every page, in a browser without JavaScript (contract 76)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from starlette.routing import Match

from tests.browser.filled import fill, routes
from tests.browser.looks import problems
from tests.browser.site import Site
from tests.browser.test_every_page import pages

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

pytestmark = pytest.mark.browser

Sent = tuple[str, str]
"""The method and the path of the route that a form is sent to."""

WITH_PASSKEY: Final[frozenset[Sent]] = frozenset(
    ("POST", path)
    for path in (
        "/sign-in",
        "/enrol/open",
        "/enrol",
        "/keys/statement",
        "/keys/add",
        "/keys/remove",
        "/approvals/{proposal_id}",
        "/approvals/{proposal_id}/statements",
        "/tenants/{tenant_id}/unfreeze",
        "/changes/{change_id}",
        "/changes/{change_id}/statement",
        "/break-glass/{glass_id}",
        "/break-glass/{glass_id}/statement",
    )
)
"""To these the script posts, because only it can use a passkey."""

LAST: Final[frozenset[Sent]] = frozenset(
    {("POST", "/sign-out"), ("POST", "/sign-out/everywhere"), ("POST", "/link")}
)
"""These change who is signed in. `/link` is in a test of its own."""

DOWNLOADS: Final = frozenset({"/audit/download"})
"""Routes that answer a form with a file."""

FORM: Final = "form:not([method=dialog])"
FORMS: Final = "forms => forms.map(form => [form.method, form.getAttribute('action')])"


@dataclass(frozen=True)
class Form:
    page: str
    method: str
    action: str


def route_of(method: str, path: str) -> Sent:
    """Return the route that a form is sent to."""
    scope = {"type": "http", "method": method, "path": path}
    for route in routes(method):
        if route.matches(scope)[0] == Match.FULL:
            return method, route.path
    raise AssertionError(f"a form is sent to {path}, where there is nothing")


async def forms_of(page: "Page", origin: str, path: str) -> list[Form]:
    """Return the forms of a page, and check the page itself."""
    response = await page.goto(f"{origin}{path}")
    assert response is not None
    assert await problems(page) == [], path
    found = await page.locator(FORM).evaluate_all(FORMS)
    return [Form(path, method, action or "") for method, action in found]


async def opened(form: "Locator") -> None:
    """Open what is closed around the form, and in it."""
    await form.evaluate(
        "form => { for (let at = form; at; at = at.parentElement) at.open = true; }"
    )
    await form.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")


async def filled_in(form: "Locator") -> None:
    """Write something where nothing is written yet."""
    for field in await form.locator("textarea, input[type=text], input:not([type])").all():
        if not await field.input_value():
            await field.fill("seen, and it is ours")
    for choice in await form.locator("input[type=radio]").all():
        await choice.check()


async def sent(page: "Page", origin: str, form: Form) -> bool:
    """Send a form as a person does, and check what comes of it. Return False if it is gone."""
    await page.goto(f"{origin}{form.page}")
    which = f"[action='{form.action}']" if form.action else ":not([action])"
    found = page.locator(f"{FORM}{which}").first
    if not await found.count():
        return False  # another form has changed what there is to do
    await opened(found)
    if form.method == "post":
        await filled_in(found)
    button = found.locator("button[type=submit], button:not([type])").first
    if form.action in DOWNLOADS:
        async with page.expect_download() as download:
            await button.click()
        assert await (await download.value).failure() is None
        return True
    async with page.expect_navigation() as navigation:
        await button.click()
    response = await navigation.value
    assert response is not None
    text = await page.inner_text("main")
    assert response.status == 200, f"{form}: {response.status} {text}"
    assert await problems(page) == [], form
    return True


async def test_every_form_works_without_the_script_contract_76(site: Site) -> None:
    """Forms that only appear after others, such as the one that opens again, are found then."""
    ann = await site.enrolled("ann")
    filled = await fill(site, ann)
    page = await site.without_script(ann)
    left = {("POST", each.path) for each in routes("POST")} - WITH_PASSKEY - LAST
    done: set[Sent] = set()
    addresses = list(pages(filled))
    while new := await new_forms(site, page, addresses, done):
        # Nothing hides alerts that a person has judged: that comes first.
        in_order = sorted(new.items(), key=lambda each: not each[1].action.endswith("/suppress"))
        sent_now = {to for to, form in in_order if await sent(page, site.origin, form)}
        assert sent_now != set()
        done |= sent_now
    assert left - done == set()
    for path in ("/sign-out", "/sign-out/everywhere"):
        await page.context.add_cookies(await ann.context.cookies())
        assert await sent(page, site.origin, Form("/keys", "post", path))
        assert urlsplit(page.url).path == "/sign-in"
        await ann.page.goto(site.origin)
        await ann.sign_in(site.origin)


async def new_forms(
    site: Site, page: "Page", addresses: list[str], known: set[Sent]
) -> dict[Sent, Form]:
    """Return a form for each route to which none was sent yet.

    Pages that have none are taken from `addresses`: they are not opened again.
    """
    found: dict[Sent, Form] = {}
    for path in list(addresses):
        forms = [
            (to, form)
            for form in await forms_of(page, site.origin, path)
            if (to := route_of(form.method.upper(), urlsplit(form.action or path).path)) not in LAST
        ]
        if all(form.method == "get" for _, form in forms):
            addresses.remove(path)
        for to, form in forms:
            if to not in known:
                found.setdefault(to, form)
    return found
