"""The console in Chromium, with virtual passkeys (contract 66, A25, A27, A37)."""

import pytest

from tests.browser.site import Site
from tests.polling import until

pytestmark = pytest.mark.browser


async def test_two_persons_approve_and_the_vendor_isolates_contract_66(site: Site) -> None:
    ann = await site.enrolled("ann")
    bob = await site.enrolled("bob")
    proposal = await site.propose()
    for person, said in ((ann, "One more person"), (bob, "Vyrox carries it out now")):
        await person.page.goto(f"{site.origin}/approvals/{proposal.proposal_id}")
        assert f"SHA-256: {proposal.proposal_sha256}" in await person.page.inner_text("#display")
        await person.page.get_by_role("button", name="Approve").click()
        assert said in await person.said()

    async def isolated() -> bool:
        return site.is_isolated

    await until(isolated)
    assert ann.complaints == bob.complaints == []
