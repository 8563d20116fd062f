"""`POST /execute`: in what order it refuses, what it carries out, and what it leaves behind."""

import asyncio
import json
import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Final, get_args

import asyncpg
import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.audit import NOW, Clock
from tests.http.test_protocol import WatchedProtocol, connected, serving
from tests.loop_time import set_loop_time
from tests.polling import until
from tests.postgres import Postgres
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
from tests.routes.json_texts import VALID
from tests.service import HMAC_SECRET
from tests.vendor import COMPOSITE_ID, FakeVendor, add_alert, forget_alert, give_credentials
from vyrox.chain.entry import SERVICE
from vyrox.clock import wall_clock
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.vendor_action import CLIENT_GRACE_S
from vyrox.crypto import sign
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.http.bodies import MAX_INCOMPLETE_BYTES
from vyrox.models import ActionType, Vendor
from vyrox.routes import ingestion
from vyrox.routes.signed import MAX_SIGNED_BODY_BYTES
from vyrox.settings import Settings
from vyrox.store.encryption import open_vault

ACTIONS: Final[tuple[ActionType, ...]] = get_args(ActionType)
CONCURRENT: Final = 64

DRY_RUN: Final = {"status": "dry_run", "dry_run": True}
EXECUTED: Final = {"status": "executed", "dry_run": False}


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=NOWHERE)


@pytest.fixture
def acting(settings: Settings) -> Settings:
    return replace(settings, dry_run=False)


@pytest.fixture
def on_each(settings: Settings, database_url: str | None) -> Settings:
    """Settings for each of the two databases."""
    key = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="
    return replace(settings, database_url=database_url, encryption_keys=(key,))


@pytest.fixture
def acting_on_each(on_each: Settings) -> Settings:
    return replace(on_each, dry_run=False)


@pytest.fixture
async def dry(settings: Settings) -> AsyncIterator[Proxied]:
    """The listener in dry run, on SQLite."""
    async with proxied(settings) as opened:
        yield opened


def check(answer: httpx.Response, status: int, content: Fields) -> None:
    assert (answer.status_code, answer.json()) == (status, content)
    assert answer.headers["content-type"] == "application/json"


def refusal(detail: str) -> Fields:
    return {"detail": detail}


async def test_execute_in_dry_run_does_all_but_the_call_contract_19(on_each: Settings) -> None:
    vendor = FakeVendor()
    async with proxied(on_each, vendor) as running:
        for action in ACTIONS:
            fields = wanted(action_type=action, tenant_id=action, alert_id=f"alt_{action}")
            check(await running.execute(fields, **{"x-request-id": "trace-1"}), 200, DRY_RUN)
            [entry] = await running.entries(action)
            assert set(entry) == {*MEMBERS, "timestamp", "previous_hash", "hash"}
            assert {name: entry[name] for name in MEMBERS} == {
                "tenant_id": action,
                "action_type": action,
                "host": fields["host"],
                "approved_by": fields["approved_by"],
                "dry_run": True,
            }
            [outcome] = await running.events(action, "execute.outcome")
            assert (outcome["entry"], outcome["outcome"]) == (entry["hash"], "dry_run")
            assert outcome["execution"] == fields["request_id"]
            assert outcome["request_id"] == "trace-1"
        assert {state for _, state in await running.claimed()} == {"done"}
    assert vendor.asked == []


MEMBERS: Final = ("tenant_id", "action_type", "host", "approved_by", "dry_run")


async def test_execute_calls_the_vendor_once_the_entry_is_committed_contract_32(
    acting_on_each: Settings,
) -> None:
    vendor = FakeVendor()
    async with proxied(acting_on_each, vendor) as running:

        async def committed_by_now() -> None:
            seen.extend(await running.entries())

        seen: list[dict[str, object]] = []
        vendor.acting = committed_by_now
        fields = wanted()
        check(await running.execute(fields), 200, EXECUTED)
        [(target, device, receipt)] = vendor.asked
        assert (target, device) == ("contained", fields["host"])
        assert vendor.comments == [
            f"Vyrox: request {fields['request_id']}, approved by jane.smith#1234"
        ]
        [entry] = seen
        assert entry["dry_run"] is False
        assert (receipt.tenant_id, receipt.stream, receipt.sequence, receipt.hash) == (
            TENANT,
            "actions",
            1,
            entry["hash"],
        )
        assert await running.entries() == seen
        [outcome] = await running.events(kind="execute.outcome")
        assert (outcome["entry"], outcome["outcome"]) == (receipt.hash, "confirmed")


FAULTS: Final = {
    "oversized": 413,
    "unsigned": 401,
    "bad_field": 400,
    "too_often": 429,
    "stale": 410,
    "reused": 422,
    "unsupported": 501,
    "failing": 502,
}
"""In contract 19's order, with the status of each."""


def subsets() -> list[tuple[str, ...]]:
    return [found for size in range(len(FAULTS) + 1) for found in combinations(FAULTS, size)]


async def test_execute_refuses_in_order_contract_19(acting: Settings) -> None:
    """Of any set of faults, the first in contract 19's order is the one that is answered."""
    vendor = FakeVendor()
    used_up, known = wanted(tenant_id="too-often"), wanted(tenant_id="first")
    answered, asked, entries = {}, {}, {}
    async with proxied(replace(acting, execute_rate_per_minute=1), vendor) as running:
        check(await running.execute(used_up), 200, EXECUTED)
        check(await running.execute(known), 200, EXECUTED)
        for number, faults in enumerate(subsets()):
            tenant_id = "too-often" if "too_often" in faults else f"tenant-{number}"
            fields = wanted(tenant_id=tenant_id)
            if "bad_field" in faults:
                fields["host"] = ""
            if "stale" in faults:
                fields["approved_at"] = int(wall_clock()) - 60
            if "reused" in faults:
                fields["request_id"] = known["request_id"]
            if "unsupported" in faults:
                fields["action_type"] = "PROCESS_KILL"  # the tenant has no such alert
            vendor.failure = VendorError("refused") if "failing" in faults else None
            body = encoded(fields) + b" " * (MAX_SIGNED_BODY_BYTES if "oversized" in faults else 0)
            secret = OTHER_SECRET if "unsigned" in faults else HMAC_SECRET
            vendor.asked.clear()
            answer = await running.post(body, signed(body, secret))
            answered[faults] = answer.status_code
            asked[faults] = len(vendor.asked)
            entries[faults] = len(await running.entries(f"tenant-{number}"))
    assert answered == {
        faults: next((FAULTS[name] for name in FAULTS if name in faults), 200)
        for faults in subsets()
    }
    assert asked == entries == {faults: int(set(faults) <= {"failing"}) for faults in subsets()}


@pytest.mark.parametrize("known", ["in_flight", "done"])
async def test_execute_knows_a_request_before_it_asks_what_is_supported_contract_19(
    acting: Settings, known: str
) -> None:
    vendor = FakeVendor()
    fields = wanted(action_type="PROCESS_KILL")
    async with proxied(acting, vendor) as running:
        vendor.gate.clear()
        first = asyncio.create_task(running.execute(fields))
        await vendor.began.wait()
        await forget_alert(running.database, "alt_abc123")
        if known == "in_flight":
            check(await running.execute(fields), 409, refusal("request in flight"))
        vendor.gate.set()
        check(await first, 200, EXECUTED)
        if known == "done":
            replayed = {"status": "replayed", "dry_run": False}
            check(await running.execute(fields), 200, replayed)
            anew = wanted(action_type="PROCESS_KILL")
            check(await running.execute(anew), 501, refusal("action not supported"))
    assert len(vendor.asked) == 1


MISSING: Final = object()

REJECTED_TEXTS: Final[Fields] = {
    "reject_missing": MISSING,
    "reject_null": None,
    "reject_empty": "",
    "reject_white_space": " \t\r\n\u00a0\u2003\u3000",
    "reject_257_characters": "x" * 257,
    "reject_lone_surrogate": "a\ud800",
    "reject_lone_low_surrogate": "\udc00a",
    "reject_surrogates_in_the_wrong_order": "\udc00\ud800",
    "reject_integer": 7,
    "reject_boolean": True,
    "reject_float": 1.5,
    "reject_list": ["x"],
    "reject_object": {"x": "x"},
}
REJECTED: Final[dict[str, Fields]] = {
    **dict.fromkeys(("request_id", "alert_id", "host", "approved_by"), REJECTED_TEXTS),
    "tenant_id": {
        **REJECTED_TEXTS,
        "reject_colon": "acme:corp",
        "reject_slash": "acme/corp",
        "reject_dot": ".",
        "reject_dot_dot": "..",
        "reject_newline": "acme\n",
        "reject_nul": "acme\0",
        "reject_space_behind": "acme ",
        "reject_129_characters": "x" * 129,
        "reject_cyrillic": "\u0430cme",
        "reject_fullwidth": "\uff41cme",
        "reject_digits_as_integer": 12345,
    },
    "action_type": {
        "reject_missing": MISSING,
        "reject_null": None,
        "reject_empty": "",
        "reject_unknown": "REBOOT",
        "reject_lower_case": "host_isolation",
        "reject_space_behind": "HOST_ISOLATION ",
        "reject_list": ["HOST_ISOLATION"],
        "reject_integer": 0,
    },
    "approved_at": {
        "reject_missing": MISSING,
        "reject_null": None,
        "reject_boolean": True,
        "reject_float": 1704067200.5,
        "reject_float_of_the_present": float(int(wall_clock())),
        "reject_string": str(int(wall_clock())),
        "reject_nan": float("nan"),
        "reject_infinity": float("inf"),
        "reject_list": [int(wall_clock())],
    },
}


@pytest.mark.parametrize("name", REJECTED)
async def test_execute_refuses_a_bad_field_contract_20(dry: Proxied, name: str) -> None:
    """One at a time, in an otherwise right request."""
    answered = {}
    for case, value in REJECTED[name].items():
        fields = wanted(**{name: value})
        if value is MISSING:
            del fields[name]
        answer = await dry.execute(fields)
        answered[case] = (answer.status_code, answer.json())
    assert answered == dict.fromkeys(REJECTED[name], (400, refusal("invalid request")))
    assert not await dry.has_acted()


async def test_execute_refuses_an_instant_that_is_not_now_contract_20(dry: Proxied) -> None:
    """However many digits it has. Only one that no parser takes is no integer, and 400."""
    digits = {
        "reject_2_to_the_63": str(2**63),
        "reject_2_to_the_64": str(2**64),
        "reject_negative": str(-(10**18)),
        "reject_401_digits": "1" + "0" * 400,
        "reject_4300_digits": "9" * 4300,
        "reject_milliseconds": "1704067200000",
        "reject_zero": "0",
        "reject_minus_zero": "-0",
        "reject_4301_digits": "9" * 4301,
    }
    answered = {}
    for case, instant in digits.items():
        body = encoded(wanted(approved_at="HERE")).replace(b'"HERE"', instant.encode())
        answered[case] = (await dry.post(body, signed(body))).status_code
    assert answered == {**dict.fromkeys(digits, 410), "reject_4301_digits": 400}
    assert not await dry.has_acted()


ALLOWED: Final[dict[str, Fields]] = {
    "allow_request_id_no_uuid": {"request_id": "no-uuid"},
    "allow_request_id_nul": {"request_id": "\0"},
    "allow_request_id_256_characters": {"request_id": "\U0001f512" * 256},
    "allow_tenant_id_every_kind_of_character": {"tenant_id": "A.b_c-9"},
    "allow_tenant_id_128_characters": {"tenant_id": "x" * 128},
    "allow_alert_id_anything": {"alert_id": "\u202e ../\0"},
    "allow_host_nul": {"host": "\0"},
    "allow_host_256_characters": {"host": "x" * 256},
    "allow_host_space_around": {"host": " inner space "},
    "allow_host_path": {"host": "../../etc/passwd"},
    "allow_host_controls": {"host": "a\n\x1b[31m\x7f\x9b\u2028\u202e"},
    "allow_host_escaped": {"host": '"\\/'},
    "allow_approved_by_any_script": {"approved_by": "\u00e9 \u20ac \U0001f600"},
    "allow_approved_by_decomposed": {"approved_by": "e\u0301"},
    "allow_approved_by_sql": {"approved_by": "'; DROP TABLE audit_log; --"},
}


async def test_execute_keeps_what_it_was_sent_contract_33(on_each: Settings) -> None:
    """They are neither trimmed nor normalized, and each differs from all others."""
    replayed = {"status": "replayed", "dry_run": True}
    async with proxied(on_each) as running:
        for case, changes in ALLOWED.items():
            fields = wanted(**{"tenant_id": case, **changes})
            check(await running.execute(fields), 200, DRY_RUN)
            check(await running.execute(fields), 200, replayed)
            [entry] = await running.entries(str(fields["tenant_id"]))
            sent = {name: fields[name] for name in MEMBERS[:-1]}
            assert {name: entry[name] for name in MEMBERS} == {**sent, "dry_run": True}
            assert (fields["request_id"], "done") in await running.claimed()


async def test_execute_ignores_unknown_fields_contract_20(dry: Proxied) -> None:
    fields = wanted(dry_run=False, vendor={"nested": [None]}, **{"\0": "x" * 10_000})
    check(await dry.execute(fields), 200, DRY_RUN)


async def test_execute_refuses_what_is_no_request_contract_19(dry: Proxied) -> None:
    """Any signed bytes that are no JSON object with the fields."""
    odd = {
        "empty": b"",
        "space": b" ",
        "byte_order_mark": b"\xef\xbb\xbf" + encoded(wanted()),
        "utf_16": encoded(wanted()).decode().encode("utf-16"),
        "two_objects": encoded(wanted()) * 2,
        "trailing_comma": encoded(wanted())[:-1] + b",}",
        "cut": encoded(wanted())[:-1],
        "list_of_one": encoded([wanted()]),
        "not_utf_8": encoded(wanted(host="HERE")).replace(b"HERE", b"\xff"),
        "overlong": encoded(wanted(host="HERE")).replace(b"HERE", b"\xc0\xaf"),
        "surrogate_in_utf_8": encoded(wanted(host="HERE")).replace(b"HERE", b"\xed\xa0\x80"),
        "deep": b'{"a":' * 20_000,
        "deep_beside": encoded(wanted())[:-1] + b',"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "form": b"request_id=1&tenant_id=acme-corp",
    }
    for case, body in {**VALID, **odd}.items():
        answer = await dry.post(body, signed(body))
        assert (case, answer.status_code) == (
            case,
            413 if len(body) > MAX_SIGNED_BODY_BYTES else 400,
        )
        assert set(answer.json()) == {"detail"}
    assert not await dry.has_acted()


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("size", "status"),
    [
        pytest.param(65_536, 200, id="allow_65536"),
        pytest.param(65_537, 413, id="reject_65537"),
    ],
)
async def test_execute_limits_the_body_contract_19(
    settings: Settings, size: int, status: int, declared: bool
) -> None:
    """Whatever MAX_BODY_BYTES says, which is the webhooks'."""
    body = encoded(wanted()).ljust(size)

    async def parts() -> AsyncIterator[bytes]:
        yield body[:1000]
        yield body[1000:]

    async with proxied(replace(settings, max_body_bytes=1024)) as running:
        answer = await running.client.post(
            "/execute", content=body if declared else parts(), headers=signed(body)
        )
    assert answer.status_code == status


def bad_signatures(message: bytes, other: bytes) -> dict[str, list[bytes]]:
    """Return the values of every X-Vyrox-Signature header, for each way to be wrong."""
    right = sign(message, HMAC_SECRET)
    digest = right.removeprefix("sha256=")
    texts = {
        "other_secret": sign(message, OTHER_SECRET),
        "other_message": sign(other, HMAC_SECRET),
        "no_scheme": digest,
        "other_scheme": f"sha1={digest}",
        "upper_scheme": f"SHA256={digest}",
        "upper_hex": f"sha256={digest.upper()}",
        "scheme_twice": f"sha256=sha256={digest}",
        "space_after_scheme": f"sha256= {digest}",
        "space_before": f" {right}",
        "space_behind": f"{right} ",
        "tab_behind": f"{right}\t",
        "short": right[:-1],
        "long": right + "0",
        "odd": right[:-1] + "g",
        "prefix_0x": f"sha256=0x{digest}",
        "list": f"{right},{right}",
        "quoted": f'"{right}"',
        "scheme_only": "sha256=",
        "empty": "",
        "zeros": "sha256=" + "0" * 64,
        "fullwidth_digits": "sha256=" + digest.translate({48 + d: 0xFF10 + d for d in range(10)}),
        "base64": "sha256=" + "A" * 44,
        "very_long": "sha256=" + "0" * 5000,
        "null": "null",
    }
    return {
        "missing": [],
        "right_twice": [right.encode()] * 2,
        "right_and_wrong": [right.encode(), texts["zeros"].encode()],
        "wrong_and_right": [texts["zeros"].encode(), right.encode()],
        "high_bytes": [b"\xff" * 71],
        "nul_behind": [right.encode() + b"\0"],
        **{case: [text.encode()] for case, text in texts.items()},
    }


async def test_execute_has_one_answer_for_every_bad_credential_contract_3(dry: Proxied) -> None:
    body, other = encoded(wanted()), encoded(wanted(host="workstation-02"))
    causes = bad_signatures(body, other)
    answers = {}
    for cause, values in causes.items():
        headers = [(b"x-vyrox-signature", value) for value in values]
        answer = await dry.client.post("/execute", content=body, headers=headers)
        assert answer.headers.pop("x-request-id")
        answers[cause] = (answer.status_code, answer.content, sorted(answer.headers.raw))
    assert answers == dict.fromkeys(causes, answers["missing"])
    assert answers["missing"][:2] == (401, b'{"detail":"unauthorized"}')
    assert not await dry.has_acted()
    check(await dry.post(body, signed(body)), 200, DRY_RUN)


async def test_execute_verifies_the_bytes_it_was_sent_contract_19(dry: Proxied) -> None:
    """The same value in other bytes, or a body changed by one bit, is not what was signed."""
    body = encoded(wanted())
    others = [
        json.dumps(json.loads(body)).encode(),
        body + b"\n",
        *(body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :] for i in range(0, len(body), 7)),
    ]
    statuses = [(await dry.post(other, signed(body))).status_code for other in others]
    assert set(statuses) == {401}
    assert not await dry.has_acted()


async def test_signatures_of_one_endpoint_are_worth_nothing_at_the_other_contract_26(
    dry: Proxied,
) -> None:
    """What one signs is never what the other takes, though the secret is the same."""
    check(await dry.execute(wanted()), 200, DRY_RUN)
    timestamp = str(int(wall_clock()))
    message = f"{TENANT}:{timestamp}".encode()
    captured = export_headers(TENANT, timestamp)
    check(await dry.post(message, captured), 400, refusal("invalid request"))
    check(await dry.post(encoded(wanted()), captured), 401, refusal("unauthorized"))

    body = encoded(wanted())
    for tenant_id in (TENANT, body.decode(), body.decode().partition(":")[0]):
        headers = {**signed(body), "x-vyrox-timestamp": timestamp}
        answer = await dry.export(tenant_id, headers)
        assert answer.status_code in {400, 401}
        assert set(answer.json()) == {"detail"}
    assert len(await dry.entries()) == 1
    assert await dry.events(kind="audit.exported") == []


@pytest.mark.parametrize(
    ("age_s", "status"),
    [
        pytest.param(30, 200, id="allow_30_s_ago"),
        pytest.param(-30, 200, id="allow_30_s_ahead"),
        pytest.param(30.001, 410, id="reject_more_than_30_s_ago"),
        pytest.param(-30.001, 410, id="reject_more_than_30_s_ahead"),
        pytest.param(31, 410, id="reject_31_s_ago"),
        pytest.param(-31, 410, id="reject_31_s_ahead"),
    ],
)
async def test_execute_keeps_to_the_replay_window_contract_19(
    dry: Proxied, age_s: float, status: int
) -> None:
    dry.app.state.proxy = replace(dry.proxy, clock=Clock(int(NOW) + age_s))
    answer = await dry.execute(wanted(approved_at=int(NOW)))
    assert answer.status_code == status
    assert await dry.has_acted() == (status == 200)


async def test_execute_replays_the_first_answer_contract_24(on_each: Settings) -> None:
    """Across a restart, and though it would be carried out now. Who asks, and when, may differ."""
    vendor = FakeVendor()
    fields = wanted()
    async with proxied(on_each, vendor) as running:
        check(await running.execute(fields), 200, DRY_RUN)
        first = await running.execute(fields)
    async with proxied(replace(on_each, dry_run=False), vendor) as running:
        again = wanted(
            request_id=fields["request_id"],
            approved_by="somebody else",
            approved_at=int(wall_clock()) - 5,
        )
        second = await running.execute(again)
        assert len(await running.entries()) == 1
        assert len(await running.events(kind="execute.outcome")) == 1
    check(first, 200, {"status": "replayed", "dry_run": True})
    assert second.content == first.content
    assert vendor.asked == []


@pytest.mark.parametrize("state", ["in_flight", "done"])
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"tenant_id": "initech"}, id="reject_other_tenant"),
        pytest.param({"alert_id": "alt_other"}, id="reject_other_alert"),
        pytest.param({"action_type": "PROCESS_KILL"}, id="reject_other_action"),
        pytest.param({"host": "workstation-02"}, id="reject_other_host"),
    ],
)
async def test_execute_refuses_a_reused_request_id_contract_21(
    acting: Settings, changed: Fields, state: str
) -> None:
    vendor = FakeVendor()
    fields = wanted()
    async with proxied(acting, vendor) as running:
        if state == "in_flight":
            vendor.gate.clear()
        first = asyncio.create_task(running.execute(fields))
        await vendor.began.wait()
        if state == "done":
            await first
        check(await running.execute({**fields, **changed}), 422, refusal("request_id reused"))
        vendor.gate.set()
        check(await first, 200, EXECUTED)
        assert len(await running.entries()) == 1
        assert await running.entries("initech") == []
    assert len(vendor.asked) == 1


async def test_execute_carries_out_one_of_many_at_once_contract_19(
    acting_on_each: Settings,
) -> None:
    """64 requests with one id: one acts, the rest get 409, and later all are replayed."""
    vendor = FakeVendor()
    vendor.gate.clear()
    fields = wanted()
    async with proxied(acting_on_each, vendor) as running:
        sending = {asyncio.create_task(running.execute(fields)) for _ in range(CONCURRENT)}
        refused: set[asyncio.Task[httpx.Response]] = set()
        while len(refused) < CONCURRENT - 1:
            done, _ = await asyncio.wait(sending - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        for task in refused:
            check(task.result(), 409, refusal("request in flight"))
        vendor.gate.set()
        [acted] = sending - refused
        check(await acted, 200, EXECUTED)
        again = await asyncio.gather(*(running.execute(fields) for _ in range(CONCURRENT)))
        for answer in again:
            check(answer, 200, {"status": "replayed", "dry_run": False})
        assert len(await running.entries()) == 1
    assert len(vendor.asked) == 1


async def test_execute_carries_out_each_of_many_once_contract_27(on_each: Settings) -> None:
    """Many ids, each several times at once, in one tenant's chain and in others'."""
    requests = [wanted(tenant_id=f"tenant-{n % 3}", host=f"host-{n}") for n in range(40)]
    async with proxied(on_each) as running:
        answers = await asyncio.gather(*(running.execute(fields) for fields in requests * 4))
        outcomes = Counter(
            "refused" if answer.status_code == 409 else answer.json()["status"]
            for answer in answers
        )
        entries = [e for n in range(3) for e in await running.entries(f"tenant-{n}")]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert outcomes["dry_run"] == len(requests)
    assert Counter(e["host"] for e in entries) == Counter(f["host"] for f in requests)


@pytest.mark.parametrize("action", ACTIONS)
async def test_execute_lets_a_failed_action_be_tried_again_contract_19(
    acting_on_each: Settings, action: ActionType
) -> None:
    """Each attempt makes an entry and an outcome that names it (contract 27)."""
    vendor = FakeVendor()
    vendor.failure = VendorError("403: key sk-CANARY is not allowed")
    fields = wanted(action_type=action)
    async with proxied(acting_on_each, vendor) as running:
        check(await running.execute(fields), 502, refusal("vendor error"))
        assert await running.claimed() == []
        vendor.failure = None
        check(await running.execute(fields), 200, EXECUTED)
        hashes = [entry["hash"] for entry in await running.entries()]
        outcomes = await running.events(kind="execute.outcome")
        assert await running.events(kind="execute.refused") == []
    assert [outcome["entry"] for outcome in outcomes] == hashes
    assert [outcome["outcome"] for outcome in outcomes] == ["failed", "confirmed"]
    assert len(vendor.asked) == 2


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(VendorOutcomeUnknownError("reset after the call was sent"), id="said_so"),
        pytest.param(RuntimeError("a mistake in the client"), id="mistake"),
        pytest.param(None, id="no_answer_in_time"),
    ],
)
@pytest.mark.parametrize("action", ["NETWORK_QUARANTINE", "PROCESS_KILL"])
async def test_execute_repeats_an_unknown_outcome_unless_it_killed_contract_22(
    acting: Settings,
    monkeypatch: pytest.MonkeyPatch,
    action: ActionType,
    failure: Exception | None,
) -> None:
    offset = set_loop_time(monkeypatch)

    async def never_responds() -> None:
        offset[0] = acting.edr_deadline_s + CLIENT_GRACE_S
        await asyncio.Event().wait()

    vendor = FakeVendor()
    vendor.failure = failure
    vendor.acting = never_responds if failure is None else None
    fields = wanted(action_type=action)
    async with proxied(acting, vendor) as running:
        check(await running.execute(fields), 502, refusal("vendor error"))
        vendor.failure = vendor.acting = None
        again = await running.execute(fields)
        [entry, *_] = await running.entries()
        [outcome, *_] = await running.events(kind="execute.outcome")
    assert (outcome["entry"], outcome["outcome"]) == (entry["hash"], "outcome_unknown")
    if action == "PROCESS_KILL":
        check(again, 409, refusal("request in flight"))
    else:
        check(again, 200, EXECUTED)
    assert len(vendor.asked) == (1 if action == "PROCESS_KILL" else 2)


async def test_execute_without_a_vendor_is_502_and_may_be_tried_again_contract_25(
    acting_on_each: Settings,
) -> None:
    fields = wanted()
    async with proxied(acting_on_each) as running:
        for _ in range(2):
            check(await running.execute(fields), 502, refusal("vendor error"))
            assert await running.claimed() == []
        assert [entry["dry_run"] for entry in await running.entries()] == [False, False]
        outcomes = await running.events(kind="execute.outcome")
        assert [outcome["outcome"] for outcome in outcomes] == ["failed", "failed"]
    vendor = FakeVendor()
    async with proxied(acting_on_each, vendor) as running:  # once there are credentials
        check(await running.execute(fields), 200, EXECUTED)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("alert_id", "source", "raw_id"),
    [
        pytest.param("alt_none", None, "", id="reject_no_such_alert"),
        pytest.param("alt_of_another", "crowdstrike", COMPOSITE_ID, id="reject_another_tenants"),
        pytest.param("alt_1", "crowdstrike", "evt:1234567890:abc123", id="reject_no_composite_id"),
        pytest.param("alt_1", "sentinelone", "thrt_1234567890abc", id="reject_no_threat_id"),
        pytest.param("alt_1", "defender", "da637578995287051192_756343937", id="reject_defender"),
        pytest.param("alt_1", "generic", COMPOSITE_ID, id="reject_not_the_vendors_alert"),
    ],
)
async def test_execute_puts_no_other_action_in_the_place_of_a_kill_contract_25(
    settings: Settings, dry_run: bool, alert_id: str, source: Vendor | None, raw_id: str
) -> None:
    """Nothing is written and nothing called, in dry run too."""
    vendor = FakeVendor()
    async with proxied(replace(settings, dry_run=dry_run), vendor) as running:
        if source is not None:
            of = "initech" if alert_id == "alt_of_another" else TENANT
            await add_alert(running.database, of, alert_id, raw_id, source)
        fields = wanted(action_type="PROCESS_KILL", alert_id=alert_id)
        check(await running.execute(fields), 501, refusal("action not supported"))
        assert not await running.has_acted()
        [refused] = await running.events(kind="execute.refused")
        assert refused["status"] == 501
        assert " kill" in str(refused["reason"])  # why, which the response does not show
    assert vendor.asked == []


async def test_execute_vendor_is_that_of_the_alert_contract_25(acting: Settings) -> None:
    """Though the tenant has credentials for another one, and none for this."""
    vendor, vault = FakeVendor(), open_vault(acting.encryption_keys, acting.data_dir)
    async with proxied(acting, vendor) as running:
        await add_alert(running.database, TENANT, "alt_s1", "1234", "sentinelone")
        fields = wanted(alert_id="alt_s1")
        check(await running.execute(fields), 502, refusal("vendor error"))
        [outcome] = await running.events(kind="execute.outcome")
        assert outcome["reason"] == "the tenant has no vendor credentials"
        await give_credentials(running.database, [TENANT], "sentinelone", vault)
        check(await running.execute(fields), 200, EXECUTED)
        # Of two, and no alert to say which, it is neither.
        check(await running.execute(wanted(alert_id="alt_none")), 502, refusal("vendor error"))
    assert len(vendor.asked) == 1


async def test_execute_goes_on_when_its_caller_hangs_up_contract_23(
    acting_on_each: Settings,
) -> None:
    vendor = FakeVendor()
    vendor.gate.clear()
    WatchedProtocol.closed = asyncio.Event()
    fields = wanted()
    body = encoded(fields)
    fields_sent = (len(body), sign(body, HMAC_SECRET).encode())
    head = b"POST /execute HTTP/1.1\r\nHost: vyrox\r\n"
    head += b"Content-Length: %d\r\nX-Vyrox-Signature: %b\r\n\r\n" % fields_sent
    async with proxied(acting_on_each, vendor) as running:
        async with serving(running.app, WatchedProtocol) as port:
            async with connected(port) as (_, writer):
                writer.write(head + body)
                await vendor.began.wait()
                writer.transport.abort()
            await WatchedProtocol.closed.wait()
            check(await running.execute(fields), 409, refusal("request in flight"))
            vendor.gate.set()

            async def done() -> bool:
                return (await running.execute(fields)).status_code == 200

            await until(done)
        [entry] = await running.entries()
        [outcome] = await running.events(kind="execute.outcome")
    assert (outcome["entry"], outcome["outcome"]) == (entry["hash"], "confirmed")
    assert len(vendor.asked) == 1


async def test_execute_cut_short_by_shutdown_goes_on_and_is_never_503_contract_19(
    acting: Settings,
) -> None:
    """The server cancels what takes longer than its grace; the lifespan waits for the action."""
    vendor = FakeVendor()
    vendor.gate.clear()
    fields = wanted()
    async with proxied(acting, vendor) as running:
        sending = asyncio.create_task(running.execute(fields))
        await vendor.began.wait()
        sending.cancel()
        check(await sending, 409, refusal("request in flight"))
        assert await running.events(kind="execute.refused") == []
        asyncio.get_running_loop().call_soon(vendor.gate.set)
    async with proxied(acting, vendor) as running:
        check(await running.execute(fields), 200, {"status": "replayed", "dry_run": False})
        [outcome] = await running.events(kind="execute.outcome")
        assert outcome["outcome"] == "confirmed"
    assert len(vendor.asked) == 1


async def test_execute_without_room_for_its_body_is_408_contract_19(
    dry: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.http.bodies.MAX_INCOMPLETE_BYTES", 0)
    check(await dry.execute(wanted()), 408, refusal("request timed out"))
    assert not await dry.has_acted()


async def test_execute_has_room_for_its_body_whatever_is_arriving_in_public_contract_19(
    dry: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion.incomplete_bodies, "size_bytes", MAX_INCOMPLETE_BYTES)
    check(await dry.execute(wanted()), 200, {"status": "dry_run", "dry_run": True})


async def test_execute_limits_each_tenants_rate_contract_19(settings: Settings) -> None:
    async with proxied(replace(settings, execute_rate_per_minute=3)) as running:
        clock = Clock()
        clocks = ClockGuard(None, clock, clock, 0.0)
        await clocks.probe()
        running.app.state.proxy = replace(running.proxy, clock=clock, clocks=clocks)

        async def execute(tenant_id: str) -> httpx.Response:
            return await running.execute(wanted(tenant_id=tenant_id, approved_at=int(clock.now)))

        assert [(await execute("busy")).status_code for _ in range(4)] == [200, 200, 200, 429]
        clock.now += 59
        refused = await execute("busy")
        check(refused, 429, refusal("too many requests"))
        assert refused.headers["retry-after"] == "1"
        assert (await execute("other")).status_code == 200
        clock.now += 1
        assert (await execute("busy")).status_code == 200
        assert len(await running.entries("busy")) == 4


async def test_execute_has_no_rate_limit_by_default_contract_19(dry: Proxied) -> None:
    statuses = [(await dry.execute(wanted())).status_code for _ in range(100)]
    assert set(statuses) == {200}


@asynccontextmanager
async def locked(settings: Settings) -> AsyncIterator[None]:
    """Hold SQLite's write lock, as another process that never ends its write does."""
    path = settings.data_dir / "vyrox.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as locking:
        locking.execute("BEGIN IMMEDIATE")
        yield


@asynccontextmanager
async def closed(settings: Settings, postgres: Postgres) -> AsyncIterator[None]:
    """Let PostgreSQL refuse connections, and end those that there are."""
    name = sa.make_url(settings.database_url or "").database
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
    )
    yield
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await connection.close()


async def test_execute_does_nothing_while_the_database_is_away_contract_19(
    acting_on_each: Settings, request: pytest.FixtureRequest
) -> None:
    """No claim remains: the same request is carried out, once, when the database is back.

    An entry may, where the commit was not seen and came about later. Its outcome says so.
    """
    vendor = FakeVendor()
    fields = wanted()
    async with proxied(acting_on_each, vendor) as running:
        if acting_on_each.database_url is None:
            outage = locked(acting_on_each)
        else:
            outage = closed(acting_on_each, request.getfixturevalue("postgres"))
        async with outage:
            answer = await running.execute(fields)
            check(answer, 500, refusal("internal error"))
            assert "retry-after" not in answer.headers
            assert (await running.client.get("/health")).status_code == 200
        assert vendor.asked == []

        async def carried_out() -> bool:
            answer = await running.execute(fields)
            assert answer.status_code in {200, 409, 500}
            return answer.status_code == 200

        await until(carried_out)
        hashes = [entry["hash"] for entry in await running.entries()]
        outcomes = await running.events(kind="execute.outcome")
        refused = await running.events(kind="execute.refused")
    assert [outcome["entry"] for outcome in outcomes] == hashes
    assert [outcome["outcome"] for outcome in outcomes] == ["failed"] * len(hashes[1:]) + [
        "confirmed"
    ]
    assert 500 in {event.get("status") for event in refused}
    assert [receipt.hash for _, _, receipt in vendor.asked] == hashes[-1:]


async def test_execute_refuses_a_compressed_body_contract_1(dry: Proxied) -> None:
    answer = await dry.execute(wanted(), **{"content-encoding": "gzip"})
    check(answer, 415, refusal("unsupported content encoding"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_execute_takes_post_alone_contract_1(dry: Proxied, method: str) -> None:
    body = encoded(wanted())
    answer = await dry.client.request(method, "/execute", content=body, headers=signed(body))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert not await dry.has_acted()


async def test_execute_answers_with_the_callers_request_id_contract_2(dry: Proxied) -> None:
    """The events contain it too. It is not an idempotency key."""
    for status, fields in ((200, wanted()), (400, wanted(host="")), (410, wanted(approved_at=1))):
        answer = await dry.execute(fields, **{"x-request-id": f"trace-{status}"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, f"trace-{status}")
    fresh = await dry.execute(wanted())
    assert uuid.UUID(fresh.headers["x-request-id"]).version == 4
    told = [*await dry.events(), *await dry.events(SERVICE)]
    assert {event["request_id"] for event in told} == {
        "trace-200",
        "trace-400",
        "trace-410",
        fresh.headers["x-request-id"],
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=300),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw anything from a right request to bytes that are no JSON."""
    fields = wanted()
    changes = draw(st.dictionaries(st.sampled_from([*fields, "extra"]), json_values, max_size=2))
    fields.update(changes)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)):
        del fields[name]
    fields["action_type"] = draw(st.sampled_from([fields.get("action_type"), *ACTIONS]))
    body = encoded(fields)
    cut = draw(st.integers(0, len(body)))
    return draw(
        st.just(body) | st.just(body[:cut]) | st.binary(max_size=9).map(lambda b: body[:cut] + b)
    )


DOCUMENTED: Final = {
    200: {"dry_run", "replayed"},
    400: {"invalid request"},
    401: {"unauthorized"},
    410: {"outside the replay window"},
    422: {"request_id reused"},
}
"""What a dry run can answer, by status."""


@limits(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=bodies(), signs=st.booleans() | st.just(True))
async def test_execute_answers_anything_as_documented_contract_19(
    dry: Proxied, body: bytes, signs: bool
) -> None:
    """Property-based: never a 5xx, never another answer, and one entry for each that says so."""
    before = len(await dry.claimed())
    answer = await dry.post(body, signed(body) if signs else {})
    content = answer.json()
    assert answer.status_code in DOCUMENTED
    assert (answer.status_code == 401) == (not signs)
    said = content["status"] if answer.status_code == 200 else content["detail"]
    assert said in DOCUMENTED[answer.status_code]
    assert len(await dry.claimed()) - before == (said == "dry_run")
