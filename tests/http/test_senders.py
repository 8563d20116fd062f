"""From which address a request comes, as the log shows it (contract 84)."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.http.senders import MAX_FORWARDED, sender_of
from vyrox.settings import values

TRUSTED: Final = "10.0.0.0/8, 2001:db8::/32,192.0.2.7"


def scope(peer: str | None, *forwarded: bytes, trusted: str | None = TRUSTED) -> dict[str, Any]:
    networks = () if trusted is None else values.networks(trusted)
    return {
        "app": SimpleNamespace(state=SimpleNamespace(trusted_proxies=networks)),
        "client": None if peer is None else (peer, 1234),
        "headers": [(b"x-forwarded-for", value) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("peer", "forwarded", "sender"),
    [
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", [b"203.0.113.9"], "198.51.100.1"),  # not a trusted proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),  # the first was forged
        ("10.0.0.1", [b"1.1.1.1, 203.0.113.9, 10.9.9.9, 192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", [b"1.1.1.1", b"203.0.113.9", b"10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", [b"[2001:db9::1]:443"], "2001:db9::1"),
        ("2001:db8::1", [b"2001:DB9::00:1"], "2001:db9::1"),
        ("::ffff:10.0.0.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"fe80::1%\x1b[2J\n"], "10.0.0.1"),
        ("10.0.0.1", [b"", b",,"], "10.0.0.1"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9" + b" " * 10_000], "203.0.113.9"),
        ("10.0.0.1", [b"1" * 10_000], "10.0.0.1"),
    ],
)
def test_last_address_outside_of_the_proxies_is_the_sender_contract_84(
    peer: str, forwarded: Sequence[bytes], sender: str
) -> None:
    assert sender_of(scope(peer, *forwarded)) == sender
    untrusted = sender_of(scope(peer, *forwarded, trusted=None))
    assert untrusted == peer.removeprefix("::ffff:")


def test_without_a_peer_there_is_no_sender_contract_84() -> None:
    assert sender_of(scope(None, b"203.0.113.9")) is None
    assert sender_of(scope("/run/vyrox.sock", b"203.0.113.9")) is None
    assert sender_of({"client": ("198.51.100.1", 1), "headers": []}) == "198.51.100.1"


def test_only_the_last_addresses_are_read_contract_84() -> None:
    many = b"203.0.113.9," + b",".join([b"10.0.0.2"] * MAX_FORWARDED)
    assert sender_of(scope("10.0.0.1", many)) == "10.0.0.2"


@given(st.binary(max_size=200))
def test_no_header_can_put_text_into_the_log_contract_84(value: bytes) -> None:
    sender = sender_of(scope("10.0.0.1", value))
    assert sender is not None
    assert set(sender) <= set("0123456789abcdef.:")


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "proxy", "10.0.0.0/8,", "fe80::1%eth0", "*"])
def test_networks_are_checked_contract_84(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        values.networks(text)
