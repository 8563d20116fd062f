"""Random identifiers, and which text may name a tenant (contract 7)."""

import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.ids import is_tenant_id, new_id, normal_customer_id, parse_tenant_id
from vyrox.models import Vendor

GOOD = [
    pytest.param("acme-corp", id="allow_name"),
    pytest.param("11111111-2222-3333-4444-555555555555", id="allow_uuid"),
    pytest.param("A.b_C-9", id="allow_every_kind_of_character"),
    pytest.param("...", id="allow_three_dots"),
    pytest.param(".hidden", id="allow_leading_dot"),
    pytest.param("-", id="allow_single_character"),
    pytest.param("x" * 128, id="allow_128_characters"),
]

BAD = [
    pytest.param("", id="reject_empty"),
    pytest.param("x" * 129, id="reject_129_characters"),
    pytest.param(".", id="reject_dot"),
    pytest.param("..", id="reject_dot_dot"),
    pytest.param("acme\n", id="reject_final_newline"),
    pytest.param("acme corp", id="reject_space"),
    pytest.param("acme/corp", id="reject_slash"),
    pytest.param("acme\x00", id="reject_nul"),
    pytest.param("{acme}", id="reject_hash_tag"),
    pytest.param("acme:alerts", id="reject_colon"),
    pytest.param("%2e%2e", id="reject_percent"),
    pytest.param("\u0430cme", id="reject_cyrillic_a"),
    pytest.param("acme\u0661", id="reject_arabic_digit"),
    pytest.param("acme\ufffd", id="reject_replacement_character"),
    pytest.param("acme\ud800", id="reject_lone_surrogate"),
]


@pytest.mark.parametrize("text", GOOD)
def test_is_tenant_id_good_contract_7(text: str) -> None:
    assert is_tenant_id(text)
    assert parse_tenant_id(text) == text


@pytest.mark.parametrize("text", BAD)
def test_is_tenant_id_bad_contract_7(text: str) -> None:
    assert not is_tenant_id(text)
    assert parse_tenant_id(text) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, "0", id="allow_zero"),
        pytest.param(1408801957997975086, "1408801957997975086", id="allow_beyond_2_to_53"),
        pytest.param(10**128 - 1, "9" * 128, id="allow_128_digits"),
        pytest.param(10**128, None, id="reject_129_digits"),
        pytest.param(10**5000, None, id="reject_5000_digits"),
        pytest.param(-1, None, id="reject_negative"),
        pytest.param(-(10**5000), None, id="reject_negative_5000_digits"),
        pytest.param(True, None, id="reject_true"),
        pytest.param(False, None, id="reject_false"),
        pytest.param(1.0, None, id="reject_float"),
        pytest.param(float("nan"), None, id="reject_nan"),
        pytest.param(None, None, id="reject_null"),
        pytest.param(["acme"], None, id="reject_list"),
        pytest.param({"id": "acme"}, None, id="reject_object"),
        pytest.param(b"acme", None, id="reject_bytes"),
    ],
)
def test_parse_tenant_id_of_other_types_contract_7(value: object, expected: str | None) -> None:
    assert parse_tenant_id(value) == expected


@given(st.text(st.characters(exclude_categories=())) | st.integers())
def test_parse_tenant_id_gives_a_tenant_id_or_none(value: object) -> None:
    parsed = parse_tenant_id(value)
    assert parsed is None or (is_tenant_id(parsed) and parsed == str(value))


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    for _ in range(1000):
        parsed = uuid.UUID(text := new_id())
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_all_but_the_fixed_bits_vary() -> None:
    ids = [uuid.UUID(new_id()).int for _ in range(2000)]
    ones = Counter(bit for number in ids for bit in range(128) if number >> bit & 1)
    fixed = {62, 63, *range(76, 80)}
    assert all(800 < ones[bit] < 1200 for bit in range(128) if bit not in fixed)
    assert len(set(ids)) == len(ids)


CID = "0123456789abcdef0123456789abcdef"
GUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("vendor", "same"),
    [
        ("crowdstrike", [CID, CID.upper(), f"{CID}-A1", f"{CID}a1", GUID, f"{GUID.upper()}-A1"]),
        ("defender", [CID, GUID, GUID.upper(), f"{{{GUID}}}"]),
    ],
)
def test_one_identifier_in_several_spellings_contract_73(vendor: Vendor, same: list[str]) -> None:
    assert {normal_customer_id(vendor, each) for each in same} == {CID}


@pytest.mark.parametrize(
    ("vendor", "text"),
    [
        ("crowdstrike", "Acme"),
        ("crowdstrike", f"{CID}-A"),
        ("crowdstrike", f"{CID}-A1B"),
        ("crowdstrike", CID[1:] + "g"),
        ("crowdstrike", "0" + CID[:30] + "\u212a"),
        ("defender", f"{GUID}-A1".upper()),
        ("sentinelone", GUID.upper()),
        ("generic", CID.upper()),
    ],
)
def test_other_identifiers_are_compared_exactly_contract_73(vendor: Vendor, text: str) -> None:
    assert normal_customer_id(vendor, text) == text
