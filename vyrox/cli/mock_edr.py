"""`vyrox mock-edr`: the vendors' clouds, made up, on a socket of this machine."""

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from vyrox.cli.mocks import address_options, serve_until_stopped
from vyrox.cli.output import json_option
from vyrox.cli.tables import print_table
from vyrox.clock import wall_clock

if TYPE_CHECKING:
    from vyrox.trial.mock_edr.inventory import Inventory


@click.command("mock-edr")
@address_options
@json_option
def mock_edr(host: str, port: int, as_json: bool) -> None:
    """Serve a mock of the vendors' clouds until SIGTERM or Ctrl-C.

    Prints its URL, credentials and devices; with --json, as one line.
    """
    # Imported here: the other commands start faster without it.
    from vyrox.trial.mock_edr.app import MockEdr
    from vyrox.trial.mock_edr.inventory import take_inventory

    mock = MockEdr(wall_clock)

    def announce(url: str) -> None:
        click.echo("vyrox: this is a mock of the vendors: no real host is ever contained", err=True)
        inventory = take_inventory(mock, url)
        if as_json:
            click.echo(msgspec.json.encode(inventory))
        else:
            _print(inventory)

    asyncio.run(serve_until_stopped(mock, host, port, announce))


def _print(inventory: "Inventory") -> None:
    """Print it without a pager: until its reader left it, the mock would answer nothing."""
    click.echo(f"mock EDR on {inventory.url}\n")
    print_table(
        ("VENDOR", "BASE URL", "CLIENT ID", "SECRET OR TOKEN", "AZURE TENANT"),
        (
            (each.vendor, each.base_url, each.client_id, each.client_secret, each.azure_tenant)
            for each in inventory.credentials
        ),
        is_paged=False,
    )
    click.echo()
    print_table(
        ("VENDOR", "DEVICE", "NAME", "ONLINE", "TAGS"),
        (
            (each.vendor, each.id, each.name, "yes" if each.online else "no", ", ".join(each.tags))
            for each in inventory.devices
        ),
        is_paged=False,
    )
