"""Sending one notification: connections, signatures, bad receivers (contract 58)."""

import base64
import datetime
import hashlib
import hmac
import inspect
import logging
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.loop_time import set_loop_time
from tests.notify.receiver import Received, Receiver, receiving
from tests.notify.samples import SECRET
from vyrox import log
from vyrox.errors import NotDeliveredError
from vyrox.notify import webhook
from vyrox.notify.connecting import CheckedBackend, Resolve
from vyrox.notify.signature import signed_headers
from vyrox.notify.webhook import open_webhooks

LOCAL: Final = frozenset({"127.0.0.1", "hooks.test"})
PATH: Final = "/CANARY-PATH?token=CANARY-QUERY"
AT: Final = 1_704_067_200


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


def resolving(*addresses: str) -> Resolve:
    async def resolve(_host: str, _port: int) -> list[str]:
        return list(addresses)

    return resolve


async def deliver(
    url: str,
    allowed: frozenset[str] = LOCAL,
    resolve: Resolve | None = None,
    body: bytes = b'{"a":1}',
) -> int:
    async with open_webhooks(allowed, resolve) as webhooks:
        return await webhooks.deliver(url, SECRET, "msg_1", AT, body)


async def refusal(url: str, allowed: frozenset[str] = LOCAL, resolve: Resolve | None = None) -> str:
    """Return why a notification was not delivered; neither URL nor secret are in it."""
    with pytest.raises(NotDeliveredError) as caught:
        await deliver(url, allowed, resolve)
    formatted = logging.Formatter().formatException((type(caught.value), caught.value, caught.tb))
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in formatted
    assert SECRET not in formatted
    return str(caught.value)


def test_signature_is_that_of_the_standards_library_contract_58() -> None:
    """Source: the package `standardwebhooks`, `Webhook.sign`."""
    headers = signed_headers(
        SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_receiver_can_verify_what_it_gets_contract_58(receiver: Receiver) -> None:
    assert await deliver(receiver.url + PATH, body=b'{"a":1}') == 200
    [request] = receiver.received
    assert (request.path, request.body) == (PATH, b'{"a":1}')
    sent = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    mac = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), sent, hashlib.sha256)
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == receiver.url.removeprefix("http://")


async def test_page_shows_how_to_verify_contract_58(receiver: Receiver) -> None:
    page = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
    [source] = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    names: dict[str, object] = {"time": None}
    exec(source, names)  # noqa: S102  (the page's own text)
    assert callable(is_from_vyrox := names["is_from_vyrox"])
    now = datetime.datetime.now(datetime.UTC).timestamp()
    headers = signed_headers(SECRET, "msg_1", int(now), b"body")
    assert is_from_vyrox(SECRET, headers, b"body")
    assert not is_from_vyrox(SECRET, headers, b"bodY")
    assert not is_from_vyrox(SECRET, signed_headers(SECRET, "msg_1", AT, b"body"), b"body")


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_2xx_is_a_delivery_contract_58(receiver: Receiver, status: int) -> None:
    receiver.behaviours.append(status)
    assert await deliver(receiver.url) == status


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 429, 500, 503])
async def test_other_status_is_not_contract_58(receiver: Receiver, status: int) -> None:
    receiver.behaviours.append(status)
    reason = await refusal(receiver.url + PATH)
    assert reason.startswith(f"the receiver responded with HTTP {status}")


async def test_redirect_is_not_followed_contract_58(receiver: Receiver) -> None:
    receiver.behaviours.append("redirect")
    reason = await refusal(receiver.url + PATH)
    assert reason == "the receiver responded with HTTP 307 (redirects are not followed)"
    assert [request.path for request in receiver.received] == [PATH]


async def test_endless_response_is_not_read_contract_58(receiver: Receiver) -> None:
    receiver.behaviours.append("endless")
    assert await deliver(receiver.url) == 200
    await receiver.disconnected.wait()


async def test_slow_receiver_is_left_contract_58(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = set_loop_time(monkeypatch)

    def patience_ends(_request: Received) -> None:
        offset[0] = webhook.TIMEOUT_S

    receiver.on_request = patience_ends
    receiver.behaviours.append("hang")
    assert (await refusal(receiver.url + PATH)).startswith("no response")
    await receiver.disconnected.wait()


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(("127.0.0.1",), id="loopback"),
        pytest.param(("8.8.8.8", "127.0.0.1"), id="one_of_two"),
        pytest.param(("::ffff:127.0.0.1",), id="mapped"),
        pytest.param(("169.254.169.254",), id="metadata"),
        pytest.param(("64:ff9b::7f00:1",), id="nat64"),
        pytest.param(("not an address",), id="not_an_address"),
    ],
)
async def test_refused_address_gets_no_connection_contract_58(
    receiver: Receiver, addresses: tuple[str, ...]
) -> None:
    port = receiver.url.rpartition(":")[2]
    url = f"https://rebound.test:{port}{PATH}"
    reason = await refusal(url, resolve=resolving(*addresses))
    assert reason.startswith(f"refused address: {addresses[-1]}")
    assert "NOTIFY_ALLOWED_HOSTS" in reason
    assert receiver.received == []


async def test_address_in_the_url_is_checked_too_contract_58(receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]
    for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:7f00:1]"):
        reason = await refusal(f"https://{host}:{port}{PATH}", allowed=frozenset())
        assert reason.startswith(("refused address", "the name of the host does not resolve"))
    assert receiver.received == []


async def test_checked_address_is_the_one_that_is_connected_to_contract_58(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: a second look-up would give another address."""
    answers = [["2606:4700::1", "8.8.8.8"], ["127.0.0.1"]]
    tried: list[str] = []

    async def resolve(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    async def connect_tcp(_self: object, host: str, *_: object) -> None:
        tried.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
    with pytest.raises(httpcore.ConnectError):
        await CheckedBackend(resolve, frozenset()).connect_tcp("rebound.test", 443, 1.0)
    assert tried == ["2606:4700::1", "8.8.8.8"]
    assert len(answers) == 1


async def test_next_address_is_tried_contract_58(receiver: Receiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    backend = CheckedBackend(resolving("127.0.0.2", "127.0.0.1"), LOCAL)
    stream = await backend.connect_tcp("hooks.test", port, 2.0)
    await stream.aclose()


async def test_host_without_an_address_contract_58() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        raise OSError

    reason = await refusal(f"https://hooks.test{PATH}", resolve=resolve)
    assert reason == "the name of the host does not resolve (DNS)"
    reason = await refusal(f"https://hooks.test{PATH}", resolve=resolving())
    assert reason == "the name of the host has no address (DNS)"
    # The system's own resolver: names below .invalid never exist (RFC 6761).
    reason = await refusal(f"https://hooks.invalid{PATH}")
    assert reason.endswith(("(DNS)", "in time"))


async def test_host_that_does_not_listen_contract_58() -> None:
    async with receiving() as gone:
        url = gone.url
    assert await refusal(url + PATH) == "the host refused the connection, or cannot be reached"


async def test_http_needs_an_allowed_host_contract_58(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "other.test")
    reason = await refusal(url + PATH, resolve=resolving("127.0.0.1"))
    assert "http is for hosts in NOTIFY_ALLOWED_HOSTS only" in reason
    assert receiver.received == []


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """The files of a certificate for hooks.test, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(files[0]), str(files[1])


async def test_tls_checks_the_certificate_and_the_name_contract_58(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' own cache would keep what is trusted at first.
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))
    context = inspect.unwrap(httpcore.default_ssl_context)
    monkeypatch.setattr(httpcore, "default_ssl_context", context)
    local = resolving("127.0.0.1")
    async with receiving(certificate) as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.test")
        reason = await refusal(url + PATH, resolve=local)
        assert reason.startswith("TLS: the certificate is not accepted: self-signed")
        assert receiver.received == []
        # As an operator makes OpenSSL trust a private authority.
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert await deliver(url + PATH, resolve=local) == 200
        other = frozenset({"other.test"})
        reason = await refusal(url.replace("hooks.test", "other.test") + PATH, other, local)
        assert reason.startswith("TLS: the certificate is not accepted: Hostname mismatch")
        assert len(receiver.received) == 1
    async with receiving() as plain:
        url = plain.url.replace("http://127.0.0.1", "https://hooks.test")
        assert (await refusal(url + PATH, resolve=local)).startswith("TLS failed")


async def test_log_has_neither_url_nor_secret_contract_58(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Also at the level DEBUG, at which libraries log."""
    caplog.set_level(logging.DEBUG)
    receiver.behaviours.extend([200, 500])
    await deliver(receiver.url + PATH, body=b"CANARY-BODY")
    await refusal(receiver.url + PATH)
    await refusal(f"https://rebound.test{PATH}", resolve=resolving("10.0.0.1"))
    ours = [record for record in caplog.records if not record.name.startswith("uvicorn")]
    lines = [log.JsonLines().format(record) for record in ours]
    assert lines != []
    assert [line for line in lines if "CANARY" in line or SECRET in line] == []
