"""`vyrox tenant add` and `rotate`: onboard tenants, and give them new webhook secrets."""

import asyncio
import base64
import secrets
from functools import partial
from pathlib import Path
from typing import Final, get_args

import click
import msgspec
from cryptography.fernet import MultiFernet

from vyrox.cli.choices import Choice
from vyrox.cli.field_map import read_field_map
from vyrox.cli.folding import folded, say
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import as_time, json_option, print_json
from vyrox.cli.secret_input import read_secret
from vyrox.cli.stores import Opened, opened_database
from vyrox.cli.vault import open_vault
from vyrox.cli.vendor_steps import steps
from vyrox.cli.webhook_options import (
    changed_options,
    check_children,
    check_standard_secret,
    options_of,
    webhook_options,
)
from vyrox.clock import wall_clock
from vyrox.crypto import STANDARD_PREFIX
from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.settings import Settings
from vyrox.settings.values import MAX_SECRET_BYTES, MIN_SECRET_BYTES, check_webhook_secret
from vyrox.store.encryption import bind_secret, encrypt_secret
from vyrox.tenants import records
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions, header_of

DEFAULT_OVERLAP_S: Final = 86_400
MAX_OVERLAP_S: Final = 90 * 86_400


class _Webhook(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to configure at the vendor. `secret` is None if the operator supplied it."""

    tenant_id: str
    vendor: Vendor
    webhook_url: str
    header: str
    secret: str | None = None
    previous_secret_expires_at: float | None = None


_vendors = Choice(get_args(Vendor))
only_vendor_option = click.option(
    "--vendor", type=_vendors, help="Needed if the tenant is onboarded for several."
)
_secret_stdin_option = click.option(
    "--secret-stdin",
    is_flag=True,
    help=f"Read the secret from a hidden prompt or standard input, at least {MIN_SECRET_BYTES} "
    "bytes, instead of making one. One line end is removed; other white space at the ends is "
    "refused.",
)


@click.command()
@tenant_argument
@click.option("--vendor", required=True, type=_vendors, help="The vendor that sends the alerts.")
@_secret_stdin_option
@click.option(
    "--field-map",
    "field_map_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON file with the place of each alert field. For the generic vendor.",
)
@webhook_options
@json_option
def add(
    tenant_id: str,
    vendor: Vendor,
    secret_stdin: bool,
    field_map_file: Path | None,
    as_json: bool,
    **given: object,
) -> None:
    """Onboard TENANT for a vendor; print what to configure there, and the secret once."""
    if field_map_file is not None and vendor != "generic":
        raise click.UsageError("--field-map is only for --vendor generic.")
    options = changed_options(tenant_id, vendor, DEFAULT, given)
    secret = _read_webhook_secret(vendor, options) if secret_stdin else None
    field_map = None if field_map_file is None else read_field_map(field_map_file)

    async def run() -> tuple[_Webhook, bool]:
        async with opened_database(create=True) as opened:
            await check_children(opened, options.routes_to)
            made = secret or _make_secret(options)
            is_new = await opened.database.write(
                records.add_tenant,
                tenant_id,
                vendor,
                encrypt_secret(await open_vault(opened), made, tenant_id, vendor, "webhook"),
                field_map,
                wall_clock(),
                options,
            )
            shown = None if secret else made
            return _webhook(opened.settings, tenant_id, vendor, options, shown), is_new

    webhook, is_new = asyncio.run(run())
    _print_webhook(webhook, as_json)
    if not as_json:
        for line in ("", *steps(vendor, tenant_id, webhook.webhook_url, options), ""):
            click.echo(folded(line), err=True)
    if is_new:
        say(
            "Guard rail: only the host that an alert names can be contained. To change that: "
            f"vyrox tenant policy {tenant_id} --other-hosts allow"
        )
    if vendor == "generic" and field_map is None:
        click.echo(
            "No field map yet: alerts get 422 and are kept in quarantine until there is one; "
            "see: vyrox tenant field-map --help",
            err=True,
        )


@click.command()
@tenant_argument
@only_vendor_option
@click.option(
    "--overlap",
    "overlap_s",
    type=click.IntRange(0, MAX_OVERLAP_S),
    default=DEFAULT_OVERLAP_S,
    show_default=True,
    help="Seconds for which the old secret stays valid.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Even during the overlap of an earlier rotation: the oldest secret is invalid at once.",
)
@_secret_stdin_option
@json_option
def rotate(
    tenant_id: str,
    vendor: Vendor | None,
    overlap_s: int,
    force: bool,
    secret_stdin: bool,
    as_json: bool,
) -> None:
    """Give TENANT a new secret; the old one stays valid for a while, see `vyrox tenant list`."""
    readable: list[bool] = []

    def bind(vault: MultiFernet, chosen: Vendor, encrypted: str) -> str:
        bound = bind_secret(vault, tenant_id, chosen, "webhook", encrypted)
        # A secret that cannot be decrypted comes back unchanged.
        readable.append(bound != encrypted)
        return bound

    async def run() -> _Webhook:
        async with opened_database() as opened:
            chosen = vendor or await only_vendor(opened, tenant_id)
            options = await options_of(opened, tenant_id, chosen)
            secret = _read_webhook_secret(chosen, options) if secret_stdin else None
            made = secret or _make_secret(options)
            now = wall_clock()
            vault = await open_vault(opened)
            await opened.database.write(
                records.rotate_tenant,
                tenant_id,
                chosen,
                encrypt_secret(vault, made, tenant_id, chosen, "webhook"),
                overlap_s,
                now,
                force,
                partial(bind, vault, chosen),
            )
            shown = None if secret else made
            webhook = _webhook(opened.settings, tenant_id, chosen, options, shown)
            expires_at = now + overlap_s if readable[-1] else None
            return msgspec.structs.replace(webhook, previous_secret_expires_at=expires_at)

    webhook = asyncio.run(run())
    _print_webhook(webhook, as_json)
    if not readable[-1]:
        click.echo("The previous secret cannot be read with this key: it is not valid.", err=True)
    elif overlap_s == 0:
        click.echo("The previous secret is no longer valid.", err=True)
    elif not as_json:
        until = as_time(webhook.previous_secret_expires_at)
        click.echo(f"The previous secret is valid until {until} UTC.", err=True)


def _make_secret(options: WebhookOptions) -> bytes:
    if options.signature == "standard":
        return STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(32))
    return secrets.token_hex(32).encode()


def _read_webhook_secret(vendor: Vendor, options: WebhookOptions) -> bytes:
    secret = read_secret(MAX_SECRET_BYTES)
    try:
        check_webhook_secret(vendor, secret, Settings.from_process().private_secrets())
    except ValueError as exc:
        raise OperatorError(f"the secret {exc}") from exc
    check_standard_secret(options, secret)
    return secret


async def only_vendor(opened: Opened, tenant_id: str) -> Vendor:
    """Return the vendor at which the tenant is onboarded.

    Raises:
        OperatorError: It is onboarded at no vendor, or at several.
    """
    rows = await opened.database.read(records.list_tenants)
    enabled = [row.vendor for row in rows if row.tenant_id == tenant_id and row.enabled]
    if not enabled:
        raise OperatorError(f"{tenant_id} is not onboarded; see: vyrox tenant list")
    if len(enabled) > 1:
        raise OperatorError(f"{tenant_id} has {', '.join(enabled)}: say which with --vendor")
    return enabled[0]


def _webhook(
    settings: Settings,
    tenant_id: str,
    vendor: Vendor,
    options: WebhookOptions,
    secret: bytes | None,
) -> _Webhook:
    base = settings.public_url or f"http://localhost:{settings.ingestion_port}"
    return _Webhook(
        tenant_id=tenant_id,
        vendor=vendor,
        webhook_url=f"{base}/webhook/{vendor}/{tenant_id}",
        header=header_of(vendor, options),
        secret=None if secret is None else secret.decode(),
    )


def _print_webhook(webhook: _Webhook, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    click.echo(f"tenant   {webhook.tenant_id} ({webhook.vendor})")
    click.echo(f"webhook  {webhook.webhook_url}")
    click.echo(f"header   {webhook.header}")
    if webhook.secret is not None:
        click.echo(f"secret   {webhook.secret}")
        click.echo("The secret is not shown again.", err=True)
