"""The options of a tenant's webhook, for `vyrox tenant add`, `set` and `show` (contract 71)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_args

import click
import msgspec
from cryptography.fernet import InvalidToken

from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_argument
from vyrox.cli.stores import Opened, opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.crypto import standard_key
from vyrox.errors import OperatorError
from vyrox.ids import is_tenant_id, normal_customer_id
from vyrox.models import Vendor
from vyrox.store.encryption import decrypt_secret
from vyrox.tenants import records
from vyrox.tenants.known import require_known
from vyrox.tenants.webhook_options import (
    DEFAULT,
    SIGNATURES,
    WebhookOptions,
    check_options,
    scheme_of,
)

F = TypeVar("F", bound=Callable[..., Any])

_FALCON_HEADERS: Final = ("signature_header", "timestamp_header")
_HEADERS: Final = {*_FALCON_HEADERS, "secret_header"}
_LISTS: Final = {"vendor_ids", "routes_to"}

_NOT_STANDARD: Final = "must be whsec_ and Base64 of 24 to 64 bytes for --signature standard"

_OPTIONS: Final = (
    click.option(
        "--signature",
        type=Choice(SIGNATURES),
        help="How deliveries on the tenant's own path are signed. falcon, falcon-hex: by "
        "CrowdStrike Falcon. standard: Standard Webhooks, at the generic vendor. "
        "A new tenant has vyrox.",
    ),
    click.option("--signature-header", metavar="NAME", help="Falcon's header for the signature."),
    click.option("--timestamp-header", metavar="NAME", help="Falcon's header for the time."),
    click.option(
        "--secret-header",
        metavar="NAME",
        help="SentinelOne: a header with the secret, accepted besides Authorization.",
    ),
    click.option(
        "--also-signature/--no-also-signature",
        default=None,
        help="SentinelOne, Defender: accept X-Vyrox-Signature instead of the secret itself.",
    ),
    click.option(
        "--vendor-id",
        "vendor_ids",
        multiple=True,
        metavar="ID",
        help="The vendor's own id of this customer; repeatable. Its alerts are accepted on no "
        "other tenant's path.",
    ),
    click.option(
        "--routes-to",
        "routes_to",
        multiple=True,
        metavar="CHILD",
        help="A tenant whose customer ids may arrive on this tenant's path; repeatable.",
    ),
)


def webhook_options(function: F) -> F:
    """Add the options to a command, which gets their values as `**given`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def changed_options(
    tenant_id: str, vendor: Vendor, options: WebhookOptions, given: dict[str, Any]
) -> WebhookOptions:
    """Return `options` with what the command line has given. An empty text ends an option.

    Raises:
        UsageError: They do not fit together, or not the vendor.
    """
    changes = _cleaned(vendor, given)
    changed = msgspec.structs.replace(options, **changes)
    if not changed.signature.startswith("falcon"):
        unset = {name: getattr(DEFAULT, name) for name in _FALCON_HEADERS if name not in changes}
        changed = msgspec.structs.replace(changed, **unset)
    try:
        check_options(tenant_id, vendor, changed)
    except ValueError as exc:
        raise click.UsageError(f"{exc}.") from exc
    return changed


def _cleaned(vendor: Vendor, given: dict[str, Any]) -> dict[str, Any]:
    changes = {name: value for name, value in given.items() if value not in (None, ())}
    for name in _HEADERS & changes.keys():
        changes[name] = changes[name].strip().lower() or getattr(DEFAULT, name)
    for name in _LISTS & changes.keys():
        changes[name] = tuple(dict.fromkeys(each for each in changes[name] if each))
    if bad := [each for each in changes.get("routes_to", ()) if not is_tenant_id(each)]:
        raise click.UsageError(f"--routes-to {bad[0]!a} is not a tenant's name.")
    if "vendor_ids" in changes:
        normal = (normal_customer_id(vendor, each) for each in changes["vendor_ids"])
        changes["vendor_ids"] = tuple(dict.fromkeys(normal))
    return changes


async def check_children(opened: Opened, children: Sequence[str]) -> None:
    """Return if each tenant of `--routes-to` is known. Raises OperatorError."""
    for child in filter(is_tenant_id, children):  # any other text is refused later
        await opened.database.read(require_known, child, "; onboard it first, then --routes-to")


def check_standard_secret(options: WebhookOptions, secret: bytes) -> None:
    """Return if `secret` can sign as the options say. Raises OperatorError."""
    if options.signature == "standard" and standard_key(secret) is None:
        raise OperatorError(f"the secret {_NOT_STANDARD}")


_vendor_option = click.option(
    "--vendor", required=True, type=Choice(get_args(Vendor)), help="The vendor."
)


@click.command("set")
@tenant_argument
@_vendor_option
@webhook_options
def set_(tenant_id: str, vendor: Vendor, routes_to: tuple[str, ...], **given: object) -> None:
    """Change how TENANT's deliveries of a vendor are authenticated, and whose alerts they hold.

    What is not given stays as it is. The ids and tenants that are given replace the present ones;
    an empty text removes all, or ends a header.
    """
    given["routes_to"] = routes_to
    if all(value in (None, ()) for value in given.values()):
        raise click.UsageError("nothing to change; see: vyrox tenant set --help")

    async def run() -> WebhookOptions:
        async with opened_database() as opened:
            vault = await open_vault(opened)
            await check_children(opened, routes_to)

            def change(present: WebhookOptions, encrypted: str) -> WebhookOptions:
                changed = changed_options(tenant_id, vendor, present, given)
                if changed.signature == "standard":
                    try:
                        secret = decrypt_secret(vault, encrypted, tenant_id, vendor, "webhook")
                    except InvalidToken:
                        secret = b""
                    if standard_key(secret) is None:
                        raise OperatorError(
                            f"the present secret {_NOT_STANDARD}; first give it one: vyrox "
                            f"tenant rotate {tenant_id} --vendor {vendor} --secret-stdin"
                        )
                return changed

            return await opened.database.write(
                records.set_options, tenant_id, vendor, change, wall_clock()
            )

    _print_options(tenant_id, vendor, asyncio.run(run()))


def options_facts(tenant_id: str, vendor: Vendor, options: WebhookOptions) -> dict[str, str]:
    """Return how deliveries are authenticated, and whose alerts they hold, as facts."""
    facts = {"path": f"/webhook/{vendor}/{tenant_id}", "scheme": scheme_of(vendor, options)}
    if options.signature.startswith("falcon"):
        facts["headers"] = f"{options.signature_header}, {options.timestamp_header}"
    for name, listed in (("vendor ids", options.vendor_ids), ("routes to", options.routes_to)):
        if listed:
            facts[name] = ", ".join(listed)
    return facts


def _print_options(tenant_id: str, vendor: Vendor, options: WebhookOptions) -> None:
    click.echo(f"{tenant_id} ({vendor})")
    for name, value in options_facts(tenant_id, vendor, options).items():
        click.echo(f"  {name:<14} {value}")


async def options_of(opened: Opened, tenant_id: str, vendor: Vendor) -> WebhookOptions:
    """Return the tenant's options."""
    rows = await opened.database.read(records.list_tenants)
    found = (row.webhook for row in rows if (row.tenant_id, row.vendor) == (tenant_id, vendor))
    return next(found, DEFAULT)
