"""Audit events of both listeners: their members, their chain, and the limits in a flood."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import httpx
import pytest
from cryptography.fernet import Fernet

from tests import audit
from tests.adapters.payloads import DOCUMENTED, REMOVED, changed
from tests.ingestion import (
    OTHER_SECRET,
    RAW_IDS,
    TENANT_FIELDS,
    TENANTS,
    VENDORS,
    Application,
    Webhook,
    running,
    webhook,
)
from tests.proxy import (
    NOWHERE,
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
from vyrox.chain.entry import SERVICE
from vyrox.chain.events import PER_SECOND
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.settings import Settings
from vyrox.store.database import open_database

STAMPED: Final = {"timestamp", "tenant_id", "previous_hash", "hash"}
FLOOD: Final = 200


@pytest.fixture
async def ingestion(
    settings: Settings, database_url: str | None, redis_url: str
) -> AsyncIterator[Application]:
    """The ingestion listener on each of the two databases; the documented tenants are onboarded."""
    async with running(replace(settings, database_url=database_url), redis_url) as opened:
        await opened.onboard_documented()
        yield opened


@pytest.fixture
def proxy_settings(settings: Settings) -> Settings:
    return replace(settings, redis_url=NOWHERE)


@pytest.fixture
async def proxy(proxy_settings: Settings) -> AsyncIterator[Proxied]:
    """The proxy listener, on SQLite."""
    async with proxied(proxy_settings) as opened:
        yield opened


async def told(
    opened: Application | Proxied, tenant_id: str, kind: str, *, by_now: bool = False
) -> list[Fields]:
    """Return what a tenant's events of one kind say.

    Args:
        by_now: Only what is committed already, without what was noted.
    """
    if isinstance(opened, Application):
        events, database = opened.ingestion.events, opened.database
    else:
        events, database = opened.proxy.events, opened.database
    if not by_now:
        await events.close()
    found = await audit.events(database, tenant_id, kind)
    return [
        {name: value for name, value in event.items() if name not in STAMPED} for event in found
    ]


async def test_accepted_alert_is_told_before_its_202_contract_17(ingestion: Application) -> None:
    """In the transaction of its row: nothing has to be flushed for it to be there."""
    for vendor in VENDORS:
        answer = await ingestion.post(webhook(vendor), **{"x-request-id": f"trace-{vendor}"})
        assert answer.status_code == 202
        accepted = await told(ingestion, TENANTS[vendor], "alert.accepted", by_now=True)
        assert accepted[-1] == {
            "kind": "alert.accepted",
            "request_id": f"trace-{vendor}",
            "alert_id": answer.json()["alert_id"],
            "source": vendor,
            **DOCUMENTED_TRIAGE[vendor],
        }
    chains = await audit.verified_chains(ingestion.database)
    assert set(chains) == {(tenant_id, "events") for tenant_id in TENANTS.values()}


DOCUMENTED_TRIAGE: Final[dict[str, Fields]] = {
    vendor: {"severity": severity, "host": host, "process": process, "technique": technique}
    for vendor, severity, host, process, technique in (
        ("crowdstrike", "high", "workstation-01", "cmd.exe", "T1059"),
        ("sentinelone", "high", "workstation-01", "powershell.exe", "T1059"),
        ("defender", "high", "workstation-01.acme.local", "lsass-dumper.exe", "T1003"),
        ("generic", "high", "workstation-01", "cmd.exe", "T1059"),
    )
}
"""What the event of each documented payload says for who reads it at night."""


async def test_log_line_of_an_accepted_alert_says_how_bad_it_is_contract_50(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vyrox"):
        answer = await application.post(webhook("crowdstrike"))
    [line] = [each for each in caplog.records if each.getMessage() == "alert.accepted"]
    fields = line.__dict__["fields"]
    assert fields["alert_id"] == answer.json()["alert_id"]
    assert fields.items() >= DOCUMENTED_TRIAGE["crowdstrike"].items()


async def test_every_accepted_alert_is_told_once_contract_17(ingestion: Application) -> None:
    """Many at once, some of them twice, and each with an id of its own (contract 2)."""
    alerts = [webhook("crowdstrike", DOCUMENTED["crowdstrike"] + b" " * n) for n in range(50)]
    answers = await asyncio.gather(*(ingestion.post(sent) for sent in alerts * 2))
    assert {answer.status_code for answer in answers} == {202}
    accepted = await told(ingestion, TENANTS["crowdstrike"], "alert.accepted", by_now=True)
    assert Counter(event["alert_id"] for event in accepted) == Counter(
        {answer.json()["alert_id"] for answer in answers}
    )
    trace_ids = {answer.headers["x-request-id"] for answer in answers}
    assert {event["request_id"] for event in accepted} <= trace_ids
    assert len(trace_ids) == len(answers)


async def test_alert_that_is_not_queued_is_told_with_its_row_contract_15(
    proxy_settings: Settings,
) -> None:
    """Redis is away, so the answer is 503; the row is there, and so is its event."""
    async with running(proxy_settings, NOWHERE) as application:
        await application.onboard_documented()
        assert (await application.post(webhook("crowdstrike"))).status_code == 503
        [(tenant_id, alert_id)] = await application.stored()
        [accepted] = await told(application, tenant_id, "alert.accepted", by_now=True)
    assert accepted["alert_id"] == alert_id


async def test_redelivered_alert_is_told_contract_14(application: Application) -> None:
    first = await application.post(webhook("crowdstrike"))
    await application.post(webhook("crowdstrike"), **{"x-request-id": "trace-2"})
    assert await told(application, TENANTS["crowdstrike"], "alert.redelivered") == [
        {
            "kind": "alert.redelivered",
            "request_id": "trace-2",
            "alert_id": first.json()["alert_id"],
        }
    ]
    assert len(await told(application, TENANTS["crowdstrike"], "alert.accepted")) == 1


async def test_quarantined_alert_is_told_contract_16(application: Application) -> None:
    """Why, and nothing of what was in it."""
    body = changed(DOCUMENTED["crowdstrike"], RAW_IDS["crowdstrike"], REMOVED)
    sent = webhook("crowdstrike", body)
    assert (await application.post(sent, **{"x-request-id": "trace-1"})).status_code == 422
    [event] = await told(application, TENANTS["crowdstrike"], "alert.quarantined")
    reason = event.pop("reason")
    assert event == {
        "kind": "alert.quarantined",
        "request_id": "trace-1",
        "source": "crowdstrike",
        "body_kept": True,
    }
    assert "detect_id" in str(reason)
    assert "workstation-01" not in str(reason)


async def test_failed_webhook_authentication_is_told_contract_27(application: Application) -> None:
    """In the tenant's chain where it is one, else in the service's own, with what it claimed."""
    await application.onboard("removed", "crowdstrike")
    await application.remove("removed", "crowdstrike")
    unknown = changed(DOCUMENTED["crowdstrike"], TENANT_FIELDS["crowdstrike"], "nobody")
    removed = changed(DOCUMENTED["crowdstrike"], TENANT_FIELDS["crowdstrike"], "removed")
    malformed = {"x-vyrox-signature": "x"}
    acme, of_removed = ("acme-corp",) * 2, ("removed",) * 2
    of_nobody = ("nobody", None)
    cases: dict[str, tuple[Webhook, Whose, str]] = {
        "missing": (webhook("crowdstrike", secret=None), acme, "missing"),
        "wrong_signature": (webhook("crowdstrike", secret=OTHER_SECRET), acme, "wrong"),
        "malformed": (replace(webhook("crowdstrike"), headers=malformed), acme, "malformed"),
        "wrong_token": (webhook("sentinelone", secret=OTHER_SECRET), acme, "wrong"),
        "removed": (webhook("crowdstrike", removed), of_removed, "no_secret"),
        "unknown": (webhook("crowdstrike", unknown), of_nobody, "unknown_tenant"),
        "unknown_path": (webhook("generic", tenant_id="nobody"), of_nobody, "unknown_tenant"),
        "odd_path": (
            webhook("generic", tenant_id="a%20b"),
            (None, None),
            "unknown_tenant",
        ),
    }
    for case, (sent, _, _) in cases.items():
        assert (await application.post(sent, **{"x-request-id": case})).status_code == 401
    found = {
        event["request_id"]: (
            (event["claimed_tenant"], event["resolved_tenant"]),
            event["failure"],
        )
        for event in await told(application, SERVICE, "auth.failed")
    }
    assert found == {case: (whose, failure) for case, (_, whose, failure) in cases.items()}
    chains = await audit.verified_chains(application.database)
    assert ("nobody", "events") not in chains


Whose = tuple[str | None, str | None]
"""Whom the request claimed to be from, and which tenant that is."""


async def test_failed_proxy_authentication_is_told_contract_27(proxy: Proxied) -> None:
    """In the service's own chain: the secret is the service's, so no tenant is behind it."""
    body = encoded(wanted())
    right = sign(body, HMAC_SECRET)
    other = sign(body, OTHER_SECRET)
    old = export_headers()
    signatures: dict[str, tuple[list[str], str]] = {
        "missing": ([], "missing"),
        "wrong": ([other], "wrong"),
        "upper": ([right.upper()], "malformed"),
        "bare": ([right.removeprefix("sha256=")], "malformed"),
        "twice": ([right, right], "malformed"),
    }
    expected: dict[str, tuple[str, str | None, str]] = {}
    for case, (values, failure) in signatures.items():
        headers = [("x-request-id", case), *(("x-vyrox-signature", value) for value in values)]
        answer = await proxy.client.post("/execute", content=body, headers=headers)
        assert answer.status_code == 401
        expected[case] = ("/execute", None, failure)
    exports: dict[str, tuple[dict[str, str], str, str | None, str]] = {
        "no_headers": ({}, TENANT, TENANT, "missing"),
        "no_tenant": ({}, "a:b", None, "missing"),
        "odd_timestamp": ({**old, "x-vyrox-timestamp": "1_0"}, TENANT, TENANT, MALFORMED),
        "odd_signature": ({**old, "x-vyrox-signature": "x"}, TENANT, TENANT, MALFORMED),
        "others": (old, "initech", "initech", "wrong"),
    }
    for case, (sent, tenant_id, claimed, failure) in exports.items():
        answer = await proxy.export(tenant_id, {**sent, "x-request-id": case})
        assert answer.status_code == 401
        expected[case] = ("/audit/export", claimed, failure)
    found = {
        event["request_id"]: (event["route"], event["claimed_tenant"], event["failure"])
        for event in await told(proxy, SERVICE, "auth.failed")
    }
    assert found == expected
    assert set(await audit.verified_chains(proxy.database)) == {(SERVICE, "events")}


MALFORMED: Final = "malformed"


async def test_refused_execution_is_told_contract_27(proxy_settings: Settings) -> None:
    """In the chain of the tenant that the signed body names, or in the service's own."""
    vendor = FakeVendor()
    limited = replace(proxy_settings, dry_run=False, execute_rate_per_minute=6)
    done, kill = wanted(), wanted(action_type="PROCESS_KILL")
    async with proxied(limited, vendor) as proxy:
        assert (await proxy.execute(done)).status_code == 200
        vendor.began.clear()
        vendor.gate.clear()
        first = asyncio.create_task(proxy.execute(kill))
        await vendor.began.wait()
        refused: list[tuple[int, Fields, str]] = [
            (409, kill, "a kill with this request_id is in progress"),
            (422, {**done, "host": "another"}, "this request_id was used for another"),
            (410, wanted(approved_at=int(wall_clock()) - 60), "the request's time is 6"),
            (
                501,
                wanted(action_type="PROCESS_KILL", alert_id="alt_none"),
                "a kill at crowdstrike needs a known alert",
            ),
            (429, wanted(), "the limit a minute is used up: the next is allowed in "),
            (400, wanted(host=""), "host is empty"),
        ]
        for status, fields, _ in refused:
            answer = await proxy.execute(fields, **{"x-request-id": f"trace-{status}"})
            assert answer.status_code == status
        vendor.gate.set()
        assert (await first).status_code == 200
        found = await told(proxy, TENANT, "execute.refused")
        of_service = await told(proxy, SERVICE, "execute.refused")
    reasons = [str(event.pop("reason")) for event in (*found, *of_service)]
    for said, (_, _, reason) in zip(reasons, refused, strict=True):
        assert said.startswith(reason)
    assert found == [
        {
            "kind": "execute.refused",
            "request_id": f"trace-{status}",
            "execution": fields["request_id"],
            "status": status,
            "action_type": fields["action_type"],
            "host": fields["host"],
            "alert_id": fields["alert_id"],
            "force": False,
        }
        for status, fields, _ in refused[:-1]
    ]
    assert of_service == [
        {
            "kind": "execute.refused",
            "request_id": "trace-400",
            "execution": None,
            "status": 400,
            "action_type": None,
            "host": None,
            "alert_id": None,
            "force": None,
        }
    ]


async def test_outcome_of_an_execution_names_its_entry_contract_27(proxy: Proxied) -> None:
    """Committed before the answer; a replay has neither an entry nor an outcome."""
    fields = wanted()
    for trace_id in ("trace-1", "trace-2"):
        answer = await proxy.execute(fields, **{"x-request-id": trace_id})
        assert answer.status_code == 200
    [entry] = await proxy.entries()
    assert await told(proxy, TENANT, "execute.outcome", by_now=True) == [
        {
            "kind": "execute.outcome",
            "request_id": "trace-1",
            "execution": fields["request_id"],
            "entry": entry["hash"],
            "outcome": "dry_run",
            "reason": None,
            "alert_id": fields["alert_id"],
            "force": False,
            "alert_known": False,
            "guard_rails": "allowed",
            "credentials_stored": False,
        }
    ]


async def test_export_is_told_contract_27(proxy: Proxied) -> None:
    """In the chain of the tenant whose entries they are, whether there are any or none."""
    for accept in ("application/json", "application/x-ndjson"):
        headers = {**export_headers(), "accept": accept, "x-request-id": accept}
        assert (await proxy.export(TENANT, headers)).status_code == 200
    stale = export_headers(timestamp=str(int(wall_clock()) - 60))
    assert (await proxy.export(TENANT, stale)).status_code == 410
    assert await told(proxy, TENANT, "audit.exported") == [
        {"kind": "audit.exported", "request_id": "application/json", "lines": False},
        {"kind": "audit.exported", "request_id": "application/x-ndjson", "lines": True},
    ]
    assert await proxy.entries() == []


def bounded(events: list[Fields], seconds: float) -> bool:
    """Return whether there are no more than so many seconds allow, summaries included."""
    summaries_per_second = 1
    return len(events) <= (seconds + 2) * (PER_SECOND + summaries_per_second)


async def test_flood_of_bad_signatures_is_summed_up_contract_27(proxy_settings: Settings) -> None:
    """Each is answered, and counted; a few of them are written out."""
    body = encoded(wanted())
    headers = signed(body, OTHER_SECRET)
    began_at = time.monotonic()
    async with proxied(proxy_settings) as proxy:
        for _ in range(10):
            sending = (proxy.post(body, headers) for _ in range(FLOOD // 10))
            answers = await asyncio.gather(*sending)
            assert {answer.status_code for answer in answers} == {401}
        await proxy.proxy.events.close()
        events = await told(proxy, SERVICE, "auth.failed")
        chains = await audit.verified_chains(proxy.database)
    assert sum(count_of(event) or 1 for event in events) == FLOOD
    assert bounded(events, time.monotonic() - began_at)
    assert set(chains) == {(SERVICE, "events")}


def count_of(event: Fields) -> int:
    """Return the number of events that this sum counts, or 0 if it is no sum."""
    count = event.get("not_written", 0)
    assert isinstance(count, int)
    return count


async def test_flood_of_unknown_tenants_makes_no_chains_contract_27(
    settings: Settings, redis_url: str
) -> None:
    """Nor does it hide that a tenant that is known was concerned (contract 47)."""
    bodies = [
        changed(DOCUMENTED["crowdstrike"], TENANT_FIELDS["crowdstrike"], f"nobody-{number}")
        for number in range(FLOOD)
    ]
    began_at = time.monotonic()
    async with running(settings, redis_url) as application:
        await application.onboard_documented()
        for some in (bodies[start : start + 50] for start in range(0, FLOOD, 50)):
            sending = (application.post(webhook("crowdstrike", body)) for body in some)
            answers: list[httpx.Response] = await asyncio.gather(*sending)
            assert {answer.status_code for answer in answers} == {401}
        refused = await application.post(
            webhook("crowdstrike", secret=OTHER_SECRET), **{"x-request-id": "trace-1"}
        )
        assert refused.status_code == 401
        await application.ingestion.events.close()
        events = await told(application, SERVICE, "auth.failed")
        [of_tenant] = [event for event in events if event["resolved_tenant"] is not None]
        chains = await audit.verified_chains(application.database)
    assert sum(count_of(event) or 1 for event in events) == FLOOD + 1
    assert bounded(events, time.monotonic() - began_at)
    assert of_tenant["resolved_tenant"] == TENANTS["crowdstrike"]
    assert {tenant_id for tenant_id, _ in chains} == {SERVICE, *TENANTS.values()}


async def test_flood_of_redeliveries_is_summed_up_contract_14(
    settings: Settings, redis_url: str
) -> None:
    """A captured webhook that is sent again and again gets its 202 each time."""
    began_at = time.monotonic()
    async with running(settings, redis_url) as application:
        await application.onboard_documented()
        for _ in range(5):
            sending = (application.post(webhook("crowdstrike")) for _ in range(FLOOD // 10))
            answers = await asyncio.gather(*sending)
            assert {answer.status_code for answer in answers} == {202}
        events = await told(application, TENANTS["crowdstrike"], "alert.redelivered")
    assert sum(count_of(event) or 1 for event in events) == FLOOD // 2 - 1
    assert bounded(events, time.monotonic() - began_at)


async def test_what_was_noted_is_written_when_the_service_ends_contract_27(
    proxy_settings: Settings, database_url: str | None
) -> None:
    settings = replace(
        proxy_settings,
        database_url=database_url,
        encryption_keys=(Fernet.generate_key().decode(),),
    )
    async with proxied(settings) as proxy:
        for _ in range(PER_SECOND + 5):
            assert (await proxy.execute(wanted(host=""))).status_code == 400
    async with open_database(database_url, settings.data_dir) as database:
        events = await audit.events(database, SERVICE, "execute.refused")
    assert sum(count_of(event) or 1 for event in events) == PER_SECOND + 5
