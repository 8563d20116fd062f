"""Who sent a delivery on a path with the tenant in it: each tenant's own scheme (contract 71).

The work of a refusal is the same for every tenant, whatever its scheme (contract 3). For each
secret there are two HMACs: over the body, and over the body with what the vendor's other schemes
sign beside it. A time is read only after the signature that covers it was right.
"""

import hmac
from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from vyrox.adapters.forms.times import seconds_of
from vyrox.crypto import verify
from vyrox.errors import UnauthorizedError
from vyrox.models import Tenant, Vendor
from vyrox.tenants.authentication import bearer_token, match_secrets
from vyrox.tenants.directory import Credentials
from vyrox.tenants.webhook_options import SIGNATURES, WebhookOptions

Headers = Sequence[tuple[bytes, bytes]]
"""The names, in lower case, and values of a request's headers."""

TOLERANCE_S: Final = 300.0
"""How far the time of a signed delivery may be from now."""

MAX_TIMESTAMP: Final = 64
MAX_MESSAGE_ID: Final = 128
"""Bytes of what is signed beside the body; a longer one is not read."""

CANDIDATES: Final = 8
"""Signatures of one delivery that are compared: senders that rotate their secret send two."""

_SIGNATURE_BYTES: Final = 71
"""Length of the longest signature, `sha256=` and hex."""

_NO_SIGNATURE: Final = bytes(_SIGNATURE_BYTES)

_NUMBERS: Final = {name: number for number, name in enumerate(SIGNATURES)}

_VYROX: Final = b"x-vyrox-signature"


class _Signed(NamedTuple):
    """What a scheme compares, and what is signed around the body, as long for each scheme.

    Attributes:
        candidates: CANDIDATES presented signatures; those that are missing are empty.
        time: The time that is signed, or None.
        message_id: The sender's own name of the delivery, if it is signed.
    """

    candidates: tuple[bytes, ...]
    before: bytes
    after: bytes
    time: bytes | None = None
    message_id: bytes | None = None


def authenticate_signed(
    body: bytes, headers: Headers, vendor: Vendor, credentials: Credentials, now: float
) -> tuple[Tenant, int, bytes | None]:
    """Return the tenant that has signed `body`, its secret's index, and its name of the delivery.

    Args:
        body: The bytes as received.
        now: Unix seconds.

    Raises:
        UnauthorizedError: The signature is not right, or its time is too far from now.
    """
    scheme = _NUMBERS[credentials.options.signature]
    signed = _read(headers, vendor, credentials.options)
    message = b"%b%b%b" % (signed.before, body, signed.after)

    def matches(secret: bytes) -> bool:
        plain = hmac.digest(secret, body, "sha256").hex().encode()
        digest = hmac.digest(secret, message, "sha256")
        in_hex, in_base64 = digest.hex().encode(), b2a_base64(digest, newline=False)
        # In the order of SIGNATURES.
        expected = (b"sha256=" + plain, in_base64, in_hex, b"v1," + in_base64)[scheme]
        expected = expected.ljust(_SIGNATURE_BYTES, b"\0")
        # A list: all are compared.
        return True in [hmac.compare_digest(each, expected) for each in signed.candidates]

    tenant, slot = match_secrets(
        credentials, matches, presented=signed.candidates[0] != _NO_SIGNATURE
    )
    if signed.message_id == b"" or (signed.time is not None and not _is_fresh(signed.time, now)):
        raise UnauthorizedError("stale", credentials.tenant_id)
    return tenant, slot, signed.message_id


def authenticate_secret(
    body: bytes, headers: Headers, credentials: Credentials, *, own_header: bool
) -> tuple[Tenant, int]:
    """Return the tenant whose secret the delivery carries, and the secret's index.

    The secret is a bearer token. It may be in the tenant's own header or, if the tenant allows it,
    sign the body instead. More than one credential is refused.

    Args:
        own_header: Whether the tenant's own header is read.

    Raises:
        UnauthorizedError: No secret matches.
    """
    options = credentials.options
    header = options.secret_header.encode() if own_header else b""
    tokens = [bearer_token([each]) for each in _values(headers, b"authorization")]
    tokens += _values(headers, header)
    token = tokens[0] if len(tokens) == 1 else None
    digest = sha256(token or b"").digest()
    signatures = _values(headers, _VYROX)
    signature = signatures[0] if len(signatures) == 1 else b""

    def matches(secret: bytes) -> bool:
        by_token = hmac.compare_digest(digest, sha256(secret).digest()) and token is not None
        # Only the request decides whether this is computed, so it costs the same for every tenant.
        by_signature = bool(signatures) and verify(body, signature, secret)
        if options.also_signature and signatures:
            return by_signature and not tokens
        return by_token

    presented = bool(tokens or (signatures and options.also_signature))
    return match_secrets(credentials, matches, presented=presented)


def _read(headers: Headers, vendor: Vendor, options: WebhookOptions) -> _Signed:
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        values[name] = b"" if name in values else value  # one that is sent twice counts for nothing
    time = _short(values, options.timestamp_header.encode(), MAX_TIMESTAMP)
    standard_time = _short(values, b"webhook-timestamp", MAX_TIMESTAMP)
    message_id = _short(values, b"webhook-id", MAX_MESSAGE_ID)
    standard = b"%b.%b." % (message_id, standard_time)
    by_falcon = values.get(options.signature_header.encode(), b"")
    by_standard = values.get(b"webhook-signature", b"").split(b" ", CANDIDATES)
    by_vyrox = values.get(_VYROX, b"")
    match options.signature:
        case "falcon":
            return _Signed(_padded(by_falcon), b"", time, time)
        case "falcon-hex":
            return _Signed(_padded(by_falcon), time, b"", time)
        case "standard":
            return _Signed(_padded(*by_standard), standard, b"", standard_time, message_id)
        case _:
            return _Signed(_padded(by_vyrox), b"", standard if vendor == "generic" else time)


def _short(values: dict[bytes, bytes], name: bytes, limit: int) -> bytes:
    value = values.get(name, b"")
    return value if len(value) <= limit else b""


def _padded(*signatures: bytes) -> tuple[bytes, ...]:
    # All of one length: comparing takes as long as the signature that is expected is long.
    some = (*signatures, *[b""] * CANDIDATES)[:CANDIDATES]
    return tuple([each.ljust(_SIGNATURE_BYTES, b"\0") for each in some])


def _is_fresh(time: bytes, now: float) -> bool:
    seconds = seconds_of(time.decode("ascii", "replace"))
    return seconds is not None and abs(now - seconds) <= TOLERANCE_S


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for header, value in headers if header == name]
