"""What an audit entry is, byte for byte (contract 30, 31 and 33)."""

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypedDict, cast

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from vyrox.chain.entry import (
    ACTION_MEMBERS,
    GENESIS,
    MAX_ENTRY_BYTES,
    MAX_TIMESTAMP,
    MAX_WHOLE,
    Scalar,
    Sealed,
    check_sealed,
    seal,
)
from vyrox.chain.verify import verify_entries
from vyrox.errors import EntryError

ROOT = Path(__file__).parent.parent.parent


class Vector(TypedDict):
    """One worked example."""

    entry: dict[str, Scalar]
    canonical: str
    canonical_utf8_hex: str


VECTORS: list[Vector] = json.loads(
    (ROOT / "tests" / "data" / "audit-chain.json").read_text("utf-8")
)["chain"]

ACTION: dict[str, Scalar] = {
    "tenant_id": "acme-corp",
    "action_type": "HOST_ISOLATION",
    "host": "workstation-01",
    "approved_by": "jane.smith#1234",
    "dry_run": False,
}
EVENT: dict[str, Scalar] = {
    "tenant_id": "acme-corp",
    "kind": "execute.outcome",
    "request_id": None,
    "entry_hash": "ab" * 32,
    "attempts": 3,
    "dry_run": True,
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = texts | st.booleans() | st.none() | st.integers(-MAX_WHOLE, MAX_WHOLE)
names = st.text(st.characters(codec="ascii"), max_size=12).filter(
    lambda name: name not in {"timestamp", "previous_hash", "hash"}
)
actions = st.fixed_dictionaries(
    {
        **dict.fromkeys(sorted(ACTION_MEMBERS - {"dry_run"}), texts),
        "dry_run": st.booleans(),
    }
)
events = st.builds(
    lambda own, common: own | common,
    st.dictionaries(names, scalars, max_size=8),
    st.fixed_dictionaries({"tenant_id": texts, "kind": texts, "request_id": texts | st.none()}),
)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["entry"]["action_type"]))
def test_seal_returns_the_hashes_of_the_vectors_contract_31(vector: Vector) -> None:
    entry = vector["entry"]
    members = {name: entry[name] for name in ACTION_MEMBERS}
    sealed = seal(members, cast(str, entry["previous_hash"]), cast(int, entry["timestamp"]))
    assert sealed.hash == entry["hash"]
    assert sealed.timestamp == entry["timestamp"]
    assert json.loads(sealed.json) == entry
    without_hash = sealed.json.replace(b'"hash":"%b",' % sealed.hash.encode(), b"")
    assert without_hash == vector["canonical"].encode()
    assert without_hash.hex() == vector["canonical_utf8_hex"]


@pytest.mark.parametrize("number", [0, 1])
def test_audit_chain_page_works_out_the_vectors_contract_31(number: int) -> None:
    page = (ROOT / "docs" / "AUDIT_CHAIN.md").read_text("utf-8")
    commands = re.findall(r"```sh\n(printf .*\| sha256sum)\n```\n\n    ([0-9a-f]{64})\n", page)
    command, stated = commands[number]
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=60)
    assert done.stdout.split()[0].decode() == stated == VECTORS[number]["entry"]["hash"]


@settings(deadline=None)
@given(actions | events, hashes, st.integers(0, MAX_TIMESTAMP))
def test_seal_writes_and_hashes_rfc_8785_contract_31(
    members: Mapping[str, Scalar], previous_hash: str, timestamp: int
) -> None:
    sealed = seal(members, previous_hash, timestamp)
    entry = {**members, "timestamp": timestamp, "previous_hash": previous_hash}
    canonical = rfc8785.dumps(entry)
    assert sealed.hash == hashlib.sha256(previous_hash.encode() + b"|" + canonical).hexdigest()
    assert sealed.json == rfc8785.dumps({**entry, "hash": sealed.hash})
    assert (sealed.timestamp, b"\n" in sealed.json) == (timestamp, False)


@settings(deadline=None)
@given(st.lists(actions, min_size=1, max_size=5) | st.lists(events, min_size=1, max_size=5))
def test_seal_makes_a_chain_that_verifies_contract_30(chain: list[dict[str, Scalar]]) -> None:
    sealed: list[Sealed] = []
    for number, members in enumerate(chain):
        previous_hash = sealed[-1].hash if sealed else GENESIS
        sealed.append(seal({**members, "tenant_id": "acme-corp"}, previous_hash, number))
    report = verify_entries(entry.json for entry in sealed)
    assert (report.entries, report.last_hash) == (len(chain), sealed[-1].hash)
    assert (report.first_timestamp, report.last_timestamp) == (0, len(chain) - 1)


def test_seal_keeps_text_as_sent_contract_33() -> None:
    composed, decomposed = "gr\u00f6\u00dfe ", "gro\u0308\u00dfe "
    first, second = (seal({**ACTION, "host": host}, GENESIS, 0) for host in (composed, decomposed))
    assert first.hash != second.hash
    assert json.loads(second.json)["host"] == decomposed


@pytest.mark.parametrize(
    ("members", "previous_hash", "timestamp"),
    [
        pytest.param(ACTION, "f" * 64, MAX_TIMESTAMP, id="allow_last_second_of_9999"),
        pytest.param(ACTION, GENESIS, 0, id="allow_first_second_of_1970"),
        pytest.param(EVENT | {"n": MAX_WHOLE, "m": -MAX_WHOLE}, GENESIS, 0, id="allow_2_to_53"),
        pytest.param(EVENT | {"action_type": "X", "host": None}, GENESIS, 0, id="allow_own"),
        pytest.param(EVENT | {"tenant_id": ""}, GENESIS, 0, id="allow_chain_of_the_service"),
        pytest.param(EVENT | {"\x00\x7f \"'": ""}, GENESIS, 0, id="allow_any_ascii_name"),
    ],
)
def test_seal_takes(members: Mapping[str, Scalar], previous_hash: str, timestamp: int) -> None:
    sealed = seal(members, previous_hash, timestamp)
    assert json.loads(sealed.json).items() >= members.items()


def without(members: Mapping[str, Scalar], name: str) -> dict[str, Scalar]:
    return {key: value for key, value in members.items() if key != name}


class Text(str):
    """A subclass, which could compare as one value and encode as another."""


class Word(StrEnum):
    """An enumeration whose members are text."""

    ONE = "one"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        *(
            pytest.param(
                without(ACTION, name), "exactly the documented", id=f"reject_action_without_{name}"
            )
            for name in sorted(ACTION_MEMBERS)
        ),
        pytest.param({}, "exactly the documented", id="reject_empty"),
        pytest.param(
            ACTION | {"alert_id": "a"}, "exactly the documented", id="reject_ninth_member"
        ),
        pytest.param(
            ACTION | {"timestamp": 1}, "exactly the documented", id="reject_action_timestamp"
        ),
        pytest.param(ACTION | {"host": None}, "host is of type", id="reject_null_host"),
        pytest.param(ACTION | {"host": 5}, "host is of type int", id="reject_number_host"),
        pytest.param(ACTION | {"approved_by": True}, "approved_by", id="reject_boolean_approver"),
        pytest.param(ACTION | {"dry_run": 0}, "dry_run is of type", id="reject_number_dry_run"),
        pytest.param(ACTION | {"dry_run": "false"}, "dry_run is of", id="reject_text_dry_run"),
        pytest.param(ACTION | {"host": "a\ud800"}, "surrogate", id="reject_lone_surrogate"),
        pytest.param(ACTION | {"host": Text("a")}, "type Text", id="reject_subclass_of_text"),
        pytest.param(ACTION | {"host": Word.ONE}, "type Word", id="reject_enumeration"),
        pytest.param(ACTION | {"host": "x" * MAX_ENTRY_BYTES}, "bytes", id="reject_too_large"),
        *(
            pytest.param(EVENT | {name: "1"}, "added by sealing", id=f"reject_event_with_{name}")
            for name in ("timestamp", "previous_hash", "hash")
        ),
        pytest.param(without(EVENT, "tenant_id"), "tenant_id", id="reject_event_without_tenant"),
        pytest.param(without(EVENT, "request_id"), "request_id", id="reject_without_request_id"),
        pytest.param(EVENT | {"request_id": 7}, "request_id", id="reject_number_request_id"),
        pytest.param(EVENT | {"tenant_id": None}, "tenant_id", id="reject_null_tenant"),
        pytest.param(EVENT | {"kind": None}, "kind", id="reject_null_kind"),
        pytest.param(EVENT | {"n": MAX_WHOLE + 1}, "n is beyond", id="reject_2_to_53"),
        pytest.param(EVENT | {"n": -MAX_WHOLE - 1}, "n is beyond", id="reject_minus_2_to_53"),
        pytest.param(EVENT | {"n": 1.0}, "type float", id="reject_float"),
        pytest.param(EVENT | {"n": float("nan")}, "type float", id="reject_nan"),
        pytest.param(EVENT | {"n": [1]}, "type list", id="reject_list"),
        pytest.param(EVENT | {"n": {"a": 1}}, "type dict", id="reject_object"),
        pytest.param(EVENT | {"n": b"a"}, "type bytes", id="reject_bytes"),
        pytest.param(EVENT | {"gr\u00f6\u00dfe": 1}, "not ASCII", id="reject_name_not_ascii"),
    ],
)
def test_seal_refuses_members(members: dict[str, object], message: str) -> None:
    with pytest.raises(EntryError, match=message):
        seal(cast(Mapping[str, Scalar], members), GENESIS, 0)


@pytest.mark.parametrize(
    ("previous_hash", "timestamp"),
    [
        pytest.param("", 0, id="reject_no_hash"),
        pytest.param("0" * 63, 0, id="reject_63_digits"),
        pytest.param("0" * 64 + "\n", 0, id="reject_final_newline"),
        pytest.param("A" * 64, 0, id="reject_upper_case"),
        pytest.param("\u0660" * 64, 0, id="reject_arabic_digits"),
        pytest.param(GENESIS, -1, id="reject_before_1970"),
        pytest.param(GENESIS, MAX_TIMESTAMP + 1, id="reject_after_9999"),
        pytest.param(GENESIS, True, id="reject_boolean"),
        pytest.param(GENESIS, 1.0, id="reject_float"),
    ],
)
def test_seal_refuses_stamps(previous_hash: str, timestamp: int) -> None:
    with pytest.raises(EntryError, match=r"previous_hash|timestamp"):
        seal(ACTION, previous_hash, timestamp)


def test_seal_says_which_member_but_not_what_it_holds() -> None:
    with pytest.raises(EntryError) as caught:
        seal({**ACTION, "host": "secret\ud800"}, GENESIS, 0)
    assert "secret" not in str(caught.value)
    assert (caught.value.status, caught.value.detail) == (500, "internal error")


class FaultyEncoder:
    """Simulates failing memory: it changes a bit of the second encoding, the final bytes."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, value: object) -> bytes:
        self.calls += 1
        encoded = msgspec.json.encode(value, order="sorted")
        return encoded.replace(b"workstation", b"workstatiom") if self.calls == 2 else encoded


def test_seal_refuses_bytes_that_changed_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vyrox.chain.entry._encoder", FaultyEncoder())
    with pytest.raises(EntryError, match="do not hash"):
        seal(ACTION, GENESIS, 0)


@pytest.mark.parametrize(
    "members", [pytest.param(ACTION, id="action"), pytest.param(EVENT, id="event")]
)
def test_check_sealed_notices_every_flipped_bit(members: Mapping[str, Scalar]) -> None:
    sealed = seal(members, GENESIS, 1704067200)
    check_sealed(sealed)
    for bit in range(len(sealed.json) * 8):
        flipped = bytearray(sealed.json)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EntryError):
            check_sealed(Sealed(bytes(flipped), sealed.hash, sealed.timestamp))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"json": b""}, id="reject_no_bytes"),
        pytest.param({"json": b"[]"}, id="reject_array"),
        pytest.param({"json": b"{}"}, id="reject_no_members"),
        pytest.param({"json": b'{"a":[1]}'}, id="reject_nesting"),
        pytest.param({"hash": GENESIS}, id="reject_other_hash"),
        pytest.param({"timestamp": 1}, id="reject_other_timestamp"),
    ],
)
def test_check_sealed_refuses(other: dict[str, bytes | str | int]) -> None:
    sealed = seal(ACTION, GENESIS, 0)
    parts = {"json": sealed.json, "hash": sealed.hash, "timestamp": sealed.timestamp} | other
    with pytest.raises(EntryError):
        check_sealed(Sealed(**parts))  # type: ignore[arg-type]
