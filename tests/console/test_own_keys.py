"""The page of a person's own passkeys (contract 66, A39)."""

from typing import Any

from tests.approvals.authenticator import b64
from tests.console.running import TENANT, Browser, Running, ceremonies
from vyrox.approvals import keys


async def with_two(opened: Running) -> tuple[Browser, Browser]:
    """Return the browsers of two passkeys of Ann, both confirmed; the first is signed in."""
    first = await opened.person("ann")
    second = opened.browser()
    second.passkey.credential_id = b"second-key-of-ann"
    issued = (await first.post("/keys/statement", {})).json()
    link = await first.post("/keys/add", first.answered(issued))
    key = await second.enrol(link.json()["secret"])
    await opened.confirm("ann", key["thumbprint"])
    return first, second


async def removals(browser: Browser) -> dict[str, dict[str, Any]]:
    """Return what the page has for the removal of each passkey."""
    page = (await browser.get("/keys")).text
    ids = [part.partition('"')[0] for part in page.split('data-remove="')[1:]]
    return dict(zip(ids, ceremonies(page), strict=True))


async def count(opened: Running) -> int:
    return len(await opened.database.read(keys.keys_of, TENANT, "ann"))


async def test_only_another_passkey_of_the_person_removes_one_contract_66_a39(
    opened: Running,
) -> None:
    first, second = await with_two(opened)
    bob = await opened.person("bob")
    own = b64(first.passkey.credential_id)
    ceremony = (await removals(first))[own]
    for agreed, status in ((bob, 401), (first, 409)):
        content = {**agreed.answered(ceremony), "credential_id": own}
        assert (await first.post("/keys/remove", content)).status_code == status
    right = {**second.answered(ceremony), "credential_id": own}
    other = {**right, "credential_id": "another"}
    assert (await first.post("/keys/remove", other)).status_code == 401  # sealed for one key
    assert await count(opened) == 2
    assert (await first.post("/keys/remove", right)).status_code == 200
    assert await count(opened) == 1
    assert (await first.get("/keys")).status_code == 303  # its session has ended


async def test_a_passkey_that_waits_can_be_removed_by_the_only_one_contract_66(
    opened: Running,
) -> None:
    """The only one that decides cannot be removed."""
    ann = await opened.person("ann")
    waiting = opened.browser()
    waiting.passkey.credential_id = b"second-key-of-ann"
    issued = (await ann.post("/keys/statement", {})).json()
    link = await ann.post("/keys/add", ann.answered(issued))
    await waiting.enrol(link.json()["secret"])
    page = (await ann.get("/keys")).text
    buttons = [each.partition(">Remove<")[0] for each in page.split("data-remove=")[1:]]
    assert sorted(each.endswith(" disabled") for each in buttons) == [False, True]
    [(name, ceremony)] = [
        each for each in (await removals(ann)).items() if each[1]["options"]["allowCredentials"]
    ]
    content = {**ann.answered(ceremony), "credential_id": name}
    assert (await ann.post("/keys/remove", content)).status_code == 200
    assert await count(opened) == 1
