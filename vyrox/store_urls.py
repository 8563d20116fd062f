"""What the URLs of the stores say beyond what the drivers read (contract 102)."""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

SYSTEM_AUTHORITIES: Final = "system"
"""As `sslrootcert`: the authorities that this machine trusts. Source: libpq 16."""

_SENTINEL: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""The scheme of a URL that names Sentinels, and that of the servers behind them."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_SERVICE: Final = re.compile(r"/([A-Za-z0-9._-]{1,128})")

_DEFAULT_PORT: Final = 26379


class Sentinels(NamedTuple):
    """Where to ask for the primary.

    Attributes:
        service: What the Sentinels call it.
        url: Login, database and TLS of primary and Sentinels, as a URL of one server.
        login: With which the Sentinels themselves are asked: user and password, or empty.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    url: str
    login: tuple[str, str]


def sentinels_of(text: str) -> Sentinels | None:
    """Return what a URL of Sentinels says; None for a URL of one server.

    `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE?db=0`. With `sentinel_username` and
    `sentinel_password` the Sentinels have a login of their own.

    Raises:
        ValueError: What such a URL must be.
    """
    if not text.startswith(tuple(f"{scheme}://" for scheme in _SENTINEL)):
        return None
    refused = ValueError(
        "must be redis+sentinel://HOST:PORT,HOST:PORT/SERVICE with the name that the Sentinels "
        "give the primary"
    )
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise refused from None
    login, at, authority = parts.netloc.rpartition("@")
    found = [_HOST.fullmatch(each) for each in authority.split(",")]
    service = _SERVICE.fullmatch(parts.path)
    hosts = tuple((each[1].strip("[]"), int(each[2] or _DEFAULT_PORT)) for each in found if each)
    if service is None or len(hosts) != len(found) or any(port > 65535 for _, port in hosts):
        raise refused
    username, password = (
        unquote(query.pop(f"sentinel_{name}", [""])[0]) for name in ("username", "password")
    )
    rest = "&".join(f"{name}={value}" for name, values in query.items() for value in values)
    # The host is a place holder: the Sentinels name the real one.
    url = urlunsplit((_SENTINEL[parts.scheme], f"{login}{at}sentinel", "", rest, ""))
    return Sentinels(hosts, service[1], url, (username, password))
