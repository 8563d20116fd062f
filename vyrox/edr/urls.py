"""The allowed addresses of the vendors' APIs. A server at any other address would get the secret.

Source: CrowdStrike, gofalcon `falcon/cloud.go`; SentinelOne, the console's address; Microsoft,
`defender-endpoint/api/`, "Use the nearest geographical region".
"""

import re
from typing import Final, NamedTuple

from vyrox.models import Vendor

_CROWDSTRIKE: Final = (
    "https://api.crowdstrike.com",
    "https://api.us-2.crowdstrike.com",
    "https://api.us-3.crowdstrike.com",
    "https://api.eu-1.crowdstrike.com",
    "https://api.laggar.gcw.crowdstrike.com",
    "https://api.us-gov-2.crowdstrike.mil",
)
_DEFENDER_WORLDWIDE: Final = (
    "https://api.security.microsoft.com",
    "https://us.api.security.microsoft.com",
    "https://eu.api.security.microsoft.com",
    "https://uk.api.security.microsoft.com",
    "https://au.api.security.microsoft.com",
    "https://swa.api.security.microsoft.com",
    "https://api.securitycenter.microsoft.com",
)


class MicrosoftCloud(NamedTuple):
    """The addresses of one of Microsoft's clouds.

    Attributes:
        login: Where tokens are issued.
        graph: Where alerts are read.
        scope: Of a token for machine actions.
        graph_scope: Of a token for alerts. Each API refuses the other's tokens.
    """

    login: str
    graph: str
    scope: str
    graph_scope: str


_WORLDWIDE: Final = MicrosoftCloud(
    "https://login.microsoftonline.com",
    "https://graph.microsoft.com",
    "https://api.securitycenter.microsoft.com/.default",
    "https://graph.microsoft.com/.default",
)
_GCC: Final = "https://api-gcc.securitycenter.microsoft.us"
_GCC_HIGH: Final = "https://api-gov.securitycenter.microsoft.us"
_GOVERNMENT: Final = {
    _GCC: _WORLDWIDE._replace(scope=f"{_GCC}/.default"),
    _GCC_HIGH: MicrosoftCloud(
        "https://login.microsoftonline.us",
        "https://graph.microsoft.us",
        f"{_GCC_HIGH}/.default",
        "https://graph.microsoft.us/.default",
    ),
}
"""Microsoft's clouds for the US government. GCC uses the worldwide login.

Source: Microsoft Learn, "Microsoft Defender for Endpoint for US Government customers", API;
"National cloud deployments", Microsoft Graph.
"""

_DEFENDER: Final = (*_DEFENDER_WORLDWIDE, *_GOVERNMENT)
_KNOWN: Final[dict[Vendor, tuple[str, ...]]] = {
    "crowdstrike": _CROWDSTRIKE,
    "defender": _DEFENDER,
}
_SENTINELONE: Final = re.compile(
    r"https://[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.(?:sentinelone|s1gov)\.net"
)
"""Each customer has its own console, one label below the vendor's domain, or below the one of its
cloud for the US government."""


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


def microsoft_cloud(base_url: str, test_root: str | None) -> MicrosoftCloud:
    """Return the cloud of a checked `base_url` of Defender."""
    if test_root and base_url == _below(test_root, "defender"):
        return _WORLDWIDE._replace(login=f"{base_url}/login", graph=f"{base_url}/graph")
    return _GOVERNMENT.get(base_url, _WORLDWIDE)


def _below(test_root: str, vendor: Vendor) -> str:
    return f"{test_root.removesuffix('/')}/{vendor}"
