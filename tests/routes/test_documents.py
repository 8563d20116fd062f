"""The API documents (contract 100). `tests.documented` checks every response of other tests too."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from tests.documented import operation_of
from tests.ingestion import Application
from tests.proxy import NOWHERE, TENANT, Proxied, export_headers, proxied, signed
from tests.service import HMAC_SECRET
from vyrox import errors
from vyrox.alerts import finding
from vyrox.app import create_app
from vyrox.clock import wall_clock
from vyrox.errors import CrossSiteError, MisdirectedError, VyroxError
from vyrox.ids import new_id
from vyrox.routes.documents.described import JSON, PRIVATE, PUBLIC, Described
from vyrox.routes.documents.openapi import document
from vyrox.settings import Settings
from vyrox.triage import incident_list
from vyrox.triage.incident_list import IncidentPlace

FILE: Final = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"

OF_THE_CONSOLE: Final = {CrossSiteError, MisdirectedError}


@pytest.fixture
async def private(settings: Settings) -> AsyncIterator[Proxied]:
    async with proxied(replace(settings, redis_url=NOWHERE)) as opened:
        yield opened


def routes_of(app: Starlette) -> set[str]:
    """Return the methods and paths. A HEAD is as a GET, and a slash at the end changes nothing."""
    return {
        f"{method} {route.path.rstrip('/')}"
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


def test_every_route_of_both_listeners_is_in_the_document_contract_100(data_dir: Path) -> None:
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir))
    assert routes_of(whole.state.ingestion_app) == set(PUBLIC)
    assert routes_of(whole.state.proxy_app) == set(PRIVATE)
    paths = msgspec.json.decode(document())["paths"]
    assert {f"{method.upper()} {path}" for path in paths for method in paths[path]} == {
        *PUBLIC,
        *PRIVATE,
    }


def test_the_file_in_docs_is_that_of_this_version_contract_100() -> None:
    stale = "stale: python -m vyrox.routes.documents > docs/api/openapi.json"
    assert FILE.read_bytes() == document(), stale


def test_every_reference_in_the_document_leads_somewhere_contract_100() -> None:
    content = msgspec.json.decode(document())
    for reference in set(re.findall(rb'"\\$ref": "#/(.+?)"', document())):
        found: Any = content
        for part in reference.decode().split("/"):
            found = found[part]


def test_every_error_with_a_response_is_in_the_document_contract_100() -> None:
    """As its status and detail, in one of the responses."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    raised = {kind for kind in kinds if issubclass(kind, VyroxError)} - OF_THE_CONSOLE
    content = msgspec.json.decode(document())
    details = {
        (status, detail)
        for methods in content["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if "$ref" in response
        for name in [response["$ref"].rpartition("/")[2]]
        for shared in [content["components"]["responses"][name]["content"][JSON]["schema"]]
        for detail in shared["properties"]["detail"]["enum"]
    }
    assert details == {(str(kind.status), kind.detail) for kind in raised}


async def test_private_routes_respond_as_documented_contract_100(private: Proxied) -> None:
    """Without a credential, and signed; the client checks each response itself."""
    fitting = set()
    for route, described in PRIVATE.items():
        method, path = route.replace("{", "").replace("}", "").split()
        query = {} if described.query is None else {"tenant_id": TENANT}
        body = b"{}" if method == "POST" else b""
        headers = signed(body) if method == "POST" else export_headers()
        unsigned = await private.client.request(method, path, params=query, content=body)
        assert unsigned.status_code == (200 if described.credential == "none" else 401), route
        answer = await private.client.request(
            method, path, params=query, content=body, headers=headers
        )
        if answer.is_success and answer.headers["content-type"] == JSON:
            assert fits(described, answer.content), route
            fitting.add(route)
    assert fitting >= {"GET /alerts", "GET /incidents", "GET /suppressions", "GET /audit/export"}


async def test_public_routes_respond_as_documented_contract_100(application: Application) -> None:
    for route in PUBLIC:
        method, path = route.replace("{tenant_id}", "acme-corp").split()
        answer = await application.client.request(method, path, content=b"{}")
        assert str(answer.status_code) in (operation_of(method, path) or {})["responses"]


async def test_another_method_is_refused_with_those_of_the_document_contract_100(
    private: Proxied,
) -> None:
    paths = msgspec.json.decode(document())["paths"]
    for path in {route.split()[1] for route in PRIVATE}:
        refused = await private.client.request("PATCH", path)
        allowed = set(refused.headers["allow"].lower().split(", "))
        assert refused.status_code == 405, path
        assert allowed - {"head"} == set(paths[path]), path


def test_the_place_that_a_page_names_is_one_of_the_document_contract_100() -> None:
    paths = msgspec.json.decode(document())["paths"]
    incident = IncidentPlace(is_closed=False, updated_at=wall_clock(), tenant_id=TENANT, number=12)
    for path, text in (
        ("/alerts", finding.place_text((wall_clock(), new_id()))),
        ("/incidents", incident_list.place_text(incident)),
    ):
        [before] = [p for p in paths[path]["get"]["parameters"] if p["name"] == "before"]
        assert re.search(before["schema"]["pattern"], text), text


def fits(described: Described, content: bytes) -> bool:
    """Return whether the content has one of the documented types."""
    for kind in described.returns[JSON]:
        try:
            msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError:
            continue
        return True
    return False


async def test_the_page_needs_nothing_from_elsewhere_contract_100(private: Proxied) -> None:
    page = await private.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert re.findall(r"<script|<link|<img|<iframe|src=|@import|url\(| on\w+=", page.text) == []
    links = set(re.findall(r'href="(?!/openapi.json")([^"]*)"', page.text))
    assert {link for link in links if f'id="{link[1:]}"' not in page.text} == set()
    assert all(link.startswith("#") for link in links)
    shown = [route for route in [*PUBLIC, *PRIVATE] if f"<code>{route}</code>" not in page.text]
    assert shown == []
    served = await private.client.get("/openapi.json")
    assert served.content == document()
