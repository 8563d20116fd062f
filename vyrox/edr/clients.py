"""Placeholder."""

import msgspec


class Credentials(msgspec.Struct, frozen=True):
    vendor: str
    client_id: str | None
    secret: str
    azure_tenant: str | None
    base_url: str


import httpx

from vyrox.edr import VendorClient


def make_client(
    credentials: Credentials, http: httpx.AsyncClient, test_root: str | None
) -> VendorClient:
    raise ValueError
