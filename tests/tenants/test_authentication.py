"""Authentication of webhooks: all failures look and cost the same (contract 3, 4, 6 and 7)."""

import hashlib
import hmac
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.crypto import sign
from vyrox.errors import UnauthorizedError
from vyrox.http.responses import error_response
from vyrox.models import Tenant, Vendor
from vyrox.tenants import authentication, schemes
from vyrox.tenants.authentication import (
    MAX_BEARER_BYTES,
    authenticate_bearer,
    authenticate_signature,
)
from vyrox.tenants.directory import Credentials
from vyrox.tenants.webhook_options import Signature, WebhookOptions

BODY = b'{"customer_id":"acme","detect_id":"evt:1"}'
PRESENT = b"present-secret-0123456789abcdef-0123456789"
PREVIOUS = b"previous-secret-0123456789abcdef-012345678"
OTHER = b"other-secret-0123456789abcdef-0123456789ab"

KNOWN = Credentials("acme", (PRESENT,), onboarded=True)
ROTATING = Credentials("acme", (PRESENT, PREVIOUS), onboarded=True)
DISABLED = Credentials("acme", (), onboarded=True)
UNKNOWN = Credentials("nobody", (), onboarded=False)
DEFAULTED = Credentials("newcomer", (PRESENT,), onboarded=False)
EVERYONE = [KNOWN, ROTATING, DISABLED, UNKNOWN, DEFAULTED]

Authenticate = Callable[[Sequence[bytes], Credentials], tuple[Tenant, int]]


def by_signature(headers: Sequence[bytes], credentials: Credentials) -> tuple[Tenant, int]:
    return authenticate_signature(BODY, headers, credentials)


def signature(secret: bytes, body: bytes = BODY) -> bytes:
    return sign(body, secret).encode()


def bearer(secret: bytes) -> bytes:
    return b"Bearer " + secret


METHODS = pytest.mark.parametrize(
    ("authenticate", "credential"),
    [
        pytest.param(by_signature, signature, id="signature"),
        pytest.param(authenticate_bearer, bearer, id="bearer"),
    ],
)


def refusal(
    authenticate: Authenticate, headers: Sequence[bytes], credentials: Credentials
) -> UnauthorizedError:
    with pytest.raises(UnauthorizedError) as caught:
        authenticate(headers, credentials)
    return caught.value


@METHODS
def test_authenticate_gives_the_tenant_and_the_slot(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    field_map = {"raw_id": "id"}
    credentials = Credentials("acme", (PRESENT, PREVIOUS), onboarded=True, field_map=field_map)

    assert authenticate([credential(PRESENT)], credentials) == (Tenant("acme", field_map), 0)
    assert authenticate([credential(PREVIOUS)], credentials) == (Tenant("acme", field_map), 1)
    assert authenticate([credential(PRESENT)], DEFAULTED) == (Tenant("newcomer"), 0)


@METHODS
def test_authenticate_tries_no_third_secret(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    credentials = Credentials("acme", (PRESENT, PREVIOUS, OTHER), onboarded=True)

    assert refusal(authenticate, [credential(OTHER)], credentials).kind == "wrong"


@METHODS
@pytest.mark.parametrize(
    ("secret", "credentials", "kind"),
    [
        pytest.param(None, KNOWN, "missing", id="reject_missing"),
        pytest.param(None, UNKNOWN, "missing", id="reject_missing_unknown_tenant"),
        pytest.param(None, DISABLED, "missing", id="reject_missing_disabled_tenant"),
        pytest.param(OTHER, KNOWN, "wrong", id="reject_wrong"),
        pytest.param(OTHER, ROTATING, "wrong", id="reject_wrong_while_rotating"),
        pytest.param(OTHER, DEFAULTED, "wrong", id="reject_wrong_default"),
        pytest.param(PREVIOUS, KNOWN, "wrong", id="reject_expired"),
        pytest.param(PRESENT, UNKNOWN, "unknown_tenant", id="reject_unknown_tenant"),
        pytest.param(PRESENT, DISABLED, "no_secret", id="reject_tenant_without_secret"),
    ],
)
def test_authenticate_refuses_with_its_kind_and_one_answer_contract_3(
    authenticate: Authenticate,
    credential: Callable[[bytes], bytes],
    secret: bytes | None,
    credentials: Credentials,
    kind: str,
) -> None:
    error = refusal(authenticate, [] if secret is None else [credential(secret)], credentials)

    assert error.kind == kind
    assert error.tenant_id == credentials.tenant_id
    answer = error_response(error)
    assert answer.status_code == 401
    assert answer.body == b'{"detail":"unauthorized"}'
    assert answer.raw_headers == [
        (b"content-length", b"25"),
        (b"content-type", b"application/json"),
    ]


@METHODS
def test_authenticate_names_no_tenant_where_none_was_claimed_contract_7(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    nobody = Credentials("", (), onboarded=False)

    assert refusal(authenticate, [credential(PRESENT)], nobody).tenant_id is None


@METHODS
def test_authenticate_refuses_two_headers_in_every_order_contract_4(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    good, bad = credential(PRESENT), credential(OTHER)
    for headers in (
        [good, bad],
        [bad, good],
        [good, good],
        [good, b""],
        [b"", good],
        [good + b"," + bad],
        [bad + b"," + good],
        [good + b", " + bad],
        [bad + b", " + good],
        [good + b"," + good],
        [good + b","],
        [b"," + good],
    ):
        assert refusal(authenticate, headers, KNOWN).kind == "wrong"


@METHODS
def test_authenticate_refuses_a_tenants_credential_under_every_other_name_contract_7(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    tenants = [
        Credentials(f"tenant-{number}", (b"secret-of-tenant-%04d-padded-to-its-32" % number,), True)
        for number in range(30)
    ]
    for owner in tenants:
        for named in tenants:
            headers = [credential(owner.secrets[0])]
            if owner is named:
                assert authenticate(headers, named) == (Tenant(owner.tenant_id), 0)
            else:
                assert refusal(authenticate, headers, named).tenant_id == named.tenant_id


@METHODS
@pytest.mark.parametrize("credentials", EVERYONE)
def test_authenticate_never_matches_the_stand_in_for_a_secret_contract_3(
    authenticate: Authenticate,
    credential: Callable[[bytes], bytes],
    credentials: Credentials,
) -> None:
    # A dummy secret is unknown to all clients; even a client that knew it would be rejected.
    for stand_in in authentication._DUMMY_SECRETS:
        refusal(authenticate, [credential(stand_in)], credentials)


@METHODS
@given(headers=st.lists(st.binary(max_size=100), max_size=3), credentials=st.sampled_from(EVERYONE))
def test_authenticate_raises_nothing_but_unauthorized_contract_4(
    authenticate: Authenticate,
    credential: Callable[[bytes], bytes],
    headers: list[bytes],
    credentials: Credentials,
) -> None:
    refusal(authenticate, headers, credentials)


@METHODS
def test_authenticate_refuses_every_non_ascii_byte_contract_4(
    authenticate: Authenticate, credential: Callable[[bytes], bytes]
) -> None:
    good = credential(PRESENT)
    for position in (0, len(good) // 2, len(good) - 1, len(good)):
        for byte in range(0x80, 0x100):
            header = good[:position] + bytes([byte]) + good[position + 1 :]
            assert refusal(authenticate, [header], KNOWN).kind == "wrong"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="reject_empty"),
        pytest.param(b"Bearer", id="reject_scheme_alone"),
        pytest.param(b"Bearer ", id="reject_empty_token"),
        pytest.param(b"Bearer  ", id="reject_space_as_token"),
        pytest.param(b"Bearer  " + PRESENT, id="reject_two_spaces"),
        pytest.param(b" Bearer " + PRESENT, id="reject_leading_space"),
        pytest.param(b"Bearer " + PRESENT + b" ", id="reject_trailing_space"),
        pytest.param(b"Bearer\t" + PRESENT, id="reject_tab"),
        pytest.param(b"Bearer\xa0" + PRESENT, id="reject_no_break_space"),
        pytest.param(b"Bearer" + PRESENT, id="reject_no_space"),
        pytest.param(b"Bearer: " + PRESENT, id="reject_colon"),
        pytest.param(b"Bearer=" + PRESENT, id="reject_equals"),
        pytest.param(b'Bearer "' + PRESENT + b'"', id="reject_quoted"),
        pytest.param(b"Bearer Bearer " + PRESENT, id="reject_scheme_twice"),
        pytest.param(b"Basic " + PRESENT, id="reject_other_scheme"),
        pytest.param(b"Token " + PRESENT, id="reject_token_scheme"),
        pytest.param(PRESENT, id="reject_no_scheme"),
        pytest.param(b"Bearer " + PRESENT[:-1], id="reject_shorter"),
        pytest.param(b"Bearer " + PRESENT + b"0", id="reject_longer"),
        pytest.param(b"Bearer " + PRESENT.upper(), id="reject_upper_case"),
        pytest.param(b"Bearer " + PRESENT + b"\n", id="reject_trailing_newline"),
        pytest.param(b"Bearer " + PRESENT + b"\x00", id="reject_trailing_nul"),
        pytest.param(
            b"Bearer " + hashlib.sha256(PRESENT).hexdigest().encode(), id="reject_its_digest"
        ),
    ],
)
def test_authenticate_bearer_refuses_every_other_form_contract_4(header: bytes) -> None:
    assert refusal(authenticate_bearer, [header], KNOWN).kind == "wrong"


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_authenticate_bearer_takes_the_scheme_in_any_case(scheme: bytes) -> None:
    assert authenticate_bearer([scheme + b" " + PRESENT], KNOWN) == (Tenant("acme"), 0)


def test_authenticate_bearer_refuses_an_empty_token_for_an_empty_secret() -> None:
    empty = Credentials("acme", (b"",), onboarded=True)

    refusal(authenticate_bearer, [], empty)
    refusal(authenticate_bearer, [b"Bearer "], empty)


def test_authenticate_bearer_refuses_a_header_that_is_too_long() -> None:
    longest = b"x" * (MAX_BEARER_BYTES - len(b"Bearer "))
    for token, fits in ((longest, True), (longest + b"x", False), (longest * 2, False)):
        credentials = Credentials("acme", (token,), onboarded=True)
        if fits:
            assert authenticate_bearer([bearer(token)], credentials) == (Tenant("acme"), 0)
        else:
            refusal(authenticate_bearer, [bearer(token)], credentials)


def test_authenticate_signature_is_of_the_body_as_received_contract_4() -> None:
    header = signature(PRESENT)

    assert authenticate_signature(BODY, [header], KNOWN) == (Tenant("acme"), 0)
    with pytest.raises(UnauthorizedError):
        authenticate_signature(BODY + b"\n", [header], KNOWN)
    with pytest.raises(UnauthorizedError):
        authenticate_signature(BODY.replace(b",", b", "), [header], KNOWN)


def computations(call: Callable[[], object]) -> tuple[list[bytes], int]:
    """Return the messages of `hmac.digest` during `call`, and the number of SHA-256 runs."""
    signed: list[bytes] = []
    hashed = 0

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal hashed
        if event == "call" and frame.f_code is hmac.digest.__code__:
            signed.append(frame.f_locals["msg"])
        if event == "c_call" and argument is hashlib.sha256:
            hashed += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    except UnauthorizedError:
        pass
    finally:
        sys.setprofile(before)
    return signed, hashed


@pytest.mark.parametrize("credentials", EVERYONE)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="reject_missing"),
        pytest.param([b"sha256=nonsense"], id="reject_malformed"),
        pytest.param([signature(OTHER)], id="reject_wrong"),
        pytest.param([signature(PREVIOUS)], id="previous"),
        pytest.param([signature(PRESENT)], id="present"),
        pytest.param([signature(PRESENT), signature(PRESENT)], id="reject_two"),
    ],
)
def test_authenticate_signature_always_computes_twice_over_the_body_contract_3(
    headers: list[bytes], credentials: Credentials
) -> None:
    signed, _ = computations(lambda: by_signature(headers, credentials))

    assert signed == [BODY, BODY]


@pytest.mark.parametrize("credentials", EVERYONE)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="reject_missing"),
        pytest.param([b"Bearer"], id="reject_malformed"),
        pytest.param([bearer(OTHER)], id="reject_wrong"),
        pytest.param([bearer(PREVIOUS)], id="previous"),
        pytest.param([bearer(PRESENT)], id="present"),
        pytest.param([bearer(PRESENT), bearer(PRESENT)], id="reject_two"),
    ],
)
def test_authenticate_bearer_always_hashes_the_token_and_two_secrets_contract_3(
    headers: list[bytes], credentials: Credentials
) -> None:
    _, hashed = computations(lambda: authenticate_bearer(headers, credentials))

    assert hashed == 3


SIGNED: list[tuple[Vendor, Signature]] = [
    ("crowdstrike", "vyrox"),
    ("crowdstrike", "falcon"),
    ("crowdstrike", "falcon-hex"),
    ("generic", "vyrox"),
    ("generic", "standard"),
]
SCHEMES = [
    pytest.param(
        vendor,
        Credentials("acme", secrets, known, None, WebhookOptions(scheme)),
        id=f"{vendor}-{scheme}-{len(secrets)}",
    )
    for vendor, scheme in SIGNED
    for secrets, known in (((PRESENT,), True), ((PRESENT, PREVIOUS), True), ((), False))
]
TIME, MESSAGE_ID = b"1760000000", b"m1"


@pytest.mark.parametrize(("vendor", "credentials"), SCHEMES)
def test_authenticate_signed_does_the_same_for_every_scheme_contract_71(
    vendor: Vendor, credentials: Credentials
) -> None:
    """For each of two secrets: over the body, and over the body with what the vendor may sign."""
    headers = [
        (b"x-vyrox-signature", b"sha256=nonsense"),
        (b"x-cs-primary-signature", b"nonsense"),
        (b"x-cs-delivery-timestamp", TIME),
        (b"webhook-id", MESSAGE_ID),
        (b"webhook-timestamp", TIME),
        (b"webhook-signature", b"v1,nonsense v1,nonsense"),
    ]
    compared = 0

    def count(left: bytes, right: bytes) -> bool:
        nonlocal compared
        compared += 1
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vyrox.tenants.schemes.hmac.compare_digest", count)
        signed, _ = computations(
            lambda: schemes.authenticate_signed(BODY, headers, vendor, credentials, float(TIME))
        )
    beside = TIME if vendor == "crowdstrike" else MESSAGE_ID + b"." + TIME + b"."
    assert [len(message) for message in signed] == [len(BODY), len(BODY) + len(beside)] * 2
    assert compared == 2 * schemes.CANDIDATES


@pytest.mark.parametrize("also_signature", [False, True])
@pytest.mark.parametrize("has_signature", [False, True])
@pytest.mark.parametrize("has_token", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_authenticate_secret_does_the_same_for_every_tenant_contract_71(
    known: bool, has_token: bool, has_signature: bool, also_signature: bool
) -> None:
    """Only the request decides what is computed."""
    options = WebhookOptions(also_signature=also_signature)
    credentials = Credentials("acme", (PRESENT,) if known else (), known, None, options)
    headers = [(b"x-vyrox-signature", signature(OTHER))] * has_signature
    headers += [(b"authorization", bearer(OTHER))] * has_token
    signed, hashed = computations(
        lambda: schemes.authenticate_secret(BODY, headers, credentials, own_header=True)
    )
    assert signed == [BODY, BODY] * has_signature
    assert hashed == 3
