"""Which tenants one person sees, and acts for (contract 76)."""

import pytest

from tests.console.running import ALERT, TENANT, Running
from tests.vendor import add_alert, give_credentials
from vyrox.approvals import approvers
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.console import links, sessions, viewers
from vyrox.console.parts import acts, sees
from vyrox.console.sessions import Person
from vyrox.errors import NotFoundError, NotPossibleError
from vyrox.settings import Settings
from vyrox.store.encryption import open_vault

OTHER = "beta-org"


@pytest.fixture
async def both(opened: Running, settings: Settings) -> Running:
    """Two tenants, each with an alert."""
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    await give_credentials(opened.database, [OTHER], vault=vault)
    await add_alert(opened.database, OTHER, f"{ALERT}-beta")
    return opened


async def person_of(opened: Running, browser_cookie: str) -> Person | None:
    return await opened.database.read(sessions.find, browser_cookie, wall_clock())


async def proposal_of(opened: Running, tenant_id: str, alert_id: str) -> Proposed:
    wanted = Wanted(
        tenant_id=tenant_id,
        alert_id=alert_id,
        action_type="PROCESS_KILL",
        host="workstation-01",
        requested_by="vyrox",
        reason="a miner",
    )
    return await opened.database.write(propose, wanted, wall_clock(), DECIDE_S)


async def join(opened: Running, name: str, tenant_id: str, home: str) -> None:
    now = wall_clock()
    await opened.database.write(
        lambda c: viewers.add(c, tenant_id, name, home, "operator", now, is_same=True)
    )


async def test_a_name_alone_joins_nothing_contract_76(both: Running) -> None:
    """Two people of two tenants may have the same name."""
    ann = await both.person("ann")
    await both.person("ann", OTHER)
    other = await proposal_of(both, OTHER, f"{ALERT}-beta")
    assert (await ann.get(f"/approvals/{other.proposal_id}")).status_code == 404
    found = await person_of(both, ann.client.cookies[sessions.COOKIE])
    assert found is not None
    assert found.tenants == found.acts_for == (TENANT,)


async def test_a_viewer_with_a_home_sees_both_and_acts_at_home_contract_76(both: Running) -> None:
    ann = await both.person("ann")
    await join(both, "ann", OTHER, home=TENANT)
    found = await person_of(both, ann.client.cookies[sessions.COOKIE])
    assert found is not None
    assert (found.tenants, found.acts_for) == ((TENANT, OTHER), (TENANT,))
    other = await proposal_of(both, OTHER, f"{ALERT}-beta")
    page = await ann.get(f"/approvals/{other.proposal_id}")
    assert page.status_code == 200
    assert "data-decision" not in page.text
    refused = await ann.post(f"/approvals/{other.proposal_id}/statements", {"comment": ""})
    assert refused.status_code == 409
    assert OTHER in refused.json()["message"]
    await both.database.write(viewers.remove, OTHER, "ann", "operator", wall_clock())
    assert (await ann.get(f"/approvals/{other.proposal_id}")).status_code == 404
    assert (await ann.get("/keys")).status_code == 200


async def test_who_is_an_approver_of_both_decides_with_a_key_of_each_contract_76(
    both: Running,
) -> None:
    """The session is one; a decision is proven by a passkey of the tenant it is about."""
    ann = await both.person("ann")
    beta = await both.person("ann", OTHER)
    await join(both, "ann", OTHER, home=TENANT)
    other = await proposal_of(both, OTHER, f"{ALERT}-beta")
    issued = await ann.statements(other.proposal_id)
    path = f"/approvals/{other.proposal_id}"
    with_home_key = await ann.post(path, ann.answered(issued["reject"]))
    assert with_home_key.status_code == 401
    issued = await ann.statements(other.proposal_id)
    with_its_key = await ann.post(path, beta.answered(issued["reject"]))
    assert with_its_key.status_code == 200, with_its_key.text
    await both.database.write(approvers.remove, OTHER, "ann", "operator", wall_clock())
    found = await person_of(both, ann.client.cookies[sessions.COOKIE])
    assert found is not None
    assert (found.tenants, found.acts_for) == ((TENANT, OTHER), (TENANT,))


async def test_the_other_way_round_opens_nothing_contract_76(both: Running) -> None:
    """Who may see OTHER as the approver of TENANT: a session of OTHER does not see TENANT."""
    await both.person("ann")
    beta = await both.person("ann", OTHER)
    await join(both, "ann", OTHER, home=TENANT)
    found = await person_of(both, beta.client.cookies[sessions.COOKIE])
    assert found is not None
    assert found.tenants == (OTHER,)


async def test_a_link_for_a_name_of_several_people_is_refused_contract_76(both: Running) -> None:
    await both.database.write(approvers.add, TENANT, "ann", "operator", wall_clock())
    await both.database.write(viewers.add, OTHER, "ann", None, "operator", wall_clock())
    with pytest.raises(NotPossibleError, match=f"{TENANT}, {OTHER}"):
        await both.database.write(links.make, "ann", (), wall_clock())
    _, tenants = await both.database.write(links.make, "ann", (OTHER,), wall_clock())
    assert tenants == [OTHER]
    with pytest.raises(NotFoundError, match="third-org"):
        await both.database.write(links.make, "ann", (OTHER, "third-org"), wall_clock())
    with pytest.raises(NotFoundError, match="neither an approver nor a viewer"):
        await both.database.write(links.make, "nobody", (), wall_clock())


async def test_a_link_of_a_person_of_two_tenants_sees_both_contract_76(both: Running) -> None:
    await both.database.write(approvers.add, TENANT, "ann", "operator", wall_clock())
    await join(both, "ann", OTHER, home=TENANT)
    browser = both.browser()
    secret, _ = await both.database.write(links.make, "ann", (), wall_clock())
    await browser.send("/link", secret=secret)
    found = await person_of(both, browser.client.cookies[sessions.COOKIE])
    assert found is not None
    assert (found.tenants, found.acts_for) == ((TENANT, OTHER), ())


async def test_signing_out_everywhere_ends_a_persons_sessions_only_contract_76(
    both: Running,
) -> None:
    ann = await both.person("ann")
    by_link = both.browser()
    secret, _ = await both.database.write(links.make, "ann", (), wall_clock())
    await by_link.send("/link", secret=secret)
    namesake = await both.person("ann", OTHER)
    bob = await both.person("bob")
    page = await ann.get("/keys")
    assert page.text.count("With a passkey") == 1
    assert page.text.count("With a link") == 1
    assert (await ann.send("/sign-out/everywhere")).status_code == 303
    for browser, status in ((ann, 303), (by_link, 303), (namesake, 200), (bob, 200)):
        assert (await browser.get("/keys")).status_code == status


def test_who_may_see_and_who_may_act_contract_76() -> None:
    person = Person(
        tenant_id="a",
        approver="ann",
        credential_id=None,
        session="x",
        is_due=False,
        tenants=("a", "b"),
        acts_for=("a",),
    )
    sees(person, "b")
    acts(person, "a")
    with pytest.raises(NotFoundError):
        sees(person, "c")
    with pytest.raises(NotFoundError):
        acts(person, "c")
    with pytest.raises(NotPossibleError, match="approver of b"):
        acts(person, "b")
