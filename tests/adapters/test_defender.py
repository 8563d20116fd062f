"""Evidence of Defender: which host, user, process and hash an alert gets (contract 18)."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.payloads import (
    DEFENDER,
    RECEIVED_AT,
    REMOVED,
    TENANT,
    changed,
    normalize,
    without_id,
)
from vyrox.adapters.defender import MAX_EVIDENCE
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert

SHAPELESS: list[object] = [None, 5, 1.5, True, "x", [], [{"deviceDnsName": "no"}], {}]
"""Evidence elements, or values in one, of an unknown shape."""


def from_evidence(*elements: object) -> NormalizedAlert:
    return normalize("defender", msgspec.json.encode({"id": "1", "evidence": elements}))


@pytest.mark.parametrize(
    ("techniques", "expected"),
    [([], None), ([""], None), (["T1", "T2"], "T1"), (["", "T2"], "T2")],
)
def test_normalize_takes_the_first_technique_contract_18(
    techniques: list[str], expected: str | None
) -> None:
    body = changed(DEFENDER, "mitreTechniques", techniques)
    assert normalize("defender", body).technique == expected


@pytest.mark.parametrize("value", [REMOVED, None, []], ids=["missing", "null", "empty"])
def test_normalize_without_evidence_contract_11(value: object) -> None:
    body = changed(b'{"id": "1", "evidence": []}', "evidence", value)
    assert without_id(normalize("defender", body)) == {
        "tenant_id": TENANT.tenant_id,
        "source": "defender",
        "raw_id": "1",
        "timestamp": RECEIVED_AT,
        "severity": "unknown",
    }


def test_normalize_takes_the_first_of_each_kind_contract_18() -> None:
    alert = from_evidence(
        {"processCommandLine": "first.exe -x", "imageFile": {"sha256": "of-image"}},
        {"deviceDnsName": "first"},
        {"deviceDnsName": "second", "userAccount": {"userPrincipalName": "first@acme.com"}},
        {"userAccount": {"userPrincipalName": "second@acme.com"}, "processCommandLine": "second"},
        {"imageFile": {"fileName": "first.exe"}, "fileDetails": {"sha256": "of-file"}},
        {"imageFile": {"fileName": "second.exe"}, "fileDetails": {"sha256": "second"}},
    )
    assert alert.hostname == "first"
    assert alert.username == "first@acme.com"
    assert alert.process_name == "first.exe"
    assert alert.process_cmdline == "first.exe -x"
    assert alert.sha256 == "of-file"


def test_normalize_takes_the_hash_of_the_image_where_no_file_has_one() -> None:
    alert = from_evidence({"fileDetails": {"sha256": None}}, {"imageFile": {"sha256": "of-image"}})
    assert alert.sha256 == "of-image"


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ([{"accountName": "a"}, {"userPrincipalName": "b@acme.com"}], "b@acme.com"),
        ([{"accountName": "a", "domainName": "CORP"}], "CORP\\a"),
        ([{"accountName": "a", "domainName": ""}], "a"),
        ([{"accountName": "a", "domainName": 5}], "a"),
        ([{"domainName": "CORP"}, {"accountName": "a"}], "a"),
        ([{"userPrincipalName": 5, "accountName": "a"}], "a"),
        ([{"userPrincipalName": "", "accountName": ""}], None),
    ],
)
def test_normalize_username(accounts: list[object], expected: str | None) -> None:
    assert from_evidence(*[{"userAccount": account} for account in accounts]).username == expected


def test_normalize_passes_over_evidence_of_other_shapes_contract_18() -> None:
    device = {"deviceDnsName": "host", "mdeDeviceId": "id"}
    alert = from_evidence(*SHAPELESS, device, *SHAPELESS)
    assert (alert.hostname, alert.device_id) == ("host", "id")


@pytest.mark.parametrize("part", SHAPELESS, ids=repr)
@pytest.mark.parametrize(
    "name", ["deviceDnsName", "mdeDeviceId", "userAccount", "imageFile", "fileDetails"]
)
def test_normalize_passes_over_parts_of_other_shapes_contract_18(name: str, part: object) -> None:
    broken = {"processCommandLine": "kept", name: part}
    whole = {
        "deviceDnsName": "x",
        "mdeDeviceId": "x",
        "userAccount": {"userPrincipalName": "u"},
        "imageFile": {"fileName": "f"},
        "fileDetails": {"sha256": "s"},
    }
    alert = from_evidence(broken, whole)
    assert alert.process_cmdline == "kept"
    assert (alert.username, alert.process_name, alert.sha256) == ("u", "f", "s")


@pytest.mark.parametrize(
    "raw",
    [b"1e400", b"9" * 5000, b'{"deviceDnsName": 5}'],
    ids=["1e400", "digits", "object"],
)
def test_normalize_passes_over_what_cannot_be_decoded_in_evidence(raw: bytes) -> None:
    alert = from_evidence(
        msgspec.Raw(raw), {"deviceDnsName": msgspec.Raw(raw)}, {"deviceDnsName": "host"}
    )
    assert alert.hostname == "host"


def test_normalize_too_deep_nesting_in_evidence_is_refused() -> None:
    deep = msgspec.Raw(b"[" * 200_000 + b"]" * 200_000)
    with pytest.raises(NormalizationError, match="recursion"):
        from_evidence({"deviceDnsName": "host", "novel": deep})


UNREADABLE = msgspec.Raw(b"1e400")
"""A number that a parser cannot convert."""

NO_TEXT: list[object] = [REMOVED, None, ""]
NOT_TEXT: list[object] = [5, True, ["x"], {"x": "y"}, UNREADABLE]
NAMES: list[object] = ["a", "b", *NO_TEXT, *NOT_TEXT]
IDS: list[object] = ["1", "2", *NO_TEXT, *NOT_TEXT]


def element(name: object, device_id: object) -> dict[str, object]:
    """Return an element of evidence, without the members that are REMOVED."""
    members = {"deviceDnsName": name, "mdeDeviceId": device_id}
    return {key: value for key, value in members.items() if value is not REMOVED}


def is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def named_machine(elements: list[tuple[object, object]]) -> tuple[object, object]:
    """Return the host name and the id that contract 18 requires for these elements."""
    for name, device_id in elements:
        if is_text(name):
            return name, device_id if is_text(device_id) else None
    ids = {device_id for _, device_id in elements if is_text(device_id)}
    unread = [value for pair in elements for value in pair if value in NOT_TEXT]
    return None, ids.pop() if len(ids) == 1 and not unread else None


def machine(*elements: object) -> tuple[str | None, str | None]:
    alert = from_evidence(*elements)
    return alert.hostname, alert.device_id


def test_normalize_device_id_is_the_hosts_and_no_others_contract_18() -> None:
    """All combinations of two names and two ids in two elements, in both orders."""
    pairs = list(itertools.product(NAMES, IDS))
    for first, second in itertools.product([None, *pairs], pairs):
        elements = [pair for pair in (first, second) if pair is not None]
        assert machine(*(element(*pair) for pair in elements)) == named_machine(elements), elements


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param(
            [
                {"@odata.type": "#microsoft.graph.security.deviceEvidence"}
                | element("printer-07", None),
                {"@odata.type": "#microsoft.graph.security.processEvidence"}
                | element(REMOVED, "of-another-machine"),
            ],
            ("printer-07", None),
            id="reject_id_of_another_element",
        ),
        pytest.param([element("", "1"), element("a", REMOVED)], ("a", None), id="reject_nameless"),
        pytest.param([element("a", None), element("a", "1")], ("a", None), id="reject_same_name"),
        pytest.param([element(None, "1"), element(5, None)], (None, None), id="reject_odd_name"),
        pytest.param([element(None, "1"), None], (None, None), id="reject_unread_element"),
        pytest.param([element(None, "1"), {"ipAddress": "::1"}], (None, "1"), id="allow_only_id"),
        pytest.param(
            [element(None, "1"), {}] + [{}] * MAX_EVIDENCE, (None, None), id="reject_unread_rest"
        ),
    ],
)
def test_normalize_device_id_of_evidence_contract_18(
    elements: list[object], expected: tuple[str | None, str | None]
) -> None:
    assert machine(*elements) == expected


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(IDS)), max_size=6))
def test_normalize_device_id_of_any_evidence_contract_18(
    elements: list[tuple[object, object]],
) -> None:
    assert machine(*(element(*pair) for pair in elements)) == named_machine(elements)
