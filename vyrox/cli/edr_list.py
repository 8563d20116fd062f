"""`vyrox tenant edr list`: which tenant has credentials for which vendor."""

import click
import msgspec

from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.tenants import edr_credentials
from vyrox.tenants.edr_credentials import EdrCredentials


@click.command("list")
@wide_option
@json_option
def list_(as_json: bool) -> None:
    """List which tenant has credentials for which vendor."""
    rows = read(edr_credentials.list_credentials)
    if as_json:
        print_json([_without_secret(row) for row in rows])
        return
    print_table(
        ("TENANT", "VENDOR", Column("BASE URL", "cut"), Column("CLIENT ID", "more")),
        ((row.tenant_id, row.vendor, row.base_url, row.client_id) for row in rows),
    )


def _without_secret(row: EdrCredentials) -> dict[str, str | None]:
    hidden = {"secret", "version"}
    return {
        name: value for name, value in msgspec.structs.asdict(row).items() if name not in hidden
    }
