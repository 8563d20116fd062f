"""What the value of a setting may be, and how it is read.

Each function returns the value, or raises ValueError with what the setting takes. The text does not
repeat the value, which may be a secret.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from vyrox.models import BEARER_VENDORS, Vendor

T = TypeVar("T")

MIN_SECRET_BYTES: Final = 32
"""Shorter keys are guessable or weaken HMAC-SHA256 (RFC 2104: at least the digest's length)."""

MAX_SECRET_BYTES: Final = 1024
"""Of a webhook's secret: as a bearer token it has to fit into a header."""

_BEARER_TOKEN = re.compile(rb"[\x21-\x7e]+")
"""What a vendor can put behind `Authorization: Bearer`."""

_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
"""Fernet itself would take two keys with a space between them for the first one alone."""

_HOST_NAME = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
"""A name, or an address without brackets."""

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
"""One part of a domain name."""

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""Browsers read a host whose last part is a number as an IPv4 address. Source: WHATWG URL, 3.5."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class Read(Protocol):
    """How the settings of one part are read."""

    def __call__(self, name: str, default: None, parse: Callable[[str], T]) -> T | None:
        """Return the parsed value of a variable, or None if it is not set."""


def check_webhook_secret(vendor: Vendor, secret: bytes, private: Mapping[str, str]) -> None:
    """Return if `secret` can be the secret of a webhook of `vendor`.

    Args:
        private: The secrets of the private listener, by variable.

    Raises:
        ValueError: It cannot; the text says what it must be and holds nothing of it.
    """
    check_not_private(secret, private)
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"must be {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    if vendor in BEARER_VENDORS and _BEARER_TOKEN.fullmatch(secret) is None:
        raise ValueError("must be printable ASCII without spaces: it is a bearer token")


def check_not_private(secret: bytes, private: Mapping[str, str]) -> None:
    """Return if `secret` is not one of the private listener.

    Raises:
        ValueError: It is one of them; the text names which.
    """
    for name, other in private.items():
        if secret == other.encode():
            # Senders of alerts know it, and some send it as it is: they could contain any host.
            what = "reads alerts and audit logs" if "READ" in name else "signs containment"
            raise ValueError(f"must not be {name}, which {what}")


def check_ends(secret: str) -> None:
    """Return if no white space is at an end of `secret`.

    It is there by mistake, as a line end out of a file, and the other side signs without it.

    Raises:
        ValueError: White space is there.
    """
    if secret != secret.strip():
        raise ValueError("must not begin or end with white space")


def webhook_secret(vendor: Vendor, private: Mapping[str, str], text: str) -> bytes:
    """Return the default secret of a vendor. Raises as `check_webhook_secret`."""
    secret = _utf8(text)
    check_ends(text)
    check_webhook_secret(vendor, secret, private)
    return secret


def secret(text: str) -> str:
    """Return a secret that signs; it has at least MIN_SECRET_BYTES."""
    secret = _utf8(text)
    check_ends(text)
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes")
    return text


def _utf8(text: str) -> bytes:
    # Python decodes bytes of the environment that are not UTF-8 as lone surrogates.
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return what reads a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        # int() alone would take "1_000", " 12\n" and other scripts' digits.
        if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a whole number from {low} to {high}")

    return parse


def boolean(text: str) -> bool:
    """Return whether `text` is one of the words for yes."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be one of true, 1, yes, on, false, 0, no, off")


def log_format(text: str) -> Literal["text", "json"]:
    """Return the form of the log's lines."""
    match text:
        case "text" | "json" as form:
            return form
    raise ValueError("must be text or json")


def directory(text: str) -> Path:
    """Return the path. The directory need not exist."""
    if not text:
        raise ValueError("must name a directory")
    return Path(text)


def token(text: str) -> str:
    """Return a bearer token of a client, as another party has made it."""
    encoded = text.encode("utf-8", "replace")
    if len(text) > MAX_SECRET_BYTES or _BEARER_TOKEN.fullmatch(encoded) is None:
        raise ValueError(f"must be 1 to {MAX_SECRET_BYTES} printable ASCII characters, no spaces")
    return text


def model(text: str) -> str:
    """Return the name of a language model."""
    if not text.isprintable() or not 0 < len(text.strip()) <= 200 or text != text.strip():
        raise ValueError("must be 1 to 200 printable characters, without white space at the ends")
    return text


def host(text: str) -> str:
    """Return an address or a host name. It is resolved when a listener opens."""
    if not text:
        raise ValueError("must be an address or a host name")
    return text


def host_names(text: str) -> tuple[str, ...]:
    """Return host names and addresses, in lower case, an IPv6 address without brackets."""
    names = tuple(name.strip().strip("[]").lower() for name in text.split(","))
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError(
            "must be one or more host names or addresses, comma-separated, without https:// and "
            "without ports"
        )
    return names


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return networks and addresses."""
    try:
        found = tuple(ip_network(each.strip()) for each in text.split(","))
    except ValueError:
        raise ValueError(
            "must be one or more networks or addresses, comma-separated, such as "
            "10.0.0.0/8,2001:db8::1, without bits beyond the network's"
        ) from None
    if any(isinstance(each, IPv6Network) and "%" in str(each) for each in found):
        raise ValueError("must be networks without a zone")
    return found


def encryption_keys(text: str) -> tuple[str, ...]:
    """Return the Fernet keys, of which the first encrypts."""
    keys = tuple(key.strip() for key in text.split(","))
    if not all(_FERNET_KEY.fullmatch(key) for key in keys):
        raise ValueError(
            "must be one or more Fernet keys (32 bytes, URL-safe base64), comma-separated; "
            "make one with: vyrox generate-key"
        )
    return keys


def public_url(text: str) -> str:
    """Return an HTTP URL without a slash at its end."""
    # A password in it would be printed and logged.
    refused = ValueError("must be an http:// or https:// URL with a host, and without a query")
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError if the port is invalid
    except ValueError:
        raise refused from None
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password")
    unwanted = parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or unwanted:
        raise refused
    return text.rstrip("/")


def origin(text: str) -> str:
    """Return an origin that passkeys can be made for, as browsers write it (contract 66, A21)."""
    refused = ValueError(
        "must be https://NAME, https://NAME:PORT or http://localhost:PORT, without a path: "
        "browsers make no passkey for an address, nor over http for another name than localhost or "
        "NAME.localhost"
    )
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        raise refused from None
    name = parts.hostname or ""
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    is_local = name == "localhost" or name.endswith(".localhost")
    whole = f"{parts.scheme}://{name}" + ("" if port is None else f":{port}")
    if default_port is None or port == 0 or text.lower() != whole or not _is_domain(name):
        raise refused
    if parts.scheme == "http" and not is_local:
        raise refused
    return f"{parts.scheme}://{name}" + ("" if port in {None, default_port} else f":{port}")


def _is_domain(name: str) -> bool:
    labels = name.split(".")
    is_address = _NUMBER.fullmatch(labels[-1])
    return len(name) < 254 and all(map(_LABEL.fullmatch, labels)) and not is_address


def authority(url: str) -> tuple[str, int | None]:
    """Return the host and the port of a checked URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
