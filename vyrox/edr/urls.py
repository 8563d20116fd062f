"""The allowed addresses of the vendors' APIs. A server at any other address would get the secret.

Source: CrowdStrike, gofalcon `falcon/cloud.go`; SentinelOne, the console's address; Microsoft,
`defender-endpoint/api/`, "Use the nearest geographical region".
"""

import re
from typing import Final

from vyrox.models import Vendor

_CROWDSTRIKE: Final = (
    "https://api.crowdstrike.com",
    "https://api.us-2.crowdstrike.com",
    "https://api.us-3.crowdstrike.com",
    "https://api.eu-1.crowdstrike.com",
    "https://api.laggar.gcw.crowdstrike.com",
    "https://api.us-gov-2.crowdstrike.mil",
)
_DEFENDER: Final = (
    "https://api.security.microsoft.com",
    "https://us.api.security.microsoft.com",
    "https://eu.api.security.microsoft.com",
    "https://uk.api.security.microsoft.com",
    "https://au.api.security.microsoft.com",
    "https://swa.api.security.microsoft.com",
    "https://api.securitycenter.microsoft.com",
)
_KNOWN: Final[dict[Vendor, tuple[str, ...]]] = {
    "crowdstrike": _CROWDSTRIKE,
    "defender": _DEFENDER,
}
_SENTINELONE: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.sentinelone\.net")
"""Each customer has its own console, one label below the vendor's domain."""

_MICROSOFT_GRAPH: Final = "https://graph.microsoft.com"
_MICROSOFT_LOGIN: Final = "https://login.microsoftonline.com"


def default_base_url(vendor: Vendor) -> str | None:
    """Return the address that most customers use, or None if each customer has its own."""
    return _KNOWN[vendor][0] if vendor in _KNOWN else None


def check_base_url(vendor: Vendor, url: str, test_root: str | None) -> str:
    """Return `url` in the form of the allow-list: lower case, without a slash at the end.

    The whole text is compared, without parsing. Two parsers can disagree about where the host of an
    unusual URL ends.

    Args:
        url: From the operator or from the database.
        test_root: The address of the mock of the vendors, or None. The mock serves each vendor at
            a path below it, and that address is allowed too.

    Raises:
        ValueError: It is not an address of this vendor.
    """
    if test_root and url.removesuffix("/") == _below(test_root, vendor):
        return _below(test_root, vendor)
    # `lower()` turns some other letters, such as the Kelvin sign, into ASCII letters.
    spelled = url.lower().removesuffix("/") if url.isascii() else ""
    if spelled in _KNOWN.get(vendor, ()):
        return spelled
    if vendor == "sentinelone" and _SENTINELONE.fullmatch(spelled):
        return spelled
    addresses = ", ".join(_KNOWN.get(vendor, ("https://NAME.sentinelone.net",)))
    raise ValueError(f"is not one of the addresses of {vendor}: {addresses}")


def login_url(base_url: str, test_root: str | None) -> str:
    """Return the address of Microsoft's token endpoint, for a checked `base_url` of Defender."""
    if test_root and base_url == _below(test_root, "defender"):
        return f"{base_url}/login"
    return _MICROSOFT_LOGIN


def graph_url(base_url: str, test_root: str | None) -> str:
    """Return the address of Microsoft Graph, for a checked `base_url` of Defender."""
    if test_root and base_url == _below(test_root, "defender"):
        return f"{base_url}/graph"
    return _MICROSOFT_GRAPH


def _below(test_root: str, vendor: Vendor) -> str:
    return f"{test_root.removesuffix('/')}/{vendor}"
