"""The console in Chromium, with virtual passkeys (contract 66, A25, A27, A28, A37, A38)."""

import asyncio

import pytest

from tests.browser.site import ALERT, DESK, TENANT, Person, Site
from tests.polling import until
from tests.vendor import AID
from vyrox.approvals.break_glass import BrokenGlass
from vyrox.approvals.changes import Change, ask
from vyrox.clock import wall_clock
from vyrox.models import BreakGlass

pytestmark = pytest.mark.browser


async def open_proposal(site: Site, person: Person, proposal_id: str) -> None:
    await person.page.goto(f"{site.origin}/approvals/{proposal_id}")


async def click(person: Person, name: str) -> str:
    """Click a button as soon as it may be clicked, and return what the page then says."""
    await person.page.get_by_role("button", name=name).click()
    return await person.said()


async def test_two_persons_approve_and_the_vendor_isolates_contract_66(site: Site) -> None:
    """From the operator's link to the vendor, and the log names both passkeys."""
    ann, bob = await site.enrolled("ann"), await site.enrolled("bob", "dark", DESK)
    proposal = await site.propose()
    for person, said in ((ann, "One more person"), (bob, "This page shows what comes of it")):
        await open_proposal(site, person, proposal.proposal_id)
        assert f"SHA-256: {proposal.proposal_sha256}" in await person.page.inner_text("#display")
        await person.page.get_by_label("Comment").fill(f"{person.name} called them")
        assert said in await click(person, "Approve")

    async def isolated() -> bool:
        return site.is_isolated

    await until(isolated)
    assert ann.complaints == bob.complaints == []
    # The page shows by itself what came of it.
    await ann.page.get_by_text("Result: confirmed").wait_for()
    secrets = [link.partition("#")[2] for link in (site.links["ann"], site.links["bob"])]
    logged = "".join(site.service.output)
    assert not [secret for secret in secrets if secret in logged]


async def test_a_rejection_and_a_cancelled_passkey_contract_66(site: Site) -> None:
    ann = await site.enrolled("ann")
    proposal = await site.propose()
    await ann.context.clear_cookies()
    # A link from a message asks to sign in, and then shows the proposal.
    await open_proposal(site, ann, proposal.proposal_id)
    await ann.sign_in(site.origin)
    assert ann.page.url.endswith(f"/approvals/{proposal.proposal_id}")
    await ann.verified(False)  # the device does not recognise its person
    assert "nothing was recorded" in await click(ann, "Approve")
    await ann.verified(True)
    assert "you rejected it" in await click(ann, "Reject")
    assert await ann.page.get_by_role("button", name="Approve").count() == 0
    assert "rejected" in await ann.page.inner_text("main")
    assert not site.is_isolated


async def test_a_wrong_answer_of_a_passkey_is_refused_contract_66(site: Site) -> None:
    ann = await site.enrolled("ann")
    proposal = await site.propose()
    await open_proposal(site, ann, proposal.proposal_id)
    for wrong in ("isBogusSignature", "isBadUV"):
        await ann.override(**{wrong: True})
        assert "nothing was recorded" in await click(ann, "Approve")
        await ann.override(**{wrong: False})
    # The page has a new statement each time, so the person can try again.
    assert "One more person" in await click(ann, "Approve")


async def test_a_further_passkey_and_its_removal_contract_66(site: Site) -> None:
    """A passkey asks for another one; the other one can then remove it."""
    ann = await site.enrolled("ann")
    await ann.page.goto(f"{site.origin}/keys")
    assert await ann.page.get_by_role("button", name="Remove").is_disabled()
    await ann.page.get_by_role("button", name="Make another passkey").click()
    await ann.page.wait_for_url("**/enrol#*")
    second = await ann.add_authenticator()
    await site.make_key(ann)
    await ann.page.goto(f"{site.origin}/keys")
    cards = ann.page.locator("li.card")
    assert await cards.count() == 2
    await ann.use_only(second)
    first = cards.filter(has_text="you are signed in with it")
    await first.get_by_role("button", name="Remove").click()
    # The session was that of the removed passkey, so it has ended.
    await ann.page.wait_for_url(lambda url: "/sign-in" in url)
    await ann.sign_in(site.origin)
    await ann.page.goto(f"{site.origin}/keys")
    assert await cards.count() == 1


async def test_an_approver_agrees_and_acknowledges_contract_65_contract_69(site: Site) -> None:
    """A change of who may decide, and an action without an approval."""
    ann = await site.enrolled("ann")
    await site.enrolled("bob")
    about_bob = Change(kind="bind_discord", tenant_id=TENANT, approver="bob", subject="8" * 17)
    await site.database.write(ask, about_bob, "operator", wall_clock())
    asked = BreakGlass(
        request_id="glass-1",
        tenant_id=TENANT,
        alert_id=ALERT,
        action_type="HOST_ISOLATION",
        host=AID,
        by="jane",
        reason="Discord is away",
        at=int(wall_clock()),
    )
    await site.database.write(BrokenGlass(asked, wall_clock()).begin, wall_clock())
    said_after = (
        ("An action without an approval", "Acknowledge with a passkey", "ann has acknowledged it"),
        ("Let an account at Discord decide", "Agree with a passkey", "the change is made"),
    )
    for link, button, said in said_after:
        await ann.page.goto(site.origin)
        await ann.page.get_by_role("link", name=link).click()
        await ann.page.get_by_role("button", name=button, disabled=False).wait_for()
        assert said in await click(ann, button)
    assert await ann.page.get_by_role("link", name="approval").count() == 0
    assert ann.complaints == []


async def test_a_browser_without_passkeys_is_told_what_to_do_contract_66(site: Site) -> None:
    """As inside an app that shows links in a window of its own (A27)."""
    person = await site.person("ann")
    await person.context.add_init_script("delete window.PublicKeyCredential")
    await person.page.goto(f"{site.origin}/sign-in")
    assert "Open this address in your browser" in await person.said()
    assert await person.page.get_by_role("button", name="Sign in with").is_disabled()


async def another_site(site: Site) -> str:
    """Serve a page on another port of this machine: browsers send it the console's cookie."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + b"<h1>Another site</h1>")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    site.stack.callback(server.close)
    return f"http://localhost:{server.sockets[0].getsockname()[1]}/"


POST = """(url) => fetch(
    url, {method: "POST", mode: "no-cors", credentials: "include", body: "{}"}
).catch(() => null)"""

FRAME = """(url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
}"""


async def test_another_site_neither_reads_nor_changes_anything_contract_66(site: Site) -> None:
    """A page of another origin posts with the person's cookie, and frames the console."""
    ann = await site.enrolled("ann")
    proposal = await site.propose()
    path = f"/approvals/{proposal.proposal_id}"
    elsewhere = await ann.context.new_page()
    await elsewhere.goto(await another_site(site))
    for where in (path, f"{path}/statements", "/sign-out"):
        await elsewhere.evaluate(POST, f"{site.origin}{where}")
    await site.service.wait_for("request.refused.403", 3)
    async with elsewhere.expect_event("console", lambda message: "frame-ancestors" in message.text):
        await elsewhere.evaluate(FRAME, f"{site.origin}{path}")
    await ann.page.goto(f"{site.origin}{path}")
    assert await ann.page.get_by_role("button", name="Approve").count() == 1
