"""`POST /webhook`, `GET /approvals/{id}` and REQUIRE_APPROVAL (contract 62 and 63)."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import httpx
import pytest

from tests.approvals.decided import Said, add_approvers
from tests.polling import until
from tests.proxy import (
    NOWHERE,
    OTHER_SECRET,
    TENANT,
    Fields,
    Proxied,
    encoded,
    proxied,
    signed,
    wanted,
)
from tests.routes.test_alerts import get
from tests.vendor import FakeVendor
from vyrox.approvals.deciding import decide
from vyrox.settings import Settings

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor()


@pytest.fixture
def on_each(settings: Settings, database_url: str | None) -> Settings:
    return replace(
        settings,
        database_url=database_url,
        encryption_keys=(KEY,),
        redis_url=NOWHERE,
        dry_run=False,
    )


@pytest.fixture
async def running(on_each: Settings, vendor: FakeVendor) -> AsyncIterator[Proxied]:
    """The listener with a vendor, on each of the two databases."""
    async with proxied(on_each, vendor) as opened:
        yield opened


def fields(**changes: object) -> Fields:
    return {
        "request_id": str(uuid.uuid4()),
        "tenant_id": TENANT,
        "alert_id": "alt_abc123",
        "action_type": "HOST_ISOLATION",
        "host": "workstation-01",
        "requested_by": "own-triage",
        "reason": "beacon",
        "lease_s": 0,
        **changes,
    }


async def propose(
    running: Proxied, body: Fields, path: str = "/webhook", **signing: str
) -> httpx.Response:
    content = encoded(body)
    return await running.client.post(path, content=content, headers=signed(content, **signing))


async def test_webhook_proposes_and_people_decide_contract_63(
    running: Proxied, vendor: FakeVendor
) -> None:
    """From the webhook to the vendor, with the service's own dispatcher."""
    await add_approvers(running.database)
    made = await propose(running, fields())
    assert made.status_code == 202
    assert made.json().keys() == {"proposal_id", "proposal_sha256", "expires_at", "state"}
    proposal_id, sha256 = made.json()["proposal_id"], made.json()["proposal_sha256"]
    shown = (await get(running, f"/approvals/{proposal_id}")).json()
    assert (shown["state"], shown["required"], shown["decisions"]) == ("pending", 2, [])
    assert shown["display"].endswith(sha256)
    assert vendor.asked == []
    now = running.proxy.clocks.lease_time()
    for name in ("ann", "bob"):
        await running.database.write(decide, TENANT, proposal_id, Said(sha256, name), now)

    async def is_done() -> bool:
        response = await get(running, f"/approvals/{proposal_id}")
        return bool(response.json()["outcome"] == "confirmed")

    await until(is_done)
    assert vendor.did == [("contained", "workstation-01")]
    shown = (await get(running, f"/approvals/{proposal_id}")).json()
    [entry] = await running.entries()
    assert (shown["state"], shown["action_hash"]) == ("dispatched", entry["hash"])
    assert [each["approver"] for each in shown["decisions"]] == ["ann", "bob"]
    other = await get(running, f"/approvals/{proposal_id}", tenant_id="initech")
    assert (other.status_code, other.json()) == (404, {"detail": "not found"})


async def test_webhook_answers_a_repeat_with_the_same_contract_63(running: Proxied) -> None:
    body = fields()
    made = await propose(running, body)
    assert (await propose(running, body)).content == made.content
    assert (await propose(running, {**body, "host": "another"})).status_code == 422
    # Another request for the same device and action finds the open proposal (A13).
    assert (await propose(running, fields())).json() == made.json()
    assert len(await running.events(kind="approval.proposed")) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"host": None}, 400, id="null"),
        pytest.param({"reason": " "}, 400, id="white_space"),
        pytest.param({"request_id": "1"}, 400, id="request_id"),
        pytest.param({"action_type": "FORMAT"}, 400, id="action"),
        pytest.param({"tenant_id": "../x"}, 400, id="tenant_id"),
        pytest.param({"lease_s": -60}, 400, id="lease"),
        pytest.param({"action_type": "LIFT_HOST_ISOLATION", "lease_s": 60}, 400, id="lift_lease"),
        pytest.param({"required": 0}, 400, id="required"),
        pytest.param({"tenant_id": "unknown"}, 404, id="unknown_tenant"),
        pytest.param({"tenant_id": "initech", "action_type": "PROCESS_KILL"}, 501, id="vendor"),
    ],
)
async def test_webhook_refuses_what_it_cannot_propose_contract_63(
    running: Proxied, changes: Fields, status: int
) -> None:
    assert (await propose(running, fields(**changes))).status_code == status
    assert await running.events(kind="approval.proposed") == []


async def test_webhook_needs_the_signature_first_contract_63(running: Proxied) -> None:
    unsigned = await propose(running, fields(host=None), secret=OTHER_SECRET)
    assert (unsigned.status_code, unsigned.json()) == (401, {"detail": "unauthorized"})
    assert (await running.client.get("/approvals/x")).status_code == 401
    assert (await get(running, "/approvals/x%00")).status_code == 404


@pytest.mark.parametrize("dry_run", [False, True])
async def test_required_approval_refuses_execute_and_lift_contract_62(
    settings: Settings, vendor: FakeVendor, dry_run: bool
) -> None:
    required = replace(settings, redis_url=NOWHERE, dry_run=dry_run, require_approval=True)
    async with proxied(required, vendor) as running:
        for path, action in (("/execute", "HOST_ISOLATION"), ("/lift", "LIFT_HOST_ISOLATION")):
            refused = await propose(running, wanted(action_type=action, force=True), path)
            assert (refused.status_code, refused.json()) == (403, {"detail": "refused by policy"})
        assert not await running.has_acted()
        first, second = await running.events(kind="execute.refused")
        assert first["rule"] == second["rule"] == "an approved proposal is required"
        await add_approvers(running.database)
        made = (await propose(running, fields())).json()
        now = running.proxy.clocks.lease_time()
        for name in ("ann", "bob"):
            proof = Said(made["proposal_sha256"], name)
            await running.database.write(decide, TENANT, made["proposal_id"], proof, now)

        async def is_done() -> bool:
            return await running.has_acted()

        await until(is_done)
    assert len(vendor.did) == (0 if dry_run else 1)
