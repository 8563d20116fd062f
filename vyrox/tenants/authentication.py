"""Authentication of webhooks: returns the `Tenant` whose secret fits (contract 3, 4 and 6).

Every failure raises the same `UnauthorizedError` and takes the same time: two secrets are always
tried, each over the whole body. A random key replaces a secret that does not exist. So neither the
response nor its time shows whether a tenant exists, or whether its secret is being rotated.
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
"""Length of an `Authorization` header that is read."""

_SLOTS: Final = 2
"""Secrets that are tried: the present one, and the previous one of a rotation."""

_DUMMY_SECRETS: Final = tuple(secrets.token_bytes(32) for _ in range(_SLOTS + 1))
"""Replace secrets that do not exist; random in each process. They differ from each other: a second
use of the same key could be faster, because it is in the processor's cache. There is one more than
needed, so that the tuple is always sliced: a slice of a whole tuple makes no copy."""

_FAILURES: Final = (("unknown_tenant", "no_secret"), ("wrong", "wrong"))
"""Indexed by: is there a secret, is the tenant onboarded. A dict would take longer for some keys
than for others."""


def authenticate_signature(
    body: bytes, signature_headers: Sequence[bytes], credentials: Credentials
) -> tuple[Tenant, int]:
    """Return the tenant whose secret signed `body`, and the index of the secret (0 = present one).

    Args:
        body: The bytes as received.
        signature_headers: The values of all `X-Vyrox-Signature` headers in the request.

    Raises:
        UnauthorizedError: There is not exactly one header, or it matches no secret.
    """
    signature = signature_headers[0] if len(signature_headers) == 1 else b""
    return match_secrets(
        credentials,
        lambda secret: verify(body, signature, secret),
        presented=len(signature_headers) > 0,
    )


def authenticate_bearer(
    authorization_headers: Sequence[bytes], credentials: Credentials
) -> tuple[Tenant, int]:
    """Return the tenant whose secret is the bearer token, and the secret's index (0 = present one).

    Args:
        authorization_headers: The values of all `Authorization` headers in the request.

    Raises:
        UnauthorizedError: There is not exactly one header `Bearer <token>`, or no secret matches.
    """
    token = bearer_token(authorization_headers)
    # Compare digests, so that the time does not depend on the length of the secret.
    digest = sha256(token or b"").digest()
    return match_secrets(
        credentials,
        lambda secret: hmac.compare_digest(digest, sha256(secret).digest()) and token is not None,
        presented=len(authorization_headers) > 0,
    )


def bearer_token(headers: Sequence[bytes]) -> bytes | None:
    """Return the token of the only header `Bearer <token>`, or None."""
    if len(headers) != 1 or len(headers[0]) > MAX_BEARER_BYTES:
        return None
    scheme, _, token = headers[0].partition(b" ")
    return token if scheme.lower() == b"bearer" and token else None


def match_secrets(
    credentials: Credentials, matches: Callable[[bytes], bool], *, presented: bool
) -> tuple[Tenant, int]:
    """Return the tenant of the secret for which `matches` is true, and the secret's index.

    Args:
        presented: Whether the request has a credential at all, for the log.

    Raises:
        UnauthorizedError: No secret matches.
    """
    # Always the same steps: the time must not show whether the tenant exists (contract 3).
    existing = credentials.secrets
    tried = (*existing, *_DUMMY_SECRETS)[:_SLOTS]
    matched = [matches(secret) for secret in tried]
    for slot in range(_SLOTS):
        if matched[slot] and slot < len(existing):
            return Tenant(credentials.tenant_id, credentials.field_map), slot
    raise UnauthorizedError(_failure(credentials, presented), credentials.tenant_id or None)


def _failure(credentials: Credentials, presented: bool) -> str:
    if not presented:
        return "missing"
    return _FAILURES[len(credentials.secrets) > 0][credentials.onboarded]
