"""The page on which an approver agrees to a change of who may decide (contract 65, A17)."""

from tests.console.running import TENANT, Running
from vyrox.approvals import changes
from vyrox.approvals.rules import FOUR_EYES
from vyrox.clock import wall_clock


async def test_an_approver_agrees_to_a_change_contract_65_a17(opened: Running) -> None:
    ann, bob = await opened.person("ann"), await opened.person("bob")
    cyd = opened.browser()
    cyd.passkey.credential_id = b"key-of-cyd"
    key = await cyd.enrol(await opened.link_for("cyd"))
    await opened.confirm("cyd", key["thumbprint"])
    assert (await cyd.sign_in()).status_code == 401
    [pending] = await opened.database.read(changes.list_open, TENANT, wall_clock())
    path = f"/changes/{pending.id}"
    assert f'href="{path}"' in (await bob.get("/")).text
    page = (await bob.get(path)).text
    assert "Let a new passkey of cyd decide" in page
    assert "Agree with a passkey" in page
    issued = (await bob.post(f"{path}/statement", {})).json()
    other = (await bob.post(f"{path}/statement", {})).json()
    wrong = ann.answered(issued)
    assert (await ann.post(path, wrong)).status_code == 401
    right = await bob.post(path, bob.answered(issued))
    assert (right.status_code, right.json()) == (200, {"remaining": 0})
    assert (await bob.post(path, bob.answered(other))).status_code == 404
    assert (await cyd.sign_in()).status_code == 200
    assert (await bob.get(path)).status_code == 404


async def test_the_page_of_a_change_says_who_must_agree_contract_65(opened: Running) -> None:
    """A message leads there, also a person who cannot agree."""
    ann, bob = await opened.person("ann"), await opened.person("bob")
    about_ann = changes.Change(
        kind="bind_discord", tenant_id=TENANT, approver="ann", subject="80351110224678912"
    )
    await opened.database.write(changes.ask, about_ann, "operator", wall_clock())
    [pending] = await opened.database.read(changes.list_open, TENANT, wall_clock())
    path = f"/changes/{pending.id}"
    assert f'href="{path}"' not in (await ann.get("/")).text
    page = (await ann.get(path)).text
    assert "Agree with a passkey" not in page
    assert "You cannot agree to this" in page
    assert "Agree with a passkey" in (await bob.get(path)).text


async def test_the_page_of_a_change_says_that_the_person_has_agreed_contract_65(
    opened: Running,
) -> None:
    """To end a rule, two persons must agree."""
    ann, bob = await opened.person("ann"), await opened.person("bob")
    ending = changes.Change(kind="end_rule", tenant_id=TENANT, approver=None, subject=FOUR_EYES)
    await opened.database.write(changes.ask, ending, "operator", wall_clock())
    [pending] = await opened.database.read(changes.list_open, TENANT, wall_clock())
    path = f"/changes/{pending.id}"
    issued = (await ann.post(f"{path}/statement", {})).json()
    assert (await ann.post(path, ann.answered(issued))).json() == {"remaining": 1}
    page = (await ann.get(path)).text
    assert "Agree with a passkey" not in page
    assert "You have agreed" in page
    assert "Agree with a passkey" in (await bob.get(path)).text
