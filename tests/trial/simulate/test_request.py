"""A built request is, byte for byte, the documented one."""

import json
from uuid import UUID

import msgspec
import pytest

from vyrox.crypto import sign, verify
from vyrox.models import Vendor
from vyrox.trial.company import Host
from vyrox.trial.simulate.request import GENERIC_FIELD_MAP, SignedRequest, build_request
from vyrox.trial.simulate.scenarios import SCENARIOS
from vyrox.trial.simulate.stages import Scenario, Stage

NOW = 1_767_225_600.75
NEW_ID = UUID("3f2a9c1e-5b7d-4e80-9a64-c1d2e3f40516")
OTHER_ID = UUID("3f2a9c1e-5b7e-4e80-9a64-c1d2e3f40516")

STAGE = Stage(
    "high",
    "TA0002",
    "T1059",
    Host("host-1", "device-1"),
    "CORP\\jane",
    'C:\\tools\\run.exe "ü" \n',
)


def build(vendor: Vendor, *, now: float = NOW, new_id: UUID = NEW_ID) -> SignedRequest:
    return build_request(
        Scenario("test", vendor, "a test", (STAGE,)),
        1,
        "acme-corp",
        "s3cret",
        "http://localhost:8001/webhook/",
        now=now,
        new_id=new_id,
    )


EXPECTED: dict[Vendor, dict[str, object]] = {
    "crowdstrike": {
        "detect_id": "evt:1767225600:3f2a9c1e5b7d",
        "customer_id": "acme-corp",
        "timestamp": 1767225600,
        "severity": "high",
        "tactic": "TA0002",
        "technique": "T1059",
        "sensor": {"hostname": "host-1", "agent_id": "device-1"},
        "process": {
            "file_name": "run.exe",
            "command_line": 'C:\\tools\\run.exe "ü" \n',
            "user_name": "CORP\\jane",
            "sha256": STAGE.sha256,
        },
    },
    "sentinelone": {
        "id": "thrt_3f2a9c1e5b7d4e809a64c1d2e3f40516",
        "accountId": "acme-corp",
        "createdAt": 1767225600,
        "severity": "high",
        "mitreTactic": "TA0002",
        "mitreTechnique": "T1059",
        "agentRealtimeInfo": {"computerName": "host-1", "agentId": "device-1"},
        "fileName": "run.exe",
        "commandLine": 'C:\\tools\\run.exe "ü" \n',
        "fileContentHash": STAGE.sha256,
    },
    "defender": {
        "id": "da3f2a9c1e5b7d4e809a64c1d2e3f40516_1",
        "tenantId": "acme-corp",
        "createdDateTime": "2026-01-01T00:00:00Z",
        "severity": "high",
        "category": "TA0002",
        "mitreTechniques": ["T1059"],
        "evidence": [
            {
                "deviceDnsName": "host-1",
                "mdeDeviceId": "device-1",
                "userAccount": {"accountName": "jane", "domainName": "CORP"},
                "imageFile": {"fileName": "run.exe"},
                "processCommandLine": 'C:\\tools\\run.exe "ü" \n',
                "fileDetails": {"sha256": STAGE.sha256},
            }
        ],
    },
    "generic": {
        "event": {"id": "evt-3f2a9c1e-5b7d-4e80-9a64-c1d2e3f40516", "ts": 1767225600},
        "device": {"name": "host-1", "id": "device-1"},
        "actor": {"upn": "CORP\\jane"},
        "process": {"exe": "run.exe", "cli": 'C:\\tools\\run.exe "ü" \n'},
        "file": {"hash": STAGE.sha256},
        "metadata": {"severity": "high"},
        "mitre": {"tactic": "TA0002", "technique": "T1059"},
    },
}


@pytest.mark.parametrize("vendor", EXPECTED)
def test_build_request_encodes_as_the_reference_does(vendor: Vendor) -> None:
    body = build(vendor).body

    assert body == json.dumps(EXPECTED[vendor], separators=(",", ":"), sort_keys=True).encode()
    assert b"\\u00fc" in body


@pytest.mark.parametrize("vendor", ["crowdstrike", "generic"])
def test_build_request_signs_the_body(vendor: Vendor) -> None:
    request = build(vendor)

    assert request.headers == {
        "Content-Type": "application/json",
        "X-Vyrox-Signature": sign(request.body, "s3cret"),
    }
    assert verify(request.body, request.headers["X-Vyrox-Signature"], b"s3cret")


@pytest.mark.parametrize("vendor", ["sentinelone", "defender"])
def test_build_request_carries_the_bearer_token(vendor: Vendor) -> None:
    assert build(vendor).headers == {
        "Content-Type": "application/json",
        "Authorization": "Bearer s3cret",
    }


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        ("crowdstrike", "crowdstrike"),
        ("sentinelone", "sentinelone"),
        ("defender", "defender"),
        ("generic", "generic/acme-corp"),
    ],
)
def test_build_request_posts_to_the_vendors_route(vendor: Vendor, path: str) -> None:
    request = build(vendor)

    assert (request.method, request.url) == ("POST", f"http://localhost:8001/webhook/{path}")


@pytest.mark.parametrize("vendor", EXPECTED)
def test_build_request_is_pure_and_new_with_every_id(vendor: Vendor) -> None:
    assert build(vendor) == build(vendor)
    assert build(vendor).body != build(vendor, new_id=OTHER_ID).body
    assert build(vendor).body != build(vendor, now=NOW + 1).body


def test_build_request_takes_the_stage_asked_for() -> None:
    scenario = SCENARIOS["lateral-movement"]
    bodies = [
        build_request(scenario, n, "t", "s", "http://h", now=NOW, new_id=NEW_ID).body
        for n in range(1, 9)
    ]

    hosts = [msgspec.json.decode(body)["sensor"]["hostname"] for body in bodies]
    assert hosts == [stage.host.name for stage in scenario.stages]


def test_generic_field_map_holds_the_documented_one() -> None:
    documented = {
        "raw_id": "event.id",
        "hostname": "device.name",
        "username": "actor.upn",
        "process_name": "process.exe",
        "process_cmdline": "process.cli",
        "sha256": "file.hash",
        "vendor_severity": "metadata.severity",
        "tactic": "mitre.tactic",
        "technique": "mitre.technique",
        "timestamp": "event.ts",
    }
    assert documented.items() <= GENERIC_FIELD_MAP.items()


def test_signed_request_keeps_the_secret_out_of_its_repr() -> None:
    assert "s3cret" not in repr(build("defender"))
