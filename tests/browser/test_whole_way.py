"""From an alert to what the vendor did, and how pages follow, in Chromium (contract 66, 76)."""

from typing import Final

import pytest

from tests.browser.filled import HOST, payload
from tests.browser.site import ALERT, TENANT, Person, Site
from tests.polling import until
from vyrox.approvals.proposing import Wanted, propose
from vyrox.approvals.rows import decisions_on
from vyrox.clock import wall_clock

pytestmark = pytest.mark.browser

OPEN_S: Final = 12
"""Long enough for a busy machine to open a proposal's page twice."""

KILL = Wanted(
    tenant_id=TENANT,
    alert_id=ALERT,
    action_type="PROCESS_KILL",
    host=HOST,
    hostname="workstation-01",
    requested_by="operator",
    reason="a miner",
)


async def proposed_by_vyrox(site: Site, person: Person) -> None:
    """Let the vendor report an attack, and wait for what Vyrox proposes to show by itself."""
    await person.page.goto(site.origin)
    assert await site.deliver(payload(1)) == 202
    await person.page.get_by_role("link", name="workstation-01").first.wait_for()


async def open_proposal(person: Person) -> None:
    await person.page.locator("main a[href^='/approvals/']").first.click()
    await person.page.locator("[data-decision=approve]:enabled").wait_for()


async def test_from_an_alert_to_the_vendor_contract_66(site: Site) -> None:
    """A webhook, the triage, a proposal, a passkey, and the vendor's call; then the proof."""
    ann = await site.enrolled("ann")
    await proposed_by_vyrox(site, ann)
    await open_proposal(ann)
    display = await ann.page.inner_text("#display")
    assert HOST in display
    await ann.page.get_by_role("button", name="Approve").click()
    await ann.page.get_by_text("Result: confirmed").wait_for()

    async def is_contained() -> bool:
        return site.mock.crowdstrike.devices[HOST.replace("-", "")].status == "contained"

    await until(is_contained)
    await ann.page.get_by_role("link", name="Now", exact=True).click()
    await ann.page.get_by_role("heading", name="Contained now").wait_for()
    await ann.page.get_by_role("link", name="Audit").click()
    await ann.page.get_by_role("button", name="Verify").first.click()
    await ann.page.get_by_text("all entries hold").wait_for()
    assert ann.complaints == []


async def test_a_rejection_of_what_vyrox_proposes_contract_66(site: Site) -> None:
    ann = await site.enrolled("ann")
    await proposed_by_vyrox(site, ann)
    await open_proposal(ann)
    await ann.page.get_by_label("Comment").fill("our own test")
    await ann.page.get_by_role("button", name="Reject").click()
    assert "you rejected it" in await ann.said()
    await ann.page.goto(site.origin)
    await ann.page.get_by_text("no host is contained").first.wait_for()
    assert site.mock.crowdstrike.devices[HOST.replace("-", "")].status == "normal"


async def test_a_proposal_expires_while_its_page_is_open_contract_66(site: Site) -> None:
    """The page says so by itself, and a decision that comes too late is not recorded."""
    ann = await site.enrolled("ann")
    proposal = await site.database.write(propose, KILL, wall_clock(), OPEN_S)
    address = f"{site.origin}/approvals/{proposal.proposal_id}"
    other = await ann.context.new_page()
    await other.goto(address)
    await ann.page.goto(address)
    # This page is not refreshed under the comment: its buttons stay.
    await ann.page.get_by_label("Comment").fill("it is ours")
    await ann.page.locator("[data-decision=approve]:enabled").wait_for()
    await other.get_by_text("expired", exact=True).wait_for(timeout=60_000)
    assert await other.get_by_role("button", name="Approve").count() == 0
    await ann.page.get_by_text("This page has changed").wait_for()
    await ann.page.get_by_role("button", name="Approve").click()
    await ann.page.get_by_text("nothing was recorded").wait_for()
    assert await site.database.read(decisions_on, proposal.proposal_id) == []


async def test_a_page_is_asked_for_within_the_time_promised_contract_76(site: Site) -> None:
    """By a clock of its own: within 5 s in use; within 60 s after a long time without use."""
    ann = await site.enrolled("ann")
    await ann.page.clock.install()
    await ann.page.goto(site.origin)
    row = ann.page.locator("main a[href^='/approvals/']")
    first = await site.propose()
    await ann.page.clock.run_for(5_000)
    await row.first.wait_for()
    await ann.page.clock.fast_forward(600_000)
    await ann.page.clock.run_for(60_000)
    await site.vyrox("approval", "withdraw", first.proposal_id)
    async with ann.page.expect_response(lambda each: each.status == 200):
        await ann.page.clock.run_for(60_000)
