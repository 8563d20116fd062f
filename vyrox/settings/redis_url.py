"""`REDIS_URL`: one server, or the primary that Sentinels name (contract 102)."""

import re
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from vyrox.models import Sentinels

_SCHEMES: Final = ("redis://", "rediss://", "unix://")


_SENTINEL: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
"""The scheme of a URL that names Sentinels, and that of the servers behind them."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_SERVICE: Final = re.compile(r"/([A-Za-z0-9._-]{1,128})")

_DEFAULT_PORT: Final = 26379


def redis_url(text: str) -> str | Sentinels:
    """Return the URL, or the Sentinels that it names. It sets none of the client's options.

    Raises:
        ValueError: What the variable takes; the value is not repeated.
    """
    sentinels = sentinels_of(text)
    single = text if sentinels is None else sentinels.url
    if not single.startswith(_SCHEMES):
        raise ValueError(
            "must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
        )
    # Others go before what `store.redis.connect` asks for, and can undo it: its time limits, the
    # form of the replies.
    _check(single)
    return sentinels or text


def _check(url: str) -> None:
    # Imported only if the variable is set: most commands do without.
    import redis.asyncio
    import redis.exceptions

    # Not refused in the library's words, which can repeat the URL and with it the password.
    refused = ValueError("must be a redis://, rediss:// or unix:// URL that redis-py takes")
    try:
        # Makes a connection without opening it, which is when redis-py checks the parameters.
        pool = redis.asyncio.ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.exceptions.RedisError):
        raise refused from None
    names = parse_qs(urlsplit(url).query).keys()
    if not all(name == "db" or name.startswith("ssl_") for name in names):
        raise ValueError("takes no parameters but db and those that begin with ssl_")


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
