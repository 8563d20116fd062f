"""What every page does, in Chromium: refresh, keyboard, no script, a link (contract 76)."""

import re

import pytest

from tests.browser.site import DESK, TENANT, Person, Site
from tests.polling import until
from vyrox.approvals.proposing import Proposed, Wanted

pytestmark = pytest.mark.browser

POSITION = "document.activeElement.getBoundingClientRect().top"


async def three_proposals(site: Site) -> list[Proposed]:
    return [
        await site.propose(
            Wanted(
                tenant_id=TENANT,
                alert_id="alt_abc123",
                action_type=action,
                host="workstation-01",
                requested_by="vyrox",
                reason="a miner",
            )
        )
        for action in ("PROCESS_KILL", "HOST_ISOLATION", "LIFT_HOST_ISOLATION")
    ]


async def focused(person: Person) -> str:
    return str(await person.page.evaluate("document.activeElement.getAttribute('href')"))


async def test_a_page_that_refreshes_leaves_the_focus_where_it_is_contract_76(site: Site) -> None:
    ann = await site.enrolled("ann")
    first, second, third = await three_proposals(site)
    await ann.page.goto(f"{site.origin}/")
    link = ann.page.locator(f'main a[href="/approvals/{third.proposal_id}"]').first
    await link.focus()
    version = await ann.page.get_attribute("body", "data-version")
    before = await ann.page.evaluate(POSITION)
    await site.vyrox("approval", "withdraw", first.proposal_id)

    async def is_refreshed() -> bool:
        return bool(await ann.page.get_attribute("body", "data-version") != version)

    await until(is_refreshed)
    assert await focused(ann) == f"/approvals/{third.proposal_id}"
    assert abs(await ann.page.evaluate(POSITION) - before) < 2
    assert ann.complaints == []
    # Nothing changes under a comment.
    await ann.page.goto(f"{site.origin}/approvals/{second.proposal_id}")
    await ann.page.get_by_label("Comment").fill("I have")
    await site.vyrox("approval", "withdraw", second.proposal_id)
    await ann.page.get_by_text("This page has changed").wait_for()
    assert await ann.page.get_by_label("Comment").input_value() == "I have"


async def test_the_keyboard_contract_76(site: Site) -> None:
    ann = await site.enrolled("ann", viewport=DESK)
    proposals = {f"/approvals/{each.proposal_id}" for each in await three_proposals(site)}
    await ann.page.goto(f"{site.origin}/")
    keys = ann.page.keyboard
    await keys.press("j")
    first = await focused(ann)
    await keys.press("j")
    assert {first, await focused(ann)} < proposals
    await keys.press("k")
    assert await focused(ann) == first
    await keys.press("?")
    await ann.page.get_by_role("dialog").wait_for()
    await ann.page.get_by_label("Use these keys").uncheck()
    await ann.page.get_by_role("button", name="Close").click()
    await keys.press("j")
    assert await focused(ann) == first
    await ann.page.get_by_role("button", name="Keyboard").click()
    await ann.page.get_by_label("Use these keys").check()
    await keys.press("Escape")
    await ann.page.goto(f"{site.origin}{first}")
    await ann.page.locator("[data-decision=approve]:enabled").wait_for()
    await keys.press("r")
    assert await ann.page.evaluate("document.activeElement.dataset.decision") == "reject"
    await keys.press("a")
    assert await ann.page.evaluate("document.activeElement.dataset.decision") == "approve"
    await ann.page.get_by_label("Comment").fill("")
    await ann.page.get_by_label("Comment").press("r")
    assert await ann.page.get_by_label("Comment").input_value() == "r"
    assert ann.complaints == []


async def link_of(site: Site, name: str) -> str:
    await site.vyrox("viewer", "add", TENANT, name)
    printed = await site.vyrox("console", "link", name)
    [link] = re.findall(r"http://localhost:\S+", printed)
    return str(link)


async def test_a_link_signs_in_with_one_click_contract_76(site: Site) -> None:
    vic = await site.person("vic")
    await vic.page.goto(await link_of(site, "vic"))
    assert "#" not in vic.page.url  # the secret is not in what the person copies or reads aloud
    await vic.page.get_by_role("button", name="Sign in").click()
    await vic.page.wait_for_url(f"{site.origin}/")
    assert "to see only" in await vic.page.inner_text("header")
    assert vic.complaints == []
    await vic.page.goto(f"{site.origin}/keys")
    await vic.page.get_by_role("button", name="Sign out", exact=True).click()
    await vic.page.wait_for_url(f"{site.origin}/sign-in")


async def test_without_the_script_contract_76(site: Site) -> None:
    """Only what needs a passkey says that it needs JavaScript."""
    context = await site.browser.new_context(java_script_enabled=False)
    site.stack.push_async_callback(context.close)
    page = await context.new_page()
    link = await link_of(site, "vic")
    await page.goto(f"{site.origin}/link")
    await page.get_by_label("The link").fill(link)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{site.origin}/")
    for path, number in (("/", 0), ("/keys", 0), ("/nothing", 0), ("/sign-in", 1), ("/enrol", 1)):
        await page.goto(f"{site.origin}{path}")
        assert (await page.content()).count("needs JavaScript") == number, path

    async def is_signed_out() -> bool:
        return bool(page.url == f"{site.origin}/sign-in")

    await page.goto(f"{site.origin}/keys")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await until(is_signed_out)
