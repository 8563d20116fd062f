"""Where the stores are, for people: never with a login, nor with parameters."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit


def database_place(url: str | None, data_dir: Path) -> str:
    """Return the place of the database that `Settings.database_url` names."""
    if url is None:
        return f"SQLite in {data_dir.absolute()}"
    parts = urlsplit(url)
    socket = parse_qs(parts.query).get("host", [""])[0]
    return f"PostgreSQL at {_address(url) or socket}{parts.path}"


def queue_place(url: str | None) -> str:
    """Return the place of the Redis that `Settings.redis_url` names."""
    if url is None:
        return "Valkey of this service, in the data directory"
    parts = urlsplit(url)
    return f"Redis at {_address(url)}{parts.path}"


def _address(url: str) -> str:
    """Return host and port."""
    return urlsplit(url).netloc.rpartition("@")[2]
