"""`vyrox tenant notify`: where a tenant's notifications go (contract 58)."""

import asyncio
from typing import Final, get_args

import click
import msgspec

from vyrox.cli.choices import Choice
from vyrox.cli.ids import whole
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json, print_record
from vyrox.cli.secret_input import read_secret_lines
from vyrox.cli.stores import Opened, opened_database, require_known_if_empty, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.notify import targets
from vyrox.notify.channel_url import parse_channel
from vyrox.notify.messages import Band
from vyrox.notify.signature import key_of, make_secret
from vyrox.notify.targets import Format, SealedTarget, Target
from vyrox.notify.url import MAX_URL, parse_url
from vyrox.settings import Settings
from vyrox.tenants.known import require_known

MAX_INPUT: Final = MAX_URL + 256

BANDS: Final[tuple[Band, ...]] = ("review", "urgent")
"""What a target can begin with. An incident in `close` is never announced."""


class _Added(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was added. `secret` is None if the operator supplied it."""

    id: str
    tenant_id: str
    host: str
    format: Format
    min_band: Band
    secret: str | None = None


@click.command()
@tenant_argument
@click.option(
    "--min-band",
    type=Choice(BANDS),
    default="review",
    show_default=True,
    help="Announce incidents from this band up.",
)
@click.option(
    "--format",
    "form",
    type=Choice(get_args(Format)),
    default="vyrox",
    show_default=True,
    help="vyrox: Vyrox's own JSON. ocsf: OCSF Detection Finding (class 2004). apprise: a short "
    "text to Slack, Teams, mail, ntfy, PagerDuty, Opsgenie, Telegram or Matrix.",
)
@click.option(
    "--own-secret",
    is_flag=True,
    help="Read the signing secret (whsec_...) too, on the line after the URL, instead of making "
    "one.",
)
@json_option
def add(tenant_id: str, min_band: Band, form: Format, own_secret: bool, as_json: bool) -> None:
    """Add a target for TENANT's notifications, and print its signing secret, if any, this once.

    The URL is read from standard input, or asked for in a terminal. It is stored encrypted and not
    shown again, because its path may be a secret.
    """
    if own_secret and form == "apprise":
        raise click.UsageError("--own-secret is for signed webhooks; apprise has no signature")
    names = ["URL", "secret"] if own_secret else ["URL"]
    url, *given = read_secret_lines(names, MAX_INPUT)
    host = _checked(url, form, Settings.from_process())
    own = _checked_secret(given[0]) if given else None
    secret = own or ("" if form == "apprise" else make_secret())

    async def run() -> SealedTarget:
        async with opened_database() as opened:
            sealed = targets.seal(await open_vault(opened), tenant_id, url, secret)
            shown = (host, form, min_band)
            await opened.database.read(require_known, tenant_id)
            await opened.database.write(targets.add_target, sealed, shown, wall_clock())
            return sealed

    sealed = asyncio.run(run())
    added = _Added(
        id=sealed.id,
        tenant_id=tenant_id,
        host=host,
        format=form,
        min_band=min_band,
        secret=None if given or not secret else secret,
    )
    if as_json:
        print_json(added)
        return
    print_record(
        {
            "target": added.id,
            "host": added.host,
            "format": form,
            "from": min_band,
            **({} if added.secret is None else {"secret": added.secret}),
        }
    )
    if added.secret is not None:
        click.echo("The secret is not shown again.", err=True)
    click.echo(f"Try it: vyrox tenant notify test {tenant_id} {added.id}", err=True)


def _checked(url: str, form: Format, settings: Settings) -> str:
    """Return what of the URL may be shown."""
    hosts = frozenset(settings.notify_allowed_hosts)
    try:
        if form == "apprise":
            return parse_channel(url, hosts)
        return parse_url(url, hosts).authority
    except ValueError as exc:
        raise OperatorError(f"the URL {exc}") from exc


def _checked_secret(secret: str) -> str:
    try:
        key_of(secret)
    except ValueError as exc:
        raise OperatorError(f"the secret {exc}") from exc
    return secret


@click.command("list")
@tenant_argument
@wide_option
@json_option
def list_(tenant_id: str, as_json: bool) -> None:
    """List TENANT's targets: how many notifications wait, and how many were never delivered."""

    async def run() -> list[Target]:
        async with opened_database() as opened:
            return await find_targets(opened, tenant_id)

    found = asyncio.run(run())
    if as_json:
        print_json(found)
        return
    print_table(
        (
            Column("HOST", "name"),
            "FORMAT",
            "FROM",
            "WAITING",
            "DEAD",
            Column("LAST ERROR", "cut"),
            Column("ADDED", "more"),
            Column("TARGET", "id"),
        ),
        (
            (
                each.host,
                each.format,
                each.min_band,
                each.waiting,
                each.dead,
                each.last_error,
                at(each.created_at),
                each.id,
            )
            for each in found
        ),
    )
    if not found:
        click.echo(
            f"{tenant_id} has no target; to add one: vyrox tenant notify add {tenant_id}", err=True
        )


@click.command()
@tenant_argument
@click.argument("target_id", metavar="TARGET", callback=whole("target"))
def remove(tenant_id: str, target_id: str) -> None:
    """Remove a TARGET of TENANT. What waits for it is not sent."""
    unsent = write(targets.remove_target, tenant_id, target_id, wall_clock())
    click.echo(f"target {target_id} removed")
    if unsent:
        click.echo(f"notifications that are not sent: {unsent}")


async def find_targets(opened: Opened, tenant_id: str) -> list[Target]:
    """Return the tenant's targets. Raises OperatorError if the tenant is not known."""
    found = await opened.database.read(targets.list_targets, tenant_id)
    await require_known_if_empty(opened, tenant_id, found)
    return found
