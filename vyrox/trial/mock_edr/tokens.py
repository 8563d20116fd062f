"""The API clients of a mocked vendor, and their bearer tokens."""

import hmac

import msgspec


class ApiClient(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A client that a customer has created at the vendor.

    Attributes:
        scopes: Its present permissions. They apply to all its tokens.
        secret_expires_at: Unix seconds, or None for never.
    """

    client_id: str
    client_secret: str
    scopes: set[str]
    secret_expires_at: float | None = None

    def __repr__(self) -> str:
        """Leave the secret out: a failing test would print it."""
        return f"ApiClient(client_id={self.client_id!r}, scopes={sorted(self.scopes)!r})"

    def has_secret(self, sent: str) -> bool:
        """Return whether `sent` is its secret."""
        return hmac.compare_digest(sent.encode(), self.client_secret.encode())


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client and the expiry of a bearer token.

    Attributes:
        expires_at: Unix seconds of the mock's clock.
        audience: The API that accepts it, if a vendor has more than one.
    """

    client_id: str
    expires_at: float
    audience: str = ""


def bearer(authorization: str | None) -> str | None:
    """Return the token of an Authorization header, or None if it contains no bearer token."""
    scheme, _, token = (authorization or "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None
