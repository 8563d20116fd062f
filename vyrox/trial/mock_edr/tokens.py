"""Who may call a mocked vendor: API clients, and the bearer tokens they are given."""

import hmac

import msgspec


class ApiClient(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A client that a customer has made at the vendor.

    Attributes:
        scopes: The permissions it has now; a token does not keep an older set.
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
    """What a bearer token stands for.

    Attributes:
        expires_at: Unix seconds of the mock's clock.
        audience: Which API takes it, where a vendor has more than one.
    """

    client_id: str
    expires_at: float
    audience: str = ""


def bearer(authorization: str | None) -> str | None:
    """Return the token of an Authorization header, or None where it holds no bearer token."""
    scheme, _, token = (authorization or "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None
