"""Which addresses a notification may be sent to (contract 58)."""

import pytest

from vyrox.notify.addresses import is_public
from vyrox.notify.url import parse_url

REFUSED = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "168.63.129.16",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2606:4700::1%eth0",
    "localhost",
    "127.1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("address", REFUSED)
def test_address_inside_a_network_is_refused_contract_58(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_accepted_contract_58(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("http://hooks.example.com/CANARY", "must begin with https://", id="http"),
        pytest.param("ftp://hooks.example.com/CANARY", "must begin with https://", id="ftp"),
        pytest.param("https:///CANARY", "must begin with https:// and a host", id="no_host"),
        pytest.param("https://u:CANARY@hooks.example.com/", "user name", id="user"),
        pytest.param("https://hooks.example.com/#CANARY", "fragment", id="fragment"),
        pytest.param("https://hooks.example.com/CANARY y", "without spaces", id="space"),
        pytest.param("https://hooks.example.com/CANARY\r\nx: y", "printable", id="line_end"),
        pytest.param("https://hööks.example.com/CANARY", "ASCII", id="not_ascii"),
        pytest.param("https://hooks.example.com:99999/CANARY", "not a valid URL", id="port"),
        pytest.param("https://hooks.example.com:0/CANARY", "port 0", id="port_0"),
        pytest.param("https://[::1/CANARY", "not a valid URL", id="bracket"),
        pytest.param("https://hooks.example.com/" + "x" * 2048, "2048", id="long"),
    ],
)
def test_url_that_may_not_be_used_is_refused_without_its_text_contract_58(
    url: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_url(url, frozenset())
    assert "CANARY" not in str(caught.value)


def test_url_in_its_parts_shows_no_path_contract_58() -> None:
    endpoint = parse_url("https://Hooks.Example.com:8443/CANARY?t=CANARY", frozenset())
    assert (endpoint.host, endpoint.port) == ("hooks.example.com", 8443)
    assert (endpoint.authority, endpoint.target) == (
        "hooks.example.com:8443",
        "/CANARY?t=CANARY",
    )
    assert "CANARY" not in repr(endpoint)
    assert parse_url("http://[::1]:8080", frozenset({"::1"})).authority == "[::1]:8080"
