"""The formats of the vendors, as a table (contract 7 and 11 to 13)."""

import uuid
from typing import Final

import msgspec
import pytest

from tests.adapters.payloads import (
    DOCUMENTED,
    RECEIVED_AT,
    REMOVED,
    SHA256,
    TENANT,
    changed,
    normalize,
    without_id,
)
from vyrox.errors import NormalizationError
from vyrox.models import Vendor

TEXT: Final[tuple[object, ...]] = (1, 1.5, True, ["x"], {"x": "y"})
"""Values that are not text."""

OBJECT: Final[tuple[object, ...]] = ("x", 1, False, [])
"""Values that are not an object."""

LIST: Final[tuple[object, ...]] = ({}, "x", False)
"""Values that are neither a list nor null."""

NOT_A_TIME: Final[tuple[object, ...]] = (True, [], {})
"""Values that are neither a number nor text."""


class Form(msgspec.Struct, frozen=True):
    """The format of one vendor's payload. Paths are dotted.

    Attributes:
        alert: The alert that the documented payload becomes.
        id: The path of the vendor's identifier.
        tenant: The path of the tenant's name.
        time: The path of the time.
        optional: Path -> field of the alert. The value may be missing, null or empty text.
        wrong: Path -> values of the wrong type.
        parts: Path of an object -> a field of the alert that comes from it.
        undeclared: Paths that the adapter does not read.
    """

    alert: dict[str, object]
    id: str
    tenant: str
    time: str
    optional: dict[str, str]
    wrong: dict[str, tuple[object, ...]]
    parts: dict[str, str] = {}
    undeclared: tuple[str, ...] = ()


CROWDSTRIKE_TEXTS: Final = {
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
SENTINELONE_TEXTS: Final = {
    "severity": "vendor_severity",
    "mitreTactic": "tactic",
    "mitreTechnique": "technique",
    "agentRealtimeInfo.computerName": "hostname",
    "agentRealtimeInfo.agentId": "device_id",
    "fileName": "process_name",
    "commandLine": "process_cmdline",
    "fileContentHash": "sha256",
}

FORMS: Final[dict[Vendor, Form]] = {
    "crowdstrike": Form(
        alert={
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
            "severity": "high",
        },
        id="detect_id",
        tenant="customer_id",
        time="timestamp",
        optional=CROWDSTRIKE_TEXTS,
        wrong={
            **dict.fromkeys([*CROWDSTRIKE_TEXTS, "detect_id"], TEXT),
            **dict.fromkeys(("sensor", "process"), OBJECT),
        },
        parts={"sensor": "hostname", "process": "sha256"},
        undeclared=("host", "sensor.os", "process.parent"),
    ),
    "sentinelone": Form(
        alert={
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
            "severity": "high",
        },
        id="id",
        tenant="accountId",
        time="createdAt",
        optional=SENTINELONE_TEXTS,
        wrong={
            **dict.fromkeys([*SENTINELONE_TEXTS, "id", "processName"], TEXT),
            "agentRealtimeInfo": OBJECT,
        },
        parts={"agentRealtimeInfo": "hostname"},
        undeclared=("threatInfo", "agentRealtimeInfo.agentUuid"),
    ),
    "defender": Form(
        alert={
            "raw_id": "abc123",
            "timestamp": 1779546720.0,
            "hostname": "workstation-01.acme.local",
            "username": "jsmith@acme.com",
            "process_name": "lsass-dumper.exe",
            "process_cmdline": "lsass-dumper.exe -o creds.dmp",
            "sha256": SHA256,
            "tactic": "CredentialAccess",
            "technique": "T1003",
            "vendor_severity": "HIGH",
            "severity": "high",
        },
        id="id",
        tenant="tenantId",
        time="createdDateTime",
        optional={"severity": "vendor_severity", "category": "tactic"},
        wrong={
            **dict.fromkeys(("id", "severity", "category"), TEXT),
            "mitreTechniques": ("T1003", [5], {}),
            "evidence": LIST,
        },
        parts={"evidence": "hostname", "mitreTechniques": "technique"},
        undeclared=("alertWebUrl", "evidence.0.verdict"),
    ),
}

each_vendor = pytest.mark.parametrize("vendor", FORMS)


@each_vendor
def test_normalize_documented_payload_contract_12(vendor: Vendor) -> None:
    expected = {"tenant_id": TENANT.tenant_id, "source": vendor, **FORMS[vendor].alert}
    assert without_id(normalize(vendor, DOCUMENTED[vendor])) == expected


@each_vendor
def test_normalize_makes_a_new_uuid_4_contract_12(vendor: Vendor) -> None:
    ids = {normalize(vendor, DOCUMENTED[vendor]).id for _ in range(10)}
    assert len(ids) == 10
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in ids)


@each_vendor
def test_normalize_shortest_payload_contract_12(vendor: Vendor) -> None:
    body = msgspec.json.encode({FORMS[vendor].id: "1"})
    assert without_id(normalize(vendor, body)) == {
        "tenant_id": TENANT.tenant_id,
        "source": vendor,
        "raw_id": "1",
        "timestamp": RECEIVED_AT,
        "severity": "unknown",
    }


@pytest.mark.parametrize(
    ("vendor", "path"), [(vendor, path) for vendor, form in FORMS.items() for path in form.optional]
)
def test_normalize_missing_text_is_none_contract_11_and_12(vendor: Vendor, path: str) -> None:
    expected = without_id(normalize(vendor, DOCUMENTED[vendor]))
    del expected[FORMS[vendor].optional[path]]
    if path.endswith("severity"):
        expected["severity"] = "unknown"
    for value in (REMOVED, None, ""):
        alert = normalize(vendor, changed(DOCUMENTED[vendor], path, value))
        assert without_id(alert) == expected, value


@pytest.mark.parametrize(
    ("vendor", "part"), [(vendor, part) for vendor, form in FORMS.items() for part in form.parts]
)
def test_normalize_without_a_part_contract_11(vendor: Vendor, part: str) -> None:
    """Only the fields that come from the part are missing."""
    for value in (REMOVED, None):
        alert = without_id(normalize(vendor, changed(DOCUMENTED[vendor], part, value)))
        fields = FORMS[vendor].parts
        assert {each for each, field in fields.items() if field not in alert} == {part}, value


@pytest.mark.parametrize(
    ("vendor", "path"), [(vendor, path) for vendor, form in FORMS.items() for path in form.wrong]
)
def test_normalize_wrong_type_names_the_field_contract_11(vendor: Vendor, path: str) -> None:
    for value in FORMS[vendor].wrong[path]:
        with pytest.raises(NormalizationError, match=rf"\$\.{path}"):
            normalize(vendor, changed(DOCUMENTED[vendor], path, value))


@each_vendor
def test_normalize_requires_the_vendors_id_contract_11(vendor: Vendor) -> None:
    path = FORMS[vendor].id
    for value in (REMOVED, None, ""):
        with pytest.raises(NormalizationError, match=rf"`{path}`|\$\.{path}"):
            normalize(vendor, changed(DOCUMENTED[vendor], path, value))


@each_vendor
def test_normalize_time_of_wrong_type_contract_13(vendor: Vendor) -> None:
    for value in NOT_A_TIME:
        with pytest.raises(NormalizationError, match=rf"\$\.{FORMS[vendor].time}"):
            normalize(vendor, changed(DOCUMENTED[vendor], FORMS[vendor].time, value))


@each_vendor
def test_normalize_takes_the_tenant_from_the_credential_contract_7(vendor: Vendor) -> None:
    values: tuple[object, ...] = (REMOVED, None, "other", 5, ["x"])
    for value in values:
        alert = normalize(vendor, changed(DOCUMENTED[vendor], FORMS[vendor].tenant, value))
        assert alert.tenant_id == TENANT.tenant_id


@each_vendor
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"9" * 5000, id="allow_5000_digits"),
        pytest.param(b"1e400", id="allow_1e400"),
        pytest.param(b'[{"hostname": 5}]', id="allow_declared_name_elsewhere"),
    ],
)
def test_normalize_ignores_undeclared_fields_contract_11(vendor: Vendor, raw: bytes) -> None:
    expected = without_id(normalize(vendor, DOCUMENTED[vendor]))
    for path in FORMS[vendor].undeclared:
        body = changed(DOCUMENTED[vendor], path, msgspec.Raw(raw))
        assert without_id(normalize(vendor, body)) == expected, path
