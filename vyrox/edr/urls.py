"""Placeholder."""

from typing import Final

from vyrox.models import EdrVendor

DEFAULT_BASE_URLS: Final[dict[EdrVendor, str]] = {
    "crowdstrike": "https://api.crowdstrike.com",
    "sentinelone": "",
    "defender": "https://api.security.microsoft.com",
}


def check_base_url(vendor: EdrVendor, url: str, test_root: str | None) -> str:
    """Placeholder."""
    return url
