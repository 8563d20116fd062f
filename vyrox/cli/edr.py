"""`vyrox tenant edr`: the credentials with which Vyrox acts at a tenant's vendor."""

import asyncio
import re
from typing import Final

import click

from vyrox.cli.choices import Choice
from vyrox.cli.options import new_option, tenant_argument
from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.secret_input import read_secret
from vyrox.cli.stores import opened_database, write
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.containment.remains import remove_edr_credentials
from vyrox.containment.responder import EdrClients
from vyrox.edr.client import Deadline, Finding
from vyrox.edr.transport.calls import open_http
from vyrox.edr.urls import check_base_url, default_base_url
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, VendorError
from vyrox.ids import normal_customer_id
from vyrox.models import EdrVendor
from vyrox.settings import Settings
from vyrox.store.encryption import encrypt_secret
from vyrox.tenants import edr_credentials
from vyrox.tenants.edr_credentials import EDR_VENDORS, EdrCredentials

MAX_SECRET_BYTES: Final = 4096
"""Of a vendor's secret; a SentinelOne token is a JWT of some hundred bytes."""

CHECK_DEADLINE_S: Final = 60.0

_NEEDS: Final[dict[EdrVendor, frozenset[str]]] = {
    "crowdstrike": frozenset({"--client-id"}),
    "sentinelone": frozenset({"--base-url"}),
    "defender": frozenset({"--client-id", "--azure-tenant"}),
}

_CID: Final = re.compile(r"[0-9a-f]{32}")

_vendors = Choice(EDR_VENDORS)


@click.command("set")
@tenant_argument
@new_option
@click.option("--vendor", required=True, type=_vendors, help="The vendor.")
@click.option("--client-id", help="Of the API client (CrowdStrike) or the app (Defender).")
@click.option("--azure-tenant", help="Directory (tenant) id of the app. For Defender.")
@click.option(
    "--member-cid", help="Customer id of the child, with a Flight Control parent's API client."
)
@click.option(
    "--base-url",
    help="Of the vendor's API. Needed for SentinelOne: https://NAME.sentinelone.net.  "
    "[default: CrowdStrike us-1, Defender's worldwide address]",
)
def set_(
    tenant_id: str,
    vendor: EdrVendor,
    client_id: str | None,
    azure_tenant: str | None,
    member_cid: str | None,
    base_url: str | None,
    is_new: bool,
) -> None:
    """Store credentials in place of earlier ones. The secret is read from standard input."""
    given = {
        "--client-id": client_id,
        "--azure-tenant": azure_tenant,
        "--member-cid": member_cid,
        "--base-url": base_url,
    }
    _check_options(vendor, {name for name, value in given.items() if value is not None})
    member = None if member_cid is None else _checked_member(member_cid)
    settings = Settings.from_process()
    try:
        url = check_base_url(
            vendor, base_url or default_base_url(vendor) or "", settings.edr_test_url
        )
    except ValueError as exc:
        mock = "" if settings.edr_test_url else ". For a mock, set EDR_TEST_URL in this shell too"
        raise click.UsageError(f"--base-url {exc}{mock}") from exc
    secret = _read_vendor_secret()

    async def run() -> None:
        async with opened_database() as opened:
            stored = EdrCredentials(
                tenant_id=tenant_id,
                vendor=vendor,
                client_id=client_id,
                azure_tenant=azure_tenant,
                base_url=url,
                secret=encrypt_secret(
                    await open_vault(opened), secret, tenant_id, vendor, "vendor"
                ),
                version=edr_credentials.new_version(),
                member_cid=member,
            )
            await opened.database.write(
                edr_credentials.set_credentials, stored, wall_clock(), is_new
            )

    asyncio.run(run())
    click.echo(f"{tenant_id} has credentials for {vendor} at {url}")
    click.echo(f"Try them: vyrox tenant edr check {tenant_id} --vendor {vendor}", err=True)


def _check_options(vendor: EdrVendor, given: set[str]) -> None:
    if missing := sorted(_NEEDS[vendor] - given):
        raise click.UsageError(f"--vendor {vendor} needs {' and '.join(missing)}.")
    allowed = _NEEDS[vendor] | {"--base-url"}
    if vendor == "crowdstrike":
        allowed |= {"--member-cid"}
    if foreign := sorted(given - allowed):
        raise click.UsageError(f"{foreign[0]} is not for --vendor {vendor}.")


def _checked_member(text: str) -> str:
    member = normal_customer_id("crowdstrike", text)
    if not _CID.fullmatch(member):
        raise click.UsageError("--member-cid must be a Falcon customer id: 32 hexadecimal digits.")
    return member


def _read_vendor_secret() -> bytes:
    secret = read_secret(MAX_SECRET_BYTES)
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        raise OperatorError(f"the secret must be 1 to {MAX_SECRET_BYTES} bytes")
    if not secret.isascii() or not secret.decode("ascii").isprintable() or b" " in secret:
        raise OperatorError("the secret must be printable ASCII without spaces")
    return secret


@click.command()
@tenant_argument
@click.option("--vendor", required=True, type=_vendors, help="The vendor.")
@click.option(
    "--force", is_flag=True, help="Even if Vyrox has contained a host and could not lift it then."
)
def remove(tenant_id: str, vendor: EdrVendor, force: bool) -> None:
    """Delete TENANT's credentials for a vendor. Vyrox can then no longer act there."""
    write(remove_edr_credentials, tenant_id, vendor, wall_clock(), force)
    click.echo(f"{tenant_id} has no credentials for {vendor} any more")


@click.command()
@tenant_argument
@click.option("--vendor", type=_vendors, help="Needed if the tenant has credentials for several.")
@wide_option
@json_option
def check(tenant_id: str, vendor: EdrVendor | None, as_json: bool) -> None:
    """Call the vendor, change nothing, and list the permissions.

    Exits with 1 if a permission is missing.
    """

    async def run() -> tuple[Finding, ...]:
        async with (
            opened_database() as opened,
            open_http(outbound=opened.settings.outbound) as http,
        ):
            rows = await opened.database.read(edr_credentials.list_credentials, tenant_id)
            clients = EdrClients(
                await open_vault(opened),
                lambda credentials: make_client(credentials, http, opened.settings.edr_test_url),
            )
            client = clients.client(_only(rows, tenant_id, vendor))
            return await client.check(Deadline(CHECK_DEADLINE_S))

    try:
        findings = asyncio.run(run())
    except VendorError as exc:
        raise _explained(exc, tenant_id, vendor) from exc
    if as_json:
        print_json(findings)
    else:
        words = {True: "yes", False: "MISSING", None: "only an action shows it"}
        print_table(
            ("PRESENT", Column("PERMISSION", "cut"), Column("NEEDED FOR", "cut")),
            ((words[each.present], each.permission, each.needed_for) for each in findings),
        )
    if any(each.present is False for each in findings):
        raise click.exceptions.Exit(1)


def _explained(error: VendorError, tenant_id: str, vendor: EdrVendor | None) -> OperatorError:
    reason = printable(str(error))
    if not reason.startswith("credentials refused"):
        return OperatorError(f"the check failed: {reason}")
    which = f" --vendor {vendor}" if vendor else ""
    return OperatorError(
        f"the vendor does not accept the stored credentials ({reason}): set them again with "
        f"vyrox tenant edr set {tenant_id}{which}"
    )


def _only(rows: list[EdrCredentials], tenant_id: str, vendor: EdrVendor | None) -> EdrCredentials:
    chosen = [row for row in rows if vendor in {None, row.vendor}]
    if not chosen:
        name = vendor or "vendor"
        raise OperatorError(
            f"{tenant_id} has no {name} credentials; set them: vyrox tenant edr set"
        )
    if len(chosen) > 1:
        raise OperatorError(
            f"{tenant_id} has {', '.join(row.vendor for row in chosen)}: choose one with --vendor"
        )
    return chosen[0]
