"""What persons may not do, in Chromium: other tenants' ids, stolen cookies, links (contract 76)."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest
from starlette.routing import Route

from tests.browser.filled import OTHER, Filled, count, fill, routes
from tests.browser.site import TENANT, Site
from tests.browser.test_every_page import WITHOUT_SESSION, pages
from vyrox.store import tables as t

pytestmark = pytest.mark.browser

ASK: Final = """async (asked) => Promise.all(asked.map(async ([method, path, kind]) => {
    const body = method === "POST" ? (kind.includes("json") ? "{}" : "note=x") : undefined;
    const headers = method === "POST" ? {"content-type": kind} : {};
    const response = await fetch(path, {method, headers, body, redirect: "manual"});
    return [response.status, await response.text()];
}))"""
"""Sends requests as the console's own pages do."""

SIGN_IN: Final = re.compile(r"/sign-in(#.*)?$")

HARMLESS: Final = frozenset({"/link", "/sign-out/everywhere", "/audit/verify", "/audit/download"})
"""Where the forms of a viewer's pages go."""

KINDS: Final = ("application/json", "application/x-www-form-urlencoded")


class Asked(NamedTuple):
    method: str
    path: str
    kind: str = ""


def asked_of(filled: Filled) -> Iterator[Asked]:
    """Yield a request for each thing of the tenant, to each route whose address names one."""
    for method in ("GET", "POST"):
        for route in routes(method):
            if "{" not in route.path or "{name}" in route.path:
                continue
            for path in filled.addresses(route):
                for kind in KINDS if method == "POST" else ("",):
                    yield Asked(method, path, kind)


def asked_by_tenant(tenant_id: str) -> Iterator[Asked]:
    for route in routes("GET"):
        if "{" not in route.path and _is_about_tenants(route):
            yield Asked("GET", f"{route.path}?tenant={tenant_id}")


def _is_about_tenants(route: Route) -> bool:
    """Return whether a page can be asked to be about one tenant."""
    return route.path not in {*WITHOUT_SESSION, "/keys", "/tenants"}


async def has_nothing_of_another_tenant(site: Site, filled: Filled) -> None:
    """Check every route with an id, in each way that a page of the console sends a request."""
    eve = await site.enrolled("eve", tenant_id=OTHER)
    nothing = Filled({name: ["0"] if "int" in name else ["nothing"] for name in filled.values})
    found = {}
    for name, asked in (
        ("theirs", [*asked_of(filled), *asked_by_tenant(TENANT)]),
        ("nothing", [*asked_of(nothing), *asked_by_tenant("nobody")]),
    ):
        answers = await eve.page.evaluate(ASK, asked)
        for each, (status, text) in zip(asked, answers, strict=True):
            assert status == 404, (each, status, text[:500])
        found[name] = {(*each[::2], text) for each, (_, text) in zip(asked, answers, strict=True)}
    assert found["theirs"] == found["nothing"]


FORMS: Final = """forms => forms.map((form) => form.getAttribute("action"))"""


async def has_no_button(site: Site, filled: Filled) -> None:
    """Check a viewer's pages, and that what a viewer posts all the same is refused."""
    vic = await site.signed_in_by_link("vic")
    for path in [each for each in pages(filled) if each not in WITHOUT_SESSION]:
        response = await vic.page.goto(f"{site.origin}{path}")
        assert response is not None
        assert response.status in {200, 404 if path == "/nothing" else 409}, path
        found = await vic.page.locator("main form[method=post]").evaluate_all(FORMS)
        assert set(found) <= HARMLESS, path
        assert await vic.page.locator("main button[type=button]:visible").count() == 0, path
    asked = [each for each in asked_of(filled) if each.method == "POST"]
    for each, (status, _) in zip(asked, await vic.page.evaluate(ASK, asked), strict=True):
        assert status in {400, 409}, each
    # Only what fill has let ann decide.
    assert await site.database.read(count, t.decisions) == 1


async def test_an_approver_elsewhere_and_a_viewer_may_do_nothing_contract_76(site: Site) -> None:
    """One tenant with everything in it, for both: to fill one takes longer than to ask."""
    filled = await fill(site, await site.enrolled("ann"))
    await has_nothing_of_another_tenant(site, filled)
    await has_no_button(site, filled)


async def test_a_stolen_cookie_ends_with_the_session_contract_76(site: Site) -> None:
    """ "Sign out everywhere" ends the thief's session too, also on a page that is open."""
    ann = await site.enrolled("ann")
    proposal = await site.propose()
    thief = await site.person("mallory")
    await thief.context.add_cookies(await ann.context.cookies())
    path = f"/approvals/{proposal.proposal_id}"
    await thief.page.goto(f"{site.origin}{path}")
    assert await thief.page.get_by_role("button", name="Approve").count() == 1
    await ann.page.goto(f"{site.origin}/keys")
    await ann.page.get_by_role("button", name="Sign out everywhere").click()
    await ann.page.wait_for_url(SIGN_IN)
    asked = [Asked("POST", f"{path}/statements", KINDS[0]), Asked("POST", path, KINDS[0])]
    for status, _ in await thief.page.evaluate(ASK, asked):
        assert status == 401
    await thief.page.wait_for_url(SIGN_IN)  # by itself: the page has asked for changes
    assert "Sign in" in await thief.page.inner_text("h1")


async def test_a_link_is_used_once_and_in_time_contract_76(site: Site) -> None:
    await site.vyrox("viewer", "add", TENANT, "vic")
    links = [await site.console_link("vic") for _ in range(2)]
    tried = await site.person("vic"), await site.person("late"), await site.person("second")
    for person, link in zip(tried, (links[0], links[1], links[0]), strict=True):
        await person.page.goto(link)
    await tried[0].page.get_by_role("button", name="Sign in").click()
    await tried[0].page.wait_for_url(f"{site.origin}/")
    old = t.console_links.update().values(expires_at=0.0)
    await site.database.write(lambda connection: connection.execute(old).close())
    for person in tried[1:]:
        await person.page.get_by_role("button", name="Sign in").click()
        await person.page.get_by_text("this link is used, older than 10 minutes").wait_for()
        await person.page.goto(site.origin)
        await person.page.wait_for_url(SIGN_IN)
    # A used link is not in the history either.
    await tried[0].page.go_back()
    assert "#" not in tried[0].page.url
    assert await tried[0].page.get_by_label("The link").input_value() == ""
