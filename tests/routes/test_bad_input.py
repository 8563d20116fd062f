"""Whatever a sender sends, signed or not: an answer that contract 1 to 9 name, and never a 5xx."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.adapters.payloads import DOCUMENTED
from tests.http.test_protocol import connected, exchange, send, serving
from tests.ingestion import (
    OTHER_SECRET,
    SECRET,
    TENANT_FIELDS,
    TENANTS,
    VENDORS,
    Application,
    Webhook,
    credential,
    path_of,
    running,
    webhook,
)
from tests.polling import until
from tests.routes.json_texts import DEEP, EVERY, INVALID, NOT_UNICODE, UNREAD, VALID
from vyrox.http import bodies, responses
from vyrox.models import BEARER_VENDORS, Vendor
from vyrox.settings import Settings

every_vendor = pytest.mark.parametrize("vendor", VENDORS)

each_preview = pytest.mark.parametrize(
    "vendor",
    [
        pytest.param("sentinelone", marks=pytest.mark.long),
        pytest.param("defender", marks=pytest.mark.long),
        "crowdstrike",
        "generic",
    ],
)
"""The quick run has the one route without a preview, and one of those with."""

CREDENTIALS: Final = (None, OTHER_SECRET, SECRET)
"""None at all, a bad one, a good one."""

DOCUMENTED_STATUSES: Final = {200, 202, 400, 401, 404, 405, 413, 415, 422}

LIMIT: Final = 64 * 1024


@pytest.fixture
async def patient(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """The application with room for bodies of 4 MiB."""
    async with running(replace(settings, max_body_bytes=4 * 1024 * 1024), redis_url) as opened:
        await opened.onboard_documented()
        yield opened


async def statuses(application: Application, vendor: Vendor, body: bytes) -> tuple[int, ...]:
    """Return what `body` is answered with each of CREDENTIALS."""
    answers = [
        await application.post(webhook(vendor, body, secret=secret)) for secret in CREDENTIALS
    ]
    return tuple(answer.status_code for answer in answers)


def refused(vendor: Vendor) -> tuple[int, ...]:
    """Return the answers to a body that is no JSON; the generic route has no preview."""
    return (401, 401, 422) if vendor == "generic" else (400, 400, 400)


@each_preview
async def test_receive_alert_refuses_every_text_that_is_no_payload_contract_6(
    patient: Application, vendor: Vendor
) -> None:
    answered = {name: await statuses(patient, vendor, text) for name, text in EVERY.items()}
    assert answered == dict.fromkeys(EVERY, refused(vendor))


@each_preview
async def test_receive_alert_meets_every_text_in_a_field_that_is_not_read_contract_11(
    patient: Application, vendor: Vendor
) -> None:
    answered = {
        name: await statuses(patient, vendor, b'{"unread":' + text + b"," + DOCUMENTED[vendor][1:])
        for name, text in EVERY.items()
    }
    accepted = dict.fromkeys({**VALID, **UNREAD, **NOT_UNICODE}, (401, 401, 202))
    assert answered == {**accepted, **dict.fromkeys(INVALID, refused(vendor))}


@each_preview
async def test_receive_alert_meets_every_text_in_a_field_that_is_read_contract_11(
    patient: Application, vendor: Vendor
) -> None:
    for name, text in EVERY.items():
        body = DOCUMENTED[vendor].replace(b'"high"', text)
        found = await statuses(patient, vendor, body)
        if found != refused(vendor):
            assert name not in INVALID
            assert found in {(401, 401, 202), (401, 401, 422)}, name
        if name in NOT_UNICODE and text.startswith(b'"'):
            assert found == (401, 401, 202), name


@pytest.mark.parametrize("vendor", TENANT_FIELDS)
async def test_receive_alert_meets_every_text_in_the_place_of_the_tenant_contract_7(
    patient: Application, vendor: Vendor
) -> None:
    tenant_id = b'"%b"' % TENANTS[vendor].encode()
    answered = {
        name: await statuses(patient, vendor, DOCUMENTED[vendor].replace(tenant_id, text))
        for name, text in EVERY.items()
    }
    named = dict.fromkeys(TENANT_NAMES, (401, 401, 401))  # of another tenant
    assert answered == {**dict.fromkeys(EVERY, (400, 400, 400)), **named}


TENANT_NAMES: Final = {
    "allow_text",
    "allow_zero",
    "allow_minus_zero",
    "allow_integer",
    "allow_2_to_the_63",
    "allow_2_to_the_64",
}
"""The texts that are a tenant identifier."""


@each_preview
async def test_receive_alert_is_never_too_deep_for_an_answer_contract_6(
    patient: Application, vendor: Vendor
) -> None:
    """The depth at which the parser fails depends on the stack, which differs between the steps."""

    async def answered(depth: int) -> tuple[int, ...]:
        text = b"[" * depth + b"]" * depth
        return await statuses(patient, vendor, b'{"unread":' + text + b"," + DOCUMENTED[vendor][1:])

    accepted, too_deep = 1, DEEP
    while too_deep - accepted > 1:
        middle = (accepted + too_deep) // 2
        if (await answered(middle))[-1] == 202:
            accepted = middle
        else:
            too_deep = middle
    found = {await answered(depth) for depth in range(accepted - 20, accepted + 20)}
    assert {(401, 401, 202), refused(vendor)} <= found
    assert found <= {(401, 401, 202), (401, 401, 422), refused(vendor)}


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone"])
@pytest.mark.parametrize(
    "position",
    ["first", pytest.param("middle", marks=pytest.mark.long), "last"],
)
async def test_receive_alert_takes_any_byte_in_a_credential_contract_4(
    application: Application, vendor: Vendor, position: str
) -> None:
    """The parser refuses control characters; with every other byte it is a bad credential."""
    [(name, text)] = credential(vendor, DOCUMENTED[vendor]).items()
    good = text.encode()
    index = {"first": 0, "middle": len(good) // 2, "last": len(good) - 1}[position]
    sent = webhook(vendor, secret=None)
    found = {}
    async with serving(application.app) as port:
        for byte in range(256):
            value = good[:index] + bytes([byte]) + good[index + 1 :]
            (answer,) = await exchange(port, sent.raw(name.encode() + b": " + value))
            found[byte] = answer.status
    assert {byte for byte, status in found.items() if status == 202} == accepted_bytes(
        vendor, position, good[index]
    )
    assert {byte for byte, status in found.items() if status == 400} <= {*range(32), 127}
    assert set(found.values()) == {202, 400, 401}


def accepted_bytes(vendor: Vendor, position: str, original: int) -> set[int]:
    """Return the bytes that leave the credential good: the scheme is not case-sensitive."""
    if vendor in BEARER_VENDORS and position == "first":
        return {ord("B"), ord("b")}
    return {original}


@pytest.mark.parametrize(
    "field", [b"Content-Type", b"User-Agent", b"X-Forwarded-For", b"Accept", b"Cookie", b"X-Other"]
)
async def test_receive_alert_takes_bytes_beyond_ascii_in_other_fields(
    application: Application, field: bytes
) -> None:
    sent = webhook("crowdstrike").raw(field + b": " + bytes(range(128, 256)))
    async with serving(application.app) as port:
        assert [answer.status for answer in await exchange(port, sent)] == [202]


@pytest.mark.parametrize("host", [b"", b"[", b"a b", b"\xff", b"a/b?c#d@e", b"a:99999", b"x" * 300])
async def test_receive_alert_takes_any_host(application: Application, host: bytes) -> None:
    """Neither an answer nor a log line repeats it."""
    raw = webhook("crowdstrike", secret=None).raw().replace(b"Host: vyrox", b"Host: " + host)
    async with serving(application.app) as port:
        assert [answer.status for answer in await exchange(port, raw)] == [401]


@pytest.mark.parametrize(
    "encodings",
    [
        pytest.param(["gzip"], id="reject_gzip"),
        pytest.param(["GZIP"], id="reject_upper_case"),
        pytest.param(["br"], id="reject_br"),
        pytest.param(["deflate"], id="reject_deflate"),
        pytest.param(["zstd"], id="reject_zstd"),
        pytest.param(["unknown"], id="reject_unknown"),
        pytest.param([""], id="allow_empty"),
        pytest.param(["UTF-8"], id="allow_utf_8"),
        pytest.param(["", "gzip"], id="reject_after_empty"),
        pytest.param(["gzip, gzip"], id="reject_nested"),
        pytest.param(["identity, gzip"], id="reject_joined"),
        pytest.param(["identity", "gzip"], id="reject_second_field"),
        pytest.param(["gzip", "identity"], id="reject_first_field"),
        pytest.param(["identity"], id="allow_identity"),
        pytest.param([], id="allow_none"),
    ],
)
async def test_read_body_inflates_nothing_contract_1(
    application: Application, encodings: list[str]
) -> None:
    sent = webhook("crowdstrike")
    fields = [*sent.headers.items(), *(("content-encoding", value) for value in encodings)]
    answer = await application.client.post(sent.path, headers=fields, content=sent.body)
    if set(encodings) <= {"identity", "", "UTF-8"}:
        assert answer.status_code == 202
    else:
        assert answer.status_code == 415
        assert answer.json() == {"detail": "unsupported content encoding"}


def declared(sent: Webhook) -> bytes:
    return sent.raw()


def chunked(sent: Webhook) -> bytes:
    """Return the request with its body in chunks of 1,000 bytes."""
    head = replace(sent, body=b"").raw(b"Transfer-Encoding: chunked")
    pieces = [sent.body[i : i + 1000] for i in range(0, len(sent.body), 1000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return head.replace(b"Content-Length: 0\r\n", b"") + chunks


def padded(vendor: Vendor, size: int) -> Webhook:
    body = DOCUMENTED[vendor]
    return webhook(vendor, body + b" " * (size - len(body)))


@pytest.fixture
async def limited(settings: Settings, redis_url: str) -> AsyncIterator[Application]:
    """The application with a limit of LIMIT bytes."""
    async with running(replace(settings, max_body_bytes=LIMIT), redis_url) as opened:
        await opened.onboard_documented()
        yield opened


@pytest.mark.parametrize("framed", [declared, chunked])
@every_vendor
async def test_read_body_takes_a_body_up_to_the_limit_contract_6(
    limited: Application,
    vendor: Vendor,
    framed: Callable[[Webhook], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses, "MAX_DRAINING_S", 0.05)
    async with serving(limited.app) as port:
        at_limit = await exchange(port, framed(padded(vendor, LIMIT)))
        above = await exchange(port, framed(padded(vendor, LIMIT + 1)))
    assert [answer.status for answer in at_limit + above] == [202, 413]
    assert above[0].body == b'{"detail":"payload too large"}'
    assert above[0].field("connection") == "close"
    assert len(await limited.stored()) == 1


@pytest.mark.parametrize("framed", [declared, chunked])
async def test_read_body_lets_a_sender_that_writes_first_read_the_answer(
    limited: Application, framed: Callable[[Webhook], bytes]
) -> None:
    """A reset would overtake the 413, were the rest of the body not drained (MAX_BODY_BYTES)."""
    data = framed(padded("crowdstrike", 3 * 1024 * 1024))
    async with serving(limited.app) as port:
        answer = await asyncio.to_thread(write_then_read, port, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert body == b'{"detail":"payload too large"}'


def write_then_read(port: int, data: bytes) -> bytes:
    """Return all that is answered, read after the last byte of `data` is written."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as stream:
            return stream.read()


async def test_read_body_does_not_wait_for_a_body_that_is_too_large_to_begin_with(
    limited: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it ask for it with a 100; the connection is closed in the end."""
    monkeypatch.setattr(responses, "MAX_DRAINING_S", 0.05)
    head = (
        b"POST /webhook/crowdstrike HTTP/1.1\r\nHost: vyrox\r\n"
        b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n"
    )
    async with serving(limited.app) as port:
        (answer,) = await exchange(port, head)
    assert answer.status == 413


async def test_read_body_takes_no_part_of_a_large_body_for_a_request(limited: Application) -> None:
    body = b"GET /health HTTP/1.1\r\nHost: vyrox\r\n\r\n" * 4000
    async with serving(limited.app) as port:
        answers = await exchange(port, webhook("crowdstrike", body).raw())
    assert [answer.status for answer in answers] == [413]


async def test_read_body_gives_up_on_a_slow_body_contract_1(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies._body_timeout, "_limit_s", 0.05)
    raw = webhook("crowdstrike").raw()
    async with serving(application.app) as port:
        (answer,) = await exchange(port, raw[:-1])
    assert (answer.status, answer.body) == (408, b'{"detail":"request timed out"}')
    assert answer.field("connection") == "close"
    assert await application.stored() == []


@pytest.mark.parametrize("sent_bytes", [0, 1, -1], ids=["no_body", "one_byte", "all_but_one_byte"])
@pytest.mark.parametrize("framed", [declared, chunked])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_receive_alert_queues_nothing_for_a_sender_that_hangs_up(
    application: Application,
    caplog: pytest.LogCaptureFixture,
    framed: Callable[[Webhook], bytes],
    reset: bool,
    sent_bytes: int,
) -> None:
    """One warning, no traceback: an unauthenticated client could fill the log with tracebacks."""
    caplog.set_level(logging.INFO)
    head, _, body = framed(webhook("crowdstrike")).partition(b"\r\n\r\n")
    async with serving(application.app) as port:
        async with connected(port) as (_reader, writer):
            await send(writer, head + b"\r\n\r\n" + body[:sent_bytes])
            await answered_elsewhere(application, port)
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()

        async def logged() -> bool:
            return "request.client_disconnected" in caplog.messages

        await until(logged)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert await application.stored() == []


async def answered_elsewhere(application: Application, port: int) -> None:
    """Return when the server has come round to what other connections have sent."""
    sent = b"GET /health HTTP/1.1\r\nHost: vyrox\r\nConnection: close\r\n\r\n"
    (answer,) = await exchange(port, sent)
    assert answer.status == 200


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(list(VALID.values())),
    st.tuples(
        st.sampled_from(list(DOCUMENTED.values())), st.floats(0, 1), st.binary(max_size=9)
    ).map(
        lambda cut: (
            cut[0][: int(cut[1] * len(cut[0]))] + cut[2] + cut[0][int(cut[1] * len(cut[0])) :]
        )
    ),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "OPTIONS", "X"]),
    path=st.one_of(
        st.sampled_from([path_of(vendor) for vendor in VENDORS]),
        TEXT.map(lambda text: f"/webhook/generic/{text}"),
        TEXT.map(lambda text: f"/{text}"),
    ),
    body=BODIES,
    signer=st.sampled_from([None, *VENDORS]),
    fields=st.dictionaries(
        st.sampled_from(
            [
                b"authorization",
                b"content-encoding",
                b"content-type",
                b"host",
                b"x-request-id",
                b"x-vyrox-signature",
            ]
        ),
        TEXT.map(lambda text: text.encode("latin-1")),
        max_size=3,
    ),
)
async def test_ingestion_answers_anything_with_a_documented_status(
    application: Application,
    method: str,
    path: str,
    body: bytes,
    signer: Vendor | None,
    fields: dict[bytes, bytes],
) -> None:
    signature = {} if signer is None else credential(signer, body)
    headers = {name.encode(): value.encode() for name, value in signature.items()} | fields
    url = "http://vyrox" + path.replace("?", "%3F").replace("#", "%23")
    answer = await application.client.request(method, url, headers=headers, content=body)
    assert answer.status_code in DOCUMENTED_STATUSES
    assert answer.headers["content-type"] == "application/json"
    assert 1 <= len(answer.headers["x-request-id"]) <= 128
    if not answer.is_success:
        assert list(answer.json()) == ["detail"]
