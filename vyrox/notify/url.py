"""The URL of a target. Its path and its query may be a secret: a repr shows neither."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2048
"""Characters of a URL."""

PORTS: Final = {"https": 443, "http": 80}
"""The port of a URL that names none."""


@dataclass(frozen=True)
class Endpoint:
    """A URL in its parts.

    Attributes:
        host: The name or the address, in lower case, an IPv6 address without brackets.
        authority: Host and port as the Host header has them. This may be shown.
        target: The path with the query.
    """

    scheme: str
    host: str
    port: int
    authority: str
    target: str = field(repr=False)


def parse_url(text: str, allowed_hosts: AbstractSet[str]) -> Endpoint:
    """Return the parts of the URL `text`.

    Args:
        allowed_hosts: Names and addresses for which http is accepted too.

    Raises:
        ValueError: It is not a URL that may be used. The text contains nothing of the URL.
    """
    require_printable(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in PORTS or not host:
        raise ValueError("must begin with https:// and a host")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must not contain a user name, a password or a fragment")
    if parts.scheme == "http" and host not in allowed_hosts:
        raise ValueError("must begin with https://; http is for hosts in NOTIFY_ALLOWED_HOSTS only")
    if port == 0:
        raise ValueError("has the port 0")
    path = parts.path or "/"
    return Endpoint(
        scheme=parts.scheme,
        host=host,
        port=port or PORTS[parts.scheme],
        authority=parts.netloc.lower(),
        target=f"{path}?{parts.query}" if parts.query else path,
    )


def require_printable(text: str) -> None:
    """Check what holds for every URL of a target.

    Raises:
        ValueError: It is too long, or has a character that no URL has.
    """
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"must be printable ASCII without spaces, at most {MAX_URL} characters")
