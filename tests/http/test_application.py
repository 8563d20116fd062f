"""What every route shares: request ids, and errors as JSON (contract 1 and 2)."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from tests.http.test_protocol import Answer, exchange, serving
from tests.service import HMAC_SECRET
from vyrox import log
from vyrox.app import create_app
from vyrox.errors import RequestTimeoutError, UnauthorizedError, VyroxError
from vyrox.http import bodies
from vyrox.http.application import RequestContext, handle_http_exception, post_endpoints
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.http.responses import JsonResponse, error_response
from vyrox.settings import Settings

CANARY: Final = "canary-0b5d1f"
"""A text that no response may contain."""


async def fine(_request: Request) -> Response:
    return JsonResponse({"status": "ok"})


async def refuse(_request: Request) -> Response:
    raise UnauthorizedError(CANARY)


async def fail(_request: Request) -> Response:
    raise RuntimeError(CANARY)


async def fail_in_starlette(_request: Request) -> Response:
    raise HTTPException(418, CANARY)


async def be_cancelled(_request: Request) -> Response:
    raise asyncio.CancelledError(CANARY)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application made of the shared layers and the routes above."""
    app = Starlette(
        routes=[
            Route("/fine", fine),
            Route("/refuse", refuse),
            Route("/fail", fail),
            Route("/fail-in-starlette", fail_in_starlette),
            Route("/be-cancelled", be_cancelled),
        ],
        middleware=[Middleware(RequestContext)],
        exception_handlers={HTTPException: handle_http_exception},
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vyrox") as opened:
        yield opened


def logged(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, object]:
    """Return the fields of the one line about `event`."""
    (record,) = [record for record in caplog.records if record.getMessage() == event]
    fields: dict[str, object] = record.__dict__["fields"]
    return fields


@pytest.mark.parametrize("path", ["/fine", "/refuse", "/fail", "/unknown"])
@pytest.mark.parametrize(
    "request_id",
    [
        pytest.param(b"a", id="allow_one_character"),
        pytest.param(b"x" * 128, id="allow_128_characters"),
        pytest.param(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", id="allow_punctuation"),
        pytest.param(b"7d0f5b7e-6b0e-4d4c-9a52-8d0a6a1a8f10", id="allow_uuid"),
    ],
)
async def test_request_context_returns_the_callers_id_contract_2(
    client: httpx.AsyncClient, request_id: bytes, path: str
) -> None:
    answer = await client.get(path, headers={b"x-request-id": request_id})
    assert answer.headers.get_list("x-request-id") == [request_id.decode()]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="reject_missing"),
        pytest.param([b""], id="reject_empty"),
        pytest.param([b"x" * 129], id="reject_129_characters"),
        pytest.param([b"a b"], id="reject_space"),
        pytest.param([b"a\tb"], id="reject_tab"),
        pytest.param([b"a\x7f"], id="reject_delete"),
        pytest.param([b"a\x1b[31m"], id="reject_escape"),
        pytest.param(["é".encode()], id="reject_utf_8"),
        pytest.param([b"\xe9"], id="reject_latin_1"),
        pytest.param([b"a", b"b"], id="reject_two"),
        pytest.param([b"a", b"a"], id="reject_two_alike"),
    ],
)
async def test_request_context_makes_an_id_contract_2(
    client: httpx.AsyncClient, values: list[bytes]
) -> None:
    headers = [(b"x-request-id", value) for value in values]
    made = set()
    for path in ("/fine", "/refuse", "/fail", "/unknown"):
        answer = await client.get(path, headers=headers)
        (request_id,) = answer.headers.get_list("x-request-id")
        assert str(uuid.UUID(request_id, version=4)) == request_id
        made.add(request_id)
    assert len(made) == 4


@pytest.mark.parametrize(
    ("path", "event"), [("/refuse", "request.refused.401"), ("/fail", "request.failed")]
)
@pytest.mark.parametrize("headers", [{"x-request-id": "from-the-caller"}, {}], ids=["sent", "made"])
async def test_request_context_logs_the_id_of_the_answer_contract_2(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    path: str,
    event: str,
    headers: dict[str, str],
) -> None:
    answer = await client.get(path, headers=headers)
    assert logged(caplog, event)["request_id"] == answer.headers["x-request-id"]


async def test_request_context_tells_nothing_of_a_bug_contract_1(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, and only there."""
    answer = await client.get("/fail")
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error"})
    assert CANARY not in str(answer.headers)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert CANARY in str(record.exc_info[1])


async def test_request_context_answers_what_the_shutdown_cuts_short_contract_1(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/be-cancelled")
    assert (answer.status_code, answer.json()) == (503, {"detail": "service unavailable"})
    assert answer.headers["retry-after"] == "5"
    assert logged(caplog, "request.cancelled")["request_id"] == answer.headers["x-request-id"]


async def run(context: RequestContext, scope_type: str = "http") -> list[Message]:
    """Return what `context` sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await context({"type": scope_type, "headers": []}, receive, send)
    return sent


@pytest.mark.parametrize("error", [RuntimeError(CANARY), asyncio.CancelledError()])
async def test_request_context_does_not_answer_twice(error: BaseException) -> None:
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start)
        raise error

    assert await run(RequestContext(app)) == [start]


async def test_request_context_logs_a_hang_up_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ClientDisconnect

    assert await run(RequestContext(app)) == []
    (record,) = caplog.records
    assert (record.getMessage(), record.levelname) == ("request.client_disconnected", "WARNING")
    assert not record.exc_info


def test_post_endpoints_are_those_of_post_alone_without_parameters() -> None:
    routes = [
        Route("/fine", fine, methods=["POST"]),
        Route("/{name}", refuse, methods=["POST"]),
        Route("/fail", fail, methods=["GET"]),
        Route("/both", fail, methods=["GET", "POST"]),
    ]
    assert post_endpoints(routes) == {"/fine": fine}


async def test_request_context_leaves_other_scopes_alone() -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        assert "state" not in scope
        await send({"type": "lifespan.startup.complete"})

    assert await run(RequestContext(app), "lifespan") == [{"type": "lifespan.startup.complete"}]


def tree(root: type[VyroxError]) -> list[type[VyroxError]]:
    """Return `root` and all that is below it."""
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


@pytest.mark.parametrize("kind", tree(VyroxError))
def test_error_response_tells_the_detail_alone_contract_1(kind: type[VyroxError]) -> None:
    error = kind.__new__(kind, CANARY)  # past constructors that take something else
    answer = error_response(error)
    assert str(error) == CANARY
    assert answer.status_code == kind.status
    assert msgspec.json.decode(bytes(answer.body)) == {"detail": kind.detail}
    assert answer.headers["content-type"] == "application/json"
    assert kind.headers.items() <= dict(answer.headers).items()
    assert CANARY not in repr(answer.headers.items())


async def test_handle_http_exception_tells_nothing_of_it_contract_1(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/fail-in-starlette")
    assert (answer.status_code, answer.json()) == (418, {"detail": "bad request"})


@pytest.fixture
def ingestion_app(data_dir: Path) -> Starlette:
    """The public listener's application. No lifespan runs: none of this gets to a store."""
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir))
    app: Starlette = whole.state.ingestion_app
    return app


async def ask(app: Starlette, method: str, path: str) -> Answer:
    request = f"{method} {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    async with serving(app) as port:
        (answer,) = await exchange(port, request.encode("latin-1"), is_head=method == "HEAD")
    assert answer.field("content-type") == "application/json"
    assert answer.field("x-request-id")
    assert not {name for name, _ in answer.fields} & {"server", "location", "x-powered-by"}
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webhook",
        "/webhook/",
        "/webhook/unknown",
        "/webhook/crowdstrike//",
        "/webhook/generic//",
        "/webhook/generic/acme-corp//",
        "/webhook/crowdstrike/x/y",
        "//webhook/crowdstrike",
        "/webhook//crowdstrike",
        "/webhook/./crowdstrike",
        "/webhook/x/../crowdstrike",
        "/webhook/Crowdstrike",
        "/webhook/crowdstrike;x=1",
        "/webhook/crowdstrike%00",
        "/webhook/generic",
        "/webhook/generic/",
        "/webhook/generic/a/b",
        "/webhook/generic/a%2Fb",
        "/health/",
        "/health%2f",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/favicon.ico",
        "*",
        "/a%0ab",
        "/%ff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_path_is_404_without_a_redirect_contract_1(
    ingestion_app: Starlette, method: str, path: str
) -> None:
    answer = await ask(ingestion_app, method, path)
    assert (answer.status, answer.body) == (404, b'{"detail":"not found"}')


@pytest.mark.parametrize("path", ["/execute/", "/lift/", "/audit/export/", "/health/"])
async def test_paths_of_the_private_listener_are_exact_contract_1(
    data_dir: Path, path: str
) -> None:
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir))
    assert (await ask(whole.state.proxy_app, "POST", path)).status == 404


async def test_unserved_requests_are_logged_once_then_by_number_contract_1(
    ingestion_app: Starlette, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client chose is escaped and bounded, and a flood makes one line a minute."""
    monkeypatch.setattr(log, "_paced", {})
    name = "request.refused.404"
    before = log.counts[name]
    await ask(ingestion_app, "GET", "/a%0a%1b[31m%e2%80%a8?token=" + CANARY)
    for number in range(3):
        await ask(ingestion_app, "POST", f"/{number}" + "%f0%9f%92%a9" * 100)
    fields = logged(caplog, name)
    assert (fields["method"], fields["path"]) == ("GET", r"/a\n\x1b[31m\u2028")
    assert log.counts[name] == before + 4

    caplog.clear()
    log.report_paced()
    fields = logged(caplog, name)
    assert (fields["method"], fields["number"]) == ("POST", 3)
    path = fields["path"]
    assert isinstance(path, str)
    assert path.startswith(r"/2\U0001f4a9")
    assert len(path) == 128

    caplog.clear()
    log.report_paced()
    assert caplog.records == []
    await ask(ingestion_app, "PUT", "/webhook/crowdstrike")
    assert logged(caplog, "request.refused.405")["path"] == "/webhook/crowdstrike"
    await ask(ingestion_app, "GET", "/after-a-quiet-minute")
    assert logged(caplog, name)["path"] == "/after-a-quiet-minute"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "path",
    [
        "/webhook/crowdstrike",
        "/webhook/sentinelone",
        "/webhook/defender",
        "/webhook/generic/acme-corp",
    ],
)
async def test_wrong_method_is_405_contract_1(
    ingestion_app: Starlette, method: str, path: str
) -> None:
    answer = await ask(ingestion_app, method, path)
    assert (answer.status, answer.body) == (405, b'{"detail":"method not allowed"}')
    assert answer.field("allow") == "POST"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_wrong_method_of_health_is_405_contract_1(
    ingestion_app: Starlette, method: str
) -> None:
    answer = await ask(ingestion_app, method, "/health")
    assert answer.status == 405
    assert set(answer.field("allow").split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("path", "status"), [("/webhook/crowdstrike", 405), ("/unknown", 404)], ids=["405", "404"]
)
async def test_head_has_no_body_contract_1(
    ingestion_app: Starlette, path: str, status: int
) -> None:
    answer = await ask(ingestion_app, "HEAD", path)
    assert (answer.status, answer.body) == (status, b"")


class Sending:
    """A body that arrives piece by piece, and what came of reading it."""

    def __init__(self, arriving: IncompleteBodies) -> None:
        self._messages = asyncio.Queue[Message]()
        scope: Scope = {"type": "http", "headers": []}
        request = Request(scope, self._messages.get)
        self.read = asyncio.create_task(read_body(request, 100, arriving))

    async def send(self, size_bytes: int, *, more: bool = True) -> None:
        body = b"x" * size_bytes
        await self._messages.put({"type": "http.request", "body": body, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)


async def test_read_body_drops_the_body_that_has_been_arriving_longest_contract_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not the newcomer: unfinished bodies of unauthenticated clients must not keep alerts out."""
    monkeypatch.setattr(bodies, "MAX_INCOMPLETE_BYTES", 100)
    arriving = IncompleteBodies()
    first, second, third = (Sending(arriving) for _ in range(3))
    for body in (first, second):
        await body.send(45)
    await first.send(5)
    await third.send(45)
    with pytest.raises(RequestTimeoutError):
        await first.read
    await third.send(5, more=False)
    assert await third.read == b"x" * 50
    await second.send(5, more=False)
    assert await second.read == b"x" * 50
    assert arriving.size_bytes == 0


async def test_read_body_drops_itself_where_it_is_the_oldest_contract_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "MAX_INCOMPLETE_BYTES", 50)
    arriving = IncompleteBodies()
    body = Sending(arriving)
    await body.send(30)
    await body.send(30)
    with pytest.raises(RequestTimeoutError):
        await body.read
    assert arriving.size_bytes == 0
