"""The tenant of the demo: its vendors, and the approver."""

from typing import Final

import click

from vyrox.models import Vendor
from vyrox.trial.demo.channel import Channel
from vyrox.trial.demo.servers import LogLine, Mock, VendorAccount
from vyrox.trial.demo.terminal import Terminal, lines_with, say_next, show_command

TENANT: Final = "acme-corp"
OTHER_TENANT: Final = "globex"
APPROVER: Final = "jane"


def set_up(terminal: Terminal, mock: Mock) -> None:
    """Onboard the tenant, and give Vyrox credentials at its vendor. Raises OperatorError."""
    say_next("A tenant, and the credentials with which Vyrox acts at its vendor, here a mock")
    click.echo(f"$ cd {terminal.directory}")
    add = ["tenant", "add", TENANT, "--vendor", "crowdstrike"]
    secret = _secret_in(terminal.show(add, lines_with()))
    account = mock.account("crowdstrike")
    (terminal.directory / "client.secret").write_text(account.client_secret)
    terminal.show(_credentials(account), lines_with(), "client.secret")
    terminal.env["CROWDSTRIKE_WEBHOOK_SECRET"] = secret


def add_vendor(terminal: Terminal, mock: Mock, vendor: Vendor) -> str:
    """Onboard the tenant for another vendor; return the webhook's secret. Raises OperatorError."""
    account = mock.account(vendor)
    secret = add_tenant(terminal, TENANT, vendor)
    terminal.run(_credentials(account), account.client_secret.encode())
    return secret


def add_rules(terminal: Terminal) -> None:
    """Set guard rails of the tenant, and let Vic see it. Raises OperatorError."""
    rails = ["--per-hour", "20", "--never-contain", "tag:domain-controller"]
    terminal.run(["tenant", "policy", TENANT, *rails])
    terminal.run(["viewer", "add", TENANT, "vic"])


def add_tenant(terminal: Terminal, tenant_id: str, vendor: Vendor) -> str:
    """Onboard a tenant, and return the webhook's secret. Raises OperatorError."""
    return _secret_in(terminal.run(["tenant", "add", tenant_id, "--vendor", vendor]))


def _secret_in(printed: str) -> str:
    return next(line.split()[1] for line in printed.splitlines() if line.startswith("secret"))


def _credentials(account: VendorAccount) -> list[str]:
    place = ["--base-url", account.base_url]
    if account.vendor != "sentinelone":
        place = ["--client-id", account.client_id, *place]
    if account.azure_tenant is not None:
        place += ["--azure-tenant", account.azure_tenant]
    return ["tenant", "edr", "set", TENANT, "--vendor", account.vendor, *place]


def say_serving(addresses: LogLine) -> None:
    """Show that the service runs."""
    show_command("vyrox serve &")
    public, private = addresses.ingestion, addresses.proxy
    click.echo(f"alerts in on http://{public} (put TLS before it), containment on {private}")


def name_approver(terminal: Terminal, channel: Channel) -> None:
    """Let Jane decide at Discord. Raises OperatorError."""
    say_next("Who decides: Jane, at Discord (here a fake one), once she has typed her code there")
    place = ["--guild", channel.guild_id, "--channel", channel.id]
    terminal.show(["discord", "setup", TENANT, *place], lines_with())
    add = ["approver", "add", TENANT, APPROVER, "--discord"]
    printed = terminal.show(add, lines_with("/vyrox register"))
    [typed] = [line for line in printed.splitlines() if "/vyrox register" in line]
    channel.register(typed.split()[-1])
