"""`vyrox tenant remove`: stop accepting a tenant's alerts, undo that, delete its secret (88)."""

import asyncio
import shlex
from typing import Final

import click
from cryptography.fernet import InvalidToken, MultiFernet

from vyrox.cli.options import tenant_argument
from vyrox.cli.output import printable
from vyrox.cli.secret_input import ctrl_c_ends, is_terminal
from vyrox.cli.stores import Opened, opened_database
from vyrox.cli.tenant import only_vendor, only_vendor_option
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.containment.remains import Remains, list_remains, remove_tenant
from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.settings.values import check_webhook_secret
from vyrox.store.encryption import decrypt_secret
from vyrox.tenants import removal
from vyrox.tenants.known import require_known

MAX_CONTAINED_SHOWN: Final = 50
"""Contained hosts that are printed one by one."""


@click.command()
@tenant_argument
@only_vendor_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--undo", is_flag=True, help="Accept its alerts again, with the secret as it was.")
@click.option("--purge", is_flag=True, help="Also delete its secret: there is no undo then.")
def remove(tenant_id: str, vendor: Vendor | None, yes: bool, undo: bool, purge: bool) -> None:
    """Stop accepting TENANT's alerts from a vendor, and print what remains of the tenant.

    Its alerts get 401 then. Its secret is kept, so that --undo is possible, until --purge. After
    the last vendor, new containments are refused. Lifts still work.
    """
    if undo and purge:
        raise click.UsageError("'--undo' needs the secret that '--purge' deletes.")
    if undo:
        chosen = asyncio.run(_restore(tenant_id, vendor))
        click.echo(f"{tenant_id} is onboarded for {chosen} again, with the same secret")
        return
    if not yes and not is_terminal():
        raise click.UsageError("Standard input is no terminal to ask on: give '--yes'.")
    ask = not yes
    chosen, remains = asyncio.run(_remove(tenant_id, vendor, ask=ask, purge=purge))
    if remains is None:
        click.echo(f"the secret of {tenant_id} for {chosen} is deleted")
        return
    click.echo(f"{tenant_id} removed for {chosen}")
    _print_remains(tenant_id, remains)
    if not purge:
        command = f"vyrox tenant remove {tenant_id} --vendor {chosen}"
        click.echo(f"to undo this: {command} --undo (or delete its secret: --purge)", err=True)


async def _remove(
    tenant_id: str, vendor: Vendor | None, *, ask: bool, purge: bool
) -> tuple[Vendor, Remains | None]:
    """Return the vendor and what remains; None if only a kept secret was deleted."""
    async with opened_database() as opened:
        kept = await opened.database.read(removal.kept_vendors, tenant_id) if purge else []
        if purge and (vendor in kept or (vendor is None and len(kept) == 1)):
            chosen = vendor or kept[0]
            _ask(f"Delete the secret of {tenant_id} for {chosen}? There is no undo", ask=ask)
            await opened.database.write(removal.purge_tenant, tenant_id, chosen, wall_clock())
            return chosen, None
        chosen = vendor or await only_vendor(opened, tenant_id)
        await _ask_to_remove(opened, tenant_id, chosen, ask=ask, purge=purge)
        return chosen, await opened.database.write(
            remove_tenant, tenant_id, chosen, wall_clock(), purge
        )


async def _ask_to_remove(
    opened: Opened, tenant_id: str, vendor: Vendor, *, ask: bool, purge: bool
) -> None:
    if not ask:
        return
    await opened.database.read(require_known, tenant_id)
    remains = await opened.database.read(list_remains, tenant_id)
    click.echo(f"Alerts of {tenant_id} from {vendor} get 401 from then on.", err=True)
    if remains.contained:
        click.echo(f"{len(remains.contained)} of its devices are contained.", err=True)
    if purge:
        click.echo("Its secret is deleted: there is no undo.", err=True)
    _ask(f"Remove {tenant_id} for {vendor}?", ask=True)


def _ask(question: str, *, ask: bool) -> None:
    if ask:
        with ctrl_c_ends():
            click.confirm(question, abort=True, err=True)


async def _restore(tenant_id: str, vendor: Vendor | None) -> Vendor:
    async with opened_database() as opened:
        kept = await opened.database.read(removal.kept_vendors, tenant_id)
        if vendor is None and len(kept) != 1:
            await opened.database.read(require_known, tenant_id)
            if not kept:
                raise OperatorError(f"no secret of {tenant_id} is kept: nothing can be undone")
            raise OperatorError(f"{tenant_id} was removed for {', '.join(kept)}: name a --vendor")
        chosen = vendor or kept[0]
        vault = await open_vault(opened)

        def check(encrypted: str) -> None:
            _check(opened, vault, tenant_id, chosen, encrypted)

        await opened.database.write(removal.restore_tenant, tenant_id, chosen, check, wall_clock())
        return chosen


def _check(
    opened: Opened, vault: MultiFernet, tenant_id: str, vendor: Vendor, encrypted: str
) -> None:
    """Return if the kept secret can be used. Raises OperatorError."""
    add = f"give it a new one: vyrox tenant add {tenant_id} --vendor {vendor}"
    try:
        secret = decrypt_secret(vault, encrypted, tenant_id, vendor, "webhook")
    except InvalidToken as exc:
        raise OperatorError(f"no key of this machine decrypts the kept secret; {add}") from exc
    try:
        check_webhook_secret(vendor, secret, opened.settings.private_secrets())
    except ValueError as exc:
        raise OperatorError(f"the kept secret {exc}; {add}") from exc


def _print_remains(tenant_id: str, remains: Remains) -> None:
    if remains.vendors:
        click.echo(f"still onboarded for {', '.join(remains.vendors)}")
    else:
        click.echo("new containments are refused; lifts still work")
    for vendor, device_id, hostname in remains.contained[:MAX_CONTAINED_SHOWN]:
        name = "" if hostname is None else f" ({hostname})"
        click.echo(f"still contained at {vendor}: {printable(device_id + name)}")
    if (more := len(remains.contained) - MAX_CONTAINED_SHOWN) > 0:
        click.echo(f"still contained: {more} more hosts")
    if remains.contained:
        _, device_id, _ = remains.contained[0]
        click.echo(
            f"first lift what is contained: vyrox lift {tenant_id} "
            f"{printable(shlex.quote(device_id))} --approved-by NAME"
        )
    for vendor in remains.edr_vendors:
        then = "then" if remains.contained else "credentials remain"
        click.echo(f"{then}: vyrox tenant edr remove {tenant_id} --vendor {vendor}")
    if remains.unfinished:
        click.echo(f"alerts that no consumer has finished: {remains.unfinished}")
    if remains.quarantined:
        click.echo(f"payloads in quarantine: {remains.quarantined}")
