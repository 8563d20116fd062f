"""Where the stores are, for people: never with a login, nor with parameters."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from vyrox.models import Sentinels


def database_place(url: str | None, data_dir: Path) -> str:
    """Return the place of the database that `Settings.database_url` names."""
    if url is None:
        return f"SQLite in {data_dir.absolute()}"
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    tls = {
        "verify-full": ", TLS",
        "verify-ca": ", TLS",
        "require": ", TLS, certificate not checked",
    }
    how = tls.get(query.get("sslmode", ""), "")
    return f"PostgreSQL at {_address(url) or query.get('host', '')}{parts.path}{how}"


def queue_place(url: str | Sentinels | None) -> str:
    """Return the place of the Redis that `Settings.redis_url` names."""
    if url is None:
        return "Valkey of this service, in the data directory"
    if isinstance(url, Sentinels):
        hosts = ", ".join(f"{host}:{port}" for host, port in url.hosts)
        return f"Redis {url.service}, of the Sentinels {hosts}"
    parts = urlsplit(url)
    return f"Redis at {_address(url)}{parts.path}"


def _address(url: str) -> str:
    """Return host and port."""
    return urlsplit(url).netloc.rpartition("@")[2]
