"""Forms without the script, errors as pages, and places in lists (contract 76)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from tests.console.running import OWN, TENANT, Running
from tests.console.telling import tell
from vyrox.clock import wall_clock
from vyrox.console import links
from vyrox.console.paging import cursor, here_with, parse_cursor
from vyrox.console.parts import MAX_FIELDS, read_form
from vyrox.errors import InvalidRequestError, NotFoundError


async def read(body: bytes) -> dict[str, str]:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await read_form(Request({"type": "http", "headers": []}, receive))


async def test_a_form_is_read_as_a_browser_writes_it_contract_76() -> None:
    assert await read(b"") == {}
    assert await read(b"a=1&b=&c=x+y%26%C3%A9") == {"a": "1", "b": "", "c": "x y&é"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"a=1&a=2", id="reject_a_field_twice"),
        pytest.param(b"a", id="reject_no_value"),
        pytest.param(b"\xff=1", id="reject_bytes"),
        pytest.param(b"a=%ff", id="reject_escaped_bytes"),
        pytest.param(b"a=%00", id="reject_zero"),
        pytest.param(b"&".join(b"f%d=" % each for each in range(MAX_FIELDS + 1)), id="reject_many"),
    ],
)
async def test_what_is_not_a_form_contract_76(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        await read(body)


async def test_an_error_of_a_form_is_a_page_with_the_way_back_contract_76(opened: Running) -> None:
    browser = opened.browser()
    back = {"referer": "http://localhost:8002/incidents/acme-corp/inc-1?tenant=a&x=%22%3E"}
    answer = await browser.client.post("/link", data={"secret": "x"}, headers={**OWN, **back})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert 'href="/incidents/acme-corp/inc-1?tenant=a&amp;x=%22%3E"' in answer.text
    assert "Nothing was changed" in answer.text
    hostile = {"referer": 'http://localhost:8002//evil.example/"><script>'}
    answer = await browser.client.post("/link", data={"secret": "x"}, headers={**OWN, **hostile})
    assert "evil" not in answer.text


async def test_a_form_without_a_session_asks_to_sign_in_contract_76(opened: Running) -> None:
    answer = await opened.browser().send("/sign-out/everywhere")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_the_sign_in_page_leads_back_with_the_query_contract_76(opened: Running) -> None:
    answer = await opened.browser().get('/keys?tenant=a&x="<script>')
    location = answer.headers["location"]
    assert location == "/sign-in#/keys?tenant=a&x=%22%3Cscript%3E"


async def test_an_unknown_word_says_nothing_contract_76(opened: Running) -> None:
    ann = await opened.person("ann")
    page = await ann.get("/keys?done=<b>hello")
    assert page.status_code == 200
    assert "hello" not in page.text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.text(max_size=60))
def test_a_place_is_what_it_was_contract_76(value: float | str, row_id: str) -> None:
    text = cursor(value, row_id)
    if "\0" in row_id or "\0" in str(value) or len(text) > 1024:
        with pytest.raises(NotFoundError):
            parse_cursor(text)
    else:
        assert parse_cursor(text) == (value, row_id)


@given(st.text())
def test_any_text_is_a_place_or_not_found_contract_76(text: str) -> None:
    try:
        parse_cursor(text)
    except NotFoundError:
        return


def test_the_next_page_keeps_the_filters_contract_76() -> None:
    scope = {
        "type": "http",
        "path": "/alerts",
        "query_string": b"host=%22%3E%3Cb&done=closed&after=old",
        "headers": [(b"host", b"localhost")],
        "scheme": "http",
    }
    assert here_with(Request(scope), after="new") == "/alerts?host=%22%3E%3Cb&after=new"
    assert here_with(Request(scope), after=None, host=None) == "/alerts"


async def test_the_style_sheet_and_the_script_are_small_contract_76(opened: Running) -> None:
    browser = opened.browser()
    files = [await browser.get(f"/static/console.{each}") for each in ("css", "js")]
    assert sum(len(each.content) for each in files) <= 60 * 1024


async def test_a_refused_form_keeps_what_was_typed_contract_76(opened: Running) -> None:
    """Without the script a person would type it again; with it too, after this page."""
    ann = await opened.person("ann")
    await tell(opened)
    path = f"/incidents/{TENANT}-1/reopen"
    note = "line 1\n</textarea><script>alert(1)</script> \u202e"
    answer = await ann.send(path, note=note, other="kept")
    assert answer.status_code == 409
    assert f'<form method="post" action="{path}">' in answer.text
    assert "line 1\n&lt;/textarea&gt;&lt;script&gt;" in answer.text
    assert 'name="other" value="kept"' in answer.text
    assert "\u202e" not in answer.text


async def test_pages_of_errors_have_the_navigation_contract_76(opened: Running) -> None:
    """But only for a person who has signed in."""
    ann = await opened.person("ann")
    await tell(opened)
    for answer in (
        await ann.get("/nothing/here"),
        await ann.get("/incidents/other-corp-1"),
        await ann.get("/alerts?band=nice"),
        await ann.send(f"/incidents/{TENANT}-1/reopen"),
    ):
        assert answer.status_code >= 400
        assert '<nav aria-label="Console">' in answer.text
    stranger = await opened.browser().get("/nothing/here")
    assert (stranger.status_code, "<nav" in stranger.text) == (404, False)


async def test_a_session_by_link_ends_only_itself_contract_76(opened: Running) -> None:
    """A link may be in other hands than the passkey."""
    ann = await opened.person("ann")
    secret, _ = await opened.database.write(links.make, "ann", (), wall_clock())
    link = opened.browser()
    assert (await link.send("/link", secret=secret)).status_code == 303
    assert "/sign-out/everywhere" not in (await link.get("/keys")).text
    assert (await link.send("/sign-out/everywhere")).status_code == 409
    assert (await ann.get("/")).status_code == 200
    await link.send("/sign-out")
    assert (await link.get("/")).status_code == 303
    assert (await ann.get("/")).status_code == 200
