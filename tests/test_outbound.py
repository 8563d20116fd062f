"""Every call goes through the proxy and trusts the own certificates (contract 73)."""

import inspect
import ssl
from pathlib import Path

import httpcore
import httpx
import msgspec
import pytest

from tests.edr.test_calls import PATIENCE_S, a_call, listening, says
from tests.edr.vendor import deadline
from tests.notify.receiver import receiving
from tests.notify.samples import SECRET
from tests.notify.test_channels import BODY
from tests.notify.test_webhook import AT, resolving
from tests.outbound import REFUSAL, certificate, proxying, serving_context
from vyrox.approvals.discord.client import AwayError, DiscordClient
from vyrox.approvals.discord.client import open_http as open_discord
from vyrox.clock import monotonic_clock
from vyrox.edr.transport.calls import exchange, open_http
from vyrox.errors import NotDeliveredError, SettingsError, VendorError
from vyrox.http.outgoing import why_failed
from vyrox.lifespan.making import report_ignored
from vyrox.models import Outbound
from vyrox.notify.channels import Channels
from vyrox.notify.webhook import open_webhooks
from vyrox.settings import Settings
from vyrox.triage.notes.client import AskError, NoteClient, open_note_http

NAME = "vendor.example"
OK = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}")
BASIC = "Basic dXNlcjpwQHNz"  # user:p@ss
GONE = Outbound(proxy="http://127.0.0.1:9")


def pem(files: tuple[str, str]) -> str:
    return Path(files[0]).read_text()


@pytest.fixture(autouse=True)
def _own_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the tests' cache: one test would trust what another one does."""
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))
    context = inspect.unwrap(httpcore.default_ssl_context)
    monkeypatch.setattr(httpcore, "default_ssl_context", context)


async def failure(url: str, outbound: Outbound, *, changes: bool = True) -> VendorError:
    async with open_http(outbound=outbound) as http:
        with pytest.raises(VendorError) as caught:
            await exchange(http, a_call(url, changes=changes), deadline(PATIENCE_S))
    assert type(caught.value) is VendorError  # certainly nothing was sent
    return caught.value


async def test_a_vendor_is_called_in_a_tunnel_with_the_own_certificate_contract_73(
    tmp_path: Path,
) -> None:
    files = certificate(tmp_path, NAME)
    ca = pem(files)
    async with listening(OK, serving_context(files)) as server, proxying() as proxy:
        url = f"https://{NAME}:{httpx.URL(server.url).port}/"
        async with open_http(outbound=proxy.outbound(ca)) as http:
            answer = await exchange(http, a_call(url, changes=True), deadline(PATIENCE_S))
        assert answer.status == 200
        assert proxy.asked == [f"CONNECT {NAME}:{httpx.URL(url).port} HTTP/1.1"]
        assert proxy.authorizations == [BASIC]
        untrusted = await failure(url, proxy.outbound())
        assert "not sent: TLS: the certificate is not accepted: self-signed" in str(untrusted)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (REFUSAL, "the proxy responded with HTTP 407"),
        (b"HTTP/1.1 502 Bad \x1b[31m Gateway\r\ncontent-length: 0\r\n\r\n", "with HTTP 502"),
        (b"", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\n\r\nnot TLS", "not sent: "),
    ],
)
async def test_what_the_proxy_does_not_pass_on_was_not_sent_contract_73(
    answer: bytes, reason: str
) -> None:
    async with proxying() as proxy:
        proxy.answer = answer
        error = await failure(f"https://{NAME}/", proxy.outbound())
    assert reason in str(error)
    assert "\x1b" not in str(error)


async def test_errors_name_the_proxy_and_the_name_contract_73() -> None:
    error = await failure(f"https://{NAME}/", GONE)
    assert str(error).endswith("not sent: the proxy cannot be reached (OUTBOUND_PROXY)")
    error = await failure(f"https://{NAME}/", Outbound(proxy="http://proxy.invalid:3128"))
    assert str(error).endswith("(OUTBOUND_PROXY): the name of the host does not resolve (DNS)")
    error = await failure("https://name.invalid/", Outbound())
    assert str(error).endswith("not sent: the name of the host does not resolve (DNS)")
    assert why_failed(ssl.SSLError(1, "x")) == "TLS failed: SSLError"


async def test_discord_and_the_language_model_go_through_the_proxy_contract_73() -> None:
    async with listening(OK) as server, proxying() as proxy:
        async with open_discord(proxy.outbound()) as http:
            client = DiscordClient(http, "token", monotonic_clock, server.url)
            assert await client.request("GET", "/users/@me") == {}
        async with open_note_http(proxy.outbound()) as http:
            with pytest.raises(AskError, match="not a completion"):
                await NoteClient(http, server.url, "model", None).ask(b"{}")
        assert proxy.asked == [
            f"GET {server.url}/api/v10/users/@me HTTP/1.1",
            f"POST {server.url}/chat/completions HTTP/1.1",
        ]
    async with open_discord(GONE) as http:
        with pytest.raises(AwayError, match="the proxy cannot be reached"):
            await DiscordClient(http, "token", monotonic_clock).request("GET", "/users/@me")
    async with open_note_http(GONE) as http:
        with pytest.raises(AskError, match="the proxy cannot be reached"):
            await NoteClient(http, "https://llm.example", "model", None).ask(b"{}")


async def webhook(url: str, outbound: Outbound, allowed: set[str], *addresses: str) -> int:
    async with open_webhooks(frozenset(allowed), resolving(*addresses), outbound) as webhooks:
        return await webhooks.deliver(url, SECRET, "msg_1", AT, b"{}")


async def test_webhooks_go_through_the_proxy_contract_73(tmp_path: Path) -> None:
    files = certificate(tmp_path, "hooks.test")
    ca = pem(files)
    async with receiving(files) as receiver, proxying() as proxy:
        url = receiver.url.replace("127.0.0.1", "hooks.test") + "/path"
        # The name does not resolve here: the proxy resolves it.
        assert await webhook(url, proxy.outbound(ca), set()) == 200
        assert proxy.asked == [f"CONNECT hooks.test:{httpx.URL(url).port} HTTP/1.1"]
        assert proxy.authorizations == [BASIC]
        with pytest.raises(NotDeliveredError, match="TLS: the certificate is not accepted"):
            await webhook(url, proxy.outbound(), set())
        with pytest.raises(NotDeliveredError, match=r"refused address: 10\.0\.0\.1"):
            await webhook(url, proxy.outbound(ca), set(), "10.0.0.1")
        assert await webhook(url, proxy.outbound(ca), {"hooks.test"}, "10.0.0.1") == 200
        proxy.answer = REFUSAL
        with pytest.raises(NotDeliveredError, match="the proxy responded with HTTP 407"):
            await webhook(url, proxy.outbound(ca), set())
    with pytest.raises(NotDeliveredError, match=r"proxy \(OUTBOUND_PROXY\) refused the conn"):
        await webhook("https://hooks.test/", GONE, set())


async def test_channels_go_through_the_proxy_contract_73(tmp_path: Path) -> None:
    files = certificate(tmp_path, "localhost")
    ca = pem(files)
    async with receiving(files) as receiver, proxying() as proxy:
        port = httpx.URL(receiver.url).port
        url = f"ntfys://localhost:{port}/t"
        channels = Channels(frozenset({"localhost"}), outbound=proxy.outbound(ca))
        await channels.deliver(url, BODY)
        assert proxy.asked == [f"CONNECT localhost:{port} HTTP/1.0"] or proxy.asked == [
            f"CONNECT localhost:{port} HTTP/1.1"
        ]
        assert proxy.authorizations == [BASIC]
        assert len(receiver.received) == 1
        with pytest.raises(NotDeliveredError, match="refused address"):
            await Channels(frozenset(), outbound=proxy.outbound(ca)).deliver(url, BODY)
        assert len(proxy.asked) == 1


def read(**env: str) -> Settings:
    return Settings.from_env(env)


def test_settings_of_the_way_out_contract_73(tmp_path: Path) -> None:
    file = certificate(tmp_path, NAME)[0]
    found = read(
        OUTBOUND_PROXY="http://user:CANARY@proxy.corp:3128/", OUTBOUND_CA_FILE=file
    ).outbound
    assert found.proxy == "http://user:CANARY@proxy.corp:3128"
    assert found.ca == Path(file).read_text()
    assert "CANARY" not in repr(found)
    ignored = read(HTTPS_PROXY="http://x", http_proxy="http://y", ALL_PROXY="").outbound
    assert (ignored.proxy, ignored.ignored) == (None, ("HTTPS_PROXY", "http_proxy"))


def test_the_start_names_a_proxy_that_is_not_used_contract_73(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report_ignored(Outbound())
    assert caplog.messages == []
    report_ignored(read(HTTPS_PROXY="http://CANARY").outbound)
    [record] = caplog.records
    assert record.message == "outbound.proxy_ignored"
    assert "CANARY" not in str(record.__dict__)
    assert "HTTPS_PROXY" in str(record.__dict__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTBOUND_PROXY", ""),
        ("OUTBOUND_PROXY", "CANARY:3128"),
        ("OUTBOUND_PROXY", "socks5://CANARY:1080"),
        ("OUTBOUND_PROXY", "http://CANARY/path"),
        ("OUTBOUND_PROXY", "http://CANARY:99999"),
        ("OUTBOUND_PROXY", "http://a b"),
        ("OUTBOUND_CA_FILE", ""),
        ("OUTBOUND_CA_FILE", "/CANARY"),
        ("OUTBOUND_CA_FILE", "/dev/null"),
        ("OUTBOUND_CA_FILE", __file__),
    ],
)
def test_bad_settings_of_the_way_out_are_refused_contract_73(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    assert str(caught.value).startswith(f"{name} must ")
    assert "CANARY" not in str(caught.value)


def test_the_order_of_a_channel_shows_nothing() -> None:
    from vyrox.notify.channel_process import Order

    order = Order("ntfys://CANARY", "t", "t", [], "http://CANARY@x", None)
    assert "CANARY" not in repr(order)
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order
