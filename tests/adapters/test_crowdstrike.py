"""CrowdStrike detections become alerts (contract 11 to 13)."""

import uuid

import msgspec
import pytest

from tests.adapters.payloads import (
    CROWDSTRIKE,
    RECEIVED_AT,
    REMOVED,
    SHA256,
    TENANT,
    changed,
    normalize,
    without_id,
)
from vyrox.errors import NormalizationError

OPTIONAL = {
    "severity": "vendor_severity",
    "tactic": "tactic",
    "technique": "technique",
    "sensor.hostname": "hostname",
    "sensor.agent_id": "device_id",
    "process.file_name": "process_name",
    "process.command_line": "process_cmdline",
    "process.user_name": "username",
    "process.sha256": "sha256",
}


def test_normalize_documented_payload_contract_12() -> None:
    assert without_id(normalize("crowdstrike", CROWDSTRIKE)) == {
        "tenant_id": TENANT.tenant_id,
        "source": "crowdstrike",
        "raw_id": "evt:1234567890:abc123",
        "timestamp": 1704067200.0,
        "hostname": "workstation-01",
        "device_id": "12345678-1234-1234-1234-123456789abc",
        "username": "CORP\\jsmith",
        "process_name": "cmd.exe",
        "process_cmdline": "powershell -enc JABjAGwA...",
        "sha256": SHA256,
        "tactic": "TA0004",
        "technique": "T1059",
        "vendor_severity": "HIGH",
    }


def test_normalize_gives_a_fresh_uuid_4_contract_12() -> None:
    ids = {normalize("crowdstrike", CROWDSTRIKE).id for _ in range(10)}
    assert len(ids) == 10
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in ids)


def test_normalize_least_payload_contract_12() -> None:
    assert without_id(normalize("crowdstrike", b'{"detect_id": "1"}')) == {
        "tenant_id": TENANT.tenant_id,
        "source": "crowdstrike",
        "raw_id": "1",
        "timestamp": RECEIVED_AT,
    }


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
@pytest.mark.parametrize(("path", "field"), OPTIONAL.items())
def test_normalize_what_is_lacking_is_none_contract_11_and_12(
    path: str, field: str, value: object
) -> None:
    alert = normalize("crowdstrike", changed(CROWDSTRIKE, path, value))
    expected = without_id(normalize("crowdstrike", CROWDSTRIKE))
    del expected[field]
    assert without_id(alert) == expected


@pytest.mark.parametrize("value", [REMOVED, None], ids=["missing", "null"])
@pytest.mark.parametrize("part", ["sensor", "process"])
def test_normalize_without_a_part_contract_11(part: str, value: object) -> None:
    alert = without_id(normalize("crowdstrike", changed(CROWDSTRIKE, part, value)))
    assert ("hostname" in alert) == (part != "sensor")
    assert ("sha256" in alert) == (part != "process")


@pytest.mark.parametrize("value", [1, 1.5, True, ["x"], {"x": "y"}], ids=repr)
@pytest.mark.parametrize("path", [*OPTIONAL, "detect_id"])
def test_normalize_wrong_type_names_the_field_contract_11(path: str, value: object) -> None:
    with pytest.raises(NormalizationError, match=rf"\$\.{path}"):
        normalize("crowdstrike", changed(CROWDSTRIKE, path, value))


@pytest.mark.parametrize("value", ["x", 1, False, []], ids=repr)
@pytest.mark.parametrize("part", ["sensor", "process"])
def test_normalize_part_of_wrong_type_contract_11(part: str, value: object) -> None:
    with pytest.raises(NormalizationError, match=rf"\$\.{part}"):
        normalize("crowdstrike", changed(CROWDSTRIKE, part, value))


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
def test_normalize_requires_detect_id_contract_11(value: object) -> None:
    with pytest.raises(NormalizationError, match="detect_id"):
        normalize("crowdstrike", changed(CROWDSTRIKE, "detect_id", value))


@pytest.mark.parametrize("value", [True, [], {}], ids=repr)
def test_normalize_timestamp_of_wrong_type_contract_13(value: object) -> None:
    with pytest.raises(NormalizationError, match=r"\$\.timestamp"):
        normalize("crowdstrike", changed(CROWDSTRIKE, "timestamp", value))


@pytest.mark.parametrize(
    "value", [REMOVED, None, "other", 5, ["x"]], ids=["missing", "null", "text", "number", "list"]
)
def test_normalize_takes_the_tenant_from_the_credential_contract_7(value: object) -> None:
    alert = normalize("crowdstrike", changed(CROWDSTRIKE, "customer_id", value))
    assert alert.tenant_id == TENANT.tenant_id


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"9" * 5000, id="allow_5000_digits"),
        pytest.param(b"1e400", id="allow_1e400"),
        pytest.param(b'[{"hostname": 5}]', id="allow_declared_name_elsewhere"),
    ],
)
def test_normalize_ignores_undeclared_fields_contract_11(raw: bytes) -> None:
    expected = without_id(normalize("crowdstrike", CROWDSTRIKE))
    for path in ("host", "sensor.os", "process.parent"):
        body = changed(CROWDSTRIKE, path, msgspec.Raw(raw))
        assert without_id(normalize("crowdstrike", body)) == expected
