"""Channels beside webhooks: which URLs, which addresses, which texts (contract 69)."""

import re
import subprocess
import sys
from typing import Any, Final, get_args

import msgspec
import pytest
import requests
from apprise.utils.parse import parse_url
from hypothesis import given
from hypothesis import strategies as st

from tests.notify.receiver import receiving
from tests.notify.samples import announcement
from vyrox.errors import NotDeliveredError
from vyrox.notify.channel_process import Order, send
from vyrox.notify.channel_url import PARAMETERS, parse_channel
from vyrox.notify.channels import CHANNEL_TIMEOUT_S, MAX_AT_ONCE, Channels
from vyrox.notify.delivery import CLAIM_S
from vyrox.notify.messages import Notice, NoticeKind
from vyrox.notify.short import Short, plain, short_of

BODY: Final = msgspec.json.encode(Short("a title", "a text", "/approvals/p"))

URLS: Final = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "workflows": "workflows://prod-1.logic.azure.com:443/workflow-id/signature",
    "ntfys": "ntfys://user:pass@ntfy.example.com/on-call?priority=high",
    "pagerduty": "pagerduty://INTEGRATIONKEY@APIKEY",
    "opsgenie": "opsgenie://00000000-0000-4000-8000-000000000000",
    "tgram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "matrixs": "matrixs://user:pass@matrix.example.com/!room:example.com",
    "mailtos": "mailtos://user:pass@example.com?to=oncall@example.com&mode=ssl",
}

REFUSED: Final = [
    "json://example.com/",
    "dbus://",
    "exec://example.com",
    "syslog://localhost",
    "file:///etc/passwd",
    "https://example.com/config.yml",
    "ntfy://example.com/topic",
    "mailto://user:pass@example.com",
    "slack://a/b/c?template=/etc/passwd",
    "ntfys://example.com/t?attach=http://10.0.0.1/",
    "ntfys://example.com/t?redirect=yes",
    "ntfys://example.com/t?verify=no",
    "mailtos://u:p@example.com?pgpprv=/etc/shadow",
    "mailtos://u:p@example.com?mode=insecure",
    "mailtos://u:p@example.com?%73mtp=a&+X-Header=y",
    "matrixs://u:p@example.com/r?e2ee=yes",
    "ntfys://",
    "ntfys://exa mple.com/",
    "ntfys://" + "a" * 2048,
    "ntfys://[::1/t",
    # What `apprise` reads in another way than `urllib`.
    "mailtos://u:p@example.com?to=a@b.example;verify=no",
    "mailtos://u:p@example.com?mode=%20insecure%20",
    "mailtos://u:p@real.example@shown.example?to=a@b.example",
    "matrixs://u:p@example.com/#room?verify=no",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?to=a#&verify=no",
    "workflows://shown.example\\@real.example/w/s",
]


@pytest.mark.parametrize("scheme", URLS)
def test_service_is_accepted_and_shown_without_its_secrets_contract_69(scheme: str) -> None:
    shown = parse_channel(URLS[scheme], frozenset())
    host = {"workflows": "prod-1.logic.azure.com", "matrixs": "matrix.example.com"}
    host["mailtos"] = "example.com"
    assert shown == f"{scheme} {host[scheme]}" if scheme in host else scheme


@pytest.mark.parametrize("url", REFUSED)
def test_any_other_url_is_refused_contract_69(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|may|has no|not a valid"):
        parse_channel(url, frozenset())


def test_refusal_names_the_services_and_not_the_url_contract_69() -> None:
    with pytest.raises(ValueError, match=r"slack://, .*matrixs://") as caught:
        parse_channel("json://CANARY@example.com", frozenset())
    assert "CANARY" not in str(caught.value)


def test_without_tls_only_for_a_host_that_is_allowed_contract_69() -> None:
    allowed = frozenset({"ntfy.internal"})
    assert parse_channel("ntfy://ntfy.internal/t", allowed) == "ntfy"
    with pytest.raises(ValueError, match="NOTIFY_ALLOWED_HOSTS"):
        parse_channel("ntfy://ntfy.other/t", allowed)


@pytest.mark.parametrize(
    "url",
    [
        "ntfys://127.0.0.1:9/t",
        "ntfys://localhost:9/t",
        "matrixs://user:pass@169.254.169.254/!room:x",
        "mailtos://user:pass@example.com?smtp=10.0.0.1&from=a@example.com&to=b@example.com",
    ],
)
async def test_address_that_is_not_public_is_refused_contract_69(url: str) -> None:
    with pytest.raises(NotDeliveredError, match=r"refused address: .* is not on the public"):
        await Channels(frozenset()).deliver(url, BODY)


ATTEMPTS: Final = {
    "a file by its number": "os.open('/tmp/refused', os.O_WRONLY | os.O_CREAT)",
    "a file": "open('/tmp/refused', 'w')",
    "a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "a connection": "socket.create_connection(('127.0.0.1', 9))",
    "a program": "os.system('true')",
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_process_that_sends_can_do_little_else_contract_69(what: str) -> None:
    """In a process of its own: the guard cannot be taken off."""
    code = (
        "import os, socket\nfrom vyrox.notify.channel_process import Guard\n"
        f"Guard(frozenset()).install()\ntry:\n    {ATTEMPTS[what]}\n"
        "except PermissionError:\n    print('refused')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert ran.stdout == "refused\n"


async def test_redirect_is_not_followed_contract_69() -> None:
    async with receiving() as receiver:
        receiver.behaviours.append("redirect")
        url = receiver.url.replace("http", "ntfy") + "/t"
        with pytest.raises(NotDeliveredError, match="HTTP 307"):
            await Channels(frozenset({"127.0.0.1"})).deliver(url, BODY)
        assert len(receiver.received) == 1


async def test_response_that_unpacks_to_much_ends_its_process_contract_69() -> None:
    async with receiving() as receiver:
        receiver.behaviours.append("bomb")
        url = receiver.url.replace("http", "ntfy") + "/t"
        with pytest.raises(NotDeliveredError, match=r"without a result|did not take"):
            await Channels(frozenset({"127.0.0.1"})).deliver(url, BODY)
        assert len(receiver.received) == 1


PARTS: Final = [
    "u",
    ":",
    "p",
    "@",
    "a.example",
    "/",
    "?",
    "#",
    "&",
    ";",
    "%20",
    "+",
    "to=x",
    "verify=no",
    "mode=insecure",
    "smtp=b.example",
    "\\",
    "%3F",
    "%3B",
    "=",
    ":1",
]


@given(
    scheme=st.sampled_from(sorted(URLS)),
    start=st.sampled_from(["", "u:p@a.example"]),
    parts=st.lists(st.sampled_from(PARTS), max_size=10),
)
def test_package_reads_a_url_as_it_was_checked_contract_69(
    scheme: str, start: str, parts: list[str]
) -> None:
    url = f"{scheme}://{start}{''.join(parts)}"
    try:
        shown = parse_channel(url, frozenset())
    except ValueError:
        return
    read: dict[str, Any] | None = parse_url(url, verify_host=False)  # type: ignore[no-untyped-call]
    if read is None:
        return  # the package takes no such URL
    assert read["qsd"].keys() <= PARAMETERS[scheme] | {""}
    assert "insecure" not in {value.lower() for value in read["qsd"].values()}
    assert shown in {scheme, f"{scheme} {read['host'].rstrip(':')}"}


async def test_process_that_takes_too_long_is_ended_contract_69(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vyrox.notify.channels.CHANNEL_TIMEOUT_S", 0.2)
    channels = Channels(frozenset({"127.0.0.1"}))
    async with receiving() as receiver:
        receiver.behaviours.append("hang")
        url = receiver.url.replace("http", "ntfy") + "/t"
        with pytest.raises(NotDeliveredError, match="not sent within 0 s"):
            await channels.deliver(url, BODY)
    assert channels._running == set()
    assert not channels._places.locked()


async def test_message_without_a_free_place_says_so_contract_69(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its wait and its own time are shorter than a claim together."""
    channels = Channels(frozenset())
    for _ in range(MAX_AT_ONCE):
        await channels._places.acquire()
    with monkeypatch.context() as patch:
        patch.setattr("vyrox.notify.channels.CHANNEL_TIMEOUT_S", 0)
        with pytest.raises(NotDeliveredError, match="other channels did not respond in time"):
            await channels.deliver(URLS["slack"], BODY)
    assert 2 * CHANNEL_TIMEOUT_S < CLAIM_S
    assert channels._running == set()


WEB: Final = [each for each in URLS if each not in {"matrixs", "mailtos"}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package
@pytest.mark.parametrize("scheme", WEB)
def test_service_gets_text_that_it_does_not_interpret_contract_69(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []

    def record(self: object, method: str, url: str, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        sent.append((url, str(kwargs.get("data") or kwargs.get("json"))))
        response = requests.Response()
        response.status_code = 202
        response._content = b'{"ok": true, "status": "ok"}'
        return response

    monkeypatch.setattr(requests.Session, "request", record)
    hostile = "<!channel> [x](http://evil.example) @everyone *b* <b>h</b> \u202e `c`"
    short = short_of(announcement(title=hostile))
    # What the service then responds makes no difference here.
    send(Order(URLS[scheme], short.title, short.text, []))
    [(url, data)] = sent[:1]
    assert url.startswith("https://")
    for markup in ("<!", "&lt;!", "](", "://evil", "@everyone", "<b>h", "\u202e"):
        assert markup not in data
    assert "evil.example" in data


@pytest.mark.parametrize("kind", get_args(NoticeKind))
def test_title_of_a_notice_is_in_plain_words_contract_69(kind: NoticeKind) -> None:
    short = short_of(Notice(tenant_id="acme-corp", kind=kind, at=0.0, text="ws-01"))
    assert re.fullmatch(r"Vyrox, acme-corp: (an?|the) [a-z ]+", short.title)


@given(st.text(max_size=2000))
def test_plain_text_is_bounded_and_has_no_markup_contract_69(text: str) -> None:
    found = plain(text)
    assert len(found) <= 300
    assert not set(found) & set("<>[]@*_~`\\&#|\n\r\u202e\u200b")
    assert "://" not in found
