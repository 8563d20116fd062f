"""What every request must have and every response has (contract 66, A37)."""

from typing import Final

import pytest

from tests.console.running import ORIGIN, OWN, Running, ask
from vyrox.console.application import create_console, create_routes
from vyrox.console.guard import HEADERS

HOST = {"host": "localhost:8002"}


@pytest.mark.parametrize("path", ["/sign-in", "/nothing", "/", "/static/console.js", "/enrol"])
async def test_every_response_has_the_headers_contract_66(opened: Running, path: str) -> None:
    app = opened.app.state.console_app
    for headers in (HOST, {"host": "evil.example"}):
        answer = await ask(app, "GET", path, headers)
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value], (name, answer.status_code)
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1:8002", "localhost", "localhost:8003", "xlocalhost:8002", ""]
)
async def test_another_host_is_misdirected_contract_66(opened: Running, host: str) -> None:
    """Else a website could point a name of its own at the console, and read it."""
    answer = await ask(opened.app.state.console_app, "GET", "/sign-in", {"host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://console.example.com", "console.example.com", 200),
        ("https://console.example.com", "Console.Example.com:443", 200),
        ("https://console.example.com", "console.example.com:80", 421),
        ("https://console.example.com:8443", "console.example.com:8443", 200),
        ("https://console.example.com:8443", "console.example.com", 421),
        ("http://localhost", "localhost:80", 200),
    ],
)
async def test_the_host_is_that_of_the_origin_contract_66(
    origin: str, host: str, status: int
) -> None:
    app = create_console(origin)
    answer = await ask(app, "GET", "/static/console.css", {"host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        pytest.param({"sec-fetch-site": "same-origin"}, True, id="accept_same_origin"),
        pytest.param({"origin": ORIGIN}, True, id="accept_origin_without_fetch_metadata"),
        pytest.param(OWN, True, id="accept_both"),
        pytest.param({}, False, id="reject_neither"),
        pytest.param({"sec-fetch-site": "cross-site", "origin": ORIGIN}, False, id="reject_cross"),
        pytest.param({"sec-fetch-site": "same-site"}, False, id="reject_same_site"),
        pytest.param({"sec-fetch-site": "none"}, False, id="reject_typed_in"),
        pytest.param({"origin": "null"}, False, id="reject_null"),
        pytest.param({"origin": "http://localhost:8003"}, False, id="reject_other_port"),
        pytest.param({"origin": "https://localhost:8002"}, False, id="reject_other_scheme"),
    ],
)
async def test_a_change_comes_from_a_page_of_the_console_contract_66(
    opened: Running, headers: dict[str, str], is_own: bool
) -> None:
    for route in create_routes():
        if "POST" in route.methods:  # type: ignore[attr-defined]
            path = route.path  # type: ignore[attr-defined]
            answer = await ask(opened.app.state.console_app, "POST", path, {**HOST, **headers})
            assert (answer.status_code == 403) == (not is_own), path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_no_other_method_changes_anything_contract_66(opened: Running, method: str) -> None:
    answer = await ask(opened.app.state.console_app, method, "/sign-in", {**HOST, **OWN})
    assert answer.status_code == (200 if method == "HEAD" else 405)


def test_no_route_both_reads_and_changes_contract_66() -> None:
    """A scanner that opens every link decides nothing (A15)."""
    methods = [route.methods for route in create_routes()]  # type: ignore[attr-defined]
    assert all(each in ({"POST"}, {"GET", "HEAD"}) for each in methods)


async def test_a_body_is_bounded_contract_66(opened: Running) -> None:
    browser = opened.browser()
    for path in ("/sign-in", "/enrol", "/enrol/open"):
        assert (await browser.post(path, {"secret": "x" * 70_000})).status_code == 413
        wrongs: list[object] = [[], {"secret": 1}, None, {"challenge": {}, "response": {}}]
        for wrong in wrongs:
            assert (await browser.post(path, wrong)).status_code == 400


DEEP: Final = "[" * 950 + "]" * 950

GARBAGE: Final = (
    "",
    "null",
    "[]",
    '{"secret": "\\u0000", "statement": "\\u0000", "challenge": "", "comment": "", "response": 1}',
    '{"secret": "x", "statement": "{}", "challenge": "1.a", "comment": "", "response": {"id": 1}}',
    f'{{"secret": "x", "statement": "x", "challenge": "x", "comment": "x", "response": {DEEP}}}',
)


async def test_no_body_is_an_internal_error_contract_66(opened: Running) -> None:
    ann = await opened.person("ann")
    for route in create_routes():
        path = route.path  # type: ignore[attr-defined]
        if "POST" in route.methods and path != "/sign-out":  # type: ignore[attr-defined]
            for body in GARBAGE:
                answer = await ann.client.post(path, content=body, headers=OWN)
                assert answer.status_code < 500, (path, body)
