r"""Invalid Unicode is replaced, and nothing else is changed (contract 44)."""

import json
import re
from typing import Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.adapters.payloads import DOCUMENTED, normalize_or_refuse, without_id
from vyrox.adapters.tolerant_json import JsonText, tolerant
from vyrox.models import Vendor

INVALID: Final = "{} x invalid UTF-8 replaced by U+FFFD"
LONE: Final = "{} x lone UTF-16 surrogate replaced by U+FFFD"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"a": "\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd"}',
        rb'{"a": "\ud83d\ude00 \uD83D\uDE00 \u0041 \ufffd"}',
        rb'{"a": "\\ud83d \\\\ud83d C:\\users\\ud83d"}',
        b'{"a": 1e400, "b": NaN}',
        b"\\",
        b"\x00",
    ],
    ids=lambda body: body.decode("latin-1"),
)
def test_tolerant_leaves_valid_text_alone_contract_44(body: bytes) -> None:
    assert tolerant(body) == JsonText(body)


@pytest.mark.parametrize(
    ("body", "text", "notes"),
    [
        pytest.param(rb'"\ud83d"', "\ufffd", [LONE.format(1)], id="high"),
        pytest.param(rb'"\uDE00"', "\ufffd", [LONE.format(1)], id="low"),
        pytest.param(rb'"\ud83dx\ude00"', "\ufffdx\ufffd", [LONE.format(2)], id="parted"),
        pytest.param(rb'"\ude00\ud83d"', "\ufffd\ufffd", [LONE.format(2)], id="swapped"),
        pytest.param(rb'"\ud83d\ud83d\ude00"', "\ufffd😀", [LONE.format(1)], id="behind_a_high"),
        pytest.param(rb'"\ud83d\ude00\ude00"', "😀\ufffd", [LONE.format(1)], id="behind_a_pair"),
        pytest.param(rb'"\\\ud83d"', "\\\ufffd", [LONE.format(1)], id="behind_a_backslash"),
        pytest.param(rb'"\\ud83d\ude00"', "\\ud83d\ufffd", [LONE.format(1)], id="behind_text"),
        pytest.param(rb'"\ud83d\\ude00"', "\ufffd\\ude00", [LONE.format(1)], id="before_text"),
        pytest.param(rb'"\ud83d\n"', "\ufffd\n", [LONE.format(1)], id="before_an_escape"),
        pytest.param(rb'"\ud83d\u0041"', "\ufffdA", [LONE.format(1)], id="before_a_letter"),
        pytest.param(b'"\xff"', "\ufffd", [INVALID.format(1)], id="invalid_byte"),
        pytest.param(b'"\xe2\x82"', "\ufffd", [INVALID.format(1)], id="cut_short"),
        pytest.param(b'"\xef\xbf\xbd\xff"', "\ufffd\ufffd", [INVALID.format(1)], id="own_fffd"),
        pytest.param(
            b'"\xff\\ud83d"', "\ufffd\ufffd", [INVALID.format(1), LONE.format(1)], id="both"
        ),
        pytest.param(b'\xef\xbb\xbf"a"', "a", [], id="byte_order_mark"),
        pytest.param(b'\xef\xbb\xbf"\xef\xbb\xbf"', "\ufeff", [], id="one_mark_alone"),
    ],
)
def test_tolerant_replaces_what_is_not_unicode_contract_44(
    body: bytes, text: str, notes: list[str]
) -> None:
    read = tolerant(body)
    assert msgspec.json.decode(read.content) == text
    assert list(read.notes) == notes


ESCAPES: Final = (rb"\ud83d", rb"\ude00", rb"\uDBFF", rb"\\", rb"\n", rb"\"", rb"\u0041")
RAW: Final = (b"\xc3\xa9", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xef\xbf\xbd", b"u", b"d83d")
PIECES: Final = st.lists(st.sampled_from(ESCAPES + RAW), max_size=8)
"""Parts of a JSON string; no part ends within an escape."""


def replaced_by_hand(inside: bytes) -> str:
    """Return the text as Python reads it: decode UTF-8, then JSON, then pairs of surrogates."""
    text: str = json.loads('"' + inside.decode("utf-8", "replace") + '"')
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(PIECES.map(b"".join))
def test_tolerant_agrees_with_another_parser_contract_44(inside: bytes) -> None:
    """Python's own parser accepts lone surrogates."""
    assert msgspec.json.decode(tolerant(b'"' + inside + b'"').content) == replaced_by_hand(inside)


@given(PIECES.map(b"".join))
def test_tolerant_of_what_it_returned_changes_nothing_contract_44(inside: bytes) -> None:
    once = tolerant(b'"' + inside + b'"').content
    assert tolerant(once) == JsonText(once)


@pytest.mark.parametrize("vendor", DOCUMENTED)
@given(pieces=PIECES, at=st.integers(0, 10_000))
@example(pieces=[rb"\ud83d"], at=5)
def test_normalize_is_as_for_the_cleaned_body_contract_44(
    vendor: Vendor, pieces: list[bytes], at: int
) -> None:
    """At any position, in or outside a string: accepted if, and only if, a clean body is."""
    body = DOCUMENTED[vendor]
    at %= len(body)
    body = body[:at] + b"".join(pieces) + body[at:]
    # Clean it in another way: with Python's parser, if it accepts the body.
    try:
        loaded = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        assert normalize_or_refuse(vendor, body) is None
        return
    cleaned = json.dumps(_cleaned(loaded))
    expected = normalize_or_refuse(vendor, cleaned.encode())
    alert = normalize_or_refuse(vendor, body)
    assert (alert is None) == (expected is None)
    if alert is not None and expected is not None:
        assert {**without_id(alert), "notes": ()} == {**without_id(expected), "notes": ()}


def _cleaned(value: object) -> object:
    """Return `value` with U+FFFD for each surrogate; after parsing, all surrogates are lone."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("control", [b"\x01", b"\t", b"\n", b"\x00", b"\x1f"])
def test_control_characters_inside_strings_are_replaced_contract_44(control: bytes) -> None:
    body = b'{\n\t"a": "x' + control + b'y\\"' + control + b'",\r\n "b\\\\": "z"}\n'
    assert tolerant(body) == JsonText(
        b'{\n\t"a": "x\xef\xbf\xbdy\\u0022\xef\xbf\xbd",\r\n "b\\u005c": "z"}\n',
        ("2 x control character replaced by U+FFFD",),
    )


@pytest.mark.parametrize(
    "body", [b'{"a":\n1}\n', b'{\n  "a": "b"\n}', b'\x01{"a": 1}', b'\x00"a"\x00']
)
def test_control_characters_outside_strings_stay_contract_44(body: bytes) -> None:
    assert tolerant(body) == JsonText(body)


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 300_000 + b"\n", b'"\n' * 300_000])
def test_control_characters_of_a_hostile_body_cost_one_pass_contract_44(body: bytes) -> None:
    assert tolerant(body).notes
