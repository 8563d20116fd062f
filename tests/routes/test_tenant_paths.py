"""Webhooks with the tenant in the path: what each body becomes, and whose it is (contract 71)."""

import gzip
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.adapters.forms import payloads
from tests.adapters.forms.table import SAMPLES, Refused
from tests.adapters.payloads import DOCUMENTED, FIELD_MAP, normalize, without_id
from tests.http.test_protocol import exchange, serving
from tests.ingestion import OTHER_SECRET, SECRET, TENANTS, Application, Webhook, credential, running
from tests.routes.test_schemes import falcon, iso
from vyrox import log
from vyrox.alerts import batches
from vyrox.alerts.queue import QueueEntry
from vyrox.errors import DatabaseUnavailableError, QueueUnavailableError
from vyrox.models import EdrVendor, Vendor
from vyrox.routes.readings import read_delivery
from vyrox.routes.tenant_paths import READ_HERE_BYTES
from vyrox.settings import Settings
from vyrox.tenants.webhook_options import WebhookOptions

DATA: Final = Path(__file__).parents[1] / "data"
EPP: Final = json.dumps(payloads.EPP).encode()
AUDIT: Final = json.dumps(payloads.event("UserActivityAuditEvent", {"UserId": "x"})).encode()
UNKNOWN: Final = json.dumps(payloads.event("BrandNewEvent", {"x": 1})).encode()
PARENT: Final = "parent"


@pytest.fixture
async def application_on_each(
    settings: Settings, database_url: str | None, redis_url: str
) -> AsyncIterator[Application]:
    """The application on each of the two databases."""
    async with running(replace(settings, database_url=database_url), redis_url) as opened:
        await opened.onboard_documented()
        yield opened


def on_path(
    vendor: Vendor, body: bytes, tenant_id: str = "acme-corp", secret: str = SECRET, end: str = ""
) -> Webhook:
    """A delivery on the path of `tenant_id`, with the credential of the vendor's own route."""
    return Webhook(f"/webhook/{vendor}/{tenant_id}{end}", credential(vendor, body, secret), body)


def joined(*elements: bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def numbered(number: int) -> bytes:
    """A detection that differs from others in its id."""
    return json.dumps(
        payloads.event("EppDetectionSummaryEvent", {"CompositeId": f"c:ind:a:{number}"})
    ).encode()


async def answered(application: Application, sent: Webhook, **headers: str) -> tuple[int, object]:
    answer = await application.post(sent, **{k.replace("_", "-"): v for k, v in headers.items()})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender"])
async def test_a_path_reads_the_documented_form_contract_71(
    application: Application, vendor: EdrVendor, end: str
) -> None:
    tenant_id, body = TENANTS[vendor], DOCUMENTED[vendor]
    status, answer = await answered(application, on_path(vendor, body, tenant_id, end=end))
    assert status == 202
    [alert] = await application.queued(tenant_id)
    assert answer == {"status": "queued", "alert_id": alert.id}
    expected = without_id(normalize(vendor, body))
    assert without_id(alert) == expected | {"tenant_id": tenant_id}
    [entry] = await application.entries(tenant_id)
    assert entry[b"raw"] == body
    # The same bytes on the documented path are a redelivery (14).
    again = await application.post(Webhook(f"/webhook/{vendor}", credential(vendor, body), body))
    assert again.json() == answer


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_published_payload_is_answered_by_what_it_is_contract_71(
    application: Application, name: str
) -> None:
    """The name of the tenant is nowhere in the body: it is the one in the path."""
    sample = SAMPLES[name]
    body, tenant_id = (DATA / f"{name}.json").read_bytes(), TENANTS[sample.vendor]
    status, answer = await answered(application, on_path(sample.vendor, body, tenant_id))
    queued = await application.queued(tenant_id)
    assert {(each.tenant_id, each.source) for each in queued} <= {(tenant_id, sample.vendor)}
    ids = [each.id for each in queued]
    alerts = [each for each in sample.results if isinstance(each, dict)]
    refused = [each for each in sample.results if isinstance(each, Refused)]
    assert len(ids) == len(alerts)
    assert sum(number for *_, number in await application.kept()) == len(refused)
    if len(ids) == 1:
        expected: tuple[int, object] = 202, {"status": "queued", "alert_id": ids[0]}
    elif ids:
        expected = 202, {"status": "queued", "alert_ids": ids}
    elif refused:
        expected = 422, {"detail": "payload could not be normalised"}
    else:
        expected = 202, {"status": "ignored"}
    assert (status, answer) == expected


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender", "generic"])
async def test_a_refusal_says_nothing_of_the_tenant_contract_71(
    application: Application, vendor: Vendor
) -> None:
    """Contract 3 on these paths: one 401 for everyone, before the body is read."""
    broken = b"\xff not json"
    answers = [
        await application.post(on_path(vendor, broken, name, OTHER_SECRET))
        for name in (TENANTS[vendor], "unknown", "a%20name")
    ]
    answers.append(await application.post(Webhook(f"/webhook/{vendor}/x", {}, broken)))
    for answer in answers:
        assert (answer.status_code, answer.json()) == (401, {"detail": "unauthorized"})
    assert len({tuple(sorted(_lasting(answer).items())) for answer in answers}) == 1
    assert await application.stored() == []
    assert await application.kept() == []


def _lasting(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "x-request-id"}


async def test_a_known_event_is_counted_and_nothing_is_stored_contract_71(
    application: Application,
) -> None:
    before = log.counts["alert.ignored"]
    answer = await answered(application, on_path("crowdstrike", AUDIT))
    assert answer == (202, {"status": "ignored"})
    assert log.counts["alert.ignored"] == before + 1
    assert await application.stored() == []
    assert await application.kept() == []


async def test_an_unknown_event_is_kept_and_never_ignored_contract_71(
    application: Application,
) -> None:
    status, _ = await answered(application, on_path("crowdstrike", UNKNOWN))
    assert status == 422
    assert await application.kept() == [("acme-corp", "crowdstrike", UNKNOWN, 1)]
    status, _ = await answered(application, on_path("crowdstrike", joined(AUDIT, UNKNOWN)))
    assert status == 422


async def test_the_documented_paths_read_no_other_form_contract_71(
    application: Application,
) -> None:
    """They answer as they always did: 400, 415 and 422."""
    sent = Webhook("/webhook/crowdstrike", credential("crowdstrike", EPP), EPP)
    assert (await answered(application, sent))[0] == 400
    sent = Webhook("/webhook/crowdstrike", credential("crowdstrike", b"[]"), b"[]")
    assert (await answered(application, sent))[0] == 400
    body = gzip.compress(DOCUMENTED["crowdstrike"])
    sent = Webhook("/webhook/crowdstrike", credential("crowdstrike", body), body)
    assert (await answered(application, sent, content_encoding="gzip"))[0] == 415


@pytest.mark.parametrize("separator", ["list", "lines", "wrapper"])
async def test_many_elements_are_answered_in_order_contract_71(
    application_on_each: Application, separator: str
) -> None:
    application = application_on_each
    elements = [numbered(number) for number in range(3)]
    mixed = [elements[0], AUDIT, elements[1], UNKNOWN, elements[2]]
    body = {
        "list": joined(*mixed),
        "lines": b"\r\n".join(mixed) + b"\n\n",
        "wrapper": b'{"resources":' + joined(*mixed) + b"}",
    }[separator]
    status, answer = await answered(application, on_path("crowdstrike", body))
    queued = await application.queued("acme-corp")
    assert [alert.raw_id for alert in queued] == [f"c:ind:a:{number}" for number in range(3)]
    assert (status, answer) == (202, {"status": "queued", "alert_ids": [a.id for a in queued]})
    assert [(raw, n) for _, _, raw, n in await application.kept()] == [(UNKNOWN, 1)]
    # The whole delivery again: the same alerts.
    assert await answered(application, on_path("crowdstrike", body)) == (status, answer)
    assert len(await application.stored()) == 3
    # One of them alone, in a list: the same alert, with `alert_id`.
    alone = await answered(application, on_path("crowdstrike", joined(elements[1])))
    assert alone == (202, {"status": "queued", "alert_id": queued[1].id})


async def test_a_line_that_is_broken_costs_no_other_line_contract_71(
    application: Application,
) -> None:
    body = b"\n".join([numbered(1), b'{"metadata": {"eventTy', numbered(2)])
    status, _ = await answered(application, on_path("crowdstrike", body))
    assert status == 202
    assert len(await application.queued("acme-corp")) == 2
    assert [raw for _, _, raw, _ in await application.kept()] == [b'{"metadata": {"eventTy']
    # A document that is broken is one payload, however many lines it has.
    broken = json.dumps(payloads.EPP, indent=1).encode()[:-1]
    assert (await answered(application, on_path("crowdstrike", broken)))[0] == 422
    assert broken in {raw for _, _, raw, _ in await application.kept()}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"1", b'[{"value":[]}]', b"[[[]]]"])
async def test_a_body_without_an_alert_is_kept_contract_71(
    application: Application, body: bytes
) -> None:
    assert (await answered(application, on_path("defender", body, TENANTS["defender"])))[0] == 422
    assert len(await application.kept()) == 1


async def test_the_generic_route_takes_lists_and_lines_contract_71(
    application: Application,
) -> None:
    one = DOCUMENTED["generic"]
    other = one.replace(json.loads(one)["event"]["id"].encode(), b"another-id")
    for body in (joined(one, other), one.replace(b"\n", b" ") + b"\n" + other.replace(b"\n", b" ")):
        status, answer = await answered(application, on_path("generic", body))
        assert status == 202
        assert isinstance(answer, dict)
        assert len(answer["alert_ids"]) == 2
    status, answer = await answered(application, on_path("generic", joined(one)))
    assert isinstance(answer, dict)
    assert "alert_id" in answer


async def test_a_field_map_of_numbers_keeps_its_reading_contract_71(
    application: Application,
) -> None:
    first = {field: f"0.{path}" for field, path in FIELD_MAP.items()}
    await application.onboard("lists", "generic", field_map=first)
    body = joined(DOCUMENTED["generic"], b'{"more": 1}')
    status, answer = await answered(application, on_path("generic", body, "lists"))
    assert status == 202
    [alert] = await application.queued("lists")
    assert answer == {"status": "queued", "alert_id": alert.id}


async def test_a_compressed_body_is_inflated_after_its_credential_contract_71(
    application: Application,
) -> None:
    body = gzip.compress(EPP)
    sent = on_path("crowdstrike", body)  # signed as sent
    status, answer = await answered(application, sent, content_encoding="gzip")
    assert status == 202
    # What is stored is the text: the same alert uncompressed is a redelivery.
    assert await answered(application, on_path("crowdstrike", EPP)) == (202, answer)
    inflated = Webhook(sent.path, credential("crowdstrike", EPP), body)
    assert (await answered(application, inflated, content_encoding="gzip"))[0] == 401
    parts = gzip.compress(EPP[:99]) + gzip.compress(EPP[99:])
    sent = on_path("crowdstrike", parts)
    assert await answered(application, sent, content_encoding="GZIP") == (202, answer)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        pytest.param(gzip.compress(EPP)[:-9], "gzip", 422, id="cut"),
        pytest.param(EPP, "gzip", 422, id="not_compressed"),
        pytest.param(gzip.compress(EPP) + b"more", "gzip", 422, id="more_after_it"),
        pytest.param(gzip.compress(b" " * 1_000_000 + EPP), "gzip", 422, id="bomb"),
        pytest.param(gzip.compress(EPP), "gzip, gzip", 415, id="twice"),
        pytest.param(gzip.compress(EPP), "br", 415, id="another"),
    ],
)
async def test_a_compressed_body_that_is_not_as_allowed_is_kept_contract_71(
    application: Application, body: bytes, encoding: str, status: int
) -> None:
    sent = on_path("crowdstrike", body)
    assert (await answered(application, sent, content_encoding=encoding))[0] == status
    assert [raw for _, _, raw, _ in await application.kept()] == [body] * (status == 422)


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("utf-8", "utf-8"),
        ('"UTF-8"', "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16le", "utf-16-le"),
        ("iso-8859-1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("unheard-of", "utf-8"),
        ("rot13", "utf-8"),
    ],
)
async def test_a_body_is_read_in_its_character_set_contract_71(
    application: Application, charset: str, encoding: str
) -> None:
    body = EPP.decode().replace("alice", "zoë").encode(encoding)
    sent = on_path("crowdstrike", body)
    status, _ = await answered(
        application, sent, content_type=f"application/json; charset={charset}"
    )
    assert status == 202
    [alert] = await application.queued("acme-corp")
    assert "zoë" in (alert.username or "")


async def test_a_large_delivery_is_one_transaction_contract_71(application: Application) -> None:
    body = joined(*map(numbered, range(300)))
    status, answer = await answered(application, on_path("crowdstrike", body))
    assert status == 202
    assert isinstance(answer, dict)
    assert len(set(answer["alert_ids"])) == 300
    assert len(await application.entries("acme-corp")) == 300
    received = await application.stored()
    assert len(received) == 300


async def test_an_id_bound_to_another_tenant_is_refused_and_kept_contract_71(
    application: Application,
) -> None:
    await application.onboard("owner", "crowdstrike", OTHER_SECRET, options=bound(payloads.CID))
    assert (await answered(application, on_path("crowdstrike", EPP)))[0] == 422
    assert await application.kept() == [("acme-corp", "crowdstrike", EPP, 1)]
    sent = on_path("crowdstrike", EPP, "owner", OTHER_SECRET)
    assert (await answered(application, sent))[0] == 202
    # A removed tenant keeps its ids, until another one binds them.
    await application.remove("owner", "crowdstrike")
    assert (await answered(application, on_path("crowdstrike", EPP)))[0] == 422
    await application.onboard("heir", "crowdstrike", options=bound(payloads.CID))
    assert (await answered(application, on_path("crowdstrike", EPP, "heir")))[0] == 202


def bound(*vendor_ids: str) -> WebhookOptions:
    return WebhookOptions(vendor_ids=vendor_ids)


async def test_an_id_bound_to_a_child_makes_it_the_tenant_contract_71(
    application: Application,
) -> None:
    onboard = application.onboard
    await onboard("child", "crowdstrike", options=bound(payloads.CID))
    await onboard("unrelated", "crowdstrike", options=bound("d2" * 16))
    await onboard(PARENT, "crowdstrike", options=WebhookOptions(routes_to=("child",)))
    status, answer = await answered(application, on_path("crowdstrike", EPP, PARENT))
    assert status == 202
    assert [(alert.tenant_id, alert.id) for alert in await application.queued("child")] == [
        ("child", answer["alert_id"] if isinstance(answer, dict) else "")
    ]
    for other in ("d2" * 16, "e3" * 16):  # another tenant's, and one that is bound to no tenant
        body = EPP.replace(payloads.CID.encode(), other.encode())
        assert (await answered(application, on_path("crowdstrike", body, PARENT)))[0] == 422
        assert (PARENT, "crowdstrike", body, 1) in await application.kept()
    # The documented form has the names of tenants.
    for name in ("child", PARENT):
        body = DOCUMENTED["crowdstrike"].replace(b"acme-corp", name.encode())
        status, answer = await answered(application, on_path("crowdstrike", body, PARENT))
        *_, last = await application.queued(name)
        assert (status, answer) == (202, {"status": "queued", "alert_id": last.id})
    # What cannot be read after that is the child's.
    body = UNKNOWN
    assert (await answered(application, on_path("crowdstrike", body, PARENT)))[0] == 422
    assert ("child", "crowdstrike", body, 1) in await application.kept()
    await application.remove("child", "crowdstrike")
    body = EPP + b" "
    assert (await answered(application, on_path("crowdstrike", body, PARENT)))[0] == 422
    assert (PARENT, "crowdstrike", body, 1) in await application.kept()


@pytest.mark.parametrize(
    "sent_id", [payloads.CID.upper(), f"{payloads.CID}-A1", f"{payloads.CID.upper()}-0f"]
)
async def test_an_id_is_found_in_another_spelling_contract_71(
    application: Application, sent_id: str
) -> None:
    await application.onboard("owner", "crowdstrike", options=bound(payloads.CID))
    body = EPP.replace(payloads.CID.encode(), sent_id.encode())
    assert (await answered(application, on_path("crowdstrike", body)))[0] == 422


async def test_a_delivery_is_stored_as_a_whole_or_not_at_all_contract_71(
    application_on_each: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the alerts and the quarantined elements are one transaction."""
    application = application_on_each
    sent = on_path("crowdstrike", joined(numbered(1), UNKNOWN, numbered(2)))
    with monkeypatch.context() as patch:
        patch.setattr(batches, "keep", unavailable)
        assert (await answered(application, sent))[0] == 503
        assert await application.stored() == []
        assert await application.entries("acme-corp") == []
    assert (await answered(application, sent))[0] == 202
    assert len(await application.stored()) == 2
    assert len(await application.kept()) == 1


def unavailable(*_: object) -> list[bool]:
    raise DatabaseUnavailableError("for this test")


async def test_a_delivery_that_redis_did_not_take_is_queued_when_sent_again_contract_71(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = on_path("crowdstrike", joined(*map(numbered, range(60))))
    put = application.ingestion.queue.put

    async def put_some(entry: QueueEntry) -> None:
        if b"c:ind:a:55" in entry.raw:
            raise QueueUnavailableError("for this test")
        await put(entry)

    with monkeypatch.context() as patch:
        patch.setattr(application.ingestion.queue, "put", put_some)
        assert (await answered(application, sent))[0] == 503
    status, answer = await answered(application, sent)
    assert status == 202
    assert isinstance(answer, dict)
    assert {alert.id for alert in await application.queued("acme-corp")} == set(answer["alert_ids"])
    assert len(await application.stored()) == len(answer["alert_ids"]) == 60


async def test_a_signed_delivery_of_falcon_over_a_socket_contract_71(
    application: Application,
) -> None:
    await application.onboard("falcon", "crowdstrike", options=WebhookOptions("falcon"))
    body = gzip.compress(EPP)
    sent = Webhook("/webhook/crowdstrike/falcon", falcon(iso(), body), body)
    async with serving(application.app) as port:
        (accepted,) = await exchange(port, sent.raw(b"Content-Encoding: gzip"))
        (refused,) = await exchange(
            port, sent.raw(b"Content-Encoding: gzip", b"X-Cs-Primary-Signature: x")
        )
    assert (accepted.status, refused.status) == (202, 401)
    [alert] = await application.queued("falcon")
    assert json.loads(accepted.body) == {"status": "queued", "alert_id": alert.id}
    assert alert.raw_id == payloads.COMPOSITE


@pytest.mark.parametrize("vendor", ["crowdstrike", "defender"])
async def test_a_tenant_named_by_its_customer_id_is_found_in_another_spelling_contract_73(
    application: Application, vendor: EdrVendor
) -> None:
    named, sent_id = payloads.CID, payloads.CID.upper()
    await application.onboard(named, vendor, OTHER_SECRET)
    body = DOCUMENTED[vendor].replace(TENANTS[vendor].encode(), sent_id.encode())
    headers = credential(vendor, body, OTHER_SECRET)
    for path in (f"/webhook/{vendor}", f"/webhook/{vendor}/{sent_id}"):
        assert (await answered(application, Webhook(path, headers, body)))[0] == 202
    assert {alert.tenant_id for alert in await application.queued(named)} == {named}
    assert await application.queued(sent_id) == []
    # The vendor's default secret is not that of the tenant, however its name is spelled.
    sent = Webhook(f"/webhook/{vendor}", credential(vendor, body), body)
    assert (await answered(application, sent))[0] == 401


async def test_a_large_body_is_read_in_a_thread_of_its_own_kind_contract_71(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def noting(*args: object) -> object:
        names.append(threading.current_thread().name.partition("_")[0])
        return read_delivery(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("vyrox.routes.tenant_paths.read_delivery", noting)
    large = EPP + b" " * READ_HERE_BYTES
    for body, headers in (
        (EPP, {}),
        (large, {}),
        (gzip.compress(EPP), {"content_encoding": "gzip"}),
    ):
        await answered(application, on_path("crowdstrike", body), **headers)
    assert names == ["MainThread", "deliveries", "deliveries"]


async def test_what_takes_too_long_together_is_kept_contract_71(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.adapters.forms.payload.MAX_TOGETHER", 1000)
    body = joined(*map(numbered, range(30)))
    status, answer = await answered(application, on_path("crowdstrike", body))
    assert status == 202
    stored, kept = len(answer["alert_ids"]), await application.kept()  # type: ignore[index]
    assert 0 < stored < 30
    assert stored + len(kept) == 30
    # The next delivery has a limit of its own.
    assert (await answered(application, on_path("crowdstrike", EPP)))[0] == 202
