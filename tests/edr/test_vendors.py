"""From credentials to a client: nothing is sent to an address that is not the vendor's."""

import dataclasses

import httpx
import pytest

from tests.edr.vendor import SECRET, credentials
from vyrox.edr.crowdstrike.client import CrowdStrike
from vyrox.edr.defender import Defender
from vyrox.edr.sentinelone import SentinelOne
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import Credentials, make_client
from vyrox.errors import VendorError
from vyrox.models import Vendor

ROOT = "http://127.0.0.1:8099"


@pytest.fixture
def http() -> httpx.AsyncClient:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("making a client sends nothing")

    return open_http(httpx.MockTransport(handle))


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [("crowdstrike", CrowdStrike), ("sentinelone", SentinelOne), ("defender", Defender)],
)
async def test_make_client_of_each_vendor(
    vendor: Vendor, kind: type[object], http: httpx.AsyncClient
) -> None:
    assert isinstance(make_client(credentials(vendor), http, None), kind)
    below = dataclasses.replace(credentials(vendor), base_url=f"{ROOT}/{vendor}")
    assert isinstance(make_client(below, http, ROOT), kind)
    with pytest.raises(VendorError):
        make_client(below, http, None)


@pytest.mark.parametrize(
    ("vendor", "change"),
    [
        ("crowdstrike", {"base_url": "https://api.crowdstrike.com.evil.example"}),
        ("crowdstrike", {"client_id": None}),
        ("crowdstrike", {"client_id": ""}),
        ("crowdstrike", {"member_cid": "0123"}),
        ("crowdstrike", {"member_cid": "A" * 32}),
        ("crowdstrike", {"secret": ""}),
        ("sentinelone", {"base_url": None}),
        ("sentinelone", {"base_url": "https://evil.example"}),
        ("sentinelone", {"secret": f"{SECRET}\r\nx: y"}),
        ("sentinelone", {"secret": f"{SECRET}\n"}),
        ("sentinelone", {"secret": f"{SECRET}\u00e9"}),
        ("defender", {"base_url": "https://login.microsoftonline.com"}),
        ("defender", {"azure_tenant": None}),
        ("defender", {"azure_tenant": ".."}),
        ("defender", {"azure_tenant": "acme/../common"}),
        ("defender", {"azure_tenant": "acme.com."}),
        ("defender", {"azure_tenant": "acme.com\n"}),
        ("defender", {"azure_tenant": "acme?x"}),
        ("defender", {"client_id": None}),
        ("generic", {}),
    ],
)
async def test_make_client_refuses(
    vendor: Vendor, change: dict[str, str | None], http: httpx.AsyncClient
) -> None:
    made = dataclasses.replace(credentials(vendor), **change)  # type: ignore[arg-type]
    with pytest.raises(VendorError, match="credentials unusable") as caught:
        make_client(made, http, None)
    assert SECRET not in str(caught.value)


def test_credentials_show_nothing() -> None:
    made = Credentials(vendor="sentinelone", secret=SECRET)
    assert SECRET not in f"{made!r} {made}"
