"""`vyrox tenant show`: all that is set for a tenant, one fact a line (contract 87)."""

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from vyrox.approvals.rules import FOUR_EYES
from vyrox.approvals.tenant_facts import TenantFacts, read_tenant
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import as_time, json_option, print_json, printable
from vyrox.cli.paging import paged
from vyrox.cli.policy import rails_facts
from vyrox.cli.stores import read
from vyrox.cli.webhook_options import options_facts
from vyrox.clock import wall_clock
from vyrox.models import Vendor
from vyrox.polling.arrivals import Arrivals
from vyrox.tenants.records import TenantRow


@click.command("show")
@tenant_argument
@json_option
def show(tenant_id: str, as_json: bool) -> None:
    """Show TENANT's vendors, the last alert and failure of each, credentials and guard rails.

    Times are UTC. Whether its alerts arrive, and what to do: vyrox tenant check TENANT
    """
    shown = read(read_tenant, tenant_id)
    if as_json:
        print_json([_as_json(shown, each, row) for each, row in _onboarded(shown)])
        return
    with paged():
        for each in shown.places:
            click.echo(f"{tenant_id} ({each.vendor})")
            _print(_place_facts(each))
        click.echo(tenant_id)
        _print(_tenant_facts(shown))


def _onboarded(shown: TenantFacts) -> Iterator[tuple[Arrivals, TenantRow]]:
    for each in shown.places:
        if each.onboarded is not None:
            yield each, each.onboarded


def _as_json(shown: TenantFacts, each: Arrivals, row: TenantRow) -> dict[str, Any]:
    hidden = {"secret", "version"}
    return {
        **msgspec.structs.asdict(row),
        "last_alert_at": each.alert_at,
        "last_refusal": each.refusal,
        "quarantined": each.kept,
        "guard_rails": shown.rails,
        "two_person": [rule for rule in shown.rules if rule != FOUR_EYES],
        "four_eyes": FOUR_EYES in shown.rules,
        "credentials": [
            {name: v for name, v in msgspec.structs.asdict(one).items() if name not in hidden}
            for one in shown.credentials
        ],
    }


def _print(facts: dict[str, str]) -> None:
    for name, value in facts.items():
        click.echo(f"  {name:<14} {printable(value)}")


def _place_facts(found: Arrivals) -> dict[str, str]:
    row = found.onboarded
    facts = {"state": _state(found)}
    if row is not None and row.enabled:
        facts |= options_facts(found.tenant_id, found.vendor, row.webhook)
    facts["last alert"] = as_time(found.alert_at) or "none yet"
    facts["last failure"] = _failure(found)
    if found.kept is not None:
        facts["quarantine"] = f"{found.kept.number}, the last: {found.kept.reason}"
    if row is not None and row.enabled:
        facts |= _secret_facts(row)
    if found.poller is not None:
        polled = as_time(found.poller.succeeded_at) or "never yet"
        facts["last poll"] = f"{polled}{_reason(found.poller.last_error)}"
    return facts


def _reason(error: str | None) -> str:
    return "" if error is None else f"; last error: {error}"


def _state(found: Arrivals) -> str:
    row = found.onboarded
    if row is None:
        return "not onboarded"
    if row.enabled:
        return f"enabled since {as_time(row.created_at)}"
    text = f"removed {as_time(row.removed_at)}"
    return f"{text}; to undo: {_undo(found.tenant_id, found.vendor)}" if row.keeps_secret else text


def _undo(tenant_id: str, vendor: Vendor) -> str:
    return f"vyrox tenant remove {tenant_id} --vendor {vendor} --undo"


def _failure(found: Arrivals) -> str:
    times = [(each.at, f"401 {each.failure}") for each in (found.refusal,) if each is not None]
    times += [(each.last_at, f"422 {each.reason}") for each in (found.kept,) if each is not None]
    if not times:
        return "none"
    at, why = max(times)
    return f"{as_time(at)}: {why}"


def _secret_facts(row: TenantRow) -> dict[str, str]:
    used = as_time(row.used_at) or "never"
    facts = {"secret": f"set {as_time(row.secret_at) or 'earlier'}, last used {used}"}
    if row.previous_expires_at is not None and row.previous_expires_at > wall_clock():
        used = as_time(row.previous_used_at) or "never since"
        facts["old secret"] = f"valid until {as_time(row.previous_expires_at)}, last used {used}"
    return facts


def _tenant_facts(shown: TenantFacts) -> dict[str, str]:
    facts = rails_facts(shown.rails, shown.rules)
    for each in shown.credentials:
        facts[f"at {each.vendor}"] = f"credentials for {each.base_url}"
    if not shown.credentials:
        facts["credentials"] = "none: no action is possible but a dry run"
    return facts
