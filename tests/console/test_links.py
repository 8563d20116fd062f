"""Signing in with a one-time link: to look, and to change nothing (contract 76)."""

import asyncio
import re

import pytest
import sqlalchemy as sa

from tests.console.running import OWN, TENANT, Running, ask
from vyrox.approvals import approvers
from vyrox.clock import wall_clock
from vyrox.console import links, sessions, viewers
from vyrox.console.application import create_routes
from vyrox.store.tables import console_links, console_sessions

ACTS = {"/sign-in", "/sign-out", "/sign-out/everywhere", "/link", "/enrol", "/enrol/open"}
"""What a person who only looks, or who has not signed in, may post."""


async def made(opened: Running, name: str, *tenants: str) -> str:
    secret, _ = await opened.database.write(links.make, name, tenants, wall_clock())
    return secret


async def test_a_link_signs_in_once_contract_76(opened: Running) -> None:
    now = wall_clock()
    await opened.database.write(viewers.add, TENANT, "vic", None, "operator", now)
    secret = await made(opened, "vic")
    browser = opened.browser()
    page = await browser.get("/link")
    assert TENANT not in page.text  # the same for everybody
    answer = await browser.send("/link", secret=secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert answer.headers["set-cookie"].startswith("__Host-vyrox-session=")
    home = await browser.get("/")
    assert "to see only" in home.text
    again = await opened.browser().send("/link", secret=secret)
    assert again.status_code == 409
    assert "this link is used" in again.text
    assert "set-cookie" not in again.headers


async def test_of_two_clicks_at_once_one_signs_in_contract_76(opened: Running) -> None:
    await opened.viewer("vic")
    secret = await made(opened, "vic")
    answers = await asyncio.gather(
        *(opened.browser().send("/link", secret=secret) for _ in range(4))
    )
    assert sorted(each.status_code for each in answers) == [303, 409, 409, 409]


async def test_a_whole_link_may_be_pasted_contract_76(opened: Running) -> None:
    await opened.viewer("vic")
    secret = await made(opened, "vic")
    pasted = f"  http://localhost:8002/link#{secret}\n"
    assert (await opened.browser().send("/link", secret=pasted)).status_code == 303


@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "\0", "\ud800"])
async def test_no_other_text_is_a_link_contract_76(opened: Running, secret: str) -> None:
    await opened.viewer("vic")
    fields = {"secret": secret.encode("utf-8", "surrogatepass")}
    answer = await opened.browser().client.post("/link", data=fields, headers=OWN)
    assert answer.status_code in {400, 409}
    assert "set-cookie" not in answer.headers


async def test_a_link_is_too_old_after_10_minutes_contract_76(opened: Running) -> None:
    await opened.viewer("vic")
    secret = await made(opened, "vic")
    c = console_links.c
    earlier = console_links.update().values(expires_at=c.expires_at - links.LINK_S)
    await opened.database.write(lambda connection: connection.execute(earlier).rowcount)
    assert (await opened.browser().send("/link", secret=secret)).status_code == 409


async def test_no_secret_is_stored_contract_76(opened: Running) -> None:
    browser = await opened.viewer("vic")
    secret = await made(opened, "vic")
    found = await opened.database.read(
        lambda c: [*c.execute(sa.select(console_links)), *c.execute(sa.select(console_sessions))]
    )
    assert secret not in repr(found)
    assert browser.client.cookies[sessions.COOKIE] not in repr(found)


async def test_a_link_only_looks_also_that_of_an_approver_contract_76(opened: Running) -> None:
    """A reader of the message with the link decides nothing, and adds no key."""
    await opened.person("ann")
    proposal = await opened.propose()
    browser = opened.browser()
    secret = await made(opened, "ann")
    assert (await browser.send("/link", secret=secret)).status_code == 303
    page = await browser.get(f"/approvals/{proposal.proposal_id}")
    assert page.status_code == 200
    assert "data-decision" not in page.text
    for path in (
        f"/approvals/{proposal.proposal_id}/statements",
        f"/approvals/{proposal.proposal_id}",
        "/keys/statement",
        "/keys/add",
        "/keys/remove",
    ):
        answer = await browser.post(path, {})
        assert answer.status_code == 409, path
        assert "signed in with a passkey" in answer.json()["message"]
    keys_page = await browser.get("/keys")
    assert "thumbprint" not in keys_page.text
    assert "With a link" in keys_page.text


async def test_a_viewer_changes_nothing_by_any_route_contract_76(opened: Running) -> None:
    """Each route, with a body of each kind: of what exists and of what does not."""
    await opened.person("ann")
    proposal = await opened.propose()
    vic = await opened.viewer("vic")
    for route in create_routes():
        path = route.path  # type: ignore[attr-defined]
        if "POST" not in route.methods or path in ACTS:  # type: ignore[attr-defined]
            continue
        filled = re.sub(r"{tenant_id[^}]*}", TENANT, path)
        filled = re.sub(r"{[^}]*}", proposal.proposal_id, filled)
        for answer in (await vic.post(filled, {}), await vic.send(filled)):
            assert answer.status_code in {400, 403, 404, 409}, (filled, answer.status_code)


@pytest.mark.parametrize("how", ["viewer", "approver", "home"])
async def test_a_right_that_ends_ends_at_the_next_request_contract_76(
    opened: Running, how: str
) -> None:
    now = wall_clock()
    write = opened.database.write
    if how == "viewer":
        browser = await opened.viewer("vic")
        await write(viewers.remove, TENANT, "vic", "operator", now)
    else:
        await write(approvers.add, "home-org", "vic", "operator", now)
        if how == "home":
            browser = await opened.viewer("vic", TENANT, home="home-org")
        else:
            browser = opened.browser()
            secret = await made(opened, "vic")
            await browser.send("/link", secret=secret)
        assert (await browser.get("/keys")).status_code == 200
        await write(approvers.remove, "home-org", "vic", "operator", now)
    answer = await browser.get("/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in#/keys")
    shown = await browser.send("/sign-out/everywhere")
    assert (shown.status_code, shown.headers["location"]) == (303, "/sign-in")


async def test_a_link_of_someone_who_was_removed_opens_nothing_contract_76(
    opened: Running,
) -> None:
    await opened.viewer("vic")
    secret = await made(opened, "vic")
    await opened.database.write(viewers.remove, TENANT, "vic", "operator", wall_clock())
    browser = opened.browser()
    await browser.send("/link", secret=secret)
    assert (await browser.get("/")).status_code == 303


async def test_the_page_of_the_link_answers_other_sites_with_403_contract_76(
    opened: Running,
) -> None:
    """Else another site could sign a person in as somebody else."""
    app = opened.app.state.console_app
    answer = await ask(app, "POST", "/link", {"host": "localhost:8002"})
    assert answer.status_code == 403
