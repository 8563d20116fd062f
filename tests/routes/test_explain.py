"""Error bodies with a reason, for a caller who has signed and asks (contract 83)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Final

import httpx
import pytest

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
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor
from vyrox import errors
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import VendorError, VendorOutcomeUnknownError, VyroxError
from vyrox.http.explaining import MAX_REASON, outcome_of, reason_of
from vyrox.routes.documents.described import PRIVATE
from vyrox.routes.proxy import create_routes
from vyrox.settings import Settings
from vyrox.tenants import guard_rails

ASKS: Final = {"x-vyrox-explain": "1"}
HOSTILE: Final = "ws\r\nX-Evil: 1\x1b[2J\u202e\ud83d" + "x" * 5000


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor()


@pytest.fixture
async def proxy(settings: Settings, vendor: FakeVendor) -> AsyncIterator[Proxied]:
    live = replace(settings, redis_url=NOWHERE, dry_run=False, execute_rate_per_minute=100)
    async with proxied(live, vendor) as opened:
        yield opened


async def send(proxy: Proxied, path: str, fields: object, **headers: str) -> httpx.Response:
    body = encoded(fields)
    return await proxy.client.post(path, content=body, headers={**signed(body), **headers})


def faults() -> Iterator[tuple[str, Fields, int, str, str]]:
    """Yield the path, the fields, and the status, reason and outcome of each."""
    lift: Fields = {"action_type": "LIFT_HOST_ISOLATION"}
    for path, fields in (("/execute", {}), ("/lift", lift)):
        for change, reason in (
            ({"approved_at": "soon"}, "approved_at must be an integer, not a text"),
            ({"approved_at": None}, "approved_at must be an integer, not null"),
            ({"host": ""}, "host is empty"),
            ({"host": "x" * 257}, "host is longer than 256"),
            ({"host": " "}, "host is only white space"),
            ({"tenant_id": "a b"}, "tenant_id is not a tenant identifier"),
            ({"action_type": "REBOOT"}, "action_type does not take the value 'REBOOT'"),
        ):
            yield path, wanted(**{**fields, **change}), 400, reason, "refused"
        late = wanted(**fields, approved_at=int(wall_clock()) - 3600)
        yield path, late, 410, "the request's time is 36", "refused"
    unheld = wanted(**lift, host="nobody")
    yield "/lift", unheld, 403, "a rule of the tenant refuses it: not contained by vyrox", "refused"
    unknown = wanted(action_type="PROCESS_KILL", alert_id="alt_none")
    yield "/execute", unknown, 501, "a kill at crowdstrike needs a known alert", "refused"
    alone = wanted(tenant_id="without-credentials")
    yield "/execute", alone, 502, "the tenant has no vendor credentials", "not_done"


async def test_every_refusal_has_its_reason_contract_83(proxy: Proxied) -> None:
    for path, fields, status, reason, outcome in faults():
        bare = await send(proxy, path, fields)
        answer = await send(proxy, path, fields, **ASKS)
        assert (bare.status_code, answer.status_code) == (status, status), fields
        assert bare.json().keys() == {"detail"}
        found = answer.json()
        assert found.pop("reason").startswith(reason), found
        assert found == {**bare.json(), "outcome": outcome}
    missing = wanted()
    del missing["approved_by"]
    found = (await send(proxy, "/execute", missing, **ASKS)).json()
    assert found["reason"] == "approved_by is missing"
    assert (await send(proxy, "/execute", [], **ASKS)).json()["reason"] == (
        "the body must be an object, not a list"
    )
    broken = b'{"request_id": '
    answer = await proxy.post(broken, {**signed(broken), **ASKS})
    assert answer.json()["reason"].startswith("the body is not JSON: ")


async def test_outcome_says_whether_it_was_done_contract_83(
    proxy: Proxied, vendor: FakeVendor
) -> None:
    cases = (
        (VendorError("2 devices have this name"), 502, "not_done"),
        (VendorOutcomeUnknownError("no response before the deadline"), 502, "unknown"),
        (RuntimeError("a bug"), 502, "unknown"),
    )
    for failure, status, outcome in cases:
        vendor.failure = failure
        answer = await send(proxy, "/execute", wanted(), **ASKS)
        assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)
        assert (str(failure) in answer.json()["reason"]) == (not isinstance(failure, RuntimeError))
    vendor.failure = None
    vendor.began.clear()
    vendor.gate.clear()
    fields = wanted()
    first = asyncio.create_task(send(proxy, "/execute", fields))
    await vendor.began.wait()
    again = await send(proxy, "/execute", fields, **ASKS)
    assert (again.status_code, again.json()["outcome"]) == (409, "unknown")
    vendor.gate.set()
    assert (await first).status_code == 200
    reused = await send(proxy, "/execute", {**fields, "host": "other"}, **ASKS)
    assert reused.json()["outcome"] == "refused"
    done = await send(proxy, "/execute", fields, **ASKS)
    assert done.json() == {"status": "replayed", "dry_run": False}


async def test_rule_is_the_reason_and_in_the_event_contract_83(proxy: Proxied) -> None:
    await proxy.database.write(
        lambda connection: guard_rails.freeze(connection, TENANT, wall_clock(), frozen=True)
    )
    answer = await send(proxy, "/execute", wanted(), **ASKS)
    assert answer.json() == {
        "detail": "refused by policy",
        "reason": "a rule of the tenant refuses it: frozen",
        "outcome": "refused",
    }
    [event] = await proxy.events(TENANT, "execute.refused")
    assert (event["status"], event["rule"]) == (403, "frozen")


async def test_who_has_not_signed_learns_nothing_contract_83(proxy: Proxied) -> None:
    """No header or another value: as today. A wrong signature: as without the header."""
    body = encoded(wanted(approved_at="soon"))
    plain = await proxy.post(body, signed(body))
    shapes = (plain.content, sorted(plain.headers.keys()))
    assert plain.content == b'{"detail":"invalid request"}'
    for values in ([b"0"], [b"true"], [b""], [b"1", b"1"], [b"1", b"0"], [b" 1"], [b"1,1"]):
        right = (b"x-vyrox-signature", sign(body, HMAC_SECRET).encode())
        headers = [right, *((b"x-vyrox-explain", value) for value in values)]
        answer = await proxy.client.post("/execute", content=body, headers=headers)
        assert (answer.content, sorted(answer.headers.keys())) == shapes, values
    signature = sign(body, HMAC_SECRET)
    wrong: list[dict[str, str]] = [
        {},
        signed(body, OTHER_SECRET),
        {"x-vyrox-signature": signature.upper()},
        {"x-vyrox-signature": signature[:-1]},
        signed(b"another body"),
    ]
    for sent in wrong:
        bare = await proxy.post(body, sent)
        asked = await proxy.post(body, {**sent, **ASKS})
        assert asked.content == bare.content == b'{"detail":"unauthorized"}'
        assert sorted(asked.headers.keys()) == sorted(bare.headers.keys())


async def test_no_route_explains_before_the_signature_contract_83(proxy: Proxied) -> None:
    """Every route of the listener, unsigned and signed for something else, and unknown paths."""
    seen = 0
    for route in create_routes():
        [method] = route.methods - {"HEAD"}  # type: ignore[attr-defined]
        if PRIVATE[f"{method} {route.path}"].credential == "none":  # type: ignore[attr-defined]
            continue
        path = route.path.replace("{", "").replace("}", "")  # type: ignore[attr-defined]
        for headers in ({}, signed(b"x", OTHER_SECRET), export_headers(secret=OTHER_SECRET)):
            for query in ("", f"?tenant_id={TENANT}", "?tenant_id=a%20b"):
                answer = await proxy.client.request(
                    method, path + query, headers={**headers, **ASKS}
                )
                assert answer.status_code in (400, 401)
                assert answer.json().keys() == {"detail"}, (path, headers)
                seen += 1
    assert seen > 100
    for answer in (
        await proxy.client.get("/nowhere", headers=ASKS),
        await proxy.client.get("/execute", headers=ASKS),
        await proxy.client.post("/execute", content=b"x" * 70_000, headers=ASKS),
    ):
        assert answer.json().keys() == {"detail"}


async def test_signed_reads_are_explained_too_contract_83(proxy: Proxied) -> None:
    headers = {**export_headers(), **ASKS}
    unknown = await proxy.client.get(f"/alerts/none?tenant_id={TENANT}", headers=headers)
    assert unknown.status_code == 404
    assert unknown.json()["outcome"] == "refused"
    bad = await proxy.client.get(f"/alerts?tenant_id={TENANT}&limit=x", headers=headers)
    assert bad.json()["reason"] == "limit must be an integer, not a text"
    old = {**export_headers(timestamp=str(int(wall_clock()) - 100)), **ASKS}
    late = await proxy.client.get(f"/audit/export?tenant_id={TENANT}", headers=old)
    assert late.json()["reason"].startswith("the request's time is 10")


async def test_hostile_texts_are_bounded_and_escaped_contract_83(
    proxy: Proxied, vendor: FakeVendor
) -> None:
    vendor.lost = VendorError(f"several hosts are called {HOSTILE}")
    answer = await send(proxy, "/execute", wanted(), **ASKS)
    reason = answer.json()["reason"]
    assert reason.startswith(r"several hosts are called ws\r\nX-Evil: 1\x1b[2J\u202e\ud83d")
    assert reason.isprintable()
    assert len(reason) <= MAX_REASON
    assert "x-evil" not in answer.headers
    bad = await send(proxy, "/execute", wanted(action_type="\x1b[2J\r\nX: 1"), **ASKS)
    assert bad.json()["reason"].isprintable()


def test_every_error_has_an_outcome_contract_83() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    of = {
        kind.__name__: outcome_of(kind.__new__(kind))
        for kind in kinds
        if issubclass(kind, VyroxError) and kind.__module__ == errors.__name__
    }
    for_routes = {name for name in of if name not in _NEVER_OF_A_ROUTE}
    assert {name for name in for_routes if of[name] == "unknown"} == {
        "VyroxError",
        "EntryError",
        "InFlightError",
        "VendorOutcomeUnknownError",
        "WriteUnknownError",
    }
    assert of["VendorLookUpError"] == of["AuditWriteError"] == "not_done"
    assert of["RefusedByPolicyError"] == of["ActionNotSupportedError"] == "refused"
    assert reason_of(VyroxError()).startswith("an error in Vyrox")


_NEVER_OF_A_ROUTE: Final = {
    "NotDeliveredError",
    "SettingsError",
    "OperatorError",
    "MissingDatabaseError",
}
