"""`vyrox mock-edr`: the vendors' clouds, made up, on a socket of this machine."""

import asyncio
import signal
from typing import TYPE_CHECKING

import click
import msgspec

from vyrox.cli.output import json_option, print_table
from vyrox.clock import wall_clock

if TYPE_CHECKING:
    from vyrox.trial.mock_edr.inventory import Inventory


@click.command("mock-edr")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="Port; 0 for a free one.",
)
@json_option
def mock_edr(host: str, port: int, as_json: bool) -> None:
    """Serve a mock of the vendors' clouds until SIGTERM or Ctrl-C.

    Prints its URL, credentials and devices; with --json, as one line.
    """
    asyncio.run(_serve_until_stopped(host, port, as_json))


async def _serve_until_stopped(host: str, port: int, as_json: bool) -> None:
    # Imported here: the other commands start faster without it.
    from vyrox.trial.mock_edr.app import MockEdr
    from vyrox.trial.mock_edr.inventory import take_inventory
    from vyrox.trial.mock_edr.serve import serving

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    mock = MockEdr(wall_clock)
    async with serving(mock, host, port) as url:
        click.echo("vyrox: this is a mock of the vendors: no real host is ever contained", err=True)
        inventory = take_inventory(mock, url)
        if as_json:
            click.echo(msgspec.json.encode(inventory))
        else:
            _print(inventory)
        await stopped.wait()


def _print(inventory: "Inventory") -> None:
    click.echo(f"mock EDR on {inventory.url}\n")
    print_table(
        ("VENDOR", "BASE URL", "CLIENT ID", "SECRET OR TOKEN", "AZURE TENANT"),
        (
            (each.vendor, each.base_url, each.client_id, each.client_secret, each.azure_tenant)
            for each in inventory.credentials
        ),
    )
    click.echo()
    print_table(
        ("VENDOR", "DEVICE", "NAME", "ONLINE", "TAGS"),
        (
            (each.vendor, each.id, each.name, "yes" if each.online else "no", ", ".join(each.tags))
            for each in inventory.devices
        ),
    )
