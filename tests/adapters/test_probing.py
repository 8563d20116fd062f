"""Which values an alert's fields come from, and which field map fits a payload (contract 73)."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.adapters.payloads import CROWDSTRIKE
from vyrox.adapters import ADAPTERS, own_forms
from vyrox.adapters.probing import sources_of
from vyrox.adapters.suggesting import suggest
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant

ACME = Tenant("acme")


def crowdstrike(body: JsonText) -> NormalizedAlert | own_forms.Ignored:
    return own_forms.read("crowdstrike", body, ACME, 0.0)


def test_each_field_of_the_documented_form_has_its_source_contract_73() -> None:
    assert sources_of(crowdstrike, CROWDSTRIKE) == {
        "raw_id": ["detect_id"],
        "timestamp": ["timestamp"],
        "hostname": ["sensor.hostname"],
        "device_id": ["sensor.agent_id"],
        "username": ["process.user_name"],
        "process_name": ["process.file_name"],
        "process_cmdline": ["process.command_line"],
        "sha256": ["process.sha256"],
        "tactic": ["tactic"],
        "technique": ["technique"],
        "vendor_severity": ["severity"],
        "severity": ["severity"],
    }


def test_of_two_equal_values_the_source_is_the_one_that_is_read_contract_73() -> None:
    content = b'{"composite_id":"a","hostname":"ws-1","device":{"hostname":"ws-1"}}'
    assert sources_of(crowdstrike, content)["hostname"] == ["device.hostname"]


def test_a_source_can_be_inside_json_that_is_a_text_contract_73() -> None:
    content = msgspec.json.encode(
        {"metadata": {"eventType": "EppDetectionSummaryEvent"},
         "event": '{"CompositeId":"a","Hostname":"ws-1","ProcessId":12345678901234567890}'}
    )  # fmt: skip
    found = sources_of(crowdstrike, content)
    assert found["hostname"] == ["event.Hostname"]
    assert found["vendor_process_id"] == ["event.ProcessId"]


SPLUNK_LIKE = {
    "result": {"_time": "2026-01-02T03:04:05Z"},
    "id": 9007199254740993,
    "event.severity": "High",
    "host": {"name": "ws-1", "ip": "192.0.2.1"},
    "user": {"id": "7", "name": "alice"},
    "process": {"name": "cmd.exe", "command_line": "cmd /c x", "hash": {"sha256": "ab" * 32}},
    "threat": [{"technique": {"id": "T1059"}, "tactic": {"name": "Execution"}}],
    "@timestamp": "2026-01-02T03:04:05Z",
}


def test_a_suggested_field_map_makes_an_alert_contract_73() -> None:
    content = msgspec.json.encode(SPLUNK_LIKE)
    suggested = suggest(content)
    assert suggested.missing == ()
    alert = ADAPTERS["generic"].normalize(
        JsonText(content), Tenant("acme", suggested.field_map), 0.0
    )
    found = msgspec.structs.asdict(alert)
    assert {name: found[name] for name in ("raw_id", "hostname", "severity", "username")} == {
        "raw_id": "9007199254740993",
        "hostname": "ws-1",
        "severity": "high",
        "username": "alice",
    }
    assert alert.process_name == "cmd.exe"
    assert alert.process_cmdline == "cmd /c x"
    assert alert.sha256 == "ab" * 32
    assert (alert.tactic, alert.technique) == ("Execution", "T1059")
    assert alert.timestamp == 1767323045.0
    assert alert.device_id is None


@pytest.mark.parametrize(
    ("payload", "field", "path"),
    [
        ({"CompositeId": "c:ind:a:1", "PatternId": 7}, "raw_id", "CompositeId"),
        ({"SHA256String": "ab" * 32, "SHA1String": "0" * 40}, "sha256", "SHA256String"),
        ({"users": [{"name": "alice"}]}, "username", "users.0.name"),
        ({"mitreTechniques": ["T1059"]}, "technique", "mitreTechniques.0"),
        ({"alert": {"at": "2026-11-23T08:15:00Z"}}, "timestamp", "alert.at"),
    ],
)
def test_names_of_real_products_are_known_contract_73(
    payload: dict[str, object], field: str, path: str
) -> None:
    assert suggest(msgspec.json.encode(payload)).field_map.get(field) == path


def test_a_list_is_suggested_for_by_its_first_payload_contract_73() -> None:
    assert suggest(b'[{"id":"1","host":"ws-1"}]').field_map == {"raw_id": "id", "hostname": "host"}
    assert suggest(b"[]").missing == ("raw_id", "hostname", "vendor_severity")


json_values = st.recursive(
    # Of floats only some that every writer spells alike.
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, -2.25]) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "host", "severity", "event", "metadata", "a.b", ""]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@example({"id": None, "a.b": {"id": 0, "host": 0, "severity": 0}})
@example({"event.id": {"id": 1}, "event": {"id": {"id": 2}, "id.id": 3}, "host": 1, "severity": 1})
def test_any_json_can_be_probed_and_suggested_for_contract_73(value: object) -> None:
    content = msgspec.json.encode(value)
    sources_of(crowdstrike, content)
    suggested = suggest(content)
    if not suggested.missing:
        payload = value[0] if isinstance(value, list) else value
        alert = ADAPTERS["generic"].normalize(
            JsonText(msgspec.json.encode(payload)), Tenant("acme", suggested.field_map), 0.0
        )
        assert alert.raw_id == suggested.values["raw_id"]


def test_what_is_nested_too_deeply_is_our_error_contract_73() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(NormalizationError):
        sources_of(crowdstrike, deep)
    with pytest.raises(NormalizationError):
        suggest(deep)
