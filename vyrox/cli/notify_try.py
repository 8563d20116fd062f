"""`vyrox tenant notify test`. Apart, because it alone loads an HTTP client."""

import asyncio
import secrets

import click
import msgspec
from cryptography.fernet import MultiFernet

from vyrox.cli.ids import whole
from vyrox.cli.notify import find_targets
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.errors import NotDeliveredError, OperatorError
from vyrox.notify import targets
from vyrox.notify.channels import Channels
from vyrox.notify.messages import Probe
from vyrox.notify.outbox import encode
from vyrox.notify.targets import SealedTarget, Target
from vyrox.notify.webhook import Webhooks, open_webhooks


class _Tried(msgspec.Struct, frozen=True):
    """What came of a test message."""

    id: str
    host: str
    delivered: bool
    result: str


@click.command()
@tenant_argument
@click.argument("target_id", metavar="[TARGET]", required=False, callback=whole("target"))
@json_option
def test(tenant_id: str, target_id: str | None, as_json: bool) -> None:
    """Send a test message to TENANT's targets, or to one, and print what happened.

    Exits with 1 if one was not delivered.
    """
    results = asyncio.run(_test(tenant_id, target_id))
    if as_json:
        print_json(results)
    else:
        for each in results:
            outcome = "delivered" if each.delivered else "not delivered"
            click.echo(f"{each.id} ({each.host}): {outcome}: {each.result}")
    if not all(each.delivered for each in results):
        raise click.exceptions.Exit(1)


async def _test(tenant_id: str, target_id: str | None) -> list[_Tried]:
    async with opened_database() as opened:
        found = await find_targets(opened, tenant_id)
        chosen = [each for each in found if target_id in {None, each.id}]
        if not found:
            raise OperatorError(
                f"{tenant_id} has no target; to add one: vyrox tenant notify add {tenant_id}"
            )
        if not chosen:
            raise targets.no_target(tenant_id)
        vault = await open_vault(opened)
        sealed = [
            await opened.database.read(targets.find_target, tenant_id, each.id) for each in chosen
        ]
        hosts = frozenset(opened.settings.notify_allowed_hosts)
        outbound = opened.settings.outbound
        channels = Channels(hosts, outbound=outbound)
        async with open_webhooks(hosts, outbound=outbound) as webhooks:
            sending = (
                _send_test(webhooks, channels, vault, *pair)
                for pair in zip(chosen, sealed, strict=True)
            )
            return await asyncio.gather(*sending)


async def _send_test(
    webhooks: Webhooks,
    channels: Channels,
    vault: MultiFernet,
    shown: Target,
    sealed: SealedTarget,
) -> _Tried:
    now = wall_clock()
    body = encode(Probe(tenant_id=shown.tenant_id, at=now), shown.format)
    message_id = f"msg_{secrets.token_hex(16)}"
    try:
        url, secret = sealed.open(vault)
        if shown.format == "apprise":
            await channels.deliver(url, body)
            return _Tried(shown.id, shown.host, True, "the channel took it")
        status = await webhooks.deliver(url, secret, message_id, int(now), body)
    except NotDeliveredError as exc:
        return _Tried(shown.id, shown.host, False, str(exc))
    return _Tried(shown.id, shown.host, True, f"the receiver responded with HTTP {status}")
