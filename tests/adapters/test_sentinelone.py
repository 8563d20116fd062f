"""The fields of a SentinelOne threat that need a decision (contract 18)."""

import pytest

from tests.adapters.payloads import REMOVED, SENTINELONE, SHA256, changed, normalize


@pytest.mark.parametrize(
    ("file_name", "process_name", "expected"),
    [
        ("a.exe", "b.exe", "a.exe"),
        (None, "b.exe", "b.exe"),
        ("", "b.exe", "b.exe"),
        (REMOVED, "b.exe", "b.exe"),
        (REMOVED, None, None),
    ],
)
def test_normalize_falls_back_to_process_name_contract_18(
    file_name: object, process_name: object, expected: str | None
) -> None:
    body = changed(SENTINELONE, "processName", process_name)
    assert normalize("sentinelone", changed(body, "fileName", file_name)).process_name == expected


@pytest.mark.parametrize(
    ("content_hash", "expected"),
    [
        pytest.param(SHA256, SHA256, id="allow_sha256"),
        pytest.param(SHA256.upper(), SHA256.upper(), id="allow_upper_case"),
        pytest.param("cf8bd9dfddff007f75adf4c2be48005cea317c62", None, id="pass_over_sha1"),
        pytest.param("0" * 32, None, id="pass_over_md5"),
        pytest.param("g" * 64, None, id="pass_over_other_text"),
        pytest.param(SHA256 + "\n", None, id="pass_over_final_newline"),
        pytest.param("\uff11" * 64, None, id="pass_over_full_width_digits"),
    ],
)
def test_normalize_sha256_is_a_sha256(content_hash: str, expected: str | None) -> None:
    body = changed(SENTINELONE, "fileContentHash", content_hash)
    assert normalize("sentinelone", body).sha256 == expected
