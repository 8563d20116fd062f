"""Passkeys, checked online and then as an auditor checks them (contract 64, A2, A20 to A26)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import webauthn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webauthn.helpers import base64url_to_bytes

from tests.approvals.authenticator import AT, BE, BS, UP, UV, Authenticator, b64, whole
from tests.approvals.story import START, canonical, digest, proposal, raw_decision, sign, told
from vyrox.approvals import passkeys
from vyrox.approvals.passkeys import RelyingParty
from vyrox.chain import verify
from vyrox.chain.verify import RefusedProofError

ALGORITHMS = ["ES256", "EdDSA", "RS256"]
CHALLENGE = bytes(range(32))
PARTY = RelyingParty("localhost", "http://localhost:8002")
NOW = START + 20

_made: dict[str, Authenticator] = {}


def passkey(alg: str) -> Authenticator:
    """Return the key of this algorithm: an RSA key takes long to make."""
    return _made.setdefault(alg, Authenticator(alg))


def enrolled(authenticator: Authenticator) -> dict[str, Any]:
    return passkeys.enrol(authenticator.create(CHALLENGE), CHALLENGE, "jane", PARTY)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_decision_with_a_passkey_is_proven_offline_contract_64(alg: str) -> None:
    on, key = proposal(), passkey(alg)
    statement, response = sign(on, key)
    members = passkeys.decide(response, statement, on["id"], enrolled(key), NOW)
    assert members == raw_decision(response, statement, on["id"])
    found = told(on, members, key).verify()
    assert found.failures == []
    [[decision]] = found.proven.values()
    assert (decision.approver, decision.proof, decision.is_requester) == ("jane", "passkey", False)


def test_a_statement_is_canonical_and_holds_what_was_chosen() -> None:
    statement = passkeys.new_statement("ab" * 32, "reject", "jane", "no \u2713 \x7f\n", 7)
    members = json.loads(statement)
    assert canonical(members) == statement
    assert (members["decision"], members["comment"]) == ("reject", "no \u2713 \x7f\n")
    other = passkeys.new_statement("ab" * 32, "reject", "jane", "no \u2713 \x7f\n", 7)
    assert passkeys.challenge(other) != passkeys.challenge(statement)
    with pytest.raises(RefusedProofError, match="surrogate"):
        passkeys.new_statement("ab" * 32, "reject", "jane", "\ud800", 7)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_enrolment_records_the_key_as_the_event_has_it(alg: str) -> None:
    key = enrolled(passkey(alg))
    numbers = {"ES256": ["x", "y"], "EdDSA": ["x"], "RS256": ["e", "n"]}[alg]
    others = ["aaguid", "alg", "approver", "backed_up", "backup_eligible", "credential_id"]
    assert sorted(key) == sorted([*others, *numbers, "origin", "rp_id"])
    assert (key["backup_eligible"], key["backed_up"]) == (False, False)
    synced = passkey(alg).create(CHALLENGE, UP | UV | AT | BE | BS)
    key = passkeys.enrol(synced, CHALLENGE, "jane", PARTY)
    assert (key["backup_eligible"], key["backed_up"]) == (True, True)


def rsa(bits: int, e: int = 65537) -> dict[int, Any]:
    n = (1 << (bits - 1)) | 1
    return {1: 3, 3: -257, -1: whole(n), -2: whole(e)}


def ed25519(encoded: str) -> dict[int, Any]:
    return {1: 1, 3: -8, -1: 6, -2: bytes.fromhex(encoded)}


WEAK = {
    "RSA of 512 bits": ("RS256", rsa(512)),
    "RSA of 2047 bits": ("RS256", rsa(2047)),
    "RSA of 8193 bits": ("RS256", rsa(8193)),
    "RSA with e = 1": ("RS256", rsa(2048, 1)),
    "RSA with an even e": ("RS256", rsa(2048, 65536)),
    "RSA with a zero before n": ("RS256", {**rsa(2048), -1: b"\0" + rsa(2048)[-1]}),
    "a point off P-256": ("ES256", {1: 2, 3: -7, -1: 1, -2: bytes(31) + b"\1", -3: bytes(32)}),
    "a point of P-384": ("ES256", {1: 2, 3: -7, -1: 2, -2: bytes(48), -3: bytes(48)}),
    "Ed25519, the identity": ("EdDSA", ed25519("01" + "00" * 31)),
    "Ed25519 of order 2": ("EdDSA", ed25519("ec" + "ff" * 30 + "7f")),
    "Ed25519 of order 4": ("EdDSA", ed25519("00" * 32)),
    "Ed25519 of order 8": (
        "EdDSA",
        ed25519("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ),
    "Ed25519 in another form": ("EdDSA", ed25519("ee" + "ff" * 30 + "7f")),
    "Ed25519 off the curve": ("EdDSA", ed25519("02" + "00" * 31)),
}


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_key_is_refused_though_webauthn_takes_it(name: str) -> None:
    alg, cose = WEAK[name]
    weak = Authenticator("ES256")
    weak.alg, weak.cose = alg, cose
    response = weak.create(CHALLENGE)
    webauthn.verify_registration_response(
        credential=response,
        expected_challenge=CHALLENGE,
        expected_rp_id=PARTY.rp_id,
        expected_origin=PARTY.origin,
        require_user_verification=True,
    )
    with pytest.raises(RefusedProofError, match=r"^the key's"):
        passkeys.enrol(response, CHALLENGE, "jane", PARTY)


WRONG_ENROLMENTS: dict[str, dict[str, Any]] = {
    "another port": {"origin": "http://localhost:8003"},
    "crossOrigin": {"crossOrigin": True},
    "topOrigin": {"topOrigin": "http://localhost:8002"},
    "no UV": {"flags": UP | AT},
    "no UP": {"flags": UV | AT},
    "BS without BE": {"flags": UP | UV | AT | BS},
    "no key": {"flags": UP | UV},
    "a sign-in": {"type": "webauthn.get"},
    "another challenge": {"challenge": b64(bytes(32))},
}


@pytest.mark.parametrize("name", WRONG_ENROLMENTS)
def test_an_enrolment_with_one_wrong_thing_is_refused(name: str) -> None:
    response = passkey("ES256").create(CHALLENGE, **WRONG_ENROLMENTS[name])
    with pytest.raises(RefusedProofError):
        passkeys.enrol(response, CHALLENGE, "jane", PARTY)


def test_an_enrolment_for_another_rp_id_is_refused() -> None:
    response = passkey("ES256").create(CHALLENGE)
    with pytest.raises(RefusedProofError, match="RP ID"):
        passkeys.enrol(response, CHALLENGE, "jane", RelyingParty("127.0.0.1", PARTY.origin))
    with pytest.raises(RefusedProofError):
        passkeys.enrol("{", CHALLENGE, "jane", PARTY)


VALUES = st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=3) | st.booleans()


@given(
    alg=st.sampled_from(ALGORITHMS),
    changes=st.dictionaries(st.sampled_from([1, 3, -1, -2, -3]), VALUES, min_size=1),
    without=st.sets(st.sampled_from([1, 3, -1, -2, -3])),
)
def test_a_malformed_key_is_refused_and_nothing_else_is_raised(
    alg: str, changes: dict[int, Any], without: set[int]
) -> None:
    """For these keys `webauthn` raises KeyError and TypeError."""
    malformed = Authenticator("ES256")
    malformed.cose = {**passkey(alg).cose, **changes}
    malformed.cose = {name: malformed.cose[name] for name in malformed.cose.keys() - without}
    with contextlib.suppress(RefusedProofError):
        passkeys.enrol(malformed.create(CHALLENGE), CHALLENGE, "jane", PARTY)
    for number in (1, 3, -1, -2):
        malformed.cose = {**passkey(alg).cose, number: None}
        with pytest.raises(RefusedProofError):
            passkeys.enrol(malformed.create(CHALLENGE), CHALLENGE, "jane", PARTY)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another port": ({"origin": "http://localhost:8003"}, "another origin"),
    "crossOrigin": ({"crossOrigin": True}, "crossOrigin"),
    "crossOrigin of another type": ({"crossOrigin": 0}, "crossOrigin"),
    "topOrigin": ({"topOrigin": "http://localhost:8002"}, "topOrigin"),
    "topOrigin null": ({"topOrigin": None}, "topOrigin"),
    "no UV": ({"flags": UP}, "UV"),
    "no UP": ({"flags": UV}, "UP"),
    "BS without BE": ({"flags": UP | UV | BS}, "BS without BE"),
    "an enrolment": ({"type": "webauthn.create"}, "another type"),
    "another challenge": ({"challenge": b64(bytes(32))}, "another challenge"),
    "a padded challenge": ({"challenge": b64(bytes(32)) + "="}, "another challenge"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_decision_with_one_wrong_thing_is_refused_online_and_offline(name: str) -> None:
    """All of it is signed by the right key."""
    changes, reason = WRONG[name]
    on, key = proposal(), passkey("ES256")
    statement, _ = sign(on, key)
    response = key.get(passkeys.challenge(statement), **changes)
    assert_refused(response, statement, reason)


def assert_refused(response: str, statement: str, reason: str) -> None:
    on, key = proposal(), passkey("ES256")
    with pytest.raises(RefusedProofError):
        passkeys.decide(response, statement, on["id"], enrolled(key), NOW)
    found = told(on, raw_decision(response, statement, on["id"]), key).verify()
    assert [each.event for each in found.failures] == [6, 7]
    assert reason in found.failures[0].reason
    assert "no valid approval" in found.failures[1].reason
    assert found.proven == {}


@pytest.mark.parametrize("member", ["type", "challenge", "origin", "other"])
def test_client_data_with_a_member_twice_is_refused(member: str) -> None:
    """Though `webauthn` reads the last one, and takes it."""
    on, key = proposal(), passkey("ES256")
    statement, _ = sign(on, key)
    data = key.client_data("get", passkeys.challenge(statement), other=1).decode()
    twice = (f'{{"{member}":"x",' + data[1:]).encode()
    response = key.get(b"", client_data=twice)
    assert_refused(response, statement, "a member twice")


def test_authenticator_data_of_another_rp_id_is_refused() -> None:
    on, key = proposal(), passkey("ES256")
    statement, _ = sign(on, key)
    key.rp_id = "127.0.0.1"
    try:
        response = key.get(passkeys.challenge(statement))
    finally:
        key.rp_id = PARTY.rp_id
    assert_refused(response, statement, "RP ID")


def test_a_signature_on_another_statement_is_refused() -> None:
    """Of another proposal, another decision, another comment or another nonce."""
    on, key = proposal(), passkey("ES256")
    statement, response = sign(on, key)
    for other in (
        sign(proposal(host="workstation-02"), key)[0],
        sign(on, key, decision="reject")[0],
        statement.replace("call", "tall"),
        sign(on, key)[0],
    ):
        with pytest.raises(RefusedProofError):
            passkeys.decide(response, other, on["id"], enrolled(key), NOW)


@pytest.mark.parametrize(
    "statement",
    [
        "{}",
        "[]",
        "",
        '{"v":1}',
        "\ufeff{}",
    ],
)
def test_what_is_not_a_statement_is_refused(statement: str) -> None:
    response = passkey("ES256").get(passkeys.challenge(statement))
    with pytest.raises(RefusedProofError):
        passkeys.decide(response, statement, "id", enrolled(passkey("ES256")), NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: statement + " ",
        lambda statement: statement.replace('"v":1', '"v": 1'),
        lambda statement: statement.replace('"v":1', '"v":2'),
        lambda statement: statement.replace("{", '{"approver":"omar",', 1),
        lambda statement: statement.replace("{", '{"a":0,', 1),
        lambda statement: statement.replace("\u2713", "\\u2713"),
        lambda statement: statement.replace('"nonce":"', '"nonce":"A'),
    ],
    ids=["space", "inner space", "version", "member twice", "member more", "escape", "nonce"],
)
def test_a_statement_in_another_form_is_refused_even_if_signed(
    change: Callable[[str], str],
) -> None:
    statement = change(sign(proposal(), passkey("ES256"))[0])
    response = passkey("ES256").get(passkeys.challenge(statement))
    with pytest.raises(RefusedProofError):
        passkeys.decide(response, statement, "id", enrolled(passkey("ES256")), NOW)


def test_a_statement_expires_after_ten_minutes() -> None:
    on, key = proposal(), passkey("ES256")
    statement, response = sign(on, key)
    issued_at = START + 15
    for now in (issued_at - 5, issued_at + 599):
        passkeys.decide(response, statement, on["id"], enrolled(key), now)
    for now in (issued_at - 6, issued_at + 600):
        with pytest.raises(RefusedProofError, match="expired"):
            passkeys.decide(response, statement, on["id"], enrolled(key), now)


def test_the_key_of_another_person_is_refused() -> None:
    on, key = proposal(), passkey("ES256")
    statement, response = sign(on, key, "omar")
    with pytest.raises(RefusedProofError, match="another approver"):
        passkeys.decide(response, statement, on["id"], enrolled(key), NOW)


JSON = st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=4)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    alg=st.sampled_from(ALGORITHMS),
    comment=st.text(),
    flags=st.sampled_from([UP | UV, UP | UV | BE, UP | UV | BE | BS]) | st.integers(0, 63),
    changes=st.dictionaries(
        st.sampled_from(["type", "challenge", "origin", "crossOrigin", "topOrigin", "other"]),
        JSON,
        max_size=1,
    ),
    at=st.integers(START + 15, START + 20),
)
def test_what_is_accepted_online_is_never_refused_offline(
    alg: str, comment: str, flags: int, changes: dict[str, Any], at: int
) -> None:
    on, key = proposal(), passkey(alg)
    sha256 = digest(canonical(on))
    try:
        statement = passkeys.new_statement(sha256, "approve", "jane", comment, START + 15)
        response = key.get(passkeys.challenge(statement), flags, **changes)
        members = passkeys.decide(response, statement, on["id"], enrolled(key), at)
    except RefusedProofError:
        return
    found = told(on, members, key).verify()
    assert (found.failures, len(found.proven)) == ([], 1)


BINARY = {"client_data", "authenticator_data", "signature"}


def changed(text: str, *, is_binary: bool) -> list[str]:
    """Return the text with each character changed in turn, and each bit of its bytes flipped."""
    others = [
        text[:at] + ("B" if character == "A" else "A") + text[at + 1 :]
        for at, character in enumerate(text)
    ]
    if is_binary:
        data = bytearray(base64url_to_bytes(text))
        for bit in range(len(data) * 8):
            data[bit // 8] ^= 1 << bit % 8
            others.append(b64(bytes(data)))
            data[bit // 8] ^= 1 << bit % 8
    return others


def refused_changes(alg: str, step: int) -> int:
    """Change one thing of a proof at a time, every `step`th only; return how many were refused."""
    on, authenticator = proposal(), passkey(alg)
    key = verify.check_key(enrolled(authenticator))
    statement, response = sign(on, authenticator)
    members = raw_decision(response, statement, on["id"])
    verify.check_passkey(members, key)
    tried = [
        {**members, name: other}
        for name in members
        if name not in {"proof", "proposal_id"}  # they choose the check, and the proposal
        for other in changed(members[name], is_binary=name in BINARY)
    ][::step]
    for changed_members in tried:
        with pytest.raises(RefusedProofError):
            verify.check_passkey(changed_members, key)
    return len(tried)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_changed_character_or_bit_of_a_proof_is_refused(alg: str) -> None:
    assert refused_changes(alg, 61) > 30


@pytest.mark.long
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_changed_character_or_bit_of_a_proof_is_refused(alg: str) -> None:
    assert refused_changes(alg, 1) > 2000


@given(
    alg=st.sampled_from(ALGORITHMS),
    message=st.binary(max_size=40),
    changes=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=2),
    length=st.none() | st.integers(0, 256),
)
def test_signatures_are_judged_as_cryptography_judges_them(
    alg: str, message: bytes, changes: list[tuple[int, int]], length: int | None
) -> None:
    authenticator = passkey(alg)
    key = verify.check_key(enrolled(authenticator))
    signature = bytearray(authenticator.sign(message))
    for at, bits in changes:
        signature[at % len(signature)] ^= bits
    tried = bytes(signature[:length])
    assert verify._SIGNATURE_CHECKS[alg](key.numbers, message, tried) == is_right(
        authenticator, message, tried
    )


def is_right(authenticator: Authenticator, message: bytes, signature: bytes) -> bool:
    public = authenticator.key.public_key()
    hashed = hashes.SHA256()
    more: dict[str, tuple[Any, ...]] = {
        "ES256": (ec.ECDSA(hashed),),
        "EdDSA": (),
        "RS256": (padding.PKCS1v15(), hashed),
    }
    try:
        public.verify(signature, message, *more[authenticator.alg])
    except InvalidSignature:
        return False
    return True
