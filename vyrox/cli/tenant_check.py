"""`vyrox tenant check`: whether a tenant's alerts arrive, and if not, why (contract 75)."""

import asyncio
from collections.abc import Sequence
from typing import Final, get_args

import click
import msgspec
from cryptography.fernet import MultiFernet

from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import DEFAULT_COLUMNS, json_option, print_json, printable, shortened
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.polling.arrivals import Arrivals, Kept, Refusal, read_arrivals, vendors_of
from vyrox.polling.findings import Finding, Fingerprints, findings
from vyrox.polling.notices import Waiting
from vyrox.tenants.fingerprints import fingerprint
from vyrox.tenants.known import require_known

_MARKS: Final = {"ok": "ok", "wrong": "WRONG", "info": "-"}


class _Checked(msgspec.Struct, frozen=True):
    """One vendor. Times are Unix seconds."""

    tenant_id: str
    vendor: Vendor
    is_ok: bool
    findings: list[Finding]
    secrets: Fingerprints
    used_at: float | None
    previous_used_at: float | None
    last_alert_at: float | None
    last_refusal: Refusal | None
    quarantined: Kept | None
    poller_lag_s: float | None
    poller_error: str | None
    announced: Waiting | None


@click.command()
@tenant_argument
@click.option("--vendor", type=Choice(get_args(Vendor)), help="Only this vendor.")
@json_option
def check(tenant_id: str, vendor: Vendor | None, as_json: bool) -> None:
    """Show whether TENANT's alerts arrive: the last ones, what was refused, and what to do.

    It reads the database only. A secret is shown by the first digits of its SHA-256. Exits with 1
    if something is wrong.
    """
    checked = asyncio.run(_check(tenant_id, vendor))
    if as_json:
        print_json(checked)
    else:
        _print(checked)
    if not all(each.is_ok for each in checked):
        raise click.exceptions.Exit(1)


async def _check(tenant_id: str, vendor: Vendor | None) -> list[_Checked]:
    async with opened_database() as opened:
        vendors = [vendor] if vendor else await opened.database.read(vendors_of, tenant_id)
        if not vendors:
            await opened.database.read(require_known, tenant_id)
            raise OperatorError(f"{tenant_id} has no webhook and no poller: name a --vendor")
        found = [await opened.database.read(read_arrivals, tenant_id, each) for each in vendors]
        if not any(each.onboarded or each.poller or each.alert_at for each in found):
            await opened.database.read(require_known, tenant_id)
        vault = await open_vault(opened)
    now = wall_clock()
    return [_checked(each, vault, now) for each in found]


def _checked(found: Arrivals, vault: MultiFernet, now: float) -> _Checked:
    prints = Fingerprints(
        fingerprint(vault, found.tenant_id, found.vendor, found.secrets.present),
        fingerprint(vault, found.tenant_id, found.vendor, found.secrets.previous),
    )
    lines = findings(found, prints, now)
    row, poller = found.onboarded, found.poller
    return _Checked(
        tenant_id=found.tenant_id,
        vendor=found.vendor,
        is_ok=all(line.state != "wrong" for line in lines),
        findings=lines,
        secrets=prints,
        used_at=row.used_at if row else None,
        previous_used_at=row.previous_used_at if row else None,
        last_alert_at=found.alert_at,
        last_refusal=found.refusal,
        quarantined=found.kept,
        poller_lag_s=poller.lag_s(now) if poller else None,
        poller_error=poller.last_error if poller else None,
        announced=found.notices,
    )


def _print(checked: Sequence[_Checked]) -> None:
    for number, each in enumerate(checked):
        click.echo(f"{'' if number == 0 else chr(10)}{each.tenant_id} ({each.vendor}), UTC")
        for line in each.findings:
            text = f"{_MARKS[line.state]:<6}{line.name:<11}{printable(line.text[:DEFAULT_COLUMNS])}"
            click.echo(shortened(text, DEFAULT_COLUMNS))
            for step in line.do:  # whole: it may be a command
                click.echo(f"{'':6}do: {printable(step)}")
