"""No body makes any form raise anything but our error, and ids are as they were sent (70)."""

import json
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adapters.forms import payloads
from tests.adapters.forms.test_own_forms import COMPOSED, TENANT, encoded
from tests.adapters.payloads import RECEIVED_AT, YEAR_10000
from vyrox.adapters.own_forms import Ignored, customer_ids, read, split
from vyrox.errors import NormalizationError
from vyrox.models import EdrVendor, NormalizedAlert

VENDORS: list[EdrVendor] = ["crowdstrike", "sentinelone", "defender"]
every_vendor = pytest.mark.parametrize("vendor", VENDORS)
NAMES = [(vendor, name) for vendor, rows in COMPOSED.items() for name in rows]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "-", "N/A", "[", "{", '{"a":1}', "[1]", "1e999", "1970-01-01"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def check(vendor: EdrVendor, body: bytes) -> None:
    """Read `body` as a route would, and check what must be true of any."""
    assert all(customer_ids(vendor, body))
    reasons = []
    try:
        for element in split(vendor, body):
            try:
                check_result(vendor, read(vendor, element, TENANT, RECEIVED_AT))
            except NormalizationError as error:
                reasons.append(str(error))
    except NormalizationError as error:
        reasons.append(str(error))
    assert all(reason.isprintable() and 0 < len(reason) <= 200 for reason in reasons)


def check_result(vendor: EdrVendor, alert: NormalizedAlert | Ignored) -> None:
    if isinstance(alert, Ignored):
        assert alert.what.isprintable()
        return
    assert (alert.tenant_id, alert.source) == (TENANT.tenant_id, vendor)
    assert alert.raw_id
    assert 0 <= alert.timestamp < YEAR_10000
    assert "" not in msgspec.structs.astuple(alert)
    assert all(note.isprintable() for note in alert.notes)
    again = msgspec.json.decode(msgspec.json.encode(alert), type=NormalizedAlert)
    assert again == alert


def places(value: object) -> Iterator[tuple[object, object]]:
    """Yield each container of a payload with each of its keys."""
    assert isinstance(value, dict | list)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@pytest.mark.parametrize(("vendor", "name"), NAMES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_values_in_a_payload_contract_70(
    vendor: EdrVendor, name: str, data: st.DataObject
) -> None:
    payload = json.loads(encoded(name))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(payload))))
        container[key] = data.draw(ANYTHING)  # type: ignore[index]
    check(vendor, json.dumps(payload).encode())


@pytest.mark.parametrize(("vendor", "name"), NAMES)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_damaged_payload_contract_70(vendor: EdrVendor, name: str, data: st.DataObject) -> None:
    body = encoded(name)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    check(vendor, body[:start] + data.draw(st.binary(max_size=8)) + body[end:])


@every_vendor
@given(body=st.binary())
def test_any_bytes_contract_70(vendor: EdrVendor, body: bytes) -> None:
    check(vendor, body)


DEEP = 100_000


@every_vendor
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP + b"]" * DEEP,
        b'{"data":' * DEEP + b"1" + b"}" * DEEP,
        b'{"data":' * 900 + b"1" + b"}" * 900,
        b"[" * 900 + b"]" * 900,
        b'{"event":' * 900 + b'{"composite_id":"a"}' + b"}" * 900,
        b'{"metadata":{"eventType":' + b"9" * 5000 + b'},"id":1e999}',
        b'{"composite_id":1e999,"id":' + b"9" * 5000 + b"}",
        json.dumps({"composite_id": "[" * 50_000, "agent_id": '{"a":' * 50_000}).encode(),
    ],
    ids=["lists", "objects", "wrappers", "short_lists", "events", "digits", "ids", "in_text"],
)
def test_hostile_nesting_and_numbers_contract_70(vendor: EdrVendor, body: bytes) -> None:
    check(vendor, body)


@given(number=st.integers(2**53, 2**64))
def test_ids_are_as_they_were_sent_contract_70(number: int) -> None:
    event = {"composite_id": number, "process_id": number, "agent_id": number}
    got = read("crowdstrike", json.dumps(event).encode(), TENANT, 0.0)
    assert isinstance(got, NormalizedAlert)
    assert {got.raw_id, got.vendor_process_id, got.device_id} == {str(number)}
    star = json.loads(encoded("STAR"))
    star["data"] |= {"alertId": number, "alertid": number}
    alert = read("sentinelone", json.dumps(star).encode(), TENANT, 0.0)
    assert isinstance(alert, NormalizedAlert)
    assert alert.raw_id == str(number)
    assert payloads.BIG > 2**53
