"""`POST /lift`, and refusals by policy, over HTTP (contract 34 and 35)."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.audit import NOW
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT, Fields, encoded, proxied, signed, wanted
from tests.routes.test_execute import EXECUTED, check, refusal
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor
from vyrox.clock import wall_clock
from vyrox.errors import VendorError
from vyrox.settings import Settings
from vyrox.tenants import guard_rails
from vyrox.tenants.guard_rails import Rails

LIFT: Final[Fields] = {"action_type": "LIFT_HOST_ISOLATION"}


@pytest.fixture
def acting(data_dir: Path) -> Settings:
    return Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=NOWHERE, dry_run=False)


async def test_lift_is_signed_answered_and_logged_like_execute_contract_34(
    acting: Settings,
) -> None:
    vendor = FakeVendor()
    async with proxied(acting, vendor) as running:

        async def lift(fields: Fields, secret: str = HMAC_SECRET) -> "tuple[int, Fields]":
            body = encoded(fields)
            answer = await running.client.post("/lift", content=body, headers=signed(body, secret))
            return answer.status_code, answer.json()

        fields = wanted(**LIFT)
        assert await lift(fields) == (403, refusal("refused by policy"))
        [refused] = await running.events(kind="execute.refused")
        assert (refused["status"], refused["rule"]) == (403, "not contained by vyrox")
        assert not await running.has_acted()
        check(await running.execute(wanted()), 200, EXECUTED)
        assert await lift(fields, OTHER_SECRET) == (401, refusal("unauthorized"))
        stale = wanted(**LIFT, approved_at=int(wall_clock()) - 31)
        assert await lift(stale) == (410, refusal("outside the replay window"))
        assert await lift(fields) == (200, EXECUTED)
        assert await lift(fields) == (200, {"status": "replayed", "dry_run": False})
        reused = {**fields, "host": "workstation-02"}
        assert await lift(reused) == (422, refusal("request_id reused"))
        entries = await running.entries()
        assert [entry["action_type"] for entry in entries] == [
            "HOST_ISOLATION",
            "LIFT_HOST_ISOLATION",
        ]
        outcomes = await running.events(kind="execute.outcome")
        assert [outcome["entry"] for outcome in outcomes] == [entry["hash"] for entry in entries]
        forced = wanted(action_type="LIFT_NETWORK_QUARANTINE", force=True)
        assert await lift(forced) == (200, EXECUTED)
    assert [target for target, _ in vendor.did] == ["contained", "lifted", "lifted"]


@pytest.mark.parametrize(
    ("route", "changed"),
    [
        pytest.param("/lift", {}, id="reject_containment_to_lift"),
        pytest.param("/lift", {"action_type": "LIFT_PROCESS_KILL"}, id="reject_unknown_lift"),
        pytest.param("/lift", {**LIFT, "force": "true"}, id="reject_force_as_text"),
        pytest.param("/lift", {**LIFT, "force": 1}, id="reject_force_as_number"),
        pytest.param("/lift", {**LIFT, "force": None}, id="reject_force_as_null"),
        pytest.param("/lift", {**LIFT, "host": " "}, id="reject_empty_host"),
        pytest.param("/execute", LIFT, id="reject_lift_to_execute"),
    ],
)
async def test_lift_and_execute_take_their_own_actions_alone_contract_34(
    acting: Settings, route: str, changed: Fields
) -> None:
    async with proxied(acting, FakeVendor()) as running:
        body = encoded({**wanted(), **changed})
        answer = await running.client.post(route, content=body, headers=signed(body))
        check(answer, 400, refusal("invalid request"))
        assert not await running.has_acted()


async def test_execute_refused_by_policy_is_403_and_leaves_nothing_contract_35(
    acting: Settings,
) -> None:
    vendor = FakeVendor()
    async with proxied(acting, vendor) as running:
        await running.database.write(
            guard_rails.store, TENANT, Rails(per_hour=1), "for a test", NOW
        )
        check(await running.execute(wanted()), 200, EXECUTED)
        refused = wanted(host="workstation-02")
        for _ in range(2):
            answer = await running.execute(refused)
            check(answer, 403, refusal("refused by policy"))
        assert len(await running.entries()) == len(await running.claimed()) == 1
        told = await running.events(kind="execute.refused")
        assert [event["rule"] for event in told] == ["per_hour 1"] * 2
        check(await running.execute(wanted(tenant_id="initech")), 200, EXECUTED)
    assert len(vendor.asked) == 2


async def test_execute_host_that_the_vendor_does_not_know_is_502_with_its_reason_contract_36(
    acting: Settings,
) -> None:
    vendor = FakeVendor()
    vendor.lost = VendorError("2 devices have this name")
    fields = wanted()
    async with proxied(acting, vendor) as running:
        check(await running.execute(fields), 502, refusal("vendor error"))
        [outcome] = await running.events(kind="execute.outcome")
        assert (outcome["outcome"], outcome["reason"]) == ("failed", "2 devices have this name")
        await running.database.write(
            guard_rails.store, TENANT, Rails(never_contain=("host:dc-*",)), "for a test", NOW
        )
        check(await running.execute(fields), 502, refusal("vendor error"))
        [refused] = await running.events(kind="execute.refused")
        assert (refused["status"], refused["reason"]) == (502, "2 devices have this name")
        assert len(await running.entries()) == 1
    assert vendor.asked == []


async def test_lift_in_dry_run_is_answered_so_contract_34(acting: Settings) -> None:
    async with proxied(replace(acting, dry_run=True)) as running:
        body = encoded(wanted(**LIFT))
        answer = await running.client.post("/lift", content=body, headers=signed(body))
        check(answer, 200, {"status": "dry_run", "dry_run": True})
