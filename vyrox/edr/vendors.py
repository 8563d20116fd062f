"""From a tenant's credentials to the client that acts for it."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

import httpx

from vyrox.clock import Clock, wall_clock
from vyrox.edr import defender, sentinelone
from vyrox.edr.client import VendorClient
from vyrox.edr.crowdstrike import client
from vyrox.edr.crowdstrike.client import CrowdStrike
from vyrox.edr.defender import Defender
from vyrox.edr.sentinelone import SentinelOne
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.rate_limits import (
    RetryingSender,
    Sleep,
    backoff,
    retry_after,
    retry_after_epoch,
)
from vyrox.edr.transport.tokens import ApiToken, BearerToken
from vyrox.edr.urls import check_base_url, default_base_url, login_url
from vyrox.errors import VendorError
from vyrox.models import Vendor

_SECRET: Final = re.compile(r"[\x21-\x7e]{1,4096}")
"""No other characters: h11 repeats a header that it cannot send in the text of its error."""

_AZURE_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?=[A-Za-z0-9])){0,252}")
"""A directory's GUID, or one of its domains: it becomes a part of the token's URL."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """What a tenant has given for one vendor; its repr shows nothing.

    Attributes:
        secret: The client's secret; SentinelOne's API token.
        client_id: Of CrowdStrike's API client, of Microsoft's application.
        azure_tenant: The directory in which Microsoft's application is.
        base_url: Where the vendor's API is; None is the vendor's default.
    """

    vendor: Vendor
    secret: str
    client_id: str | None = None
    azure_tenant: str | None = None
    base_url: str | None = None


def make_client(
    credentials: Credentials,
    http: httpx.AsyncClient,
    test_root: str | None,
    *,
    clock: Clock = wall_clock,
    sleep: Sleep = asyncio.sleep,
) -> VendorClient:
    """Return a client for one tenant at one vendor; it keeps its token as long as it lives.

    Args:
        http: From `open_http`.
        test_root: See `check_base_url`.
        clock: For the absolute time in CrowdStrike's rate limit, and the age of Defender's actions.
        sleep: What waits where a vendor wants to be left alone, and between looks at a kill.

    Raises:
        VendorError: The credentials are incomplete, or name an address that is not the vendor's,
            whatever was checked when they were stored.
    """
    try:
        base_url = check_base_url(
            credentials.vendor,
            credentials.base_url or default_base_url(credentials.vendor) or "",
            test_root,
        )
    except ValueError as exc:
        raise VendorError(f"credentials unusable: {exc}") from exc
    secret = _printable("secret", credentials.secret)
    if credentials.vendor == "sentinelone":
        patience = RetryingSender(http, backoff, sleep)
        return SentinelOne(VendorApi(base_url, patience, ApiToken(secret), sentinelone.REFUSALS))
    client_id = _printable("client id", credentials.client_id)
    if credentials.vendor == "crowdstrike":
        patience = RetryingSender(http, retry_after_epoch(clock), sleep)
        call = client.token_call(base_url, client_id, secret)
        return CrowdStrike(
            VendorApi(base_url, patience, BearerToken(patience, call), client.REFUSALS)
        )
    if not _AZURE_TENANT.fullmatch(credentials.azure_tenant or ""):
        raise VendorError("credentials unusable: no directory of Microsoft's")
    patience = RetryingSender(http, retry_after, sleep)
    login = login_url(base_url, test_root)
    call = defender.token_call(login, credentials.azure_tenant or "", client_id, secret)
    return Defender(
        VendorApi(base_url, patience, BearerToken(patience, call), defender.REFUSALS), clock
    )


def _printable(what: str, text: str | None) -> str:
    if not _SECRET.fullmatch(text or ""):
        raise VendorError(f"credentials unusable: {what} missing, or of odd characters")
    return text or ""
