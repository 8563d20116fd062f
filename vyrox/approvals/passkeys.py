"""Passkeys: the statement that a person signs, and the checks of keys and signatures (contract 64).

Each key and each signature is checked twice before it may be stored: by `webauthn`, and then by the
steps of the offline verifier on the bytes that the log would have. So an auditor refuses nothing
that was accepted here. The second check also refuses what `webauthn` accepts: weak keys, pages
inside other pages, and client data with a member twice (A20 and A36).
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal

import msgspec
import webauthn
from webauthn.helpers import (
    bytes_to_base64url,
    decode_credential_public_key,
    encode_cbor,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import CredentialDeviceType

from vyrox.chain import verify
from vyrox.chain.entry import Scalar
from vyrox.chain.verify import RefusedProofError

DOMAIN: Final = b"vyrox-decision-v1\n"
"""What is hashed before the statement, so that no other text of Vyrox has the same hash."""

STATEMENT_LIFE_S: Final = 600
"""How long a person may take between the page and the signature."""

CLOCK_TOLERANCE_S: Final = 5
"""How far the clock of the container that made the statement may be ahead."""

MAX_CREDENTIAL_ID_BYTES: Final = 1023
"""Source: WebAuthn Level 3, 4, Credential ID."""

ALGORITHMS: Final = {
    "ES256": COSEAlgorithmIdentifier.ECDSA_SHA_256,
    "EdDSA": COSEAlgorithmIdentifier.EDDSA,
    "RS256": COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
}
"""What is offered to the browser, the preferred one first (A24)."""

_NAMES: Final = {number: name for name, number in ALGORITHMS.items()}
_NONCE_BYTES: Final = 16

_UNREADABLE: Final = (WebAuthnException, ValueError, TypeError, LookupError)
"""What `webauthn` raises for a response. The last two: a key lacks a number, or has other types."""


class RelyingParty(msgspec.Struct, frozen=True):
    """The website of a key: its exact origin, and the RP ID, which is the origin's host."""

    rp_id: str
    origin: str

    @classmethod
    def of(cls, origin: str) -> "RelyingParty":
        """Return the website of an origin, as `CONSOLE_ORIGIN` has it."""
        host = origin.partition("://")[2].partition(":")[0]
        return cls(host, origin)


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the approver chooses, so all of it is signed (A2).

    Attributes:
        issued_at: Unix seconds.
        nonce: 16 random bytes in base64url: WebAuthn demands random challenges.
    """

    v: Literal[1] = 1
    proposal_sha256: str
    decision: Literal["approve", "reject"]
    approver: str
    comment: str
    issued_at: int
    nonce: str


_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(Statement)


def new_statement(
    proposal_sha256: str,
    decision: Literal["approve", "reject"],
    approver: str,
    comment: str,
    issued_at: int,
) -> str:
    """Return the canonical text of a new statement (RFC 8785).

    Raises:
        RefusedProofError: A text has a lone surrogate, which UTF-8 cannot encode.
    """
    statement = Statement(
        proposal_sha256=proposal_sha256,
        decision=decision,
        approver=approver,
        comment=comment,
        issued_at=issued_at,
        nonce=bytes_to_base64url(os.urandom(_NONCE_BYTES)),
    )
    try:
        return _encoder.encode(statement).decode()
    except UnicodeEncodeError as exc:
        raise RefusedProofError("the statement has a lone surrogate") from exc


def challenge(statement: str) -> bytes:
    """Return the challenge that the passkey signs."""
    return sha256(DOMAIN + statement.encode()).digest()


def enrol(
    response: str, expected_challenge: bytes, approver: str, relying_party: RelyingParty
) -> dict[str, Scalar]:
    """Return the members of `approver.key_added` for a new key, except `by`.

    Args:
        response: What `navigator.credentials.create()` returned, as JSON.

    Raises:
        RefusedProofError: The response is not valid for this challenge and relying party, or the
            key is weak.
    """
    try:
        credential = parse_registration_credential_json(response)
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=expected_challenge,
            expected_rp_id=relying_party.rp_id,
            expected_origin=relying_party.origin,
            require_user_verification=True,
            supported_pub_key_algs=list(ALGORITHMS.values()),
        )
        numbers = _numbers(verified.credential_public_key)
    except _UNREADABLE as exc:
        raise _refused(exc) from exc
    verify.check_client_data(
        credential.response.client_data_json,
        "webauthn.create",
        expected_challenge,
        relying_party.origin,
    )
    if len(verified.credential_id) > MAX_CREDENTIAL_ID_BYTES:
        raise RefusedProofError("the credential id is too long")
    members: dict[str, Scalar] = {
        "approver": approver,
        "credential_id": bytes_to_base64url(verified.credential_id),
        **numbers,
        "rp_id": relying_party.rp_id,
        "origin": relying_party.origin,
        "aaguid": verified.aaguid,
        "backup_eligible": verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        "backed_up": verified.credential_backed_up,
    }
    verify.check_key(members)
    return members


def decide(
    response: str, statement: str, proposal_id: str, key: dict[str, Scalar], now: float
) -> dict[str, Scalar]:
    """Return the members of `approval.decided` for a signed statement.

    This shows who signed what. Whether the person may decide on the proposal is checked apart.

    Args:
        response: What `navigator.credentials.get()` returned, as JSON.
        key: The members of the `approver.key_added` event of the key.
        now: Unix seconds.

    Raises:
        RefusedProofError: The key did not sign this statement, or not in time.
    """
    signed = parse_statement(statement)
    if not -CLOCK_TOLERANCE_S <= now - signed.issued_at < STATEMENT_LIFE_S:
        raise RefusedProofError("the statement has expired")
    members: dict[str, Scalar] = {
        "proposal_id": proposal_id,
        "proposal_sha256": signed.proposal_sha256,
        "decision": signed.decision,
        "approver": signed.approver,
        "proof": "webauthn",
        "statement": statement,
        **_asserted(response, challenge(statement), key),
    }
    verify.check_passkey(members, verify.check_key(key))
    return members


def assertion(
    response: str, expected_challenge: bytes, key: dict[str, Scalar]
) -> dict[str, Scalar]:
    """Return what shows that a key answered a challenge, once both checks have passed.

    Args:
        response: What `navigator.credentials.get()` returned, as JSON.
        key: The members of the `approver.key_added` event of the key.

    Raises:
        RefusedProofError: It did not.
    """
    members = _asserted(response, expected_challenge, key)
    verify.check_assertion(members, verify.check_key(key), expected_challenge)
    return members


def _asserted(
    response: str, expected_challenge: bytes, key: dict[str, Scalar]
) -> dict[str, Scalar]:
    """Return the members of an assertion that `webauthn` accepts."""
    enrolled = verify.check_key(key)
    try:
        credential = parse_authentication_credential_json(response)
        webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=expected_challenge,
            expected_rp_id=enrolled.rp_id,
            expected_origin=enrolled.origin,
            credential_public_key=_cose(key),
            # A synced passkey does not count, so a count is not a reason to refuse (A26).
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except _UNREADABLE as exc:
        raise _refused(exc) from exc
    return {
        "credential_id": credential.id,
        "client_data": bytes_to_base64url(credential.response.client_data_json),
        "authenticator_data": bytes_to_base64url(credential.response.authenticator_data),
        "signature": bytes_to_base64url(credential.response.signature),
    }


def credential_id_of(response: str) -> str:
    """Return which key a response says that it is of.

    Raises:
        RefusedProofError: It is not a response.
    """
    try:
        return parse_authentication_credential_json(response).id
    except _UNREADABLE as exc:
        raise _refused(exc) from exc


def sign_count(members: Mapping[str, Scalar]) -> int:
    """Return what the authenticator counts, from the checked members of an assertion."""
    data = webauthn.base64url_to_bytes(str(members["authenticator_data"]))
    return int.from_bytes(data[33:37], "big")


def parse_statement(statement: str) -> Statement:
    """Return the statement that a text is. Raises RefusedProofError."""
    try:
        return _decoder.decode(statement)
    except ValueError as exc:
        raise RefusedProofError("the statement is not a statement") from exc


def _refused(exc: Exception) -> RefusedProofError:
    return RefusedProofError(ascii(f"{type(exc).__name__}: {exc}")[1:-1])


def _numbers(cose: bytes) -> dict[str, Scalar]:
    """Return a key of a registration as the members of JWK, and the name of its algorithm."""
    decoded = decode_credential_public_key(cose)
    parts = {
        name: getattr(decoded, name) for name in ("x", "y", "n", "e") if hasattr(decoded, name)
    }
    return {
        "alg": _NAMES[COSEAlgorithmIdentifier(decoded.alg)],
        **{name: bytes_to_base64url(part) for name, part in parts.items()},
    }


def _cose(key: dict[str, Scalar]) -> bytes:
    """Return a checked key in the form that `webauthn` takes. Source: RFC 9053, 7, and RFC 8230."""
    alg = str(key["alg"])
    parts = {name: webauthn.base64url_to_bytes(str(key[name])) for name in "xyne" if name in key}
    by_algorithm: dict[str, dict[int, int | bytes | None]] = {
        "ES256": {1: 2, -1: 1, -2: parts.get("x"), -3: parts.get("y")},
        "EdDSA": {1: 1, -1: 6, -2: parts.get("x")},
        "RS256": {1: 3, -1: parts.get("n"), -2: parts.get("e")},
    }
    return encode_cbor({3: int(ALGORITHMS[alg]), **by_algorithm[alg]})
