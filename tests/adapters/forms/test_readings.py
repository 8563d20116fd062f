"""Events that are ignored, scales of severity, times, devices, joined records (contract 70)."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.forms import payloads
from tests.adapters.forms.payloads import COMPOSITE, ENTITY, MDE_ID, OTHER_MDE_ID, Json, event
from tests.adapters.forms.table import DEFENDER
from tests.adapters.forms.test_own_forms import TENANT, result
from tests.adapters.payloads import RECEIVED_AT, without_id
from vyrox.adapters import own_forms
from vyrox.adapters.forms.severities import Graded, falcon, threat
from vyrox.adapters.forms.times import seconds_of
from vyrox.adapters.own_forms import Ignored, read, split
from vyrox.adapters.received import elements_of
from vyrox.edr.actions import why_unsupported
from vyrox.errors import NormalizationError
from vyrox.models import EdrVendor, NormalizedAlert
from vyrox.triage.vendor import severity_in


def alert(vendor: EdrVendor, payload: object) -> NormalizedAlert:
    found = read(vendor, json.dumps(payload).encode(), TENANT, RECEIVED_AT)
    assert isinstance(found, NormalizedAlert)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "UserActivityAuditEvent",
        "AuthActivityAuditEvent",
        "RemoteResponseSessionStartEvent",
        "RemoteResponseSessionEndEvent",
        "StreamStartEvent",
        "StreamingStopped",
        "ScheduledReportNotificationEvent",
        "EppDetectionUpdateEvent",
    ],
)
def test_an_event_that_is_no_detection_is_ignored_contract_70(kind: str) -> None:
    members: Json = {"DetectId": COMPOSITE}
    flat: Json = {**members, "ExternalApiType": f"Event_{kind}"}
    for payload in (event(kind, members), flat):
        got = read("crowdstrike", json.dumps(payload).encode(), TENANT, RECEIVED_AT)
        assert got == Ignored(kind)


LONG = "a" * 109 + "DetectionUpdateEvent"
"""One character longer than a type may be: matching it takes the cube of its length."""


@pytest.mark.parametrize(
    "kind", ["IncidentSummaryEvent", "FirewallMatchEvent", "Ne\nw", "", 7, LONG]
)
def test_an_event_of_an_unknown_type_is_never_ignored_contract_70(kind: object) -> None:
    payload = event("x", {"DetectId": COMPOSITE})
    payload["metadata"] = {"eventType": kind}
    with pytest.raises(NormalizationError) as caught:
        read("crowdstrike", json.dumps(payload).encode(), TENANT, RECEIVED_AT)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        (27, {"data": {"username": "bob"}}, Ignored("activity 27")),
        ("27", {"data": {"role": "Admin"}}, Ignored("activity 27")),
        (2001, {"threatId": "12"}, Ignored("activity 2001")),
        (3607, {"data": {"alertid": 5}}, Ignored("activity 3607")),
        (9999, {"threatId": "12"}, None),
        ("login" * 50, {"data": {}}, None),
        (9999, {"data": {"alertid": 5}}, None),
    ],
)
def test_activities_of_sentinelone_contract_70(
    kind: object, members: Json, expected: Ignored | None
) -> None:
    payload = json.dumps({"id": "1", "activityType": kind, **members}).encode()
    if expected is None:
        with pytest.raises(NormalizationError):
            read("sentinelone", payload, TENANT, RECEIVED_AT)
    else:
        assert read("sentinelone", payload, TENANT, RECEIVED_AT) == expected


@pytest.mark.parametrize(
    ("table", "is_ignored"),
    [("DeviceProcessEvents", True), ("EmailEvents", True), ("SomethingNew", False)],
)
def test_records_of_other_tables_contract_70(table: str, is_ignored: bool) -> None:
    record = {**payloads.INFO, "category": f"AdvancedHunting-{table}"}
    body = json.dumps(record).encode()
    if is_ignored:
        assert read("defender", body, TENANT, 0.0) == Ignored(f"AdvancedHunting-{table}")
    else:
        with pytest.raises(NormalizationError):
            read("defender", body, TENANT, 0.0)


@pytest.mark.parametrize(
    ("name", "number", "of_five", "expected"),
    [
        ("Low", "2", False, ("LOW", "low")),
        ("Critical", None, False, ("CRITICAL", "critical")),
        ("Bespoke", "70", False, ("BESPOKE", "high")),
        (None, "2", False, ("2", "info")),
        (None, "2", True, ("2", "low")),
        (None, "5", True, ("5", "critical")),
        (None, "70", True, ("70", "high")),
        (None, "79.5", False, ("79.5", "high")),
        (None, "80", False, ("80", "critical")),
        (None, "1e400", False, ("1E400", "unknown")),
        (None, "high", False, ("HIGH", "high")),
        (None, None, True, (None, "unknown")),
    ],
)
def test_severity_of_falcon_contract_70(
    name: str | None, number: str | None, of_five: bool, expected: tuple[object, object]
) -> None:
    assert falcon(name, number, of_five=of_five)[:2] == expected


@pytest.mark.parametrize(
    ("confidence", "kind", "expected"),
    [
        ("malicious", "Malware", "high"),
        ("malicious", "Ransomware", "critical"),
        ("suspicious", "Ransomware", "high"),
        ("suspicious", "Trojan", "medium"),
        ("malicious", "PUA", "low"),
        ("N/A", "Malware", "unknown"),
    ],
)
def test_severity_of_a_threat_is_derived_contract_70(
    confidence: str, kind: str, expected: str
) -> None:
    got = threat(confidence, kind)
    note = f"severity derived by Vyrox from: {confidence}, {kind}"
    assert got == Graded(None, expected, () if expected == "unknown" else (note,))  # type: ignore[arg-type]


def test_a_derived_severity_is_triaged_contract_70() -> None:
    assert severity_in(alert("sentinelone", payloads.THREAT)) == "high"
    assert severity_in(alert("crowdstrike", payloads.LEGACY)) == "critical"


MOMENT = 1_776_244_061.123456


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1776244061", 1_776_244_061.0),
        ("1776244061.5", 1_776_244_061.5),
        ("1.776244061123e12", 1_776_244_061.123),
        ("1776244061123", 1_776_244_061.123),
        ("1776244061123456", MOMENT),
        ("1776244061123456789", MOMENT),
        ("134207176611234560", MOMENT),
        ("2026-04-15T09:07:41Z", 1_776_244_061.0),
        ("2026-04-15T09:07:41.123456789Z", MOMENT),
        ("2026-04-15T09:07:41.1234567+00:00", MOMENT),
        ("2026-04-15T11:07:41.123+0200", 1_776_244_061.123),
        ("2026-04-15 09:07:41.123", 1_776_244_061.123),
        ("2026-04-15 09:07:41Z", 1_776_244_061.0),
        ("2026-04-15 09:07:41.123456 +0000 UTC", MOMENT),
        ("2026-04-15 09:07:41 UTC", 1_776_244_061.0),
        ("0", None),
        ("1970-01-01T00:00:00Z", None),
        ("1970-01-01 00:00:00.000000000", None),
        ("0001-01-01T00:00:00Z", None),
        ("9" * 30, None),
        ("yesterday", None),
        ("2016-12-31T23:59:60Z", None),
    ],
)
def test_forms_of_a_time_contract_70(text: str, expected: float | None) -> None:
    got = seconds_of(text)
    assert got is None if expected is None else got == pytest.approx(expected, abs=2e-6)


@given(st.integers(10**8, 13 * 10**9), st.integers(0, 999_999))
def test_a_filetime_is_the_same_moment_contract_70(seconds: int, micro: int) -> None:
    ticks = (seconds + 11_644_473_600) * 10**7 + micro * 10
    assert seconds_of(str(ticks)) == pytest.approx(seconds + micro / 1e6, abs=2e-6)


def test_a_time_that_cannot_be_read_is_replaced_contract_70() -> None:
    unreadable = {**ENTITY, "timestamp": "soon", "created_timestamp": "2026-04-15T09:07:41Z"}
    assert alert("crowdstrike", unreadable).timestamp == 1_776_244_061.0
    none = {"composite_id": COMPOSITE, "timestamp": True}
    assert (alert("crowdstrike", none).timestamp, alert("crowdstrike", none).notes) == (
        RECEIVED_AT,
        (),
    )
    never = alert("crowdstrike", {"composite_id": COMPOSITE, "timestamp": "soon"})
    assert never.timestamp == RECEIVED_AT
    assert never.notes == ("no time in the payload could be read, replaced by the time of receipt",)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_records_of_one_alert_are_joined_contract_70(order: tuple[int, ...]) -> None:
    some = [payloads.INFO, payloads.MACHINE, payloads.PROCESS]
    records = [json.dumps(some[index]).encode() for index in order]
    assert {own_forms.part_of("defender", record) for record in records} == {"da1_-7"}
    joined = without_id(own_forms.join(records, TENANT, RECEIVED_AT))
    assert joined == {
        "tenant_id": "t",
        "source": "defender",
        **DEFENDER["PROCESS"],  # type: ignore[dict-item]
        **DEFENDER["INFO"],  # type: ignore[dict-item]
        "hostname": "ws-7.corp.example",
    }


@pytest.mark.parametrize("wrapped", ['{"records":[%s]}', '{"value":{"body":%s}}', "[%s]"])
def test_the_only_record_in_a_wrapper_is_an_alert_contract_70(wrapped: str) -> None:
    record = json.dumps(payloads.INFO)
    whole = (wrapped % record).encode()
    expected = without_id(own_forms.join([record.encode()], TENANT, RECEIVED_AT))
    [element] = elements_of("defender", whole, None)
    assert own_forms.part_of("defender", element.text) == "da1_-7"
    assert without_id(own_forms.join([element.raw], TENANT, RECEIVED_AT)) == expected
    other = json.dumps(payloads.MACHINE).encode()
    assert own_forms.join([other, element.raw], TENANT, RECEIVED_AT).raw_id == "da1_-7"


def test_records_of_different_alerts_are_not_joined_contract_70() -> None:
    other = {**payloads.INFO, "properties": {"AlertId": "da2"}}
    records = [json.dumps(each).encode() for each in (payloads.INFO, other)]
    with pytest.raises(NormalizationError):
        own_forms.join(records, TENANT, 0.0)
    device = json.dumps({**payloads.INFO, "category": "AdvancedHunting-DeviceInfo"}).encode()
    assert own_forms.part_of("defender", device) is None
    assert own_forms.part_of("defender", b"no JSON") is None
    assert own_forms.part_of("crowdstrike", records[0]) is None


def graph(*devices: Json) -> Json:
    kind = {"@odata.type": "#microsoft.graph.security.deviceEvidence"}
    return {"id": "1", "incidentId": "2", "evidence": [{**kind, **device} for device in devices]}


def test_the_machine_of_several_devices_contract_70() -> None:
    one: Json = {"mdeDeviceId": MDE_ID, "deviceDnsName": "one"}
    two: Json = {"mdeDeviceId": OTHER_MDE_ID, "deviceDnsName": "two"}
    bad, main = {"roles": ["Compromised"]}, {"detailedRoles": ["Main device"]}
    for devices, expected in (
        ([one, {"mdeDeviceId": MDE_ID}], ("one", MDE_ID)),
        ([one, {**two, **bad}], ("two", OTHER_MDE_ID)),
        ([one, {**two, **main}], ("two", OTHER_MDE_ID)),
        ([{**one, **main}, {**two, **bad}], ("two", OTHER_MDE_ID)),
        ([{**one, **bad}, {**two, **bad}, {**one, **main}], ("one", MDE_ID)),
        ([one, two], ("one", None)),
        ([{**one, **bad}, {**two, **bad}], ("one", None)),
        ([{"mdeDeviceId": None, "deviceDnsName": "new"}], ("new", None)),
    ):
        got = alert("defender", graph(*devices))
        assert (got.hostname, got.device_id) == expected
        several = [note for note in got.notes if "several devices" in note]
        assert bool(several) is (expected == ("one", None))


def test_several_agents_are_none_contract_70() -> None:
    for name in ("x", payloads.COMPOSITE):  # a composite id names one, which may be any of them
        some = event("XdrDetectionSummaryEvent", {"CompositeId": name, "SensorIds": "aa,bb"})
        got = alert("crowdstrike", some)
        assert (got.device_id, got.notes) == (None, ("several device ids, so none is used",))
    assets = [{"agentUuid": "one", "name": "a"}, {"agentUuid": "two", "name": "b"}]
    unified = alert("sentinelone", {**payloads.UNIFIED, "assets": assets})
    assert (unified.device_id, unified.hostname) == (None, "a")


def test_a_composite_id_of_an_identity_names_no_agent_contract_70() -> None:
    for composite in (f"{'c1' * 16}:ind:{'c1' * 16}:1-2-3", f"{'c1' * 16}:ind:{'a1' * 16}:uuid-x"):
        assert alert("crowdstrike", {"composite_id": composite}).device_id is None


def lowered(value: object) -> object:
    """Return `value` with the names of all members in lower case."""
    if isinstance(value, list):
        return [lowered(each) for each in value]
    if isinstance(value, dict):
        return {name.lower(): lowered(each) for name, each in value.items()}
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: json.dumps(json.dumps(payload)),
        lambda payload: json.dumps([payload]),
        lambda payload: json.dumps({"resources": [payload]}),
        lambda payload: json.dumps({"message": json.dumps(payload)}),
        lambda payload: json.dumps({"event": {"original": json.dumps(payload)}}),
        lambda payload: json.dumps(lowered(payload)),
        lambda payload: json.dumps({**payload, "event": json.dumps(payload["event"])}),
        lambda payload: json.dumps({**payload, "event": [payload["event"]]}),
        lambda payload: json.dumps(
            {f"{name}.{key}": value for name in payload for key, value in payload[name].items()}
        ),
        lambda payload: "\ufeff" + json.dumps(payload),
    ],
    ids=[
        "text",
        "list",
        "response",
        "relay",
        "original",
        "case",
        "inner_text",
        "inner_list",
        "flat",
        "bom",
    ],
)
def test_a_payload_is_read_through_what_relays_do_contract_70(change: object) -> None:
    body = change(payloads.EPP).encode()  # type: ignore[operator]
    assert result("crowdstrike", body) == result("crowdstrike", json.dumps(payloads.EPP).encode())


def test_several_alerts_are_split_and_never_read_as_one_contract_70() -> None:
    body = json.dumps({"meta": {}, "resources": [ENTITY, {"x": 1}]}).encode()
    with pytest.raises(NormalizationError, match="2 alerts"):
        read("crowdstrike", body, TENANT, 0.0)
    assert [json.loads(part.content) for part in split("crowdstrike", body)] == [ENTITY, {"x": 1}]
    with pytest.raises(NormalizationError, match="2 alerts"):
        read("crowdstrike", json.dumps([ENTITY, ENTITY]).encode(), TENANT, 0.0)
    repaired = split("crowdstrike", b'[{"composite_id":"a\xff"}]')
    assert [part.notes for part in repaired] == [("1 x invalid UTF-8 replaced by U+FFFD",)]
    with pytest.raises(NormalizationError):
        read("crowdstrike", b"[]", TENANT, 0.0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"event":[' + b"[]," * 300_000 + b"1]}",
        json.dumps({"metadata": {"eventType": "EppDetectionSummaryEvent"},
                    "event": [{"device": [{}] * 900}] * 120}).encode(),
        json.dumps({"metadata.eventType": "EppDetectionSummaryEvent",
                    **{f"a.b.c.d.e.f.g.{n}": 1 for n in range(30_000)}}).encode(),
    ],
    ids=["list", "lists_in_lists", "dots"],
)  # fmt: skip
def test_a_payload_of_too_many_values_is_refused_contract_70(body: bytes) -> None:
    with pytest.raises(NormalizationError, match="too many values"):
        read("crowdstrike", body, TENANT, 0.0)


def test_a_body_of_too_many_elements_is_refused_contract_70() -> None:
    assert len(split("defender", b"[" + b"{}," * 4999 + b"1]")) == 5000
    with pytest.raises(NormalizationError, match="more than 5000"):
        split("defender", b"[" + b"{}," * 5000 + b"1]")


def test_own_forms_has_every_vendor() -> None:
    assert set(own_forms._FORMS) == set(own_forms._CUSTOMERS)


def test_a_workflow_names_its_detection_by_the_link_in_meta_contract_70() -> None:
    payload = {
        "meta": {
            "event_reference_url": f"https://falcon.crowdstrike.com/activity-v2/detections/"
            f"{COMPOSITE.replace(':', '%3A')}?_cid=g1",
            "timestamp": 1_776_244_061_000,
        },
        "data": {
            "devices.hostname": "WS-7",
            "devices.id": "not the detection",
            "detections": {"tactic": "Execution", "user": {"name": "x"}},
        },
    }
    got = alert("crowdstrike", payload)
    assert (got.raw_id, got.timestamp, got.hostname) == (COMPOSITE, 1_776_244_061.0, "WS-7")
    assert (got.device_id, got.tactic) == (payloads.AID, "Execution")
    assert own_forms.customer_ids("crowdstrike", json.dumps(payloads.FUSION).encode()) == [
        payloads.CID
    ]


@pytest.mark.parametrize(
    "payload",
    [
        {"event_simpleName": "ProcessRollup2", "aid": payloads.AID, "cid": "c", "id": "e-1"},
        {"device_id": payloads.AID, "cid": payloads.CID, "hostname": "WS-7"},
        {"incident_id": "inc:1:2", "cid": payloads.CID, "host_ids": [payloads.AID]},
        {"meta": {}, "data": {"detections.hostname": "WS-7"}},
        {"meta": {"trace_id": "x"}, "errors": [], "resources": []},
    ],
    ids=["telemetry", "host", "incident", "workflow_without_an_id", "response"],
)
def test_what_names_no_detection_of_falcon_is_refused_contract_70(payload: Json) -> None:
    with pytest.raises(NormalizationError):
        read("crowdstrike", json.dumps(payload).encode(), TENANT, 0.0)


def test_an_alert_inside_an_incident_of_defender_contract_70() -> None:
    devices = [{"deviceDnsName": "ws-7.corp.example", "mdatpDeviceId": MDE_ID}]
    entities = [
        {"entityType": "User", "accountName": "alice", "domainName": "CORP"},
        {"entityType": "Process", "fileName": "rundll32.exe", "sha256": payloads.SHA256,
         "processId": 8316, "processCommandLine": payloads.LINE},
    ]  # fmt: skip
    inner = {
        "alertId": "da1",
        "incidentId": 924565,
        "serviceSource": "MicrosoftDefenderATP",
        "creationTime": "2026-04-15T09:07:41.1233333Z",
        "severity": "High",
        "category": "Execution",
        "mitreTechniques": ["T1059.001"],
        "devices": devices,
        "entities": entities,
    }
    got = alert("defender", {"incidentId": 924565, "alerts": [inner]})
    assert without_id(got) | {"timestamp": 0} == {
        "tenant_id": "t",
        "source": "defender",
        "raw_id": "da1",
        "timestamp": 0,
        "hostname": "ws-7.corp.example",
        "device_id": MDE_ID,
        "username": "CORP\\alice",
        "process_name": "rundll32.exe",
        "process_cmdline": payloads.LINE,
        "sha256": payloads.SHA256,
        "tactic": "Execution",
        "technique": "T1059.001",
        "vendor_severity": "HIGH",
        "severity": "high",
        "vendor_group": "924565",
        "process_id": "8316",
    }


def test_a_host_may_be_only_in_the_sentence_for_people_contract_70() -> None:
    data = {"alertId": 1, "severity": "E_LOW"}
    for sentence, host in (
        (
            "Alert created for a b from Custom Rule: x detected on y, detected on Bob's Mac.",
            "Bob's Mac",
        ),
        ("Alert created for a b from Custom Rule: x, detected on .", None),
        ("Alert created for a b from Custom Rule: x", None),
        ("Alert created for a b from Custom Rule: x, detected on " + "y" * 300, None),
    ):
        payload = {"activityType": 3608, "data": data, "primaryDescription": sentence}
        got = alert("sentinelone", payload)
        assert (got.hostname, got.process_name) == (host, "a b")


def test_an_event_without_an_identifier_is_named_by_its_place_contract_70() -> None:
    got = alert("crowdstrike", event("XdrDetectionSummaryEvent", {"Severity": 80}))
    assert got.raw_id == "XdrDetectionSummaryEvent:14947764"


def test_an_event_without_its_envelope_keeps_its_scale_contract_70() -> None:
    inner = alert("crowdstrike", {"event": payloads.LEGACY["event"]})
    whole = alert("crowdstrike", payloads.LEGACY)
    assert (inner.raw_id, inner.severity, inner.timestamp) == (
        whole.raw_id,
        "critical",
        1_776_244_050.0,
    )


def test_an_event_in_snake_case_is_not_the_documented_form_contract_70() -> None:
    relayed = {"detect_id": "ldt:x:1", "computer_name": "WS-7", "agent_id": payloads.AID}
    assert alert("crowdstrike", relayed).hostname == "WS-7"
    documented = {**relayed, "sensor": {"hostname": "ws-1"}}
    assert alert("crowdstrike", documented).hostname == "ws-1"


def test_a_row_without_its_record_is_read_contract_70() -> None:
    got = result("defender", json.dumps(payloads.PROCESS["properties"]).encode())
    assert got == result("defender", json.dumps(payloads.PROCESS).encode())


def test_lists_that_are_joined_by_commas_contract_70() -> None:
    lists = {"HostNames": "one,two", "UserNames": "a, b", "SHA256Hashes": f"x,{payloads.SHA256}"}
    some = event("XdrDetectionSummaryEvent", {"DetectId": "x", "AgentIds": "aa", **lists})
    got = alert("crowdstrike", some)
    assert (got.hostname, got.username, got.sha256) == ("one", "a", payloads.SHA256)
    assert got.device_id == "aa"


@pytest.mark.parametrize(
    ("vendor", "name", "can_kill"),
    [
        ("crowdstrike", "EPP", True),
        ("crowdstrike", "ENTITY", True),
        ("crowdstrike", "FUSION", True),
        ("crowdstrike", "LEGACY", False),
        ("sentinelone", "THREAT", True),
        ("sentinelone", "STAR", False),
        ("sentinelone", "UNIFIED", False),
        ("defender", "MDE", False),
    ],
)
def test_a_kill_is_possible_from_a_real_detection_contract_70(
    vendor: EdrVendor, name: str, can_kill: bool
) -> None:
    got = alert(vendor, getattr(payloads, name))
    assert (why_unsupported(vendor, "PROCESS_KILL", got) is None) is can_kill
    assert why_unsupported(vendor, "HOST_ISOLATION", got) is None
    assert got.device_id is not None


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("host_name", "hostname"), ("user", "username"), ("cmd_line", "process_cmdline")),
        *(("process_command_line", "process_cmdline"), ("tactic_name", "tactic")),
        *(("mitre_tactic", "tactic"), ("mitre_technique", "technique")),
        *(("technique_name", "technique"), ("file_hash", "sha256")),
    ],
)
def test_fusion_in_the_words_of_the_customer_contract_70(name: str, field: str) -> None:
    value = payloads.SHA256 if field == "sha256" else "T1059"
    data = {"detections.composite_id": COMPOSITE, f"detections.{name}": value}
    assert getattr(alert("crowdstrike", {"meta": {}, "data": data}), field) == value


@pytest.mark.parametrize(("number", "severity"), [(1, "info"), (4, "high"), (6, "critical")])
def test_a_severity_in_numbers_of_ocsf_contract_70(number: int, severity: str) -> None:
    finding: Json = {"finding_info": {"uid": "f1"}, "severity_id": number}
    assert alert("sentinelone", finding).severity == severity
    assert alert("sentinelone", {**finding, "severity": "Low"}).severity == "low"
    assert alert("sentinelone", {**finding, "severity_id": 99}).severity == "unknown"


@pytest.mark.parametrize(
    ("account", "username"),
    [
        ({"Name": "b", "NTDomain": "c", "UserPrincipalName": "b@a.example"}, "b@a.example"),
        ({"Name": "bob", "NTDomain": "corp"}, "corp\\bob"),
    ],
)
def test_an_account_among_a_records_further_fields_contract_70(
    account: Json, username: str
) -> None:
    further = json.dumps({"ProcessId": "7", "Account": account})
    record = payloads.evidence(EntityType="Process", AccountUpn="", AdditionalFields=further)
    assert alert("defender", record).username == username


@pytest.mark.parametrize(
    "parent", ["parent", "Parent_Process", "grandparent.x", "GreatGrandparent"]
)
@pytest.mark.parametrize("is_flat", [True, False])
def test_what_a_parent_process_did_is_not_the_alerts_contract_70(
    parent: str, is_flat: bool
) -> None:
    own: Json = {"composite_id": COMPOSITE, "filename": "evil.exe", "cmdline": "evil"}
    other: Json = {"filename": "p.exe", "command_line": "p", "sha256": payloads.SHA256}
    inside: Json = {parent: other, **own}
    flat = {f"a.{parent}.{name}": value for name, value in other.items()}
    flat |= {f"a.{name}": value for name, value in own.items()}
    data: Json = flat if is_flat else {"detections": inside}
    found = alert("crowdstrike", {"meta": {}, "data": data})
    assert (found.process_name, found.process_cmdline) == ("evil.exe", "evil")
    assert (found.raw_id, found.sha256) == (COMPOSITE, None)


def test_a_severity_by_its_name_for_people_contract_70() -> None:
    data = {"x.CompositeID": COMPOSITE, "x.SeverityDisplayName": "High", "x.Severity": 4}
    assert alert("crowdstrike", {"meta": {}, "data": data}).severity == "high"


def test_a_unified_alert_in_few_words_contract_70() -> None:
    few = {"alertId": "a1", "severity": "HIGH", "assetName": "WS-7", "storylineId": "s"}
    found = alert("sentinelone", {**few, "asset": {"lastLoggedInUser": "alice"}})
    assert (found.raw_id, found.hostname, found.username) == ("a1", "WS-7", "alice")


def test_names_as_falcons_console_shows_them_contract_70() -> None:
    data = {"Composite ID": COMPOSITE, "Host name": "WS-7", "File name": "a.exe", "Severity": "Low"}
    found = alert("crowdstrike", {"meta": {}, "data": data})
    assert (found.raw_id, found.hostname, found.process_name) == (COMPOSITE, "WS-7", "a.exe")


@pytest.mark.parametrize("wrapper", ["crowdstrike", "Vendor"])
def test_a_logs_wrapper_around_an_event_contract_70(wrapper: str) -> None:
    log = {"event": {"kind": "alert"}, wrapper: payloads.EPP}
    assert without_id(alert("crowdstrike", log)) == without_id(alert("crowdstrike", payloads.EPP))


def test_a_machines_name_among_a_records_further_fields_contract_70() -> None:
    further = json.dumps({"HostName": "ws-7", "DnsDomain": "corp.example"})
    members = {"DeviceId": MDE_ID, "DeviceName": "", "AdditionalFields": further}
    assert alert("defender", payloads.evidence(EntityType="Machine", **members)).hostname == "ws-7"
    # Another entity's may be of another host.
    assert alert("defender", payloads.evidence(EntityType="Ip", **members)).hostname is None
