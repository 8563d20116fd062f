"""Payloads published by the vendors (tests/data/NOTICE): no adapter crashes."""

from pathlib import Path

import pytest

from tests.adapters.payloads import normalize, normalize_or_refuse, preview, without_id
from vyrox.adapters import ADAPTERS
from vyrox.errors import MissingTenantError
from vyrox.ids import is_tenant_id
from vyrox.models import FieldMap, Tenant, Vendor

DATA = Path(__file__).parent.parent / "data"
SAMPLES = sorted(DATA.glob("*-[0-9]*.json"))
MDE_ID = "73e7e2de709dff64ef64b1d0c30e67fab63279db"
CONTENT_SHA256 = "8963a19fb992ad9a76576c5638fd68292cffb9aaac29eb8285f9abf6196a7dec"


def sample(name: str) -> bytes:
    return (DATA / f"{name}.json").read_bytes()


def test_samples_are_all_named_in_the_notice() -> None:
    notice = (DATA / "NOTICE").read_text()
    assert len(SAMPLES) == 21
    assert [path.name for path in SAMPLES if path.name not in notice] == []


@pytest.mark.parametrize("vendor", ADAPTERS)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_normalize_gives_an_alert_or_our_error(vendor: Vendor, path: Path) -> None:
    normalize_or_refuse(vendor, path.read_bytes())


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender"])
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_unverified_tenant_id_gives_one_or_our_error(vendor: Vendor, path: Path) -> None:
    try:
        assert is_tenant_id(preview(vendor)(path.read_bytes()))
    except MissingTenantError:
        return


@pytest.mark.parametrize(
    ("name", "tenant_id", "expected"),
    [
        pytest.param(
            "microsoft-1",
            "b3c1b5fc-828c-45fa-a1e1-10d74f6d6e9c",
            {
                "raw_id": "da637578995287051192_756343937",
                "timestamp": 1619525967.72113,
                "hostname": "tempDns",
                "device_id": MDE_ID,
                "username": "NT AUTHORITY\\SYSTEM",
                "process_name": "MsSense.exe",
                "process_cmdline": '"MsSense.exe"',
                "sha256": CONTENT_SHA256,
                "tactic": "DefenseEvasion",
                "technique": "T1564.001",
                "vendor_severity": "LOW",
                "severity": "low",
            },
            id="endpoint_alert",
        ),
        pytest.param(
            "microsoft-4",
            "12345-abcde-a1b2k3",
            {
                "raw_id": "abcd12345efghijk6789",
                "timestamp": 1775053908.438,
                "username": "homer.simpson@corporation.onmicrosoft.com",
                "tactic": "AnonymousLogin",
                "vendor_severity": "MEDIUM",
                "severity": "medium",
            },
            id="identity_alert_without_a_device",
        ),
        pytest.param(
            "microsoft-5",
            "abcdefg-12345",
            {
                "raw_id": "abcdefg12345hijklmnop",
                "timestamp": 1775246053.725,
                "tactic": "AnonymousLogin",
                "vendor_severity": "HIGH",
                "severity": "high",
            },
            id="no_evidence",
        ),
        pytest.param(
            "microsoft-8",
            "b3c1b5fc-828c-45fa-a1e1-10d74f6d6e9c",
            {
                "raw_id": "da637578995287051192_756343937",
                "timestamp": 1619525967.72113,
                "hostname": "second.example.org",
                # From the element with the host name; MDE_ID is another machine in the alert.
                "device_id": "a" * 40,
                "process_cmdline": '"MsSense.exe"',
                "tactic": "DefenseEvasion",
                "vendor_severity": "UNKNOWNFUTUREVALUE",
                "severity": "unknown",
            },
            id="several_devices_and_unknown_kinds",
        ),
    ],
)
def test_defender_sample(name: str, tenant_id: str, expected: dict[str, object]) -> None:
    body = sample(name)
    tenant = Tenant(preview("defender")(body))
    assert tenant.tenant_id == tenant_id
    assert without_id(normalize("defender", body, tenant)) == {
        "tenant_id": tenant_id,
        "source": "defender",
        **expected,
    }


@pytest.mark.parametrize("name", ["microsoft-2", "microsoft-3", "microsoft-10", "microsoft-11"])
def test_defender_refuses_what_is_no_alert(name: str) -> None:
    assert normalize_or_refuse("defender", sample(name)) is None


@pytest.mark.parametrize(
    ("name", "field_map", "expected"),
    [
        pytest.param(
            "crowdstrike-7",
            {
                "raw_id": "resources.1.composite_id",
                "hostname": "resources.1.device.hostname",
                "device_id": "resources.1.device.device_id",
                "vendor_severity": "resources.1.severity",
                "timestamp": "resources.1.created_timestamp",
            },
            {
                "raw_id": "01010101010101010101010101010101:ind:01010101010101010101010101010102:"
                "010101010101-0101-0101010101",
                "hostname": "testhost",
                "device_id": "01010101010101010101010101010102",
                "vendor_severity": "90",
                "severity": "critical",
                "timestamp": 1718625642.948763,
            },
            id="alerts_api_through_an_array",
        ),
        pytest.param(
            "crowdstrike-8",
            {
                "raw_id": "data.detections.url",
                "hostname": "data.detections.hostname",
                "username": "data.detections.user_name",
                "process_cmdline": "data.detections.command_line",
                "vendor_severity": "data.detections.action_taken",
            },
            {
                "raw_id": "https://falcon.us-2.crowdstrike.com/activity-v2/detections/EXAMPLE",
                "hostname": "TESTHOST01",
                "username": "testuser",
                "process_cmdline": "powershell.exe -enc SQBFAFgA",
                "vendor_severity": "NONE",
                "severity": "info",
                "timestamp": 1_700_000_000.25,
            },
            id="workflow_webhook_with_dotted_keys_inside_an_object",
        ),
        pytest.param(
            "crowdstrike-12",
            {
                "raw_id": "ProcessId",
                "hostname": "Hostname",
                "device_id": "AgentIdString",
                "vendor_severity": "SeverityName",
                "timestamp": "UTCTimestamp",
            },
            {
                "raw_id": "377077835340488700",
                "hostname": "macbook",
                "device_id": "0" * 32,
                "vendor_severity": "LOW",
                "severity": "low",
                "timestamp": 1631997532.0,
            },
            id="flat_record_with_a_number_as_id",
        ),
        pytest.param(
            "sentinelone-7",
            {
                "raw_id": "threatid",
                "hostname": "data.computername",
                "device_id": "agentid",
                "vendor_severity": "data.confidencelevel",
                "timestamp": "createdat",
            },
            {
                "raw_id": "123456789",
                "hostname": "BobsPC",
                "device_id": "1111112222233333",
                "vendor_severity": "MALICIOUS",
                "severity": "high",
                "timestamp": 1670429335.703,
            },
            id="activity_with_a_time_without_zone",
        ),
    ],
)
def test_generic_sample(name: str, field_map: FieldMap, expected: dict[str, object]) -> None:
    alert = normalize("generic", sample(name), Tenant("t", field_map))
    assert without_id(alert) == {"tenant_id": "t", "source": "generic", **expected}
