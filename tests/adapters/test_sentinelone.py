"""SentinelOne threats become alerts (contract 11 to 13 and 18)."""

import msgspec
import pytest

from tests.adapters.payloads import (
    RECEIVED_AT,
    REMOVED,
    SENTINELONE,
    SHA256,
    TENANT,
    changed,
    normalize,
    without_id,
)
from vyrox.errors import NormalizationError

OPTIONAL = {
    "severity": "vendor_severity",
    "mitreTactic": "tactic",
    "mitreTechnique": "technique",
    "agentRealtimeInfo.computerName": "hostname",
    "agentRealtimeInfo.agentId": "device_id",
    "fileName": "process_name",
    "commandLine": "process_cmdline",
    "fileContentHash": "sha256",
}


def test_normalize_documented_payload_contract_12() -> None:
    assert without_id(normalize("sentinelone", SENTINELONE)) == {
        "tenant_id": TENANT.tenant_id,
        "source": "sentinelone",
        "raw_id": "thrt_1234567890abc",
        "timestamp": 1704067200.0,
        "hostname": "workstation-01",
        "device_id": "1234567890abc",
        "process_name": "powershell.exe",
        "process_cmdline": "powershell -enc JABjAGwA...",
        "sha256": SHA256,
        "tactic": "TA0004",
        "technique": "T1059",
        "vendor_severity": "HIGH",
    }


def test_normalize_least_payload_contract_12() -> None:
    assert without_id(normalize("sentinelone", b'{"id": "1"}')) == {
        "tenant_id": TENANT.tenant_id,
        "source": "sentinelone",
        "raw_id": "1",
        "timestamp": RECEIVED_AT,
    }


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
@pytest.mark.parametrize(("path", "field"), OPTIONAL.items())
def test_normalize_what_is_lacking_is_none_contract_11_and_12(
    path: str, field: str, value: object
) -> None:
    alert = normalize("sentinelone", changed(SENTINELONE, path, value))
    expected = without_id(normalize("sentinelone", SENTINELONE))
    del expected[field]
    assert without_id(alert) == expected


@pytest.mark.parametrize("value", [1, 1.5, True, ["x"], {"x": "y"}], ids=repr)
@pytest.mark.parametrize("path", [*OPTIONAL, "id", "processName"])
def test_normalize_wrong_type_names_the_field_contract_11(path: str, value: object) -> None:
    with pytest.raises(NormalizationError, match=rf"\$\.{path}"):
        normalize("sentinelone", changed(SENTINELONE, path, value))


@pytest.mark.parametrize("value", ["x", 1, False, []], ids=repr)
def test_normalize_agent_of_wrong_type_contract_11(value: object) -> None:
    with pytest.raises(NormalizationError, match=r"\$\.agentRealtimeInfo"):
        normalize("sentinelone", changed(SENTINELONE, "agentRealtimeInfo", value))


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
def test_normalize_requires_id_contract_11(value: object) -> None:
    with pytest.raises(NormalizationError, match=r"`id`|\$\.id"):
        normalize("sentinelone", changed(SENTINELONE, "id", value))


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


@pytest.mark.parametrize("value", [REMOVED, None, "other", 5], ids=["missing", "null", "a", "b"])
def test_normalize_takes_the_tenant_from_the_credential_contract_7(value: object) -> None:
    alert = normalize("sentinelone", changed(SENTINELONE, "accountId", value))
    assert alert.tenant_id == TENANT.tenant_id


@pytest.mark.parametrize("raw", [b"9" * 5000, b"1e400"], ids=["digits", "1e400"])
def test_normalize_ignores_undeclared_fields_contract_11(raw: bytes) -> None:
    expected = without_id(normalize("sentinelone", SENTINELONE))
    for path in ("threatInfo", "agentRealtimeInfo.agentUuid"):
        body = changed(SENTINELONE, path, msgspec.Raw(raw))
        assert without_id(normalize("sentinelone", body)) == expected
