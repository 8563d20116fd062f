"""What the log and the audit events say of a 401, 400, 415 and 422 (contract 84)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from tests import audit
from tests.adapters.payloads import DOCUMENTED, REMOVED, changed
from tests.ingestion import (
    OTHER_SECRET,
    RAW_IDS,
    TENANT_FIELDS,
    TENANTS,
    Application,
    Webhook,
    credential,
    running,
    webhook,
)
from tests.proxy import NOWHERE, encoded, proxied, signed, wanted
from tests.service import HMAC_SECRET
from vyrox.chain.entry import SERVICE
from vyrox.crypto import sign
from vyrox.models import Vendor
from vyrox.settings import Settings

SENDER = "203.0.113.9"


@pytest.fixture
async def behind(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """Behind a proxy that is trusted: the client of the tests."""
    trusted = replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with running(trusted, redis_url) as opened:
        await opened.onboard_documented()
        yield opened


def refusal(caplog: pytest.LogCaptureFixture, status: int) -> dict[str, object]:
    """Return the fields of the only line about a refusal with `status`; forget all lines."""
    name = f"request.refused.{status}"
    [line] = [each for each in caplog.records if each.getMessage() == name]
    caplog.clear()
    fields: dict[str, object] = line.__dict__["fields"]
    return fields


async def test_how_a_credential_is_malformed_contract_84(
    behind: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """And by whom, in the log and the event; the answer is the same."""
    right = sign(DOCUMENTED["crowdstrike"], HMAC_SECRET)
    cases = {
        "upper": ({"x-vyrox-signature": right.upper()}, "malformed", "upper_case"),
        "bare": ({"x-vyrox-signature": right[7:]}, "malformed", "no_prefix"),
        "blank": ({"x-vyrox-signature": right.replace("=", "= ")}, "malformed", "blanks"),
        "short": ({"x-vyrox-signature": right[:-1]}, "malformed", "length"),
        "base64": ({"x-vyrox-signature": "A" * 43 + "="}, "malformed", "base64"),
        "wrong": ({"x-vyrox-signature": right}, "wrong", None),
        "none": ({}, "missing", None),
    }
    forwarded = {"x-forwarded-for": f"1.1.1.1, {SENDER}"}
    answers = set()
    for case, (headers, failure, how) in cases.items():
        sent = replace(webhook("crowdstrike"), headers=headers)
        answer = await behind.post(sent, **{"x-request-id": case, **forwarded})
        answers.add((answer.status_code, answer.content, tuple(sorted(answer.headers))))
        line = refusal(caplog, 401)
        assert (line["reason"], line["how"], line["address"]) == (failure, how, SENDER)
    unknown = changed(DOCUMENTED["crowdstrike"], TENANT_FIELDS["crowdstrike"], "nobody")
    upper = Webhook("/webhook/crowdstrike", cases["upper"][0], unknown)
    answer = await behind.post(upper, **{"x-request-id": "unknown", **forwarded})
    answers.add((answer.status_code, answer.content, tuple(sorted(answer.headers))))
    assert len(answers) == 1
    await behind.ingestion.events.close()
    events = await audit.events(behind.database, SERVICE, "auth.failed")
    found = {each["request_id"]: (each["failure"], each["how"], each["address"]) for each in events}
    assert found == {
        "unknown": ("unknown_tenant", None, SENDER),
        **{case: (failure, how, SENDER) for case, (_, failure, how) in cases.items()},
    }


async def test_without_the_setting_the_peer_is_logged_contract_84(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    sent = webhook("sentinelone", secret=OTHER_SECRET)
    await application.post(sent, **{"x-forwarded-for": SENDER})
    assert refusal(caplog, 401)["address"] == "127.0.0.1"


@pytest.mark.parametrize("vendor", TENANT_FIELDS)
async def test_missing_tenant_is_named_contract_84(
    application: Application, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    member = TENANT_FIELDS[vendor]
    for value, found in ((REMOVED, "nothing"), ("a b\x1b[2J", r'"a b\\u001b[2J"'), (True, "true")):
        body = changed(DOCUMENTED[vendor], member, value)
        assert (await application.post(webhook(vendor, body))).status_code == 400
        line = refusal(caplog, 400)
        assert (line["field"], line["found"]) == (member, found)
        keys = str(line["keys"]).split(", ")
        assert (member in keys) == (value is not REMOVED)
        assert len(keys) > 2


async def test_unreadable_alert_is_named_contract_84(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """What stood there is cut, and the rest of the body does not come into the log."""
    long = ["x" * 500]
    for path, value, field, found in (
        ("sensor.hostname", long, "sensor.hostname", '["' + "x" * 62),
        (RAW_IDS["crowdstrike"], REMOVED, "detect_id", "nothing"),
        ("process.sha256", 7, "process.sha256", "7"),
    ):
        body = changed(DOCUMENTED["crowdstrike"], path, value)
        assert (await application.post(webhook("crowdstrike", body))).status_code == 422
        line = refusal(caplog, 422)
        assert (line["field"], line["found"]) == (field, found)
        assert "sensor" in str(line["keys"])
        assert "powershell" not in str(line)


async def test_field_map_says_where_it_was_sought_contract_84(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    body = changed(DOCUMENTED["generic"], "device.name", {"a": 1})
    assert (await application.post(webhook("generic", body))).status_code == 422
    line = refusal(caplog, 422)
    assert (line["field"], line["found"]) == ("device.name", '{"a":1}')
    assert str(line["reason"]).startswith("hostname: ")


async def test_hostile_body_is_bounded_in_the_log_contract_84(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    many = b"{" + b",".join(b'"%d\\n\\u001b%s":1' % (n, b"k" * 99) for n in range(900)) + b"}"
    deep = b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    large = b'{"a":"' + b"x" * 100_000 + b'"}'
    for body in (many, deep, large, b"not json", b"\xff\xfe", b"[]", b""):
        sent = Webhook("/webhook/crowdstrike", {}, body)
        assert (await application.post(sent)).status_code == 400
        line = refusal(caplog, 400)
        keys = str(line.get("keys", ""))
        assert keys.isprintable()
        assert keys.isascii()
        assert len(keys) < 20 * 34
        assert all(len(str(value)) < 1000 for value in line.values())


async def test_body_of_a_signed_request_is_named_contract_84(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied(replace(settings, redis_url=NOWHERE)) as proxy:
        body = encoded(wanted(approved_at="2024-01-01T00:00:00Z"))
        assert (await proxy.post(body, signed(body))).status_code == 400
        line = refusal(caplog, 400)
        assert line["reason"] == "approved_at must be an integer, not a text"
        assert (line["field"], line["found"]) == ("approved_at", '"2024-01-01T00:00:00Z"')
        assert (await proxy.post(body, {})).status_code == 401
        line = refusal(caplog, 401)
        assert (line["reason"], line["address"]) == ("missing", "127.0.0.1")


@pytest.mark.parametrize("path", ["", f"/{TENANTS['crowdstrike']}"])
async def test_encodings_that_are_none_contract_84(
    application: Application, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for encoding in ("utf-8", "UTF-8", "", "identity"):
        body = DOCUMENTED["crowdstrike"] + b" " * len(encoding)
        headers = credential("crowdstrike", body)
        sent = Webhook(f"/webhook/crowdstrike{path}", headers, body)
        answer = await application.post(sent, **{"content-encoding": encoding})
        assert answer.status_code == 202, encoding
    sent = Webhook(f"/webhook/crowdstrike{path}", {}, b"{}")
    hostile = {"content-encoding": "br\t" + "x" * 500}
    assert (await application.post(sent, **hostile)).status_code == 415
    reason = str(refusal(caplog, 415)["reason"])
    assert reason.startswith(r"content-encoding 'br\txxx")
    assert len(reason) < 100
