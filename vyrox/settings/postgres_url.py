"""`DATABASE_URL`, as Neon, Heroku, RDS and Supabase hand it out (contract 102).

Libpq's names of parameters are the common language, and asyncpg reads most of them. What it cannot
do is answered with what protects at least as well, or refused.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vyrox.models import SYSTEM_AUTHORITIES

_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
"""Source: libpq, `sslmode`."""

_CHANNEL_BINDING: Final = frozenset({"disable", "prefer", "require"})
_SESSIONS: Final = frozenset(
    {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
)

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^\[\]:,/?#\s]+)(?::([0-9]{1,5}))?")
"""One host of the authority, with its port."""

_OTHER_NAMES: Final[Mapping[str, str]] = {"ssl": "sslmode", "sslca": "sslrootcert"}
"""What other drivers call it."""


def database_url(text: str) -> str:
    """Return the URL of a PostgreSQL, with TLS to another machine unless it says otherwise.

    Raises:
        ValueError: What the variable takes; the value is not repeated.
    """
    refused = ValueError("must be a postgres:// or postgresql:// URL with a host")
    try:
        parts = urlsplit(text)
        query = _query(parts.query)
    except ValueError as exc:
        raise exc if str(exc).startswith("takes") else refused from None
    if parts.scheme not in {"postgres", "postgresql"} or parts.fragment:
        raise refused
    login, at, authority = parts.netloc.rpartition("@")
    hosts = _hosts(authority)
    if hosts is None or not (hosts or query.get("host")):
        raise refused
    given = hosts or [unquote(name) for name in query["host"].split(",")]
    _secure(query, all(_is_here(name) for name in given))
    rest = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql://{login}{at}{authority}{parts.path}{rest}"


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
        if name not in _PARAMETERS:
            near = get_close_matches(_OTHER_NAMES.get(name, name), _PARAMETERS, n=1)
            hint = f"; {near[0]}?" if near else ""
            # The name of an unknown parameter can hold a part of a password.
            raise ValueError(f"takes no parameters but {', '.join(sorted(_PARAMETERS))}{hint}")
        if name in query:
            raise ValueError(f"takes {name} only once")
        _PARAMETERS[name](name, value)
        query[name] = value
    query.pop("pgbouncer", None)  # for Prisma; Vyrox finds out by itself
    return query


def _hosts(authority: str) -> list[str] | None:
    """Return the hosts, none if there is no authority; None if it is invalid."""
    if not authority:
        return []
    found = [_HOST.fullmatch(each) for each in authority.split(",")]
    hosts = [each[1].strip("[]") for each in found if each and int(each[2] or 0) <= 65535]
    return hosts if len(hosts) == len(found) else None


def _is_here(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _secure(query: dict[str, str], is_here: bool) -> None:
    """Settle what `query` says of TLS.

    asyncpg cannot bind SCRAM to the TLS channel. Who requires that wants no other
    server in its place: a checked certificate shuts that out as well.
    """
    binding = query.pop("channel_binding", "prefer")
    if binding == "require":
        if query.get("sslmode") == "disable":
            raise ValueError("takes channel_binding=require only with TLS, not sslmode=disable")
        query["sslmode"] = "verify-full"
    elif not is_here:
        query.setdefault("sslmode", "require")
    if query.get("sslmode") == "require" and "sslrootcert" in query:
        query["sslmode"] = "verify-ca"  # as libpq reads it
    if query.get("sslmode", "").startswith("verify-"):
        query.setdefault("sslrootcert", SYSTEM_AUTHORITIES)


def _one_of(values: frozenset[str]) -> Callable[[str, str], None]:
    def check(name: str, value: str) -> None:
        if value not in values:
            raise ValueError(f"takes as {name} one of {', '.join(sorted(values))}")

    return check


def _file(name: str, value: str) -> None:
    if (name, value) != ("sslrootcert", SYSTEM_AUTHORITIES) and not Path(value).is_file():
        raise ValueError(f"takes as {name} the path of a file that can be read; it is not there")


def _any(_name: str, _value: str) -> None:
    pass


_PARAMETERS: Final[Mapping[str, Callable[[str, str], None]]] = {
    "channel_binding": _one_of(_CHANNEL_BINDING),
    "host": _any,
    "options": _any,
    "pgbouncer": _one_of(frozenset({"true", "false"})),
    "sslcert": _file,
    "sslkey": _file,
    "sslmode": _one_of(_SSL_MODES),
    "sslrootcert": _file,
    "target_session_attrs": _one_of(_SESSIONS),
}
