"""A person enrols, signs in and decides; nothing but a passkey decides (contract 66)."""

from tests.console.running import Running
from tests.polling import until


async def test_a_person_enrols_signs_in_and_approves_contract_66(opened: Running) -> None:
    browser = await opened.person("ann")
    proposal = await opened.propose()
    home = await browser.get("/")
    assert f"/approvals/{proposal.proposal_id}" in home.text
    page = await browser.get(f"/approvals/{proposal.proposal_id}")
    assert page.status_code == 200
    assert f"SHA-256: {proposal.proposal_sha256}" in page.text
    answer = await browser.decide(proposal.proposal_id, comment="I called her")
    assert (answer.status_code, answer.json()) == (200, {"state": "approved"})

    async def acted() -> bool:
        return bool(opened.vendor.asked)

    await until(acted)
