"""Alerts on the private listener, and the two forms of its requests (contract 50 and 51)."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import httpx
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.proxy import (
    NOWHERE,
    OTHER_SECRET,
    TENANT,
    Fields,
    Proxied,
    encoded,
    export_headers,
    proxied,
    signed,
    wanted,
)
from tests.routes.test_execute import bad_signatures
from tests.sample_alerts import NOW, entry_of, new_delivery, queued_ids, store_all
from tests.vendor import AID, FakeVendor, add_alert
from vyrox.alerts.intake import Delivery
from vyrox.alerts.queue import AlertQueue
from vyrox.clock import wall_clock
from vyrox.settings import Settings
from vyrox.store.redis import connect
from vyrox.store.signed_changes import KEPT_S, delete_earlier

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="


@pytest.fixture
async def running(
    settings: Settings, database_url: str | None, redis_url: str
) -> AsyncIterator[Proxied]:
    """The listener, on each of the two databases, with Redis."""
    on_each = replace(settings, database_url=database_url, encryption_keys=(KEY,))
    async with proxied(replace(on_each, redis_url=redis_url)) as opened:
        yield opened


@pytest.fixture
async def on_sqlite(settings: Settings) -> AsyncIterator[Proxied]:
    """The listener on SQLite, without Redis."""
    async with proxied(replace(settings, redis_url=NOWHERE)) as opened:
        yield opened


async def queue(running: Proxied, redis_url: str, *deliveries: Delivery) -> None:
    await store_all(running.database, *deliveries)
    async with connect(redis_url) as client:
        await AlertQueue(client, 1000).put_batch([entry_of(each) for each in deliveries])


async def get(
    running: Proxied, path: str, tenant_id: str = TENANT, **params: str
) -> httpx.Response:
    return await running.client.get(
        path, params={"tenant_id": tenant_id, **params}, headers=export_headers(tenant_id)
    )


def decision(alert_id: str, **changes: object) -> Fields:
    return {
        "tenant_id": TENANT,
        "id": alert_id,
        "request_id": str(uuid.uuid4()),
        "by": "jane.smith",
        "at": int(wall_clock()),
        "verdict": "malicious",
        "note": "seen in the lab",
        **changes,
    }


async def finish(running: Proxied, fields: Fields, path_id: object = None) -> httpx.Response:
    body = encoded(fields)
    path = f"/alerts/{path_id or fields['id']}/finish"
    return await running.client.post(path, content=body, headers=signed(body))


async def verdict_events(running: Proxied, tenant_id: str = TENANT) -> list[Fields]:
    return [dict(each) for each in await running.events(tenant_id, "alert.verdict")]


async def test_list_has_the_tenants_alerts_newest_first_contract_50(
    running: Proxied, redis_url: str
) -> None:
    one, two = (new_delivery(b"%d" % n, received_at=NOW + n) for n in range(2))
    other = new_delivery(b"", tenant_id="initech")
    await queue(running, redis_url, one, two, other)

    answer = await get(running, "/alerts")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    page = answer.json()
    assert [each["id"] for each in page["alerts"]] == [two.alert_id, one.alert_id]
    assert page["alerts"][0]["hostname"] == "workstation-01"
    assert {each["delivery"] for each in page["alerts"]} == {"queued"}
    assert page["before"] is None

    first = (await get(running, "/alerts", limit="1")).json()
    assert [each["id"] for each in first["alerts"]] == [two.alert_id]
    second = (await get(running, "/alerts", limit="1", before=first["before"])).json()
    assert [each["id"] for each in second["alerts"]] == [one.alert_id]
    assert second["before"] is None

    for params, expected in (
        ({"host": "WORKSTATION-01", "since": str(NOW + 0.5)}, {two.alert_id}),
        ({"delivery": "taken"}, set()),
        ({"verdict": "none", "severity": "unknown"}, {one.alert_id, two.alert_id}),
    ):
        found = (await get(running, "/alerts", **params)).json()
        assert {each["id"] for each in found["alerts"]} == expected


async def test_list_needs_no_redis_unless_it_is_asked_for_contract_50(on_sqlite: Proxied) -> None:
    await store_all(on_sqlite.database, new_delivery(b"{}"))
    page = (await get(on_sqlite, "/alerts")).json()
    assert [each["delivery"] for each in page["alerts"]] == ["unfinished"]
    assert (await get(on_sqlite, "/alerts", delivery="taken")).status_code == 500


@pytest.mark.parametrize(
    "params",
    [
        {"severity": "bad"},
        {"severty": "high"},
        {"host": ""},
        {"host": " "},
        {"since": "nan"},
        {"since": "yesterday"},
        {"before": "x"},
        {"before": "nan_x"},
        {"before": "1_\0"},
        {"limit": "0"},
        {"limit": "501"},
        {"delivery": "finished"},
        {"verdict": ""},
    ],
    ids=repr,
)
async def test_list_refuses_a_bad_parameter_contract_50(
    on_sqlite: Proxied, params: dict[str, str]
) -> None:
    answer = await get(on_sqlite, "/alerts", **params)
    assert (answer.status_code, answer.json()) == (400, {"detail": "invalid request"})


@pytest.mark.parametrize("path", ["/audit/export", "/alerts", "/alerts/nothing"])
async def test_signed_reads_have_one_order_of_checks_contract_51(
    on_sqlite: Proxied, path: str
) -> None:
    """Contract 26 has it: headers, tenant, signature, window; then what the route itself checks."""
    old = str(int(wall_clock()) - 60)
    wrong = export_headers(secret=OTHER_SECRET, timestamp=old)

    async def status(tenant_ids: list[str], headers: dict[str, str]) -> int:
        params = {"tenant_id": tenant_ids, "raw": "x", "severity": "x"}
        return (await on_sqlite.client.get(path, params=params, headers=headers)).status_code

    assert await status(["a:b"], {"x-vyrox-timestamp": old}) == 401
    assert await status(["a:b"], {**wrong, "x-vyrox-timestamp": "1e3"}) == 401
    assert await status(["a:b"], wrong) == 400
    assert await status([], wrong) == 400
    assert await status([TENANT, TENANT], wrong) == 400
    assert await status([TENANT], wrong) == 401
    assert await status(["initech"], export_headers()) == 401
    assert await status([TENANT], export_headers(timestamp=old)) == 410
    last = {"/audit/export": 200}.get(path, 400)
    assert await status([TENANT], export_headers()) == last


async def test_show_has_everything_and_no_other_tenants_alert_contract_50(
    running: Proxied, redis_url: str
) -> None:
    one = new_delivery(b'{"a":"\xff"}')
    other = new_delivery(b"", tenant_id="initech")
    await queue(running, redis_url, one, other)

    shown = (await get(running, f"/alerts/{one.alert_id}")).json()
    assert (shown["id"], shown["delivery"], shown["triage"]) == (one.alert_id, "queued", None)
    assert "raw" not in shown
    with_raw = (await get(running, f"/alerts/{one.alert_id}", raw="true")).json()
    assert with_raw["raw"] == '{"a":"\\xff"}'
    for alert_id in (other.alert_id, "nothing", "%00", "%C3%A9"):
        answer = await get(running, f"/alerts/{alert_id}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "not found"})


async def test_show_has_what_was_done_on_the_device_contract_50(
    settings: Settings, database_url: str | None
) -> None:
    acting = replace(
        settings,
        database_url=database_url,
        encryption_keys=(KEY,),
        redis_url=NOWHERE,
        dry_run=False,
    )
    async with proxied(acting, FakeVendor()) as running:
        await add_alert(running.database, TENANT, "same-device", device_id=AID)
        await add_alert(running.database, TENANT, "elsewhere", device_id="other")
        fields = wanted(host=AID, alert_id="alt_abc123")
        assert (await running.execute(fields)).status_code == 200
        for alert_id, is_for_it in (("alt_abc123", True), ("same-device", False)):
            shown = (await get(running, f"/alerts/{alert_id}")).json()
            [action] = shown["actions"]
            assert shown["is_contained"] is True
            assert action.pop("at") > 0
            assert action == {
                "action_type": "HOST_ISOLATION",
                "host": AID,
                "approved_by": "jane.smith#1234",
                "dry_run": False,
                "outcome": "confirmed",
                "reason": None,
                "for_this_alert": is_for_it,
            }
        elsewhere = (await get(running, "/alerts/elsewhere")).json()
        assert (elsewhere["actions"], elsewhere["is_contained"]) == ([], False)


async def test_finish_gives_a_verdict_and_ends_the_entry_contract_50(
    running: Proxied, redis_url: str
) -> None:
    one, left = new_delivery(b"1"), new_delivery(b"2")
    await queue(running, redis_url, one, left)

    answer = await finish(running, decision(one.alert_id))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "alert_id": one.alert_id,
        "tenant_id": TENANT,
        "verdict": "malicious",
        "previous": None,
        "delivery": "done",
    }
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await queued_ids(client) == [left.alert_id]
    shown = (await get(running, f"/alerts/{one.alert_id}")).json()
    assert (shown["verdict"], shown["verdict_by"], shown["delivery"]) == (
        "malicious",
        "jane.smith",
        "done",
    )
    [made] = await verdict_events(running)
    assert (made["alert_id"], made["by"], made["request_id"]) == (
        one.alert_id,
        "jane.smith",
        answer.headers["x-request-id"],
    )


async def test_signed_change_is_made_once_contract_51(running: Proxied) -> None:
    """Sixteen at once and one more that is signed again: one change, one response."""
    one, other = new_delivery(b"1"), new_delivery(b"2")
    await store_all(running.database, one, other)
    fields = decision(one.alert_id)
    answers = await asyncio.gather(*(finish(running, fields) for _ in range(16)))
    answers.append(await finish(running, {**fields, "at": int(wall_clock()) - 5}))
    answers.append(
        await finish(running, {**fields, "request_id": str(fields["request_id"]).upper()})
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["previous"] is None
    assert len(await verdict_events(running)) == 1
    for changes in ({"verdict": "benign"}, {"by": "bob"}, {"note": None}, {"id": other.alert_id}):
        answer = await finish(running, {**fields, **changes})
        assert (answer.status_code, answer.json()) == (422, {"detail": "request_id reused"})
    assert len(await verdict_events(running)) == 1
    now = wall_clock()
    assert await running.database.write(delete_earlier, now + KEPT_S - 60) == 0
    assert await running.database.write(delete_earlier, now + KEPT_S + 60) == 1


async def test_a_refused_change_does_not_use_up_its_request_id_contract_51(
    running: Proxied,
) -> None:
    late = new_delivery(b"1")
    of_another = new_delivery(b"2", tenant_id="initech")
    await store_all(running.database, of_another)
    fields = decision(late.alert_id)
    assert (await finish(running, fields)).status_code == 404
    assert (await finish(running, decision(of_another.alert_id))).status_code == 404
    assert await verdict_events(running, "initech") == []
    await store_all(running.database, late)
    assert (await finish(running, fields)).status_code == 200


async def test_signed_changes_have_one_order_of_checks_contract_51(on_sqlite: Proxied) -> None:
    one = new_delivery(b"1")
    await store_all(on_sqlite.database, one)
    stale = decision(one.alert_id, at=int(wall_clock()) - 60)

    async def status(fields: object, headers: dict[str, str] | None = None) -> int:
        body = encoded(fields)
        answer = await on_sqlite.client.post(
            f"/alerts/{one.alert_id}/finish", content=body, headers=headers or signed(body)
        )
        return answer.status_code

    huge = {**stale, "more": "x" * 65_536, "by": ""}
    assert await status(huge, signed(b"")) == 413
    assert await status({**stale, "by": ""}, signed(b"")) == 401
    assert await status({**stale, "by": ""}) == 400
    assert await status(stale) == 410
    assert await status({**stale, "at": int(wall_clock()) + 60}) == 410
    # What the route itself checks comes last.
    assert await status(decision("another")) == 400
    assert await status({**stale, "id": "another"}) == 410
    body = encoded(decision(one.alert_id))
    for values in bad_signatures(body, b"x").values():
        headers = [(b"x-vyrox-signature", value) for value in values]
        answer = await on_sqlite.client.post(
            f"/alerts/{one.alert_id}/finish", content=body, headers=headers
        )
        assert answer.status_code == 401
    assert await verdict_events(on_sqlite) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "1"},
        {"request_id": "{12345678-1234-1234-1234-123456789012}"},
        {"request_id": None},
        {"tenant_id": "a b"},
        {"by": " "},
        {"by": "x" * 257},
        {"at": True},
        {"at": 1.5},
        {"at": "1700000000"},
        {"verdict": "MALICIOUS"},
        {"verdict": None},
        {"note": "x" * 1001},
        {"note": 5},
        {"id": ""},
    ],
    ids=repr,
)
async def test_finish_refuses_a_bad_field_contract_51(on_sqlite: Proxied, changes: Fields) -> None:
    answer = await finish(on_sqlite, decision("one", **changes), path_id="one")
    assert (answer.status_code, answer.json()) == (400, {"detail": "invalid request"})


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(decision("one"))), value=_JSON, text=st.text(max_size=40))
async def test_finish_of_any_body_is_a_client_error_contract_51(
    on_sqlite: Proxied, name: str, value: object, text: str
) -> None:
    """No alert is there: whatever one field holds, the response is 400, 404 or 410."""
    for content in (json.dumps({**decision("one"), name: value}).encode(), text.encode()):
        answer = await on_sqlite.client.post(
            "/alerts/one/finish", content=content, headers=signed(content)
        )
        assert answer.status_code in {400, 404, 410}
