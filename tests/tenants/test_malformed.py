"""In which way a credential is malformed, with equal work for every tenant (contract 84 and 3)."""

import gc
import sys
from types import FrameType
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.models import Vendor
from vyrox.tenants.malformed import Headers, how_malformed, how_of_signature
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions

HEX: Final = b"0123456789abcdef" * 4
BASE64: Final = b"A" * 43 + b"="
FALCON: Final = WebhookOptions(signature="falcon")
FALCON_HEX: Final = WebhookOptions(signature="falcon-hex")
STANDARD: Final = WebhookOptions(signature="standard")
OWN: Final = WebhookOptions(secret_header="x-secret", also_signature=True)


@pytest.mark.parametrize(
    ("value", "how"),
    [
        (b"sha256=" + HEX, None),
        (HEX, "no_prefix"),
        (HEX.upper(), "upper_case"),
        (b"sha256=" + HEX.upper(), "upper_case"),
        (b"SHA256=" + HEX, "upper_case"),
        (BASE64, "base64"),
        (b"sha256=" + BASE64, "base64"),
        (b"v1," + BASE64, "base64"),
        (b"sha256= " + HEX, "blanks"),
        (b'"sha256=' + HEX + b'"', "blanks"),
        (b"sha256=" + HEX + b"\t", "blanks"),
        (b"sha256=" + HEX[:-1], "length"),
        (b"sha256=" + HEX + b"0", "length"),
        (b"sha256=", "length"),
        (b"", "length"),
        (b"0" * 5000, "length"),
        (b"sha256=" + HEX[:-1] + b"g", "characters"),
        (b"sha1=" + HEX, "characters"),
        (b"\xff" * 71, "characters"),
        (b"null", "characters"),
    ],
)
def test_signature_is_malformed_in_a_named_way_contract_84(value: bytes, how: str | None) -> None:
    assert how_of_signature([value]) == how
    assert how_of_signature([value, value]) == "twice"
    headers = [(b"x-vyrox-signature", value)]
    assert how_malformed(headers, "crowdstrike", DEFAULT, own_path=False) == how
    # On its own path the tenant's scheme counts, on the other one it does not.
    assert how_malformed(headers, "crowdstrike", FALCON, own_path=False) == how
    assert how_malformed(headers, "generic", STANDARD, own_path=True) is None


@pytest.mark.parametrize(
    ("options", "name", "value", "how"),
    [
        (FALCON, b"x-cs-primary-signature", BASE64, None),
        (FALCON, b"x-cs-primary-signature", HEX, "hex"),
        (FALCON_HEX, b"x-cs-primary-signature", HEX, None),
        (FALCON_HEX, b"x-cs-primary-signature", BASE64, "base64"),
        (FALCON_HEX, b"x-cs-primary-signature", b"sha256=" + HEX, "prefix"),
        (FALCON_HEX, b"x-cs-primary-signature", HEX.upper(), "upper_case"),
        (STANDARD, b"webhook-signature", b"v1," + BASE64, None),
        (STANDARD, b"webhook-signature", b"v1," + BASE64 + b" v1a," + BASE64, None),
        (STANDARD, b"webhook-signature", BASE64, "no_prefix"),
        (STANDARD, b"webhook-signature", HEX, "hex"),
    ],
)
def test_own_scheme_has_its_own_form_contract_84(
    options: WebhookOptions, name: bytes, value: bytes, how: str | None
) -> None:
    vendor: Vendor = "generic" if options is STANDARD else "crowdstrike"
    assert how_malformed([(name, value)], vendor, options, own_path=True) == how


@pytest.mark.parametrize(
    ("value", "how"),
    [
        (b"Bearer token", None),
        (b"BEARER token", None),
        (b"token", "no_prefix"),
        (b"Basic token", "no_prefix"),
        (b"Bearer", "no_prefix"),
        (b"Bearer ", "length"),
        (b"Bearer " + b"x" * 4096, "length"),
        (b"Bearer  token", "blanks"),
        (b'Bearer "token"', "blanks"),
        (b"Bearer to ken", "blanks"),
        (b"Bearer token\xa0", "blanks"),
    ],
)
def test_bearer_token_is_malformed_in_a_named_way_contract_84(
    value: bytes, how: str | None
) -> None:
    headers = [(b"authorization", value)]
    for own_path in (False, True):
        assert how_malformed(headers, "sentinelone", DEFAULT, own_path=own_path) == how
    twice = how_malformed(headers * 2, "sentinelone", DEFAULT, own_path=False)
    assert twice == "twice"
    signed = [(b"x-vyrox-signature", HEX)]
    assert how_malformed(signed, "defender", OWN, own_path=True) == "no_prefix"
    own = [(b"x-secret", b'"quoted"')]
    assert how_malformed(own, "defender", OWN, own_path=True) == "blanks"


NAMES: Final = [
    b"x-vyrox-signature",
    b"authorization",
    b"x-cs-primary-signature",
    b"webhook-signature",
    b"host",
]
VALUES: Final = st.sampled_from(
    [b"", HEX, HEX.upper(), b"sha256=" + HEX, BASE64, b"v1," + BASE64, b"Bearer x", b"a b"]
) | st.binary(max_size=300)
HEADERS: Final = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6)


def calls(headers: Headers, vendor: Vendor, options: WebhookOptions) -> int:
    """Return how many functions ran, those of C included.

    The garbage collector is off meanwhile: Hypothesis has a function of its own called at each
    collection, whose calls would count here.
    """
    number = 0

    def watch(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(watch)
    try:
        how_malformed(headers, vendor, options, own_path=True)
    finally:
        sys.setprofile(before)
        gc.enable()
    return number


@given(headers=HEADERS, vendor=st.sampled_from(["crowdstrike", "sentinelone"]))
def test_every_tenant_costs_the_same_contract_3(headers: Headers, vendor: Vendor) -> None:
    """Whatever its scheme: only what the client has sent decides how much work there is."""
    of = {
        calls(headers, vendor, options)
        for options in (DEFAULT, FALCON, FALCON_HEX, STANDARD, OWN, WebhookOptions())
    }
    assert len(of) == 1
