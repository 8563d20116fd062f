"""`REDIS_URL`: one server, or the primary that Sentinels name (contract 102)."""

from typing import Final
from urllib.parse import parse_qs, urlsplit

from vyrox.store_urls import sentinels_of

_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def redis_url(text: str) -> str:
    """Return the URL, which redis-py takes and which sets none of the client's options.

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
    return text


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
