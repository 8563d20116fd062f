"""Make the client for a tenant's credentials."""

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
from vyrox.edr.urls import check_base_url, default_base_url, microsoft_cloud
from vyrox.errors import VendorError
from vyrox.models import Vendor

_SECRET: Final = re.compile(r"[\x21-\x7e]{1,4096}")
"""Other characters are rejected here: h11 would copy an invalid header into its error text."""

_AZURE_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?=[A-Za-z0-9])){0,252}")
"""A directory's GUID, or one of its domains. It becomes a part of the token URL."""


_MEMBER_CID: Final = re.compile(r"[0-9a-f]{32}")
"""Without the checksum, which the token endpoint does not take."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """One tenant's credentials for one vendor. The repr shows nothing.

    Attributes:
        secret: The client's secret, or SentinelOne's API token.
        client_id: The id of CrowdStrike's API client, or of Microsoft's application.
        azure_tenant: The directory of Microsoft's application.
        base_url: The address of the API. None: the vendor's default.
        member_cid: In Falcon Flight Control, the child that the parent's API client acts for.
    """

    vendor: Vendor
    secret: str
    client_id: str | None = None
    azure_tenant: str | None = None
    base_url: str | None = None
    member_cid: str | None = None


def make_client(
    credentials: Credentials,
    http: httpx.AsyncClient,
    test_root: str | None,
    *,
    clock: Clock = wall_clock,
    sleep: Sleep = asyncio.sleep,
) -> VendorClient:
    """Return a client for one tenant at one vendor. The client caches its token.

    Args:
        http: From `open_http`.
        test_root: See `check_base_url`.
        clock: For the absolute time in CrowdStrike's rate limit, and the age of Defender's actions.
        sleep: Waits after an HTTP 429, and between polls of a kill.

    Raises:
        VendorError: The credentials are incomplete, or their address is not one of the vendor's.
            They are checked here again, because the database can be changed by other means.
    """
    api = _open_api(credentials, http, test_root, clock, sleep, is_for_alerts=False)
    match credentials.vendor:
        case "sentinelone":
            return SentinelOne(api)
        case "crowdstrike":
            return CrowdStrike(api)
        case _:
            return Defender(api, clock)


def open_alerts(
    credentials: Credentials,
    http: httpx.AsyncClient,
    test_root: str | None,
    *,
    clock: Clock = wall_clock,
    sleep: Sleep = asyncio.sleep,
) -> VendorApi:
    """Return the API from which the vendor's alerts are read, with one tenant's credentials.

    The arguments and errors are those of `make_client`.
    """
    return _open_api(credentials, http, test_root, clock, sleep, is_for_alerts=True)


def _open_api(
    credentials: Credentials,
    http: httpx.AsyncClient,
    test_root: str | None,
    clock: Clock,
    sleep: Sleep,
    *,
    is_for_alerts: bool,
) -> VendorApi:
    base_url = _checked_base_url(credentials, test_root)
    secret = _printable("secret", credentials.secret)
    if credentials.vendor == "sentinelone":
        sender = RetryingSender(http, backoff, sleep)
        return VendorApi(base_url, sender, ApiToken(secret), sentinelone.REFUSALS)
    client_id = _printable("client id", credentials.client_id)
    if credentials.vendor == "crowdstrike":
        sender = RetryingSender(http, retry_after_epoch(clock), sleep)
        member_cid = credentials.member_cid
        if member_cid is not None and not _MEMBER_CID.fullmatch(member_cid):
            raise VendorError("credentials unusable: invalid member customer id")
        request = client.token_request(base_url, client_id, secret, member_cid)
        return VendorApi(base_url, sender, BearerToken(sender, request), client.REFUSALS)
    if not _AZURE_TENANT.fullmatch(credentials.azure_tenant or ""):
        raise VendorError("credentials unusable: invalid Azure tenant")
    sender = RetryingSender(http, retry_after, sleep)
    cloud = microsoft_cloud(base_url, test_root)
    request = defender.token_request(
        cloud.login,
        credentials.azure_tenant or "",
        client_id,
        secret,
        cloud.graph_scope if is_for_alerts else cloud.scope,
    )
    address = cloud.graph if is_for_alerts else base_url
    return VendorApi(address, sender, BearerToken(sender, request), defender.REFUSALS)


def _checked_base_url(credentials: Credentials, test_root: str | None) -> str:
    try:
        return check_base_url(
            credentials.vendor,
            credentials.base_url or default_base_url(credentials.vendor) or "",
            test_root,
        )
    except ValueError as exc:
        raise VendorError(f"credentials unusable: the base URL {exc}") from exc


def _printable(name: str, text: str | None) -> str:
    if not _SECRET.fullmatch(text or ""):
        raise VendorError(f"credentials unusable: {name} is missing or has invalid characters")
    return text or ""
