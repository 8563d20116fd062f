"""URLs of channels beside webhooks: which services, and what a URL may ask for (contract 69).

The package `apprise` knows more than a hundred services. Some of them run programs, write files or
read them, and some parameters name a file or another host. So only what is listed here is taken.
"""

from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from vyrox.notify.url import require_printable

_EMAIL: Final = frozenset(
    {"to", "cc", "bcc", "from", "name", "reply", "smtp", "mode", "user", "pass"}
)
_NTFY: Final = frozenset({"to", "priority", "mode", "token", "auth", "tags", "xtags"})
_MATRIX: Final = frozenset({"to", "mode", "token", "version", "v", "msgtype"})
_TEAMS: Final = frozenset({"id", "sig", "ver", "api-version", "pa", "powerautomate", "route"})

PARAMETERS: Final[dict[str, frozenset[str]]] = {
    "slack": frozenset({"to", "token", "mode", "footer", "timestamp", "blocks"}),
    "workflow": _TEAMS,
    "workflows": _TEAMS,
    "mailtos": _EMAIL,
    "ntfys": _NTFY,
    "pagerduty": frozenset({"group", "class", "region", "severity"}),
    "opsgenie": frozenset({"to", "region", "priority", "entity", "alias", "tags"}),
    "tgram": frozenset({"to", "silent", "preview", "topic", "thread"}),
    "matrixs": _MATRIX,
}
"""By scheme, the parameters that a URL may have. `workflows` is Microsoft Teams."""

_OPEN: Final = {"ntfy": _NTFY, "matrix": _MATRIX, "mailto": _EMAIL}
"""Without TLS: for hosts that are allowed by name."""

_AMBIGUOUS: Final = frozenset(";\\")
"""`apprise` reads them as `&` and `/`. So what is checked here would not be what it uses."""

WITH_HOST: Final = frozenset({"workflow", "workflows", "mailtos", "mailto", "matrixs", "matrix"})
"""Schemes after which a host follows. After any other a secret follows."""


def parse_channel(text: str, allowed_hosts: AbstractSet[str]) -> str:
    """Return how the channel may be shown: its scheme, and its host if that is no secret.

    Args:
        allowed_hosts: Names and addresses to which messages may go without TLS.

    Raises:
        ValueError: It is not a URL that may be used. The text contains nothing secret of the URL.
    """
    parts = _split(text)
    scheme, host = parts.scheme, parts.hostname
    allowed = PARAMETERS.get(scheme)
    if allowed is None and scheme in _OPEN and host in allowed_hosts:
        allowed = _OPEN[scheme]
    if allowed is None:
        known = ", ".join(f"{each}://" for each in PARAMETERS)
        raise ValueError(
            f"must begin with one of {known}; without TLS, ntfy://, matrix:// and mailto:// are "
            "for hosts in NOTIFY_ALLOWED_HOSTS only"
        )
    if not host or (parts.fragment and scheme not in {"slack", "matrix", "matrixs"}):
        raise ValueError("has no host or key after the scheme, or has a fragment")
    # For `apprise` the parameters begin at the first question mark, also of a fragment.
    for name, value in parse_qsl(text.partition("?")[2], keep_blank_values=True):
        if name not in allowed or value.strip().lower() == "insecure":
            raise ValueError(
                f"has a parameter that {scheme} may not have; it may have: "
                + ", ".join(sorted(allowed))
            )
    return f"{scheme} {host}" if scheme in WITH_HOST else scheme


def _split(text: str) -> SplitResult:
    require_printable(text)
    if not _AMBIGUOUS.isdisjoint(text):
        raise ValueError("must not contain a semicolon or a backslash: write %3B or %5C")
    try:
        parts = urlsplit(text)
        # A port is a part of a host; in other URLs a secret may follow the colon.
        _ = parts.hostname, parts.port if parts.scheme in WITH_HOST else None
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.netloc.count("@") > 1:
        raise ValueError("must not contain a second @ before the host: write %40")
    return parts
