"""Any bytes become elements, or one of our errors, and none of them is lost (contract 71)."""

import encodings
import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.payloads import RECEIVED_AT
from vyrox.adapters.notifications import read_batch
from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.received import MAX_INFLATED_BYTES, elements_of, text_of
from vyrox.errors import NormalizationError
from vyrox.models import FieldMap, NormalizedAlert, Tenant, Vendor
from vyrox.tenants.bindings import Bindings
from vyrox.tenants.customers import read_element, tenant_of

VENDORS: st.SearchStrategy[Vendor] = st.sampled_from(
    ["crowdstrike", "sentinelone", "defender", "generic"]
)
PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b"\n", b"\r\n", b'"', b":", b"null", b"1", b" "),
        *(b'{"id":"a"}', b"\xff", b"{}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf", b"\\ud800"),
        *(b'{"value":[', b'{"resources":', b"\r"),
        b'{"metadata":{"eventType":"EppDetectionSummaryEvent"},"event":{"CompositeId":"c"}}',
    ]
)
BODIES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=12).map(b"".join))
CHARSETS = st.one_of(
    st.binary(max_size=40),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", max_size=20).map(
        lambda name: b"application/json; charset=" + name.encode()
    ),
    st.sampled_from([b"a; charset=utf-16", b"a; charset=base64", b"a; charset=utf-7"]),
)
MAPS: st.SearchStrategy[FieldMap | None] = st.sampled_from(
    [None, {"raw_id": "id", "hostname": "id", "vendor_severity": "id"}, {"raw_id": "0.id"}]
)


@given(VENDORS, BODIES, CHARSETS, st.booleans(), MAPS)
def test_any_body_is_read_or_refused_with_its_reason_contract_71(
    vendor: Vendor, body: bytes, content_type: bytes, is_gzip: bool, field_map: FieldMap | None
) -> None:
    try:
        text = text_of(body, content_type, is_gzip=is_gzip)
    except NormalizationError:
        assert is_gzip
        return
    elements = elements_of(vendor, text, field_map)
    assert elements
    for element in elements:
        try:
            tenant = tenant_of(vendor, element.text, Tenant("t", field_map), Bindings({}, set()))
            found = read_element(vendor, element.text, tenant, RECEIVED_AT)
        except NormalizationError:
            continue  # it goes to quarantine
        assert isinstance(found, NormalizedAlert | Ignored)


@given(st.binary(max_size=500), st.integers(1, 4))
def test_what_is_inflated_is_what_was_compressed_contract_71(body: bytes, parts: int) -> None:
    size = max(1, len(body) // parts)
    pieces = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    compressed = b"".join(map(gzip.compress, pieces))
    assert text_of(compressed, b"a; charset=utf-8", is_gzip=True) in {body, decoded(body)}


def decoded(body: bytes) -> bytes:
    """The text of bytes that begin with a mark of another character set."""
    return text_of(body, b"", is_gzip=False)


def test_a_bomb_is_refused_before_it_is_inflated_contract_71() -> None:
    bomb = gzip.compress(bytes(MAX_INFLATED_BYTES * 4), 9)
    for body, limit in ((bomb, 10 * len(bomb)), (bomb * 100, MAX_INFLATED_BYTES)):
        tracemalloc.start()
        with pytest.raises(NormalizationError, match=str(min(limit, MAX_INFLATED_BYTES))):
            text_of(body, b"", is_gzip=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * MAX_INFLATED_BYTES  # the bomb is four times as large as is allowed


@pytest.mark.parametrize(
    "body",
    [b"{}\n" * 1_500_000, b"{}\r" * 1_500_000, b"[" + b"1," * 1_500_000 + b"1]",
     b'{"records":[' + b"[]," * 1_500_000 + b"1]}"],
    ids=["lines", "old_lines", "list", "wrapped"],
)  # fmt: skip
@pytest.mark.parametrize("vendor", ["defender", "generic"])
def test_many_small_elements_do_not_fill_the_memory_contract_71(
    vendor: Vendor, body: bytes
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NormalizationError, match="more than"):
            elements_of(vendor, body, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(body)  # each element alone takes more than thirty times its size


def test_an_unknown_charset_is_not_remembered_contract_71() -> None:
    before = len(encodings._cache)
    for number in range(50):
        charset = b"application/json; charset=nobody-has-%d" % number
        assert text_of(b"{}", charset, is_gzip=False) == b"{}"
    assert len(encodings._cache) == before


@pytest.mark.parametrize(
    ("charset", "python"),
    [("windows-1252", "cp1252"), ("ISO-8859-1", "latin-1"), ("Latin9", "iso8859-15"),
     ("Shift_JIS", "shift_jis"), ("koi8-r", None), ("UTF-16LE", "utf-16-le"), ("utf16", "utf-16"),
     ("GBK", "gbk"), ("utf-8", None), ("utf-7", None), ("us-ascii", None)],
)  # fmt: skip
def test_a_charset_by_any_of_its_names_contract_71(charset: str, python: str | None) -> None:
    body = '{"id":"x"}'.encode(python or "utf-8") if python else b'{"id":"\xc3\xa9"}'
    expected = body if python is None else b'{"id":"x"}'
    header = b"application/json;charset=" + charset.encode()
    assert text_of(body, header, is_gzip=False) == expected


def test_what_is_no_batch_takes_no_memory_before_the_credential_contract_74() -> None:
    body = b'{"value":[' + b"1," * 500_000 + b"1]}"
    tracemalloc.start()
    try:
        assert read_batch(body) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body)
