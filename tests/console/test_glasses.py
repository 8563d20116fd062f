"""Break glass: acting without an approval, and acknowledging that (contract 69, A16)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from tests.audit import events
from tests.console.running import ALERT, TENANT, Browser, Running, running
from tests.notify.samples import SECRET
from tests.proxy import OTHER_SECRET, signed
from tests.service import HMAC_SECRET
from tests.vendor import VAULT
from vyrox.approvals import break_glass
from vyrox.clock import wall_clock
from vyrox.errors import VendorError
from vyrox.notify import targets
from vyrox.settings import Settings
from vyrox.store.tables import audit_log, notifications
from vyrox.store.tables import break_glass as break_glass_rows
from vyrox.tenants.policy import Change, change_policy, set_frozen

HOST = "workstation-01"


@pytest.fixture
async def strict(settings: Settings) -> AsyncIterator[Running]:
    """The service under REQUIRE_APPROVAL."""
    async with running(replace(settings, require_approval=True)) as found:
        yield found


def asked(**changes: object) -> dict[str, Any]:
    return {
        "request_id": str(uuid4()),
        "tenant_id": TENANT,
        "alert_id": ALERT,
        "action_type": "HOST_ISOLATION",
        "host": HOST,
        "by": "jane",
        "reason": "Discord is away & <b>time</b> runs",
        "at": int(wall_clock()),
        **changes,
    }


async def post(
    service: Running, fields: dict[str, Any], path: str = "/break-glass", secret: str = HMAC_SECRET
) -> httpx.Response:
    body = msgspec.json.encode(fields)
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        headers = {"content-type": "application/json", **signed(body, secret)}
        return await client.post(path, content=body, headers=headers)


def executed(**changes: object) -> dict[str, Any]:
    """Return what `/execute` and `/lift` take."""
    fields = asked(**changes)
    fields |= {"approved_by": fields.pop("by"), "approved_at": fields.pop("at")}
    return fields


async def acknowledged(browser: Browser, glass_id: str) -> httpx.Response:
    issued = await browser.post(f"/break-glass/{glass_id}/statement", {})
    assert issued.status_code == 200, issued.text
    return await browser.post(f"/break-glass/{glass_id}", browser.answered(issued.json()))


async def open_ids(service: Running) -> list[str]:
    found = await service.database.read(break_glass.open_ones, TENANT)
    return [each.id for each in found]


async def test_break_glass_acts_is_recorded_and_acknowledged_contract_69_a16(
    strict: Running,
) -> None:
    ann = await strict.person("ann")
    assert (await post(strict, executed(), "/execute")).status_code == 403
    fields = asked()
    response = await post(strict, fields)
    assert (response.status_code, response.json()["status"]) == (200, "executed")
    assert [host for _, host, _ in strict.vendor.asked] == [HOST]
    [used] = await events(strict.database, kind="break_glass.used")
    assert (used["by"], used["reason"]) == ("jane", fields["reason"])
    query = sa.select(audit_log.c.entry, audit_log.c.hash).where(audit_log.c.stream == "actions")
    [(entry, entry_hash)] = await strict.database.read(lambda c: c.execute(query).all())
    assert msgspec.json.decode(entry)["approved_by"] == "break-glass jane"
    assert used["action_hash"] == entry_hash

    glass_id = fields["request_id"]
    assert f"/break-glass/{glass_id}" in (await ann.get("/")).text
    page = (await ann.get(f"/break-glass/{glass_id}")).text
    assert "Discord is away &amp; &lt;b&gt;time&lt;/b&gt; runs" in page
    assert await open_ids(strict) == [glass_id]
    assert (await acknowledged(ann, glass_id)).json() == {"acknowledged_by": "ann"}
    assert await open_ids(strict) == []
    [proof] = await events(strict.database, kind="break_glass.acknowledged")
    assert (proof["approver"], proof["break_glass_sha256"]) == ("ann", used["break_glass_sha256"])
    assert {"statement", "credential_id", "client_data", "authenticator_data", "signature"} < {
        *proof
    }
    assert "ann has acknowledged this" in (await ann.get(f"/break-glass/{glass_id}")).text
    assert (await acknowledged(ann, glass_id)).json() == {"acknowledged_by": "ann"}
    assert len(await events(strict.database, kind="break_glass.acknowledged")) == 1


async def test_every_channel_has_a_notice_once_contract_69_a16(opened: Running) -> None:
    sealed = targets.seal(VAULT, TENANT, "https://hooks.example.invalid/", SECRET)
    shown: Any = ("hooks.example.invalid", "vyrox", "urgent")
    await opened.database.write(targets.add_target, sealed, shown, wall_clock())
    fields = asked()
    assert (await post(opened, fields)).json()["status"] == "executed"
    again = await post(opened, {**fields, "at": int(wall_clock())})
    assert again.json()["status"] == "replayed"
    assert len(opened.vendor.asked) == 1
    query = sa.select(notifications.c.body)
    [body] = await opened.database.read(lambda c: list(c.execute(query).scalars()))
    notice = msgspec.json.decode(body)
    assert (notice["kind"], notice["link"]) == (
        "break_glass.used",
        f"/break-glass/{fields['request_id']}",
    )
    assert notice["text"].startswith(f"jane acts without an approval: HOST_ISOLATION of {HOST}: ")
    assert len(await events(opened.database, kind="break_glass.used")) == 1


async def test_attempt_is_repeated_with_the_first_text_contract_69(opened: Running) -> None:
    opened.vendor.failure = VendorError("the vendor refused it; nothing was sent")
    fields = asked()
    assert (await post(opened, fields)).status_code == 502
    other = await post(opened, {**fields, "reason": "another"})
    assert (other.status_code, len(await open_ids(opened))) == (409, 1)
    opened.vendor.failure = None
    again = await post(opened, {**fields, "at": fields["at"] + 1})
    assert again.json()["status"] == "executed"
    used = await events(opened.database, kind="break_glass.used")
    assert len({each["action_hash"] for each in used}) == len(used) == 2
    assert len({each["break_glass_sha256"] for each in used}) == 1


@pytest.mark.parametrize("rail", ["frozen", "never_contain"])
async def test_guard_rails_and_freeze_hold_contract_69_a16(strict: Running, rail: str) -> None:
    now = wall_clock()
    if rail == "frozen":
        await strict.database.write(lambda c: set_frozen(c, TENANT, now, frozen=True))
    else:
        change = Change(added=(f"host:{HOST}",))
        await strict.database.write(change_policy, TENANT, change, now)
    refused = await post(strict, asked())
    assert (refused.status_code, refused.json()) == (403, {"detail": "refused by policy"})
    assert strict.vendor.asked == []
    assert await open_ids(strict) == []
    assert await events(strict.database, kind="break_glass.used") == []


async def test_lift_needs_an_approval_too_and_break_glass_lifts_contract_69(
    strict: Running,
) -> None:
    assert (await post(strict, asked())).status_code == 200
    lift = {"action_type": "LIFT_HOST_ISOLATION"}
    refused = await post(strict, executed(**lift), "/lift")
    assert (refused.status_code, refused.json()) == (403, {"detail": "refused by policy"})
    assert (await post(strict, asked(**lift))).json()["status"] == "executed"
    assert len(strict.vendor.asked) == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": ""}, 400),
        ({"reason": "  "}, 400),
        ({"reason": "x" * 1001}, 400),
        ({"by": " "}, 400),
        ({"action_type": "WIPE"}, 400),
        ({"tenant_id": "a/b"}, 400),
        ({"at": 1}, 410),
    ],
)
async def test_bad_break_glass_does_nothing_contract_69(
    opened: Running, changes: dict[str, object], status: int
) -> None:
    assert (await post(opened, asked(**changes))).status_code == status
    assert opened.vendor.asked == []
    assert await open_ids(opened) == []


async def test_unsigned_break_glass_does_nothing_contract_69(opened: Running) -> None:
    assert (await post(opened, asked(), secret=OTHER_SECRET)).status_code == 401
    assert opened.vendor.asked == []


async def test_dry_run_is_recorded_and_reaches_no_vendor_contract_69(settings: Settings) -> None:
    async with running(replace(settings, dry_run=True)) as service:
        assert (await post(service, asked())).json() == {"status": "dry_run", "dry_run": True}
        assert service.vendor.asked == []
        assert len(await open_ids(service)) == 1


async def test_only_a_passkey_of_an_approver_acknowledges_contract_69(opened: Running) -> None:
    ann = await opened.person("ann")
    fields, other = asked(), asked(action_type="NETWORK_QUARANTINE", host="srv-2")
    for each in (fields, other):
        assert (await post(opened, each)).status_code == 200
    path = f"/break-glass/{fields['request_id']}"
    stranger = opened.browser()
    assert (await stranger.post(f"{path}/statement", {})).status_code == 401
    assert (await stranger.get(path)).status_code == 303
    issued = (await ann.post(f"/break-glass/{other['request_id']}/statement", {})).json()
    wrong = await ann.post(path, ann.answered(issued))  # a statement for the other one
    assert wrong.status_code == 401
    issued = (await ann.post(f"{path}/statement", {})).json()
    changed = {**ann.answered(issued), "statement": issued["statement"].replace("ann", "bob")}
    assert (await ann.post(path, changed)).status_code == 401
    assert len(await open_ids(opened)) == 2
    assert (await ann.get("/break-glass/unknown")).status_code == 404


async def test_a_changed_record_is_shown_as_changed_contract_69(opened: Running) -> None:
    ann = await opened.person("ann")
    fields = asked()
    assert (await post(opened, fields)).status_code == 200
    changed = break_glass_rows.update().values(text=b"{}")
    await opened.database.write(lambda c: c.execute(changed).rowcount)
    page = await ann.get(f"/break-glass/{fields['request_id']}")
    assert page.status_code == 409
    assert "the record was changed in the database" in page.text
