"""The tenant that a body names, before the authentication (contract 6 and 7)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.payloads import DOCUMENTED, REMOVED, changed, preview
from vyrox.errors import MissingTenantError
from vyrox.ids import is_tenant_id
from vyrox.models import Vendor

KEYS: dict[Vendor, str] = {
    "crowdstrike": "customer_id",
    "sentinelone": "accountId",
    "defender": "tenantId",
}

DEEP = b"[" * 200_000 + b"]" * 200_000

every_vendor = pytest.mark.parametrize("vendor", KEYS)


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        ("crowdstrike", "acme-corp"),
        ("sentinelone", "acme-corp"),
        ("defender", "11111111-2222-3333-4444-555555555555"),
    ],
)
def test_unverified_tenant_id_of_the_documented_payload(vendor: Vendor, expected: str) -> None:
    assert preview(vendor)(DOCUMENTED[vendor]) == expected


@every_vendor
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(b'{"KEY": 1408801957997975086}', "1408801957997975086", id="allow_integer"),
        pytest.param(b'{"KEY": "a", "KEY": "b"}', "b", id="allow_duplicate_last_wins"),
        pytest.param(
            b'{"KEY": "a", "\\u00' + b'ESC": "b"}', "b", id="allow_escaped_duplicate_last_wins"
        ),
        pytest.param(b'{"KEY": 5, "KEY": "b"}', "b", id="allow_duplicate_of_another_type"),
        pytest.param(b'{"KEY": "a", "z": 1e400}', "a", id="allow_1e400_elsewhere"),
        pytest.param(b'{"KEY": "a", "z": ' + b"9" * 5000 + b"}", "a", id="allow_digits_elsewhere"),
        pytest.param(b'{"KEY": "a", "z": "\xff"}', "a", id="allow_invalid_utf_8_elsewhere"),
        pytest.param(b' \r\n\t{"KEY": "a"}\n ', "a", id="allow_white_space_around"),
    ],
)
def test_unverified_tenant_id_reads_nothing_else_contract_6(
    vendor: Vendor, template: bytes, expected: str
) -> None:
    key = KEYS[vendor].encode()
    escaped = f"{key[0]:02x}".encode() + key[1:]
    body = template.replace(b"KEY", key).replace(b"ESC", escaped)
    assert preview(vendor)(body) == expected


@every_vendor
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(REMOVED, id="reject_missing"),
        pytest.param(None, id="reject_null"),
        pytest.param("", id="reject_empty"),
        pytest.param("..", id="reject_dot_dot"),
        pytest.param("acme corp", id="reject_space"),
        pytest.param("x" * 129, id="reject_129_characters"),
        pytest.param("acme\u0000", id="reject_nul"),
        pytest.param(True, id="reject_boolean"),
        pytest.param(1.0, id="reject_float"),
        pytest.param(-1, id="reject_negative"),
        pytest.param(["acme"], id="reject_list"),
        pytest.param({"id": "acme"}, id="reject_object"),
        pytest.param(msgspec.Raw(b"9" * 5000), id="reject_5000_digits"),
        pytest.param(msgspec.Raw(b"1e400"), id="reject_1e400"),
        pytest.param(msgspec.Raw(b"NaN"), id="reject_nan"),
        pytest.param(msgspec.Raw(b'"\\ud800"'), id="reject_lone_surrogate"),
        pytest.param(msgspec.Raw(b'"\xff"'), id="reject_invalid_utf_8"),
        pytest.param(msgspec.Raw(DEEP), id="reject_deep_nesting"),
    ],
)
def test_unverified_tenant_id_raises_contract_7(vendor: Vendor, value: object) -> None:
    with pytest.raises(MissingTenantError):
        preview(vendor)(changed(DOCUMENTED[vendor], KEYS[vendor], value))


@every_vendor
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="reject_empty"),
        pytest.param(b"null", id="reject_null"),
        pytest.param(b"[]", id="reject_list"),
        pytest.param(b'"acme"', id="reject_text"),
        pytest.param(b"{}", id="reject_empty_object"),
        pytest.param(
            b'[{"customer_id": "a", "accountId": "a", "tenantId": "a"}]', id="reject_batch"
        ),
        pytest.param(b'{"z": ' + DEEP + b', "customer_id": "a"}', id="reject_deep_nesting"),
        pytest.param(DEEP, id="reject_deep_list"),
        pytest.param(b"\xef\xbb\xbf{}", id="reject_bom"),
        pytest.param('{"tenantId": "a"}'.encode("utf-16"), id="reject_utf_16"),
        pytest.param(b"customer_id=a", id="reject_form"),
        pytest.param(b'{"tenantId": "a"', id="reject_truncated"),
    ],
)
def test_unverified_tenant_id_raises_for_bodies_that_name_none_contract_6(
    vendor: Vendor, body: bytes
) -> None:
    with pytest.raises(MissingTenantError):
        preview(vendor)(body)


@every_vendor
@given(body=st.binary())
def test_unverified_tenant_id_of_any_bytes(vendor: Vendor, body: bytes) -> None:
    with pytest.raises(MissingTenantError):
        preview(vendor)(body)


@every_vendor
@given(data=st.data())
def test_unverified_tenant_id_of_a_damaged_body(vendor: Vendor, data: st.DataObject) -> None:
    body = DOCUMENTED[vendor]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    damaged = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    try:
        assert is_tenant_id(preview(vendor)(damaged))
    except MissingTenantError:
        return
