"""Signatures follow the standard, and no other form is accepted (contract 4 and 5)."""

import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.crypto import sign, verify

BODY = b'{"detect_id":"evt:1"}'
SECRET = b"0123456789abcdef0123456789abcdef"
GOOD = sign(BODY, SECRET)
DIGITS = GOOD.removeprefix("sha256=")

TEXT = st.text(st.characters(exclude_categories=()))
"""Any text, including lone surrogates."""


@pytest.mark.parametrize(
    ("key", "data", "digits"),
    [
        pytest.param(
            b"\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            id="case_1",
        ),
        pytest.param(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            id="case_2_short_key",
        ),
        pytest.param(
            b"\xaa" * 20,
            b"\xdd" * 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            id="case_3",
        ),
        pytest.param(
            bytes(range(1, 26)),
            b"\xcd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            id="case_4",
        ),
        pytest.param(
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            id="case_6_long_key",
        ),
        pytest.param(
            b"\xaa" * 131,
            b"This is a test using a larger than block-size key and a larger than block-size data."
            b" The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            id="case_7_long_key_long_data",
        ),
    ],
)
def test_sign_gives_the_vectors_of_rfc_4231(key: bytes, data: bytes, digits: str) -> None:
    assert sign(data, key) == f"sha256={digits}"
    assert verify(data, f"sha256={digits}", key)


def test_sign_gives_what_openssl_gives_for_the_reference_example_contract_5() -> None:
    # printf '%s' '{"b":[1,2],"id":"evt:1"}' | openssl dgst -sha256 -hmac 'k3y-é'
    expected = "sha256=30208b8f144018552f6c16cb0f9bab9d763e6bded0ee89562c1bbcfa3f53a650"
    body = json.dumps({"id": "evt:1", "b": [1, 2]}, separators=(",", ":"), sort_keys=True)

    assert sign(body, "k3y-é") == expected


@given(payload=TEXT, secret=TEXT)
def test_sign_takes_text_for_its_utf_8_contract_5(payload: str, secret: str) -> None:
    as_bytes = sign(
        payload.encode("utf-8", "surrogatepass"), secret.encode("utf-8", "surrogatepass")
    )

    assert sign(payload, secret) == as_bytes
    assert sign(payload.encode("utf-8", "surrogatepass"), secret) == as_bytes
    assert sign(payload, secret.encode("utf-8", "surrogatepass")) == as_bytes


@given(payload=st.binary(), secret=st.binary())
def test_sign_is_hmac_sha256_in_hex_contract_5(payload: bytes, secret: bytes) -> None:
    assert sign(payload, secret) == "sha256=" + hmac.new(secret, payload, "sha256").hexdigest()


@given(payload=st.binary() | TEXT, secret=st.binary() | TEXT)
def test_verify_takes_what_sign_gives_contract_5(payload: bytes | str, secret: bytes | str) -> None:
    signature = sign(payload, secret)

    assert verify(payload, signature, secret) is True
    assert verify(payload, signature.encode(), secret) is True


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("", id="reject_empty"),
        pytest.param(DIGITS, id="reject_no_prefix"),
        pytest.param("sha256=", id="reject_no_digits"),
        pytest.param("sha256=" + DIGITS.upper(), id="reject_upper_case_hex"),
        pytest.param("sha256=" + DIGITS.swapcase(), id="reject_swapped_case"),
        pytest.param("SHA256=" + DIGITS, id="reject_upper_case_prefix"),
        pytest.param("Sha256=" + DIGITS, id="reject_title_case_prefix"),
        pytest.param("sha1=" + DIGITS[:40], id="reject_sha1"),
        pytest.param("sha512=" + DIGITS * 2, id="reject_sha512"),
        pytest.param("sha256:" + DIGITS, id="reject_colon"),
        pytest.param("sha256 =" + DIGITS, id="reject_space_in_prefix"),
        pytest.param("sha256=0x" + DIGITS, id="reject_0x"),
        pytest.param("sha256=" + DIGITS[:-1], id="reject_63_digits"),
        pytest.param("sha256=" + DIGITS + "0", id="reject_65_digits"),
        pytest.param("sha256=0" + DIGITS, id="reject_leading_zero"),
        pytest.param("sha256=" + DIGITS[:32], id="reject_truncated_to_half"),
        pytest.param("sha256=" + DIGITS + DIGITS, id="reject_doubled"),
        pytest.param("sha256=sha256=" + DIGITS, id="reject_doubled_prefix"),
        pytest.param(" " + GOOD, id="reject_leading_space"),
        pytest.param(GOOD + " ", id="reject_trailing_space"),
        pytest.param("sha256= " + DIGITS, id="reject_space_before_digits"),
        pytest.param(f"sha256={DIGITS[:32]} {DIGITS[32:]}", id="reject_space_in_digits"),
        pytest.param(GOOD + "\n", id="reject_trailing_newline"),
        pytest.param(GOOD + "\r\n", id="reject_trailing_crlf"),
        pytest.param(GOOD + "\x00", id="reject_trailing_nul"),
        pytest.param("\ufeff" + GOOD, id="reject_bom"),
        pytest.param(f"{GOOD},{GOOD}", id="reject_two_good"),
        pytest.param(f"{GOOD}, {'sha256=' + '0' * 64}", id="reject_good_then_bad"),
        pytest.param(f"{'sha256=' + '0' * 64}, {GOOD}", id="reject_bad_then_good"),
        pytest.param(f'"{GOOD}"', id="reject_quoted"),
        pytest.param("sha256=" + "\u0660" * 64, id="reject_arabic_digits"),
        pytest.param(
            "sha256=" + "".join(chr(ord(c) + 0xFEE0) for c in DIGITS), id="reject_fullwidth"
        ),
        pytest.param(GOOD[:-1] + "\ud800", id="reject_lone_surrogate"),
    ],
)
def test_verify_refuses_every_other_form_contract_4(signature: str) -> None:
    assert verify(BODY, signature, SECRET) is False
    assert verify(BODY, signature.encode("utf-8", "surrogatepass"), SECRET) is False


def test_verify_refuses_every_odd_length_contract_4() -> None:
    accepted = [size for size in range(len(DIGITS) * 2) if verify(BODY, _of_size(size), SECRET)]

    assert accepted == [64]


def _of_size(size: int) -> str:
    return "sha256=" + (DIGITS * 2)[:size]


def test_verify_refuses_a_non_ascii_byte_at_every_position_contract_4() -> None:
    good = GOOD.encode()
    for position in range(len(good) + 1):
        for byte in range(0x80, 0x100):
            replaced = good[:position] + bytes([byte]) + good[position + 1 :]
            inserted = good[:position] + bytes([byte]) + good[position:]
            assert verify(BODY, replaced, SECRET) is False
            assert verify(BODY, inserted, SECRET) is False
            # As a framework passes a header that it has decoded as Latin-1.
            assert verify(BODY, replaced.decode("latin-1"), SECRET) is False


def test_verify_refuses_every_other_digest() -> None:
    digest = bytes.fromhex(DIGITS)
    for bit in range(256):
        flipped = bytearray(digest)
        flipped[bit // 8] ^= 1 << bit % 8
        assert verify(BODY, f"sha256={flipped.hex()}", SECRET) is False


def test_verify_refuses_another_body_and_another_secret() -> None:
    assert verify(BODY, GOOD, SECRET) is True
    assert verify(BODY + b" ", GOOD, SECRET) is False
    assert verify(BODY, GOOD, SECRET + b" ") is False


def test_verify_refuses_the_same_value_encoded_anew() -> None:
    sent = b'{"customer_id": "acme", "detect_id": "evt:1"}'

    encoded_anew = json.dumps(json.loads(sent), separators=(",", ":")).encode()

    assert verify(encoded_anew, sign(sent, SECRET), SECRET) is False


@given(payload=st.binary() | TEXT, signature=st.binary() | TEXT, secret=st.binary() | TEXT)
def test_verify_never_raises_contract_4(
    payload: bytes | str, signature: bytes | str, secret: bytes | str
) -> None:
    # The result is False: a random text is not a valid MAC.
    assert verify(payload, signature, secret) is False


@given(st.from_regex(rb"sha256=[0-9a-fA-F]{62,66}", fullmatch=True))
def test_verify_never_raises_for_what_looks_good_contract_4(signature: bytes) -> None:
    assert verify(BODY, signature, SECRET) is False
