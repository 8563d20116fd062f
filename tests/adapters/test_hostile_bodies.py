"""Any authenticated body becomes a valid alert, or raises exactly NormalizationError."""

import json
import typing

import hypothesis
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adapters.payloads import (
    DOCUMENTED,
    FIELD_MAP,
    RECEIVED_AT,
    changed,
    normalize,
    normalize_or_refuse,
    preview,
    without_id,
)
from vyrox.adapters import ADAPTERS
from vyrox.models import Vendor

every_vendor = pytest.mark.parametrize("vendor", ADAPTERS)

RAW_ID: dict[Vendor, str] = {
    "crowdstrike": "detect_id",
    "sentinelone": "id",
    "defender": "id",
    "generic": "event.id",
}
TIME: dict[Vendor, str] = {
    "crowdstrike": "timestamp",
    "sentinelone": "createdAt",
    "defender": "createdDateTime",
    "generic": "event.ts",
}
DEEP = b"[" * 200_000 + b"]" * 200_000


def test_adapters_has_every_vendor() -> None:
    assert set(ADAPTERS) == set(typing.get_args(Vendor))
    assert ADAPTERS["generic"].unverified_tenant_id is None


@every_vendor
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="reject_empty"),
        pytest.param(b"null", id="reject_null"),
        pytest.param(b"[]", id="reject_list"),
        pytest.param(b'"x"', id="reject_text"),
        pytest.param(b"5", id="reject_number"),
        pytest.param(b"{}", id="reject_empty_object"),
        pytest.param(b"{}{}", id="reject_two_objects"),
        pytest.param(b"NaN", id="reject_nan"),
        pytest.param(b"\x00", id="reject_nul"),
        pytest.param(b"\xff\xfe", id="reject_invalid_utf_8"),
        pytest.param(DEEP, id="reject_deep_list"),
        pytest.param(b'{"a":' * 200_000, id="reject_deep_object"),
        pytest.param(b"9" * 5000, id="reject_5000_digits"),
        pytest.param(b"alert=1&id=2", id="reject_form"),
    ],
)
def test_normalize_refuses_what_is_no_payload(vendor: Vendor, body: bytes) -> None:
    assert normalize_or_refuse(vendor, body) is None


@every_vendor
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: b"\xef\xbb\xbf" * 2 + body, id="reject_two_boms"),
        pytest.param(lambda body: b" \xef\xbb\xbf" + body, id="reject_bom_behind_a_space"),
        pytest.param(lambda body: body.decode().encode("utf-16"), id="reject_utf_16"),
        pytest.param(lambda body: body.decode().encode("utf-32"), id="reject_utf_32"),
        pytest.param(lambda body: body[:-1], id="reject_truncated"),
        pytest.param(lambda body: body + b"]", id="reject_trailing_text"),
        pytest.param(lambda body: b"[" + body + b"]", id="reject_batch"),
        pytest.param(lambda body: body.replace(b'"', b"'"), id="reject_single_quotes"),
        pytest.param(lambda body: body.replace(b"{", b'{"z": NaN,', 1), id="reject_nan_elsewhere"),
        pytest.param(lambda body: b"\xff" + body, id="reject_invalid_utf_8_outside_text"),
        pytest.param(lambda body: b"\\ud800" + body, id="reject_surrogate_outside_text"),
        pytest.param(
            lambda body: body.replace(b"{", b'{"z": ' + DEEP + b",", 1), id="reject_deep_elsewhere"
        ),
    ],
)
def test_normalize_refuses_what_is_no_json(
    vendor: Vendor, change: typing.Callable[[bytes], bytes]
) -> None:
    assert normalize_or_refuse(vendor, change(DOCUMENTED[vendor])) is None


@every_vendor
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"true", id="reject_boolean"),
        pytest.param(b"NaN", id="reject_nan"),
        pytest.param(b"-Infinity", id="reject_infinity"),
        pytest.param(b"1e400", id="reject_1e400"),
        pytest.param(b"9" * 5000, id="reject_5000_digits"),
        pytest.param(b'"nan"', id="reject_text_nan"),
        pytest.param(b'"\\ud800"', id="reject_lone_surrogate"),
        pytest.param(b'"\xff"', id="reject_invalid_utf_8"),
        pytest.param(b"[1704067200]", id="reject_list"),
        pytest.param(DEEP, id="reject_deep_nesting"),
    ],
)
def test_normalize_refuses_timestamps_contract_13(vendor: Vendor, raw: bytes) -> None:
    body = changed(DOCUMENTED[vendor], TIME[vendor], msgspec.Raw(raw))
    assert normalize_or_refuse(vendor, body) is None


@every_vendor
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"1704067200", 1704067200.0, id="allow_seconds"),
        pytest.param(b"1704067200.5", 1704067200.5, id="allow_float"),
        pytest.param(b"1704067200500", 1704067200.5, id="allow_milliseconds"),
        pytest.param(b'"2024-01-01T00:00:00.5000000Z"', 1704067200.5, id="allow_iso"),
        pytest.param(b"1e-400", 0.0, id="allow_1e_minus_400"),
        pytest.param(b"-0", 0.0, id="allow_minus_zero"),
        pytest.param(b'""', RECEIVED_AT, id="allow_empty_as_missing"),
        pytest.param(b"-1", RECEIVED_AT, id="allow_negative_as_receipt"),
        pytest.param(b"9" * 400, RECEIVED_AT, id="allow_400_digits_as_receipt"),
        pytest.param(b"9" * 4300, RECEIVED_AT, id="allow_4300_digits_as_receipt"),
    ],
)
def test_normalize_takes_timestamps_contract_13(
    vendor: Vendor, raw: bytes, expected: float
) -> None:
    alert = normalize_or_refuse(vendor, changed(DOCUMENTED[vendor], TIME[vendor], msgspec.Raw(raw)))
    assert alert is not None
    assert alert.timestamp == expected
    assert len(alert.notes) == (expected == RECEIVED_AT and raw != b'""')


@every_vendor
@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(0x20))),
        "".join(map(chr, range(0x7F, 0xA0))),
        "\u2028\u2029\u202e\u200b\ufeff\ufffd\uffff",
        "\U0001f600",
        "x" * 100_000,
    ],
    ids=["c0", "del_and_c1", "separators", "astral", "long"],
)
def test_normalize_carries_any_text_unchanged(vendor: Vendor, text: str) -> None:
    alert = normalize_or_refuse(vendor, changed(DOCUMENTED[vendor], RAW_ID[vendor], text))
    assert alert is not None
    assert alert.raw_id == text


@every_vendor
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(rb'"\ud800"', "\ufffd", id="allow_high"),
        pytest.param(rb'"a\udc00\ud800b"', "a\ufffd\ufffdb", id="allow_swapped"),
        pytest.param(b'"\xed\xa0\x80"', "\ufffd" * 3, id="allow_encoded_surrogate"),
        pytest.param(b'"\xc0\x80"', "\ufffd" * 2, id="allow_overlong"),
        pytest.param(b'"a\xffb"', "a\ufffdb", id="allow_invalid"),
        pytest.param(b'"a\nb"', "a\ufffdb", id="allow_raw_newline"),
    ],
)
def test_normalize_reads_text_that_is_no_unicode_contract_44(
    vendor: Vendor, raw: bytes, expected: str | None
) -> None:
    body = changed(DOCUMENTED[vendor], RAW_ID[vendor], msgspec.Raw(raw))
    alert = normalize_or_refuse(vendor, body)
    assert (alert and alert.raw_id) == expected
    assert alert is None or len(alert.notes) == 1


@pytest.mark.parametrize(
    ("vendor", "body"),
    [
        ("crowdstrike", b'{"detect_id": "1", "detect_id": "2"}'),
        ("crowdstrike", b'{"detect_id": "1", "detect\\u005fid": "2"}'),
        ("sentinelone", b'{"id": "1", "\\u0069d": "2"}'),
        ("defender", b'{"id": "1", "\\u0069d": "2"}'),
        ("generic", b'{"event":{"id":"1","\\u0069d":"2"},"device.name":"h","metadata.severity":1}'),
    ],
)
def test_normalize_takes_the_last_of_duplicate_keys(vendor: Vendor, body: bytes) -> None:
    alert = normalize_or_refuse(vendor, body)
    assert alert is not None
    assert alert.raw_id == "2"


SKIPPED_IN = ('{"unread": %s,', '{"unread": {"a": [%s]},', "{%s: 1,")
"""Positions that no adapter reads: a value, a nested value, a key."""


@every_vendor
@pytest.mark.parametrize("place", SKIPPED_IN)
@pytest.mark.parametrize("bad", [rb"\ud83d", rb"\ude00x", b"\xff", b"\xed\xa0\xbd"])
def test_normalize_takes_what_is_no_unicode_where_nothing_is_read_contract_44(
    vendor: Vendor, place: str, bad: bytes
) -> None:
    """In values that it skips, a parser checks for one of these kinds and not for the other."""
    start = place.encode() % (b'"' + bad + b'"')
    body = DOCUMENTED[vendor].replace(b"{", start, 1)
    alert = normalize_or_refuse(vendor, body)
    assert alert is not None
    documented = without_id(normalize(vendor, DOCUMENTED[vendor]))
    assert without_id(alert) == {**documented, "notes": alert.notes}
    assert len(alert.notes) == 1
    if vendor != "generic":
        assert preview(vendor)(body) == preview(vendor)(DOCUMENTED[vendor])


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=10)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
TEXT = st.one_of(st.text(min_size=1, max_size=10), ANY_JSON)
TIMES = st.one_of(
    st.integers(0, 2**43), st.floats(0, 2**33), st.datetimes().map(str), st.none(), ANY_JSON
)


def an_object(
    *, required: typing.Iterable[str] = (), **members: st.SearchStrategy[typing.Any]
) -> st.SearchStrategy[typing.Any]:
    present = {name: members.pop(name) for name in required}
    return st.one_of(st.fixed_dictionaries(present, optional=members), ANY_JSON)


EVIDENCE = an_object(
    deviceDnsName=TEXT,
    mdeDeviceId=TEXT,
    processCommandLine=TEXT,
    userAccount=an_object(userPrincipalName=TEXT, accountName=TEXT, domainName=TEXT),
    imageFile=an_object(fileName=TEXT, sha256=TEXT),
    fileDetails=an_object(fileName=TEXT, sha256=TEXT),
)

SHAPES: dict[Vendor, st.SearchStrategy[typing.Any]] = {
    "crowdstrike": an_object(
        required=["detect_id"],
        detect_id=TEXT,
        customer_id=TEXT,
        timestamp=TIMES,
        severity=TEXT,
        tactic=TEXT,
        technique=TEXT,
        sensor=an_object(hostname=TEXT, agent_id=TEXT),
        process=an_object(file_name=TEXT, command_line=TEXT, user_name=TEXT, sha256=TEXT),
    ),
    "sentinelone": an_object(
        required=["id"],
        id=TEXT,
        accountId=TEXT,
        createdAt=TIMES,
        severity=TEXT,
        mitreTactic=TEXT,
        mitreTechnique=TEXT,
        agentRealtimeInfo=an_object(computerName=TEXT, agentId=TEXT),
        fileName=TEXT,
        processName=TEXT,
        commandLine=TEXT,
        fileContentHash=TEXT,
    ),
    "defender": an_object(
        required=["id"],
        id=TEXT,
        tenantId=TEXT,
        createdDateTime=TIMES,
        severity=TEXT,
        category=TEXT,
        mitreTechniques=st.lists(TEXT, max_size=2) | ANY_JSON,
        evidence=st.lists(EVIDENCE, max_size=4) | ANY_JSON,
    ),
    "generic": an_object(
        required=["event", "device", "metadata"],
        event=an_object(required=["id"], id=TEXT, ts=TIMES),
        device=an_object(required=["name"], name=TEXT),
        metadata=an_object(required=["severity"], severity=TEXT),
        **{
            name: st.one_of(ANY_JSON, st.dictionaries(st.sampled_from(["upn", "exe"]), ANY_JSON))
            for name in {path.split(".")[0] for path in FIELD_MAP.values()}
            - {"event", "device", "metadata"}
        },
    ),
}
"""Payloads with the members of each vendor's format, with any values."""


@every_vendor
@settings(deadline=None)
@given(data=st.data())
def test_normalize_of_any_values(vendor: Vendor, data: st.DataObject) -> None:
    normalize_or_refuse(vendor, json.dumps(data.draw(SHAPES[vendor])).encode())


@every_vendor
def test_normalize_of_any_values_is_not_always_refused(vendor: Vendor) -> None:
    hypothesis.find(
        SHAPES[vendor],
        lambda payload: normalize_or_refuse(vendor, json.dumps(payload).encode()) is not None,
    )


@every_vendor
@given(body=st.binary())
def test_normalize_of_any_bytes(vendor: Vendor, body: bytes) -> None:
    assert normalize_or_refuse(vendor, body) is None


@every_vendor
@settings(deadline=None)
@given(data=st.data())
def test_normalize_of_a_damaged_body(vendor: Vendor, data: st.DataObject) -> None:
    body = DOCUMENTED[vendor]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    normalize_or_refuse(vendor, body[:start] + data.draw(st.binary(max_size=8)) + body[end:])


@every_vendor
@pytest.mark.parametrize("key", ["tenant_id", "customer_id", "accountId", "tenantId", "source"])
def test_normalize_never_takes_the_tenant_from_the_body_contract_7(
    vendor: Vendor, key: str
) -> None:
    body = changed(DOCUMENTED[vendor], key, "intruder")
    assert without_id(normalize(vendor, body)) == without_id(normalize(vendor, DOCUMENTED[vendor]))
