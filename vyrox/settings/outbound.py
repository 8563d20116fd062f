"""How other servers are reached: a proxy, and certificates of one's own (contract 73)."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vyrox.models import Outbound
from vyrox.settings import values

MAX_CA_BYTES: Final = 4 << 20
"""The certificates of all public authorities need 300 KB."""

_IGNORED: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,2048}")


def read_outbound(read: values.Read, env: Mapping[str, str]) -> Outbound:
    """Return the way out that `env` names.

    Raises:
        SettingsError: A value is bad.
    """
    ignored = [name for name in env if name.upper() in _IGNORED and env[name]]
    return Outbound(
        proxy=read("OUTBOUND_PROXY", None, _proxy),
        ca=read("OUTBOUND_CA_FILE", None, _certificates),
        ignored=tuple(sorted(ignored)),
    )


def _proxy(text: str) -> str:
    refused = ValueError(
        "must be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ or not"
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refused from None
    unwanted = parts.path.strip("/") or parts.query or parts.fragment
    is_url = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    if unwanted or not is_url or _PRINTABLE.fullmatch(text) is None:
        raise refused
    return text.rstrip("/")


def _certificates(text: str) -> str:
    refused = ValueError("must name a readable file of certificates in PEM form")
    try:
        with Path(text).open("rb") as opened:
            pem = opened.read(MAX_CA_BYTES + 1).decode("ascii", "replace")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise refused from None
    if len(pem) > MAX_CA_BYTES:
        raise refused
    return pem
