"""What is set up for a tenant, and freezing it (contract 77)."""

import re
from functools import partial

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import events
from tests.console.running import OWN, TENANT, Browser, Running, ceremonies
from tests.console.test_now import HOSTILE, OTHER, add_row, insert_alert, text_of
from tests.plans import scanned
from tests.vendor import VAULT
from vyrox.approvals import freezing
from vyrox.clock import wall_clock
from vyrox.console import sessions, tenants
from vyrox.console.sessions import Person
from vyrox.notify import targets
from vyrox.notify.messages import Band
from vyrox.notify.targets import Format
from vyrox.settings import Settings
from vyrox.store.encryption import encrypt_secret, open_vault
from vyrox.store.tables import approval_rules, guard_rails, notifications
from vyrox.tenants import containers, records
from vyrox.tenants.freezes import EVERY_TENANT, frozen_since
from vyrox.tenants.guard_rails import Rails, store
from vyrox.tenants.policy import set_frozen

SECRET = b"the-webhook-secret-of-acme-corp"
URL = "https://hooks.example/services/T0PSECRET"
PATH = f"/tenants/{TENANT}"


@pytest.fixture
def looks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every person who signs in may look, and not act."""
    find = sessions.find

    def found(connection: Connection, session_id: str, now: float) -> Person | None:
        person = find(connection, session_id, now)
        return None if person is None else msgspec.structs.replace(person, acts_for=())

    monkeypatch.setattr(sessions, "find", found)


async def frozen(opened: Running) -> float | None:
    return await opened.database.read(frozen_since, TENANT)


async def press(browser: Browser, path: str) -> str:
    """Send the form of a page, and return what the page after it says."""
    answer = await browser.send(path)
    assert answer.status_code == 303, answer.text
    return text_of((await browser.get(answer.headers["location"])).text)


async def test_the_page_shows_what_is_set_up_and_no_secret_contract_77(
    opened: Running, settings: Settings
) -> None:
    ann = await opened.person("ann")
    now = wall_clock()
    console = opened.console
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    encrypted = encrypt_secret(vault, SECRET, TENANT, "crowdstrike", "webhook")
    await opened.database.write(
        records.add_tenant, TENANT, "crowdstrike", encrypted, None, now - 86_400
    )
    newer = encrypt_secret(vault, SECRET + b"-2", TENANT, "crowdstrike", "webhook")
    await opened.database.write(
        records.rotate_tenant, TENANT, "crowdstrike", newer, 3600, now - 60, False
    )
    sealed = targets.seal(vault, TENANT, URL, "whsec_secret")
    await opened.database.write(
        targets.add_target, sealed, ("hooks.example", "vyrox", "urgent"), now
    )
    rails = Rails(per_hour=7, never_contain=("host:dc-*",), other_hosts="refuse")
    await opened.database.write(store, TENANT, rails, "policy", now)
    html = (await ann.get(PATH)).text
    text = text_of(html)
    present, previous = (
        console.fingerprint(TENANT, "crowdstrike", each) for each in (newer, encrypted)
    )
    for shown in (
        f"secret {present}, not used yet",
        f"{previous}",
        "at most 7; 0 in the last hour",
        "Hosts that the alert does not name refused",
        "host:dc-*",
        "ann",
        "last used",
        "crowdstrike at https://api.crowdstrike.com",
        "hooks.example vyrox, urgent incidents",
        f"vyrox tenant rotate {TENANT} --vendor crowdstrike",
        f"vyrox tenant policy {TENANT} --other-hosts allow",
        f"vyrox approver add {TENANT} NAME",
        f"vyrox tenant edr check {TENANT} --vendor crowdstrike",
        f"vyrox tenant notify test {TENANT} {sealed.id}",
    ):
        assert shown in text, shown
    for secret in (SECRET.decode(), URL, "T0PSECRET", "whsec_", "edr-secret", encrypted, newer):
        assert secret not in html


async def unfreeze(browser: Browser, **changed: object) -> httpx.Response:
    """Press the button of the page, with the passkey, as the script does."""
    [ceremony] = ceremonies((await browser.get(f"{PATH}/unfreeze")).text)
    return await browser.post(f"{PATH}/unfreeze", browser.answered(ceremony) | changed)


async def test_unfreezing_takes_a_passkey_at_that_moment_contract_77(opened: Running) -> None:
    ann, bob = await opened.person("ann"), await opened.person("bob")
    await press(ann, f"{PATH}/freeze")
    [ceremony] = ceremonies((await ann.get(f"{PATH}/unfreeze")).text)
    assert (await ann.send(f"{PATH}/unfreeze")).status_code == 400  # a form, without a passkey
    assert (await ann.post(f"{PATH}/unfreeze", {"challenge": "x"})).status_code == 400
    assert (await bob.post(f"{PATH}/unfreeze", bob.answered(ceremony))).status_code == 401
    assert (await ann.post(f"{PATH}/unfreeze", bob.answered(ceremony))).status_code == 401
    sign_in = ceremonies((await ann.get("/sign-in")).text)[0]
    assert (await ann.post(f"{PATH}/unfreeze", ann.answered(sign_in))).status_code == 401
    assert await frozen(opened) is not None
    answer = ann.answered(ceremony)
    assert (await ann.post(f"{PATH}/unfreeze", answer)).json() == {"done": "unfrozen"}
    assert await frozen(opened) is None
    await press(ann, f"{PATH}/freeze")
    assert (await ann.post(f"{PATH}/unfreeze", answer)).status_code == 401  # it counts once
    assert await frozen(opened) is not None


@pytest.mark.parametrize("tenant_id", [TENANT, EVERY_TENANT], ids=["one", "every"])
async def test_people_are_told_of_a_freeze_contract_69(opened: Running, tenant_id: str) -> None:
    """Once for each change, in its transaction; an outsider's tenant only if all are frozen."""
    shown: tuple[str, Format, Band] = ("hooks.example.com", "vyrox", "urgent")
    write, now = opened.database.write, wall_clock()
    for each in (TENANT, OTHER):
        sealed = targets.seal(VAULT, each, "https://hooks.example.com/", "whsec_secret")
        await write(targets.add_target, sealed, shown, now)
    for is_frozen in (True, True, False):
        await write(partial(freezing.set_frozen, frozen=is_frozen), tenant_id, now)
    query = sa.select(notifications.c.body)
    bodies = await opened.database.read(lambda c: c.execute(query).scalars().all())
    told = [msgspec.json.decode(each) for each in bodies]
    people = {TENANT} if tenant_id == TENANT else {TENANT, OTHER}
    for kind in ("tenant.frozen", "tenant.unfrozen"):
        found = [each["tenant_id"] for each in told if each["kind"] == kind]
        assert sorted(found) == sorted(people)
    assert all(each["link"] == f"/tenants/{each['tenant_id']}" for each in told)


async def test_freezing_is_asked_for_done_and_recorded_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    asked = text_of((await ann.get(f"{PATH}/freeze")).text)
    assert "no isolation, no kill, and no lift" in asked
    assert await frozen(opened) is None  # a GET changes nothing
    said = await press(ann, f"{PATH}/freeze")
    assert said.startswith("Frozen: every running container has read it.")
    assert await frozen(opened) is not None
    assert f"{TENANT} is frozen" in text_of((await ann.get("/")).text)
    assert await press(ann, f"{PATH}/freeze")  # again changes nothing, and is no error
    assert "Unfreeze acme-corp?" in text_of((await ann.get(f"{PATH}/unfreeze")).text)
    assert (await unfreeze(ann)).json() == {"done": "unfrozen"}
    shown = text_of((await ann.get(f"{PATH}?done=unfrozen")).text)
    assert shown.startswith("Not frozen any more")
    assert await frozen(opened) is None
    changed = [
        (each["change"], each["by"])
        for each in await events(opened.database, kind="tenant.changed")
        if "by" in each
    ]
    assert changed == [("frozen", "ann"), ("unfrozen", "ann")]


async def test_a_container_that_has_not_read_the_freeze_is_said_contract_77(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await opened.person("ann")
    monkeypatch.setattr(containers, "CONFIRM_TIMEOUT_S", 0.0)
    await opened.database.write(containers.report, "does-not-read", wall_clock())
    said = await press(ann, f"{PATH}/freeze")
    assert said.startswith("Frozen, but not every container has read it yet")
    assert await frozen(opened) is not None


async def test_a_freeze_of_every_tenant_is_not_ended_here_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    now = wall_clock()
    await opened.database.write(lambda c: set_frozen(c, EVERY_TENANT, now, frozen=True))
    assert "Every tenant is frozen" in text_of((await ann.get(PATH)).text)
    assert "Every tenant is frozen" in text_of((await ann.get("/")).text)
    await press(ann, f"{PATH}/freeze")
    assert (await unfreeze(ann)).json() == {"done": "still_frozen"}
    said = text_of((await ann.get(f"{PATH}?done=still_frozen")).text)
    assert said.startswith("Still frozen, with every tenant")
    assert await frozen(opened) is not None


@pytest.mark.usefixtures("looks_only")
async def test_who_only_looks_has_no_button_and_freezes_nothing_contract_77(
    opened: Running,
) -> None:
    ann = await opened.person("ann")
    assert f"{PATH}/freeze" not in (await ann.get(PATH)).text
    assert (await ann.get(f"{PATH}/freeze")).status_code == 409
    for path in (f"{PATH}/freeze", f"{PATH}/unfreeze"):
        refused = await ann.send(path)
        assert refused.status_code == 409
        assert f"an approver of {TENANT}" in text_of(refused.text)
    assert await frozen(opened) is None


async def test_another_tenant_is_as_one_that_does_not_exist_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(lambda c: add_row(c, OTHER, "generic"))
    assert OTHER not in (await ann.get("/tenants")).text
    for path in ("", "/freeze", "/unfreeze"):
        found, none = [await ann.get(f"/tenants/{each}{path}") for each in (OTHER, "no-corp")]
        assert (found.status_code, found.text) == (none.status_code, none.text)
        assert found.status_code == 404
    for path in ("/freeze", "/unfreeze"):
        found, none = [await ann.send(f"/tenants/{each}{path}") for each in (OTHER, "no-corp")]
        assert (found.status_code, found.text) == (none.status_code, none.text)
        assert found.status_code == 404
    for name in ("", "%00", "..", "a" * 5000, HOSTILE):
        assert (await ann.get(f"/tenants/{name}/freeze")).status_code in {404, 307}
    foreign = await ann.client.post(f"{PATH}/freeze", headers={**OWN, "sec-fetch-site": "none"})
    assert foreign.status_code == 403
    assert await opened.database.read(frozen_since, OTHER) is None
    assert await frozen(opened) is None


async def test_what_is_stored_stays_text_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    now = wall_clock()

    def fill(connection: Connection) -> None:
        row = {"added_at": now, "added_by": "x"}
        connection.execute(approval_rules.insert().values(tenant_id=TENANT, rule=HOSTILE, **row))
        connection.execute(
            guard_rails.insert().values(
                tenant_id=TENANT, per_hour=0, never_contain=msgspec.json.encode([HOSTILE]).decode()
            )
        )

    await opened.database.write(fill)
    html = (await ann.get(PATH)).text
    assert html.count("&lt;script&gt;alert(1)") == 2
    assert "<script>alert" not in html
    assert "\u202e" not in html


async def test_pages_of_tenants_joined_are_all_of_them_contract_77(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"tenant-{number:03}" for number in range(7)] + [TENANT]
    find = sessions.find

    def found(connection: Connection, session_id: str, now: float) -> Person | None:
        person = find(connection, session_id, now)
        return person and msgspec.structs.replace(person, tenants=tuple(names))

    monkeypatch.setattr(sessions, "find", found)
    monkeypatch.setattr(tenants, "PAGE_ROWS", 3)
    ann = await opened.person("ann")
    listed: list[str] = []
    path = "/tenants"
    while path:
        html = (await ann.get(path)).text
        listed += re.findall(r'href="/tenants/([a-z0-9-]+)"', html)
        older = re.search(r'rel="next" href="([^"]*)"', html)
        path = older[1].replace("&amp;", "&") if older else ""
    assert listed == sorted(names)


async def test_no_query_of_the_page_reads_a_whole_table_contract_77(opened: Running) -> None:
    now = wall_clock()
    await opened.database.write(lambda c: insert_alert(c, now))

    def read(connection: Connection) -> None:
        tenants._show(connection, opened.console, TENANT, now)
        tenants._list(connection, opened.console, [TENANT], now)

    large = {"alerts", "audit_log", "quarantine", "notifications", "graph_notices"}
    assert await scanned(opened.database, read) & large == set()
