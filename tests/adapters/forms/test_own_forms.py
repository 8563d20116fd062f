"""Every payload in a vendor's own form: the alert, or what else it is (contract 70)."""

import json
from pathlib import Path

import pytest

from tests.adapters.forms import payloads, table
from tests.adapters.forms.table import DEFENDER, FALCON, SAMPLES, SENTINELONE, Sample
from tests.adapters.payloads import DOCUMENTED, RECEIVED_AT, normalize, without_id
from vyrox.adapters.own_forms import Ignored, customer_ids, read, split
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import EdrVendor, Tenant

DATA = Path(__file__).parents[2] / "data"
TENANT = Tenant("t")
COMPOSED: dict[EdrVendor, dict[str, table.Result]] = {
    "crowdstrike": FALCON,
    "sentinelone": SENTINELONE,
    "defender": DEFENDER,
}


def encoded(name: str) -> bytes:
    return json.dumps(getattr(payloads, name)).encode()


def result(vendor: EdrVendor, element: bytes | JsonText) -> table.Result:
    try:
        alert = read(vendor, element, TENANT, RECEIVED_AT)
    except NormalizationError as exc:
        return table.Refused(str(exc))
    if isinstance(alert, Ignored):
        return table.Ignored(alert.what)
    fields = without_id(alert)
    assert (fields.pop("tenant_id"), fields.pop("source")) == ("t", vendor)
    return fields


def as_expected(got: table.Result, expected: table.Result) -> bool:
    if isinstance(expected, table.Refused):
        return isinstance(got, table.Refused) and got.why.startswith(expected.why)
    if isinstance(expected, table.Ignored) or not isinstance(got, dict):
        return got == expected
    wanted = {name: value for name, value in expected.items() if value is not None}
    wanted.setdefault("severity", "unknown")
    if wanted.get("process_cmdline") == "…":  # long, and not checked here
        wanted["process_cmdline"] = got.get("process_cmdline")
    return got == wanted


@pytest.mark.parametrize(("name", "sample"), SAMPLES.items(), ids=SAMPLES)
def test_a_published_payload_contract_70(name: str, sample: Sample) -> None:
    elements = split(sample.vendor, (DATA / f"{name}.json").read_bytes())
    got = [result(sample.vendor, element) for element in elements]
    for each, expected in zip(got, sample.results, strict=True):
        assert as_expected(each, expected), (each, expected)


def test_each_published_payload_has_a_row() -> None:
    assert set(SAMPLES) == {path.stem for path in DATA.glob("*-[0-9]*.json")}
    answers = {name for name, each in SAMPLES.items() if not each.is_inbound}
    assert not any(isinstance(each, dict) for name in answers for each in SAMPLES[name].results)


@pytest.mark.parametrize(
    ("vendor", "name"), [(vendor, name) for vendor, rows in COMPOSED.items() for name in rows]
)
def test_a_composed_payload_contract_70(vendor: EdrVendor, name: str) -> None:
    got, expected = result(vendor, encoded(name)), COMPOSED[vendor][name]
    assert as_expected(got, expected), (got, expected)


@pytest.mark.parametrize("vendor", COMPOSED)
def test_the_documented_form_keeps_its_reading_contract_70(vendor: EdrVendor) -> None:
    documented = normalize(vendor, DOCUMENTED[vendor], TENANT)
    assert result(vendor, DOCUMENTED[vendor]) == {
        name: value
        for name, value in without_id(documented).items()
        if name not in {"tenant_id", "source"}
    }


@pytest.mark.parametrize(
    ("vendor", "name", "expected"),
    [
        ("crowdstrike", "EPP", [payloads.CID]),
        ("crowdstrike", "ENTITY", [payloads.CID]),
        ("sentinelone", "THREAT", ["617755838952421242", "1336793312849490611"]),
        ("sentinelone", "STAR", ["617755838952421242", "1336793312849490611"]),
        ("sentinelone", "UNIFIED", ["617"]),
        ("defender", "INFO", [payloads.ENTRA]),
        ("defender", "MDE", [payloads.ENTRA]),
        ("defender", "OLD_GRAPH", [payloads.ENTRA]),
    ],
)
def test_the_customer_that_a_payload_names_contract_70(
    vendor: EdrVendor, name: str, expected: list[str]
) -> None:
    assert customer_ids(vendor, encoded(name)) == expected
    wrapped = b'{"value":[' + encoded(name) + b"]}"
    assert customer_ids(vendor, wrapped) == expected  # a single one is kept with its wrapper
    assert customer_ids(vendor, b"not JSON") == []
