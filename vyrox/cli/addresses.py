"""Where the listeners of this machine's service are reached."""

from typing import Final

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
"""What listens on all addresses is reached on this one."""


def base_url(host: str, port: int) -> str:
    """Return the URL, without a path, of what listens on `host` and `port`."""
    reached = _LOOPBACK.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
