"""Alerts read through a tenant's field map (contract 9 to 13)."""

import msgspec
import pytest

from tests.adapters.payloads import (
    FIELD_MAP,
    GENERIC,
    RECEIVED_AT,
    REMOVED,
    SHA256,
    TENANT,
    changed,
    normalize,
    without_id,
)
from vyrox.adapters.generic import check_field_map
from vyrox.errors import NormalizationError, OperatorError
from vyrox.models import FieldMap, Tenant

REQUIRED = {"raw_id": "id", "hostname": "host", "vendor_severity": "sev"}


def mapped(path: str, body: object, field: str = "username") -> str | None:
    """Return the alert's `field` if the field map maps it to `path`."""
    payload = {"id": "1", "host": "h", "sev": "low"}
    if isinstance(body, dict):
        body = {**payload, **body}
    tenant = Tenant("t", {**REQUIRED, field: path})
    return str(getattr(normalize("generic", msgspec.json.encode(body), tenant), field))


def test_normalize_documented_map_contract_12() -> None:
    assert without_id(normalize("generic", GENERIC)) == {
        "tenant_id": TENANT.tenant_id,
        "source": "generic",
        "raw_id": "evt-1",
        "timestamp": 1704067200.0,
        "hostname": "workstation-01",
        "username": "jsmith@acme.com",
        "process_name": "cmd.exe",
        "process_cmdline": "cmd.exe /c whoami",
        "sha256": SHA256,
        "tactic": "TA0004",
        "technique": "T1059",
        "vendor_severity": "HIGH",
        "severity": "high",
    }


def test_normalize_least_map_contract_10() -> None:
    body = b'{"id": "1", "host": "h", "sev": "low", "username": "not mapped"}'
    assert without_id(normalize("generic", body, Tenant("t", REQUIRED))) == {
        "tenant_id": "t",
        "source": "generic",
        "raw_id": "1",
        "timestamp": RECEIVED_AT,
        "hostname": "h",
        "vendor_severity": "LOW",
        "severity": "low",
    }


def test_normalize_maps_device_id_contract_12() -> None:
    assert mapped("device.id", {"device": {"id": "d-1"}}, "device_id") == "d-1"


def test_normalize_without_a_field_map_contract_9() -> None:
    with pytest.raises(NormalizationError, match="no field map"):
        normalize("generic", GENERIC, Tenant("t"))


@pytest.mark.parametrize("field", REQUIRED)
def test_normalize_map_without_a_required_key_contract_10(field: str) -> None:
    field_map = {key: path for key, path in FIELD_MAP.items() if key != field}
    with pytest.raises(NormalizationError, match=f"^{field}: "):
        normalize("generic", GENERIC, Tenant("t", field_map))


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
@pytest.mark.parametrize("field", REQUIRED)
def test_normalize_requires_a_value_contract_10(field: str, value: object) -> None:
    with pytest.raises(NormalizationError, match=f"^{field}: "):
        normalize("generic", changed(GENERIC, FIELD_MAP[field], value))


@pytest.mark.parametrize("value", [REMOVED, None, ""], ids=["missing", "null", "empty"])
@pytest.mark.parametrize("field", sorted(FIELD_MAP.keys() - REQUIRED.keys() - {"timestamp"}))
def test_normalize_what_is_lacking_is_none_contract_11_and_12(field: str, value: object) -> None:
    alert = normalize("generic", changed(GENERIC, FIELD_MAP[field], value))
    expected = without_id(normalize("generic", GENERIC))
    del expected[field]
    assert without_id(alert) == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("a", {"a": "found"}, id="allow_key"),
        pytest.param("a.b.c", {"a": {"b": {"c": "found"}}}, id="allow_parts"),
        pytest.param("a.b", {"a.b": "found"}, id="allow_literal_key"),
        pytest.param("a.b", {"a.b": "found", "a": {"b": "no"}}, id="allow_literal_key_first"),
        pytest.param("a.b.c", {"a": {"b.c": "found"}}, id="allow_literal_key_inside"),
        pytest.param("a.1", {"a": ["no", "found"]}, id="allow_index"),
        pytest.param("a.0.b.1", {"a": [{"b": ["no", "found"]}]}, id="allow_index_between"),
        pytest.param("a.0", {"a": {"0": "found"}}, id="allow_digit_as_key_of_an_object"),
        pytest.param("a.", {"a": {"": "found"}}, id="allow_empty_part"),
        pytest.param("\u00fc.\u65e5", {"\u00fc": {"\u65e5": "found"}}, id="allow_non_ascii_key"),
    ],
)
def test_normalize_follows_a_path_contract_10(path: str, body: dict[str, object]) -> None:
    assert mapped(path, body) == "found"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("a.b", {"a": "text"}, id="through_text"),
        pytest.param("a.b", {"a": 5}, id="through_a_number"),
        pytest.param("a.b", {"a": None}, id="through_null"),
        pytest.param("a.b", {"a": ["b"]}, id="name_in_an_array"),
        pytest.param("a.2", {"a": ["x", "y"]}, id="past_the_end"),
        pytest.param("a.-1", {"a": ["x"]}, id="negative_index"),
        pytest.param("a.\u0660", {"a": ["x"]}, id="arabic_digit"),
        pytest.param("a." + "0" * 250, {"a": ["x"]}, id="index_of_250_digits"),
        pytest.param("a..b", {"a": {"b": "x"}}, id="empty_part"),
        pytest.param("a.b", {"a.b": None, "a": {"b": "x"}}, id="literal_null"),
        pytest.param("A", {"a": "x"}, id="other_case"),
    ],
)
def test_normalize_path_to_nothing_is_none_contract_10(path: str, body: dict[str, object]) -> None:
    assert mapped(path, body) == "None"


def test_normalize_follows_paths_into_an_array_on_top_contract_10() -> None:
    field_map = {field: f"0.{path}" for field, path in REQUIRED.items()}
    body = b'[{"id": "1", "host": "h", "sev": "low"}]'
    assert normalize("generic", body, Tenant("t", field_map)).raw_id == "1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"7", "7"),
        (b"-7", "-7"),
        (b"0.10", "0.10"),
        (b"7.0", "7.0"),
        (b"377077835340488700123", "377077835340488700123"),
        (b"1e5", "1e5"),
    ],
)
def test_normalize_number_where_text_is_wanted_contract_10(raw: bytes, expected: str) -> None:
    number = {"n": msgspec.Raw(raw)}
    assert mapped("n", number) == expected
    assert mapped("n", number, "raw_id") == expected
    assert mapped("n", number, "hostname") == expected
    assert mapped("n", number, "vendor_severity") == expected.upper()


@pytest.mark.parametrize("value", [True, False, [], ["x"], {}, {"x": "y"}], ids=repr)
@pytest.mark.parametrize("field", FIELD_MAP)
def test_normalize_wrong_type_names_the_field_contract_11(field: str, value: object) -> None:
    with pytest.raises(NormalizationError, match=f"^{field}: "):
        normalize("generic", changed(GENERIC, FIELD_MAP[field], value))


@pytest.mark.parametrize("raw", [b"1e400", b"9" * 5000], ids=["1e400", "digits"])
@pytest.mark.parametrize("field", FIELD_MAP)
def test_normalize_undecodable_value_names_the_field_contract_11(field: str, raw: bytes) -> None:
    with pytest.raises(NormalizationError, match=f"^{field}: "):
        normalize("generic", changed(GENERIC, FIELD_MAP[field], msgspec.Raw(raw)))


@pytest.mark.parametrize("raw", [b"1e400", b"9" * 5000], ids=["1e400", "digits"])
def test_normalize_ignores_fields_outside_the_map_contract_11(raw: bytes) -> None:
    expected = without_id(normalize("generic", GENERIC))
    for path in ("other", "event.other"):
        body = changed(GENERIC, path, msgspec.Raw(raw))
        assert without_id(normalize("generic", body)) == expected


def test_normalize_ignores_unknown_keys_of_a_stored_map() -> None:
    tenant = Tenant("t", {**REQUIRED, "tenant_id": "id", "id": "id", "source": "id"})
    alert = normalize("generic", b'{"id": "1", "host": "h", "sev": "low"}', tenant)
    assert (alert.tenant_id, alert.source, alert.raw_id) == ("t", "generic", "1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(REMOVED, RECEIVED_AT), (None, RECEIVED_AT), ("2024-01-01", 1704067200.0), (1.5, 1.5)],
)
def test_normalize_timestamp_contract_13(value: object, expected: float) -> None:
    assert normalize("generic", changed(GENERIC, "event.ts", value)).timestamp == expected


@pytest.mark.parametrize("field_map", [FIELD_MAP, REQUIRED, {**REQUIRED, "device_id": "x" * 256}])
def test_check_field_map_returns_it_contract_10(field_map: FieldMap) -> None:
    assert check_field_map(field_map) == field_map


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "`object`", id="reject_null"),
        pytest.param([], "`object`", id="reject_list"),
        pytest.param("raw_id", "`object`", id="reject_text"),
        pytest.param({}, "`raw_id`", id="reject_empty"),
        pytest.param({"raw_id": "a", "hostname": "b"}, "`vendor_severity`", id="reject_missing"),
        pytest.param({**REQUIRED, "user": "x"}, "`user`", id="reject_unknown_key"),
        pytest.param({**REQUIRED, "tenant_id": "x"}, "`tenant_id`", id="reject_tenant_id"),
        pytest.param({**REQUIRED, "id": "x"}, "`id`", id="reject_id"),
        pytest.param({5: "x"}, "`str`", id="reject_key_that_is_no_text"),
        pytest.param({**REQUIRED, "tactic": None}, "$.tactic", id="reject_null_path"),
        pytest.param({**REQUIRED, "tactic": 5}, "$.tactic", id="reject_number_as_path"),
        pytest.param({**REQUIRED, "tactic": ["a"]}, "$.tactic", id="reject_list_as_path"),
        pytest.param({**REQUIRED, "tactic": ""}, "$.tactic", id="reject_empty_path"),
        pytest.param({**REQUIRED, "tactic": "x" * 257}, "$.tactic", id="reject_long_path"),
        pytest.param({**REQUIRED, "a\n\x1b[2J": "x"}, "a\\n\\x1b[2J", id="reject_and_escape_key"),
        pytest.param({**REQUIRED, "x" * 5000: "x"}, "unknown", id="reject_and_cut_long_key"),
    ],
)
def test_check_field_map_raises_contract_10(value: object, reason: str) -> None:
    with pytest.raises(OperatorError, match=r"^field map: ") as caught:
        check_field_map(value)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 200
