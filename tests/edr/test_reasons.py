"""What of a vendor's own words goes into the event log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.edr.transport.reasons import MAX_REASON_CHARS, reason, redacted

# CrowdStrike's answer to a missing scope; Microsoft's to one, and to a second isolation;
# SentinelOne's to an old token. Each as the vendor words it.
CASES = [
    (
        b'{"meta":{"powered_by":"csam"},"errors":[{"code":403,'
        b'"message":"access denied, authorization failed"}]}',
        "403 access denied, authorization failed",
    ),
    (
        b'{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret is '
        b'provided for app \'11111111-2222-3333-4444-555555555555\'","error_codes":[7000215]}',
        "invalid_client 7000215",
    ),
    (
        b'{"error":{"code":"ActiveRequestAlreadyExists","message":"Action is already in progress",'
        b'"target":"4c4f3b4f-0000-0000-0000-000000000000"}}',
        "ActiveRequestAlreadyExists Action is already in progress",
    ),
    (
        b'{"errors":[{"code":4010010,"detail":null,"title":"Authentication Failed"}]}',
        "4010010 Authentication Failed",
    ),
    (b"<html>502 Bad Gateway</html>", ""),
    (b"", ""),
    (b"[" * 100_000, ""),
    (b'{"errors":"none"}', ""),
    (b'{"errors":[{"message":"\xff"}]}', ""),
    (b"{}", ""),
]


@pytest.mark.parametrize(("body", "expected"), CASES)
def test_reason_is_the_vendors_code_and_text(body: bytes, expected: str) -> None:
    assert reason(body) == expected


@pytest.mark.parametrize(
    "text",
    [
        "token eyJhbGciOiJSUzI1NiJ9.eyJyb2xlcyI6W119.c2ln refused",
        "for app 11111111-2222-3333-4444-555555555555",
        "secret 'abc8Q~abcdefghijklmnopqrstuvwxyz'",
        "Bearer:Zm9vYmFyLXNlY3JldC1vZi1hLWNsaWVudA==",
    ],
)
def test_redacted_leaves_no_identifier(text: str) -> None:
    shown = redacted(text)
    assert "[...]" in shown
    assert max(len(word) for word in shown.split()) < 20


@given(st.text(max_size=2000))
def test_redacted_is_one_short_printable_line(text: str) -> None:
    shown = redacted(text)
    assert len(shown) <= MAX_REASON_CHARS
    assert shown.isascii()
    assert shown.isprintable()


def test_reason_is_bounded_however_many_errors_there_are() -> None:
    body = b'{"errors":[' + b",".join([b'{"code":1,"message":"no way"}'] * 10_000) + b"]}"
    assert len(reason(body)) <= MAX_REASON_CHARS


def test_reason_cannot_start_a_line_of_its_own() -> None:
    assert reason(b'{"errors":[{"message":"a\\r\\n\\u001b[2Jb"}]}') == "a [2Jb"
