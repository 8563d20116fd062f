"""The four webhooks: who is believed, what is queued, and what each refusal leaves behind."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import chain, combinations
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.payloads import DOCUMENTED, FIELD_MAP, REMOVED, changed
from tests.http.test_protocol import Answer, exchange, serving
from tests.ingestion import (
    OTHER_SECRET,
    RAW_IDS,
    SECRET,
    TENANT_FIELDS,
    TENANTS,
    VENDORS,
    Application,
    Webhook,
    running,
    webhook,
)
from vyrox.crypto import sign
from vyrox.models import BEARER_VENDORS, NormalizedAlert, Vendor
from vyrox.settings import Settings

every_vendor = pytest.mark.parametrize("vendor", VENDORS)

UNAUTHORIZED: Final = {"detail": "unauthorized"}


@pytest.fixture
async def application_on_each(
    settings: Settings, database_url: str | None, redis_url: str
) -> AsyncIterator[Application]:
    """The application on each of the two databases; the documented tenants are onboarded."""
    async with running(replace(settings, database_url=database_url), redis_url) as opened:
        await opened.onboard_documented()
        yield opened


async def test_receive_alert_queues_the_documented_payload_contract_15(
    application_on_each: Application,
) -> None:
    for vendor, body in DOCUMENTED.items():
        answer = await application_on_each.post(webhook(vendor))
        assert answer.status_code == 202
        assert answer.headers["content-type"] == "application/json"
        alert_id = answer.json()["alert_id"]
        assert answer.json() == {"status": "queued", "alert_id": alert_id}
        assert str(uuid.UUID(alert_id, version=4)) == alert_id

        *_, entry = await application_on_each.entries(TENANTS[vendor])
        assert list(entry) == [b"alert", b"raw"]
        assert entry[b"raw"] == body
        alert = msgspec.json.decode(entry[b"alert"], type=NormalizedAlert)
        assert (alert.id, alert.tenant_id, alert.source) == (alert_id, TENANTS[vendor], vendor)
        assert alert.vendor_severity == "HIGH"
        assert (await application_on_each.stored())[-1] == (TENANTS[vendor], alert_id)
    assert len(await application_on_each.stored()) == len(VENDORS)


@pytest.mark.parametrize("stores", ["present", "no_redis"])
@every_vendor
async def test_receive_alert_refuses_in_order_contract_6(
    settings: Settings, redis_url: str, vendor: Vendor, stores: str
) -> None:
    """Of any set of faults, the first in contract 6's order is the one that is answered."""
    limited = replace(settings, max_body_bytes=4096)
    if stores == "no_redis":
        limited = replace(limited, redis_url="unix:///nowhere/valkey.sock")
    answered = {}
    async with running(limited, redis_url) as application:
        await application.onboard_documented()
        for faults in subsets(FAULTS):
            answer = await application.post(faulty(vendor, faults))
            answered[faults] = answer.status_code
        kept = await application.kept()
        stored = await application.stored()
    without_fault = 202 if stores == "present" else 503
    order = {name: status for name, status in FAULTS.items() if names_tenant(vendor, name)}
    assert answered == {
        faults: next((order[name] for name in order if name in faults), without_fault)
        for faults in subsets(FAULTS)
    }
    assert {tenant_id for tenant_id, _ in stored} == {TENANTS[vendor]}
    assert {tenant_id for tenant_id, *_ in kept} == {TENANTS[vendor]}


FAULTS: Final = {"oversized": 413, "no_tenant": 400, "bad_credential": 401, "not_normal": 422}
"""In contract 6's order, with the status of each."""


def subsets(faults: dict[str, int]) -> list[tuple[str, ...]]:
    sizes = range(len(faults) + 1)
    return list(chain.from_iterable(combinations(faults, size) for size in sizes))


def names_tenant(vendor: Vendor, fault: str) -> bool:
    """Return whether the vendor's body can have the fault: the generic one names no tenant."""
    return fault != "no_tenant" or vendor in TENANT_FIELDS


def faulty(vendor: Vendor, faults: tuple[str, ...]) -> Webhook:
    body = DOCUMENTED[vendor]
    if "no_tenant" in faults and vendor in TENANT_FIELDS:
        body = changed(body, TENANT_FIELDS[vendor], REMOVED)
    if "not_normal" in faults:
        body = changed(body, RAW_IDS[vendor], REMOVED)
    if "oversized" in faults:
        body += b" " * 4096
    return webhook(vendor, body, secret=OTHER_SECRET if "bad_credential" in faults else SECRET)


@every_vendor
async def test_receive_alert_keeps_what_is_not_unicode_as_received_contract_44(
    application_on_each: Application, vendor: Vendor
) -> None:
    """Signed, compared, deduplicated and stored are the bytes as received, decoded is a copy."""
    body = DOCUMENTED[vendor].replace(b'.exe"', rb'\ud83d.exe"').replace(b"{", b'{"x":"\xff",', 1)
    sent = webhook(vendor, b"\xef\xbb\xbf" + body)
    answers = [await application_on_each.post(sent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    (alert_id,) = {answer.json()["alert_id"] for answer in answers}
    [entry] = await application_on_each.entries(TENANTS[vendor])
    assert entry[b"raw"] == sent.body
    alert = msgspec.json.decode(entry[b"alert"], type=NormalizedAlert)
    assert alert.id == alert_id
    assert (alert.process_name or "").endswith("\ufffd.exe")
    assert len(alert.notes) == 2
    cleaned = webhook(vendor, body.replace(rb"\ud83d", "\ufffd".encode()))
    assert (await application_on_each.post(cleaned)).json()["alert_id"] != alert_id


async def test_receive_alert_answers_a_redelivery_with_the_first_id_contract_14(
    application_on_each: Application,
) -> None:
    """One after the other, and many at the same time."""
    expected = []
    for vendor in VENDORS:
        answers = [await application_on_each.post(webhook(vendor)) for _ in range(3)]
        answers += await asyncio.gather(
            *(application_on_each.post(webhook(vendor)) for _ in range(20))
        )
        assert {answer.status_code for answer in answers} == {202}
        (alert_id,) = {answer.json()["alert_id"] for answer in answers}
        expected.append((TENANTS[vendor], alert_id))
    assert await application_on_each.stored() == expected
    for tenant_id in set(TENANTS.values()):
        queued = [(tenant_id, alert.id) for alert in await application_on_each.queued(tenant_id)]
        assert queued == [row for row in expected if row[0] == tenant_id]


async def test_receive_alert_recognises_a_redelivery_after_a_restart_contract_14(
    settings: Settings, database_url: str | None, redis_url: str
) -> None:
    settings = replace(settings, database_url=database_url)
    async with running(settings, redis_url) as application:
        await application.onboard_documented()
        first = await application.post(webhook("crowdstrike"))
    async with running(settings, redis_url) as application:
        again = await application.post(webhook("crowdstrike"))
        queued = await application.queued(TENANTS["crowdstrike"])
    assert (again.status_code, again.json()) == (202, first.json())
    assert [alert.id for alert in queued] == [first.json()["alert_id"]]


@every_vendor
async def test_receive_alert_takes_an_update_for_a_new_alert_contract_14(
    application: Application, vendor: Vendor
) -> None:
    update = DOCUMENTED[vendor] + b"\n"
    for body in (DOCUMENTED[vendor], update):
        assert (await application.post(webhook(vendor, body))).status_code == 202
    first, second = await application.queued(TENANTS[vendor])
    assert first.raw_id == second.raw_id
    assert first.id != second.id


async def test_receive_alert_tells_tenants_and_sources_apart_contract_14(
    application: Application,
) -> None:
    """The same bytes are no redelivery where they are another tenant's or another vendor's."""
    await application.onboard("initech", "generic", field_map=FIELD_MAP)
    body = json.dumps(
        {**json.loads(DOCUMENTED["crowdstrike"]), **json.loads(DOCUMENTED["generic"])}
    ).encode()
    answers = [
        await application.post(webhook("crowdstrike", body)),
        await application.post(webhook("generic", body)),
        await application.post(webhook("generic", body, tenant_id="initech")),
    ]
    assert len({answer.json()["alert_id"] for answer in answers}) == 3
    assert len(await application.queued("acme-corp")) == 2
    assert len(await application.queued("initech")) == 1


async def test_receive_alert_takes_the_same_bytes_for_new_after_the_window_contract_14(
    settings: Settings, redis_url: str
) -> None:
    async with running(replace(settings, redelivery_window_s=0), redis_url) as application:
        await application.onboard_documented()
        answers = [await application.post(webhook("crowdstrike")) for _ in range(2)]
        queued = await application.queued("acme-corp")
    assert [alert.id for alert in queued] == [answer.json()["alert_id"] for answer in answers]
    assert queued[0].id != queued[1].id


async def test_receive_alert_does_not_queue_again_what_is_finished_contract_14(
    application: Application,
) -> None:
    first = await application.post(webhook("crowdstrike"))
    await application.acknowledge("acme-corp")
    again = await application.post(webhook("crowdstrike"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert await application.entries("acme-corp") == []


async def test_receive_alert_keeps_what_will_not_normalise_contract_16(
    application_on_each: Application,
) -> None:
    expected = []
    for vendor in VENDORS:
        body = changed(DOCUMENTED[vendor], RAW_IDS[vendor], REMOVED)
        for _ in range(2):
            answer = await application_on_each.post(webhook(vendor, body))
            assert answer.status_code == 422
            assert answer.json() == {"detail": "payload could not be normalised"}
        expected.append((TENANTS[vendor], vendor, body, 2))
    assert await application_on_each.kept() == expected
    assert await application_on_each.stored() == []
    for tenant_id in TENANTS.values():
        assert await application_on_each.entries(tenant_id) == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b"[" * 200_000])
async def test_receive_alert_keeps_generic_bytes_that_are_no_json_contract_9(
    application: Application, body: bytes
) -> None:
    assert (await application.post(webhook("generic", body))).status_code == 422
    assert await application.kept() == [("acme-corp", "generic", body, 1)]


async def test_receive_alert_keeps_what_has_no_field_map_yet_contract_9(
    application: Application,
) -> None:
    await application.onboard("initech", "generic")
    answer = await application.post(webhook("generic", tenant_id="initech"))
    assert answer.status_code == 422
    assert await application.kept() == [("initech", "generic", DOCUMENTED["generic"], 1)]


def named(vendor: Vendor, tenant_id: object, *, secret: str = SECRET) -> Webhook:
    """Return a webhook that names `tenant_id`, authenticated with `secret`."""
    if vendor == "generic":
        return webhook(vendor, secret=secret, tenant_id=str(tenant_id))
    body = changed(DOCUMENTED[vendor], TENANT_FIELDS[vendor], tenant_id)
    return webhook(vendor, body, secret=secret)


@every_vendor
async def test_receive_alert_believes_only_the_tenant_whose_secret_it_is_contract_7(
    application: Application, vendor: Vendor
) -> None:
    secrets = {name: f"secret-of-{name}-0123456789-0123456789" for name in ("one", "two", "three")}
    for name, secret in secrets.items():
        await application.onboard(name, vendor, secret, FIELD_MAP if vendor == "generic" else None)
    believed = {
        (claimed, owner)
        for claimed in secrets
        for owner, secret in secrets.items()
        if (await application.post(named(vendor, claimed, secret=secret))).status_code == 202
    }
    assert believed == {(name, name) for name in secrets}


@pytest.mark.parametrize("vendor", TENANT_FIELDS)
async def test_receive_alert_takes_only_a_tenant_identifier_for_one_contract_7(
    with_defaults: Application, vendor: Vendor
) -> None:
    refused = (400, {"detail": "missing tenant identifier"})
    expected = []
    for name, (value, tenant_id) in NAMES.items():
        answer = await with_defaults.post(named(vendor, value))
        if tenant_id is None:
            assert (answer.status_code, answer.json()) == refused, name
        else:
            assert answer.status_code == 202, name
            expected.append((tenant_id, answer.json()["alert_id"]))
    assert sorted(await with_defaults.stored()) == sorted(expected)


NAMES: Final[dict[str, tuple[object, str | None]]] = {
    "allow_integer": (12345, "12345"),
    "allow_every_kind_of_character": ("A.b_c-9", "A.b_c-9"),
    "allow_longest": ("x" * 128, "x" * 128),
    "allow_dots": ("...", "..."),
    "reject_empty": ("", None),
    "reject_too_long": ("x" * 129, None),
    "reject_dot": (".", None),
    "reject_dot_dot": ("..", None),
    "reject_space": ("a b", None),
    "reject_slash": ("a/b", None),
    "reject_newline": ("acme\n", None),
    "reject_nul": ("acme\0", None),
    "reject_braces": ("{acme}", None),
    "reject_cyrillic": ("аcme", None),  # noqa: RUF001  (that is the case)
    "reject_null": (None, None),
    "reject_true": (True, None),
    "reject_float": (1.0, None),
    "reject_negative": (-1, None),
    "reject_list": (["acme"], None),
    "reject_object": ({"id": "acme"}, None),
}
"""What a payload names, and the tenant that it is taken for, if any."""


@pytest.fixture
async def with_defaults(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """The application with SECRET as every vendor's default, and no onboarded tenant."""
    defaults = {vendor: SECRET.encode() for vendor in VENDORS}
    async with running(replace(settings, default_secrets=defaults), redis_url) as opened:
        yield opened


@every_vendor
async def test_receive_alert_falls_back_to_the_default_secret_contract_8(
    with_defaults: Application, vendor: Vendor
) -> None:
    """A generic tenant that is not onboarded has no field map (contract 9)."""
    answer = await with_defaults.post(webhook(vendor))
    assert answer.status_code == (422 if vendor == "generic" else 202)


async def test_a_default_secret_is_rotated_by_onboarding_contract_104(
    with_defaults: Application,
) -> None:
    """With the same secret first, then a rotation: no delivery of either secret is refused."""

    async def statuses() -> list[int]:
        bodies = DOCUMENTED["crowdstrike"], b"%b " % DOCUMENTED["crowdstrike"]
        sent = [webhook("crowdstrike", body, secret=OTHER_SECRET) for body in bodies]
        sent[0] = webhook("crowdstrike", bodies[0])
        return [(await with_defaults.post(each)).status_code for each in sent]

    assert await statuses() == [202, 401]
    await with_defaults.onboard("acme-corp", "crowdstrike", SECRET)
    assert await statuses() == [202, 401]
    await with_defaults.rotate("acme-corp", "crowdstrike", OTHER_SECRET, 60)
    assert await statuses() == [202, 202]


@every_vendor
@pytest.mark.parametrize(
    "state",
    [
        "reject_onboarded",
        "reject_onboarded_elsewhere",
        "reject_removed",
        "reject_removed_elsewhere",
    ],
)
async def test_receive_alert_keeps_the_default_from_whoever_has_a_row_contract_8(
    with_defaults: Application, vendor: Vendor, state: str
) -> None:
    onboarded = next(v for v in VENDORS if v != vendor) if "elsewhere" in state else vendor
    await with_defaults.onboard(TENANTS[vendor], onboarded, OTHER_SECRET)
    if "removed" in state:
        await with_defaults.remove(TENANTS[vendor], onboarded)
    for secret in (SECRET, OTHER_SECRET):
        believed = secret == OTHER_SECRET and state == "reject_onboarded"
        answer = await with_defaults.post(webhook(vendor, secret=secret))
        assert (answer.status_code != 401) == believed
    assert len(await with_defaults.stored()) <= 1


@every_vendor
async def test_receive_alert_has_no_default_where_onboarding_is_required_contract_8(
    settings: Settings, redis_url: str, vendor: Vendor
) -> None:
    strict = replace(settings, default_secrets={vendor: SECRET.encode()}, require_onboarding=True)
    async with running(strict, redis_url) as application:
        answer = await application.post(webhook(vendor))
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


@every_vendor
async def test_receive_alert_keeps_vendors_defaults_apart_contract_8(
    settings: Settings, redis_url: str, vendor: Vendor
) -> None:
    others = {other: SECRET.encode() for other in VENDORS if other != vendor}
    async with running(replace(settings, default_secrets=others), redis_url) as application:
        answer = await application.post(webhook(vendor))
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


@every_vendor
async def test_receive_alert_takes_both_secrets_of_a_rotation_contract_8(
    application: Application, vendor: Vendor
) -> None:
    await application.rotate(TENANTS[vendor], vendor, OTHER_SECRET, overlap_s=3600)
    for secret in (SECRET, OTHER_SECRET):
        assert (await application.post(webhook(vendor, secret=secret))).status_code == 202


@every_vendor
async def test_receive_alert_refuses_the_old_secret_after_the_overlap_contract_8(
    application: Application, vendor: Vendor
) -> None:
    await application.rotate(TENANTS[vendor], vendor, OTHER_SECRET, overlap_s=0)
    assert (await application.post(webhook(vendor))).status_code == 401
    assert (await application.post(webhook(vendor, secret=OTHER_SECRET))).status_code == 202


@every_vendor
async def test_receive_alert_has_one_answer_for_every_bad_credential_contract_3(
    application: Application, vendor: Vendor
) -> None:
    """Status, names, order and values of the header, body, and the end of the connection."""
    await application.onboard("elsewhere", "generic" if vendor != "generic" else "defender")
    await application.onboard("removed", vendor)
    await application.remove("removed", vendor)
    await application.onboard("rotated", vendor, OTHER_SECRET)
    await application.rotate("rotated", vendor, "x" * 32, overlap_s=0)
    await application.onboard("initech", vendor, OTHER_SECRET)
    requests = {
        cause: webhook(vendor, secret=None).raw(*fields)
        for cause, fields in bad_credentials(vendor, DOCUMENTED[vendor]).items()
    }
    for name in ("unknown", "removed", "elsewhere", "initech"):
        requests[f"tenant_{name}"] = named(vendor, name).raw()
    requests["secret_retired"] = named(vendor, "rotated", secret=OTHER_SECRET).raw()
    requests["secret_of_another_tenant"] = webhook(vendor, secret=OTHER_SECRET).raw()
    if vendor == "generic":
        for name in ("a b", "x" * 129, "..", "{acme-corp}", "acme-corp%0a", "%ff", "%00"):
            requests[f"path_{name[:12]}"] = named(vendor, name.replace(" ", "%20")).raw()
    assert len(requests) >= 25

    async with serving(application.app) as port:
        answers = {cause: await exchange(port, request) for cause, request in requests.items()}
        accepted = await exchange(port, webhook(vendor).raw())
    assert accepted[0].status == 202  # so none of the above was refused for another reason
    distinct = {tuple(masked(answer) for answer in found) for found in answers.values()}
    assert distinct == {
        (
            (
                401,
                (
                    ("date", ""),
                    ("content-length", "25"),
                    ("content-type", "application/json"),
                    ("x-request-id", ""),
                    ("connection", "close"),
                ),
                b'{"detail":"unauthorized"}',
            ),
        )
    }
    assert len(await application.stored()) == 1


def bad_credentials(vendor: Vendor, body: bytes) -> dict[str, list[bytes]]:
    """Return, by cause, header fields none of which prove `body` to be from who has SECRET."""
    signature = sign(body, SECRET).encode()
    bearer = b"Bearer " + SECRET.encode()
    if vendor in BEARER_VENDORS:
        name, good, other = b"Authorization: ", bearer, b"X-Vyrox-Signature: " + signature
        values = {
            "no_token": b"Bearer",
            "empty_token": b"Bearer ",
            "no_scheme": SECRET.encode(),
            "other_scheme": b"Basic " + SECRET.encode(),
            "two_spaces": b"Bearer  " + SECRET.encode(),
            "tab": b"Bearer\t" + SECRET.encode(),
            "short": good[:-1],
            "long": good + b"x",
            "upper_case": b"Bearer " + SECRET.upper().encode(),
            "not_ascii": good + b"\xff",
            "not_ascii_first": b"\xff" + good,
            "utf_8": "Bearer ünïcödé".encode(),
            "joined": good + b", " + good,
            "very_long": b"Bearer " + b"x" * 5000,
            "signature": signature,
        }
    else:
        name, good, other = b"X-Vyrox-Signature: ", signature, b"Authorization: " + bearer
        values = {
            "prefix_only": b"sha256=",
            "no_prefix": signature.removeprefix(b"sha256="),
            "other_prefix": signature.replace(b"sha256=", b"sha1="),
            "upper_case_prefix": signature.replace(b"sha256=", b"SHA256="),
            "upper_case": b"sha256=" + signature.removeprefix(b"sha256=").upper(),
            "odd_length": signature[:-1],
            "half": signature[: len(signature) - 32],
            "long": signature + b"0",
            "space_inside": signature[:20] + b" " + signature[20:],
            "not_hex": signature[:-1] + b"g",
            "not_ascii": signature[:-1] + b"\xff",
            "not_ascii_first": b"\xff" + signature[1:],
            "joined": signature + b", " + signature,
            "other_body": sign(body + b" ", SECRET).encode(),
            "empty_key": sign(body, "").encode(),
            "token": bearer,
        }
    causes = {cause: [name + value] for cause, value in values.items()}
    bad = next(iter(causes.values()))[0]
    causes |= {
        "missing": [],
        "empty": [name],
        "wrong_header": [other],
        "good_then_bad": [name + good, bad],
        "bad_then_good": [bad, name + good],
        "good_twice": [name + good, name + good],
    }
    return causes


Masked = tuple[int, tuple[tuple[str, str], ...], bytes]


def masked(answer: Answer) -> Masked:
    """Return all of `answer` but what has to differ from one to the next."""
    differing = {"date", "x-request-id"}
    fields = tuple((name, "" if name in differing else value) for name, value in answer.fields)
    return answer.status, fields, answer.body


PATHS: Final = {
    "reject_nul": ("%00", 401),
    "reject_trailing_nul": ("acme%00", 401),
    "reject_newline": ("acme%0a", 401),
    "reject_unescaped_space": ("acme%0d%0aX: y", 400),
    "reject_line_break": ("acme%0d%0aX:%20y", 401),
    "reject_slash": ("acme%2Fcorp", 404),
    "reject_escaped_dots": ("%2e%2e", 401),
    "reject_dots": ("..", 401),
    "reject_dot_segment": ("../generic/acme", 404),
    "reject_dot": (".", 401),
    "reject_invalid_utf_8": ("%ff", 401),
    "reject_surrogate": ("%ed%a0%80", 401),
    "reject_emoji": ("%F0%9F%92%A9", 401),
    "reject_unescaped_byte": ("\u00ff", 400),
    "reject_braces": ("%7Bacme%7D", 401),
    "reject_unescaped_braces": ("{acme}", 401),
    "reject_glob": ("acme:*", 401),
    "reject_escape_sequence": ("%1b[31m", 401),
    "reject_line_separator": ("%E2%80%A8", 401),
    "reject_percent": ("%", 401),
    "reject_bad_escape": ("%zz", 401),
    "reject_too_long": ("x" * 129, 401),
    "reject_much_too_long": ("x" * 10_000, 401),
    "reject_60_kb": ("x" * 60_000, 431),
    "reject_empty": ("", 404),
    "allow_one_slash_at_the_end": ("acme/", 422),
    "reject_two_slashes": ("acme//", 404),
    "allow_query": ("acme?tenant_id=initech", 422),
    "allow_escaped_letter": ("%61cme", 422),
}
"""The end of a path, and the status of the response."""


async def test_receive_alert_believes_no_hostile_path_contract_7(
    with_defaults: Application,
) -> None:
    """Signed with the default secret, so that only the name can be refused."""
    found = {}
    async with serving(with_defaults.app) as port:
        for case, (name, _) in PATHS.items():
            (answer,) = await exchange(port, webhook("generic", tenant_id=name).raw())
            assert list(json.loads(answer.body)) == ["detail"], case
            found[case] = answer.status
    assert found == {case: status for case, (_, status) in PATHS.items()}
    kept = await with_defaults.kept()
    assert {tenant_id for tenant_id, *_ in kept} == {"acme"}
    assert sum(deliveries for *_, deliveries in kept) == list(found.values()).count(422)


KEYS: Final[dict[Vendor, list[str]]] = {
    "crowdstrike": ["customer_id", "customer\\u005fid", "CUSTOMER_ID"],
    "sentinelone": ["accountId", "account\\u0049d", "accountid"],
    "defender": ["tenantId", "\\u0074enantId", "tenantid"],
    "generic": ["tenant_id", "tenant\\u005fid", "event.tenant_id"],
}
VALUES: Final = [
    '"alpha"',
    '"beta"',
    '"al\\u0070ha"',
    '"beta\\u0000"',
    '"beta "',
    "7",
    "null",
    '["beta"]',
    '{"customer_id":"beta","accountId":"beta","tenantId":"beta"}',
]


@every_vendor
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(VALUES)), max_size=4),
    owner=st.sampled_from(["alpha", "beta"]),
    in_path=st.sampled_from(["alpha", "beta"]),
)
async def test_receive_alert_queues_for_the_verified_tenant_alone_contract_7(
    two_tenants: Application,
    vendor: Vendor,
    members: list[tuple[int, str]],
    owner: str,
    in_path: str,
) -> None:
    """However often, and however spelt, a body names a tenant."""
    body = changed(DOCUMENTED[vendor], RAW_IDS[vendor], str(uuid.uuid4()))
    for key, value in members:
        body = body[:-1] + f',"{KEYS[vendor][key]}":{value}}}'.encode()
    before = await two_tenants.stored()
    sent = webhook(vendor, body, secret=SECRETS_OF[owner], tenant_id=in_path)
    answer = await two_tenants.post(sent)
    new = [row for row in await two_tenants.stored() if row not in before]
    if answer.status_code == 202:
        assert new == [(owner, answer.json()["alert_id"])]
        queued = (await two_tenants.queued(owner))[-1]
        assert (queued.id, queued.tenant_id) == (answer.json()["alert_id"], owner)
    else:
        assert answer.status_code in {400, 401}
        assert new == []


SECRETS_OF: Final = {"alpha": SECRET, "beta": OTHER_SECRET}


@pytest.fixture
async def two_tenants(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """The application with the tenants of SECRETS_OF."""
    async with running(settings, redis_url) as opened:
        for name, secret in SECRETS_OF.items():
            for vendor in VENDORS:
                field_map = FIELD_MAP if vendor == "generic" else None
                await opened.onboard(name, vendor, secret, field_map)
        yield opened


@pytest.mark.parametrize(
    ("first", "last", "accepted"),
    [("beta", "alpha", True), ("alpha", "beta", False)],
    ids=["allow_last", "reject_last"],
)
@pytest.mark.parametrize("vendor", TENANT_FIELDS)
async def test_receive_alert_authenticates_the_last_of_duplicate_tenants_contract_7(
    two_tenants: Application, vendor: Vendor, first: str, last: str, accepted: bool
) -> None:
    """Alpha signs. Only the last of the keys decides which tenant is meant."""
    body = changed(DOCUMENTED[vendor], TENANT_FIELDS[vendor], last)
    twice = b'{"%b":"%b",' % (TENANT_FIELDS[vendor].encode(), first.encode()) + body[1:]
    answer = await two_tenants.post(webhook(vendor, twice))
    assert answer.status_code == (202 if accepted else 401)
    assert [tenant_id for tenant_id, _ in await two_tenants.stored()] == ["alpha"] * accepted
