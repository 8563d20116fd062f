"""The verifier's own arithmetic, against published vectors (contract 64, A36)."""

import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.approvals.authenticator import b64
from vyrox.chain import verify
from vyrox.chain.verify import RefusedProofError

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "signatures.json").read_text()
)
"""From NIST for ES256 and RS256, from the authors of Ed25519 for EdDSA: see `NOTICE` there."""

OTHERS: Final = {"approver": "jane", "credential_id": "AAAA", "rp_id": "r", "origin": "o"}


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_published_signatures_and_keys_contract_64(number: int) -> None:
    vector = VECTORS[number]
    try:
        key = verify.check_key({**OTHERS, "alg": vector["alg"], **vector["key"]})
        is_right = "signature" not in vector or verify._SIGNATURE_CHECKS[vector["alg"]](
            key.numbers, bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
        )
    except RefusedProofError:
        is_right = False
    assert is_right == vector["valid"], vector["source"]


WYCHEPROOF: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "wycheproof.json").read_text()
)
"""All tests of three files of Project Wycheproof: see `NOTICE` there."""


@pytest.mark.parametrize(
    ("alg", "valid", "invalid"), [("EdDSA", 117, 64), ("ES256", 174, 310), ("RS256", 9, 249)]
)
def test_the_vectors_of_project_wycheproof_contract_96(alg: str, valid: int, invalid: int) -> None:
    """What is "acceptable" there may be either: keys of mixed order, and a missing NULL."""
    found: Counter[tuple[str, bool]] = Counter()
    for group in WYCHEPROOF:
        if group["alg"] == alg:
            for _number, result, message, signature in group["tests"]:
                found[result, _is_right(alg, group["key"], message, signature)] += 1
    del found["acceptable", True], found["acceptable", False]
    assert found == {("valid", True): valid, ("invalid", False): invalid}


def _is_right(alg: str, members: dict[str, str], message: str, signature: str) -> bool:
    try:
        key = verify.check_key({**OTHERS, "alg": alg, **members})
    except RefusedProofError:
        return False
    check = verify._SIGNATURE_CHECKS[alg]
    return check(key.numbers, bytes.fromhex(message), bytes.fromhex(signature))


def seeded(salt: int) -> bytes:
    """Return 32 bytes that the vector is made from: HKDF with SHA-256 (RFC 5869)."""
    seed = hmac.digest(bytes([salt]), b"WebAuthn test vectors", "sha256")
    return hmac.digest(seed, b"none.ES256\x01", "sha256")


def test_the_vector_of_webauthn_contract_64() -> None:
    """WebAuthn Level 3, Test Vectors, "none.ES256": the key of a seed, and its assertion.

    The user was not verified there, so only the signature and the client data hold for Vyrox.
    """
    private = ec.derive_private_key(int.from_bytes(seeded(1), "big"), ec.SECP256R1())
    point = private.public_key().public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (point.x, point.y))
    members = {"x": b64(x), "y": b64(y), "rp_id": "example.org", "origin": "https://example.org"}
    key = verify.check_key({**OTHERS, **members, "alg": "ES256"})
    client_data = (
        b'{"type":"webauthn.get","challenge":"OcDnUhQXulTUPo3JUXT0I97pvzzYBP9tZchXyav01Ag",'
        b'"origin":"https://example.org","crossOrigin":false}'
    )
    data = hashlib.sha256(b"example.org").digest() + bytes.fromhex("1900000000")
    signature = bytes.fromhex(
        "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd38"
        "0221008480ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87"
    )
    signed = data + hashlib.sha256(client_data).digest()
    assert verify._is_es256(key.numbers, signed, signature)
    assert not verify._is_es256(key.numbers, signed + b"\0", signature)
    verify.check_client_data(client_data, "webauthn.get", seeded(7), key.origin)
    with pytest.raises(RefusedProofError, match="UV"):
        verify._check_authenticator_data(data, key.rp_id)


def test_a_point_has_one_form_so_that_a_key_is_not_two() -> None:
    """Points of P-256 with a small x, to which the modulus is added: still 32 bytes."""
    p = verify._P
    points = ((x, pow(x**3 - 3 * x + verify._P_B, (p + 1) // 4, p)) for x in range(100))
    x, y = next((x, y) for x, y in points if (y * y - x**3 + 3 * x - verify._P_B) % p == 0)
    key = {**OTHERS, "alg": "ES256", "y": b64(y.to_bytes(32, "big"))}
    verify.check_key({**key, "x": b64(x.to_bytes(32, "big"))})
    with pytest.raises(RefusedProofError, match="not on the curve"):
        verify.check_key({**key, "x": b64((x + p).to_bytes(32, "big"))})


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    point = (b"\x58" + b"\x66" * 31 + b"\0")[:length]
    with pytest.raises(RefusedProofError, match="has not 32 bytes"):
        verify.check_key({**OTHERS, "alg": "EdDSA", "x": b64(point)})
    with pytest.raises(RefusedProofError, match="2 times 32 bytes"):
        verify.check_key({**OTHERS, "alg": "ES256", "x": b64(bytes(length)), "y": b64(bytes(32))})
