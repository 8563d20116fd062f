"""What a tenant has chosen for its webhook at one vendor, beside the secret (contract 71)."""

import re
from typing import Final, Literal, get_args

import msgspec

from vyrox.models import BEARER_VENDORS, Vendor

Signature = Literal["vyrox", "falcon", "falcon-hex", "standard"]
"""How deliveries on the path with the tenant in it are signed."""

SIGNATURES: Final[tuple[Signature, ...]] = get_args(Signature)

FALCON_SIGNATURE: Final = "x-cs-primary-signature"
FALCON_TIMESTAMP: Final = "x-cs-delivery-timestamp"

MAX_LISTED: Final = 1000
"""Customer ids of one tenant, or tenants that it may route to."""

_OF_VENDOR: Final[dict[Signature, Vendor]] = {
    "falcon": "crowdstrike",
    "falcon-hex": "crowdstrike",
    "standard": "generic",
}

_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TAKEN: Final = frozenset(
    {
        "accept", "authorization", "connection", "content-encoding", "content-length",
        "content-type", "cookie", "date", "expect", "host", "te", "trailer", "transfer-encoding",
        "upgrade", "user-agent", "via", "x-forwarded-for", "x-request-id", "x-vyrox-signature",
    }
)  # fmt: skip
"""Headers with a meaning of their own, which senders and proxies set."""

_VENDOR_ID: Final = re.compile(r"[!-~]{1,128}")


class WebhookOptions(msgspec.Struct, frozen=True):
    """The options of one tenant at one vendor. Names of headers are in lower case.

    Attributes:
        signature: The scheme of the path with the tenant in it.
        signature_header: Where Falcon's signature is. `timestamp_header` is where its time is.
        secret_header: A header with the secret, accepted besides Bearer; empty: none.
        also_signature: Deliveries may be signed instead of carrying the secret.
        vendor_ids: The vendor's own customer ids of this tenant, as `normal_customer_id` has them.
        routes_to: Tenants whose customer ids may arrive at this tenant's path.
    """

    signature: Signature = "vyrox"
    signature_header: str = FALCON_SIGNATURE
    timestamp_header: str = FALCON_TIMESTAMP
    secret_header: str = ""
    also_signature: bool = False
    vendor_ids: tuple[str, ...] = ()
    routes_to: tuple[str, ...] = ()


DEFAULT: Final = WebhookOptions()

_decoder: Final = msgspec.json.Decoder(WebhookOptions)


def encode_options(options: WebhookOptions) -> str | None:
    """Return the options as they are stored; None if all have their defaults."""
    return None if options == DEFAULT else msgspec.json.encode(options).decode()


def decode_options(text: str | None) -> WebhookOptions:
    """Return the options that are stored as `text`."""
    return DEFAULT if text is None else _decoder.decode(text)


def scheme_of(vendor: Vendor, options: WebhookOptions) -> str:
    """Return in a few words what proves that a delivery is the tenant's, on its own path."""
    if vendor not in BEARER_VENDORS:
        return options.signature
    header = f" or {options.secret_header}" if options.secret_header else ""
    return f"bearer{header}{' or signature' if options.also_signature else ''}"


def header_of(vendor: Vendor, options: WebhookOptions) -> str:
    """Return what a sender puts into the header, for a person who configures it."""
    own = options.secret_header
    falcon = f"{options.signature_header}, {options.timestamp_header}: as Falcon sets them"
    bearer = f"{own}: <secret>" if own else "Authorization: Bearer <secret>"
    return {
        "vyrox": bearer
        if vendor in BEARER_VENDORS
        else "X-Vyrox-Signature: sha256=<hex HMAC-SHA256 of the raw body with the secret>",
        "falcon": falcon,
        "falcon-hex": falcon,
        "standard": "webhook-id, webhook-timestamp, webhook-signature: Standard Webhooks",
    }[options.signature]


def check_options(tenant_id: str, vendor: Vendor, options: WebhookOptions) -> None:
    """Return if `tenant_id` can have `options` at `vendor`.

    Raises:
        ValueError: It cannot; the text says which option, and what is possible.
    """
    wanted = _OF_VENDOR.get(options.signature)
    if wanted not in {None, vendor}:
        raise ValueError(f"--signature {options.signature} is only for --vendor {wanted}")
    _check_headers(vendor, options)
    if options.also_signature and vendor not in BEARER_VENDORS:
        raise ValueError(f"--also-signature is not needed: {vendor} signs its deliveries")
    if vendor == "generic" and (options.vendor_ids or options.routes_to):
        raise ValueError("--vendor-id and --routes-to are not for --vendor generic")
    if bad := [each for each in options.vendor_ids if not _VENDOR_ID.fullmatch(each)]:
        raise ValueError(f"--vendor-id {bad[0]!a} must be 1 to 128 characters without spaces")
    if tenant_id in options.routes_to:
        raise ValueError(f"--routes-to {tenant_id} is the tenant itself")
    if max(len(options.vendor_ids), len(options.routes_to)) > MAX_LISTED:
        raise ValueError(f"at most {MAX_LISTED} of --vendor-id and of --routes-to")


def _check_headers(vendor: Vendor, options: WebhookOptions) -> None:
    falcon = {
        "--signature-header": options.signature_header,
        "--timestamp-header": options.timestamp_header,
    }
    is_falcon = options.signature.startswith("falcon")
    if not is_falcon and list(falcon.values()) != [FALCON_SIGNATURE, FALCON_TIMESTAMP]:
        raise ValueError(
            "--signature-header and --timestamp-header need --signature falcon or falcon-hex"
        )
    if options.secret_header and vendor != "sentinelone":
        raise ValueError("--secret-header is only for --vendor sentinelone")
    named = {**falcon, "--secret-header": options.secret_header or "none"}
    for option, name in named.items():
        if not _HEADER.fullmatch(name) or name in _TAKEN:
            raise ValueError(
                f"{option} must be the name of a header of 1 to 64 letters, digits, hyphens and "
                "underscores that has no other meaning"
            )
    if options.signature_header == options.timestamp_header:
        raise ValueError("--signature-header and --timestamp-header must differ")
