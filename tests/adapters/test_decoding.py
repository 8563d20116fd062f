"""Exceptions of msgspec become errors of Vyrox."""

import msgspec
import pytest

from vyrox.adapters.decoding import decode, decode_tenant_id, one_line
from vyrox.errors import MissingTenantError, NormalizationError


class Example(msgspec.Struct):
    name: str
    inner: dict[str, int] | None = None


DECODER = msgspec.json.Decoder(Example)


def test_decode_returns_the_value() -> None:
    assert decode(DECODER, b'{"name": "x"}', NormalizationError) == Example("x")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b'{"name": 1}', "$.name", id="reject_wrong_type_and_name_the_field"),
        pytest.param(b"{}", "`name`", id="reject_missing_and_name_the_field"),
        pytest.param(b"", "truncated", id="reject_empty"),
        pytest.param(b'{"name": "x"} x', "trailing", id="reject_trailing_text"),
        pytest.param(b'{"name": "\xff"}', "utf-8", id="reject_invalid_utf_8"),
        pytest.param(b'{"a": ' + b"[" * 200_000, "recursion", id="reject_deep_nesting"),
    ],
)
@pytest.mark.parametrize("error", [NormalizationError, MissingTenantError])
def test_decode_raises_the_given_error(
    body: bytes, reason: str, error: type[NormalizationError | MissingTenantError]
) -> None:
    with pytest.raises(error) as caught:
        decode(DECODER, body, error)
    assert type(caught.value) is error
    assert reason in str(caught.value)


def test_decode_names_the_field_that_the_decoder_cannot() -> None:
    with pytest.raises(NormalizationError, match=r"^hostname: Expected"):
        decode(DECODER, msgspec.Raw(b"5"), NormalizationError, "hostname")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain text", "plain text", id="allow_plain"),
        pytest.param("na\u00efve \u65e5\u672c", "na\u00efve \u65e5\u672c", id="allow_non_ascii"),
        pytest.param("a\r\nb", "a\\r\\nb", id="escape_line_ends"),
        pytest.param("\x1b[2J\x00", "\\x1b[2J\\x00", id="escape_terminal_control"),
        pytest.param("\u202e\u2028", "\\u202e\\u2028", id="escape_bidi_and_separators"),
        pytest.param("\ud800", "\\ud800", id="escape_lone_surrogate"),
        pytest.param("x" * 201, "x" * 200, id="cut_long"),
        pytest.param("\n" * 200, "\\n" * 100, id="cut_what_escaping_made_long"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b'"acme-corp"', "acme-corp", id="allow_text"),
        pytest.param(b'"acme\\u002dcorp"', "acme-corp", id="allow_escapes"),
        pytest.param(b"123", "123", id="allow_integer"),
        pytest.param(b"9" * 128, "9" * 128, id="allow_128_digits"),
    ],
)
def test_decode_tenant_id_contract_7(raw: bytes, expected: str) -> None:
    assert decode_tenant_id(msgspec.Raw(raw)) == expected


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"null", id="reject_null"),
        pytest.param(b'""', id="reject_empty"),
        pytest.param(b'".."', id="reject_dot_dot"),
        pytest.param(b'"acme\\n"', id="reject_newline"),
        pytest.param(b'"acme\\u0000"', id="reject_nul"),
        pytest.param(b'"\\ud800"', id="reject_lone_surrogate"),
        pytest.param(b'"\xff"', id="reject_invalid_utf_8"),
        pytest.param(b"true", id="reject_boolean"),
        pytest.param(b"1.0", id="reject_float"),
        pytest.param(b"-1", id="reject_negative"),
        pytest.param(b"1e400", id="reject_1e400"),
        pytest.param(b"9" * 129, id="reject_129_digits"),
        pytest.param(b"9" * 4300, id="reject_4300_digits"),
        pytest.param(b"9" * 5000, id="reject_5000_digits"),
        pytest.param(b'["acme"]', id="reject_list"),
        pytest.param(b'{"id": "acme"}', id="reject_object"),
    ],
)
def test_decode_tenant_id_raises_contract_7(raw: bytes) -> None:
    with pytest.raises(MissingTenantError):
        decode_tenant_id(msgspec.Raw(raw))
