"""Authentication of webhooks over raw bytes: a credential in, a `Tenant` out (contract 3, 4, 6).

Every failure is the same `UnauthorizedError`, and costs the same: two secrets are tried, for a
signature each over the whole body, with a random key in the place of one that is not there. So
neither the answer nor its time tells a tenant that exists from one that does not, or one in
rotation from another.
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from vyrox.crypto import verify
from vyrox.errors import UnauthorizedError
from vyrox.models import Tenant
from vyrox.tenants.directory import Credentials

MAX_BEARER_BYTES: Final = 4096

_SLOTS: Final = 2

_NO_SECRETS: Final = tuple(secrets.token_bytes(32) for _ in range(_SLOTS + 1))
"""Stand in for secrets that are not there. Made anew by every process; nobody can know them. No
two are one: after a large body each has to be fetched again. One more than is tried, so that they
are shortened for everybody: a slice of all is no copy."""

_FAILURES: Final = (("unknown_tenant", "no_secret"), ("bad_credential", "bad_credential"))
"""By whether there is a secret, and whether the tenant is onboarded. A dict of the same would take
longer for one of the keys than for another."""


def authenticate_signature(
    body: bytes, signature_headers: Sequence[bytes], credentials: Credentials
) -> tuple[Tenant, int]:
    """Return the tenant whose secret signed `body`, and which of its secrets did (0 = present one).

    Args:
        body: The bytes as received.
        signature_headers: The values of every `X-Vyrox-Signature` header in the request.

    Raises:
        UnauthorizedError: Not exactly one header, malformed, or made with none of the secrets.
    """
    signature = signature_headers[0] if len(signature_headers) == 1 else b""
    return _authenticate(
        credentials,
        lambda secret: verify(body, signature, secret),
        presented=len(signature_headers) > 0,
    )


def authenticate_bearer(
    authorization_headers: Sequence[bytes], credentials: Credentials
) -> tuple[Tenant, int]:
    """Return the tenant whose secret is the bearer token, and which of its secrets (0 = present).

    Args:
        authorization_headers: The values of every `Authorization` header in the request.

    Raises:
        UnauthorizedError: Not exactly one header, not `Bearer <token>`, or none of the secrets.
    """
    token = _bearer_token(authorization_headers)
    # Digests are compared, so that the time does not depend on how long the secret is.
    digest = sha256(token or b"").digest()
    return _authenticate(
        credentials,
        lambda secret: hmac.compare_digest(digest, sha256(secret).digest()) and token is not None,
        presented=len(authorization_headers) > 0,
    )


def _bearer_token(headers: Sequence[bytes]) -> bytes | None:
    if len(headers) != 1 or len(headers[0]) > MAX_BEARER_BYTES:
        return None
    scheme, _, token = headers[0].partition(b" ")
    return token if scheme.lower() == b"bearer" and token else None


def _authenticate(
    credentials: Credentials, matches: Callable[[bytes], bool], *, presented: bool
) -> tuple[Tenant, int]:
    # The same steps whatever there is: the time must not tell who is a tenant (contract 3).
    held = credentials.secrets
    tried = (*held, *_NO_SECRETS)[:_SLOTS]
    matched = [matches(secret) for secret in tried]
    for slot in range(_SLOTS):
        if matched[slot] and slot < len(held):
            return Tenant(credentials.tenant_id, credentials.field_map), slot
    raise UnauthorizedError(_failure(credentials, presented), credentials.tenant_id or None)


def _failure(credentials: Credentials, presented: bool) -> str:
    if not presented:
        return "missing_credential"
    return _FAILURES[len(credentials.secrets) > 0][credentials.onboarded]
