"""A passkey in software: it makes the responses of a browser, right ones and chosen wrong ones."""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from webauthn.helpers import encode_cbor

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def whole(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


class Authenticator:
    """One key. `cose` may be replaced before `create`, to enrol another or a weak one."""

    def __init__(self, alg: str, credential_id: bytes = b"credential-1", bits: int = 2048) -> None:
        self.alg = alg
        self.credential_id = credential_id
        self.rp_id, self.origin = "localhost", "http://localhost:8002"
        self.count = 0
        self.key: Any
        match alg:
            case "ES256":
                self.key = ec.generate_private_key(ec.SECP256R1())
                point = self.key.public_key().public_numbers()
                x, y = (n.to_bytes(32, "big") for n in (point.x, point.y))
                self.cose: dict[int, Any] = {1: 2, 3: -7, -1: 1, -2: x, -3: y}
            case "EdDSA":
                self.key = ed25519.Ed25519PrivateKey.generate()
                self.cose = {1: 1, 3: -8, -1: 6, -2: self.key.public_key().public_bytes_raw()}
            case _:
                self.key = rsa.generate_private_key(65537, bits)
                public = self.key.public_key().public_numbers()
                self.cose = {1: 3, 3: -257, -1: whole(public.n), -2: whole(public.e)}

    def sign(self, data: bytes) -> bytes:
        signature: bytes
        if self.alg == "ES256":
            signature = self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        elif self.alg == "EdDSA":
            signature = self.key.sign(data)
        else:
            signature = self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return signature

    def data(self, flags: int, rest: bytes = b"") -> bytes:
        count = self.count.to_bytes(4, "big")
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes((flags,)) + count + rest

    def client_data(self, ceremony: str, challenge: bytes, /, **changes: object) -> bytes:
        data = {"type": f"webauthn.{ceremony}", "challenge": b64(challenge), "origin": self.origin}
        return json.dumps({**data, "crossOrigin": False, **changes}).encode()

    def create(self, challenge: bytes, /, flags: int = UP | UV | AT, **changes: object) -> str:
        id_ = self.credential_id
        attested = bytes(16) + len(id_).to_bytes(2, "big") + id_ + encode_cbor(self.cose)
        data = {"fmt": "none", "attStmt": {}, "authData": self.data(flags, attested)}
        return self._response(
            clientDataJSON=self.client_data("create", challenge, **changes),
            attestationObject=encode_cbor(data),
        )

    def get(
        self,
        challenge: bytes,
        /,
        flags: int = UP | UV,
        client_data: bytes | None = None,
        **changes: object,
    ) -> str:
        data = self.data(flags)
        client_data = client_data or self.client_data("get", challenge, **changes)
        return self._response(
            clientDataJSON=client_data,
            authenticatorData=data,
            signature=self.sign(data + hashlib.sha256(client_data).digest()),
        )

    def _response(self, **parts: bytes) -> str:
        id_ = b64(self.credential_id)
        response = {name: b64(part) for name, part in parts.items()}
        return json.dumps({"id": id_, "rawId": id_, "type": "public-key", "response": response})
