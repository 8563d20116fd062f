"""`vyrox tenant policy`: a tenant's guard rails, and where two persons must approve."""

import asyncio
from collections.abc import Sequence
from typing import Final, get_args

import click
import msgspec

from vyrox.approvals.approver_commands import RuleChange, change_policy_and_rules
from vyrox.approvals.rules import FOUR_EYES
from vyrox.cli.choices import Choice
from vyrox.cli.options import by_option, new_option, tenant_argument
from vyrox.cli.output import as_time, json_option, print_json, printable
from vyrox.cli.stores import write_urgently
from vyrox.clock import wall_clock
from vyrox.tenants import device_rules
from vyrox.tenants.guard_rails import OtherHosts, Propose, Rails
from vyrox.tenants.policy import Change

MAX_PER_HOUR: Final = 1_000_000


class _Persons(msgspec.Struct, frozen=True):
    """Where two persons must approve.

    Attributes:
        waits_for: How many approvers must still endorse the end of a rule that was asked for.
    """

    four_eyes: bool
    two_person: list[str]
    waits_for: int


def _check_rules(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(device_rules.check_rule(value) for value in values)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command()
@tenant_argument
@click.option(
    "--per-hour",
    type=click.IntRange(0, MAX_PER_HOUR),
    help="Containments at most in an hour; 0 is no limit.",
)
@click.option(
    "--never-contain",
    "added",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="Never contain these hosts: device:ID, tag:TAG or host:PATTERN (such as dc-*). Prefer the "
    "first two: an attacker who controls a host can rename it.",
)
@click.option(
    "--allow-again",
    "removed",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="Remove a rule.",
)
@click.option(
    "--other-hosts",
    type=Choice(get_args(OtherHosts)),
    help="Refuse or allow a host that the alert does not name.",
)
@click.option(
    "--known-alerts-only/--any-alert",
    default=None,
    help="Refuse or allow a containment whose alert is not stored.",
)
@click.option(
    "--four-eyes/--no-four-eyes",
    default=None,
    help="The person who proposed an action never counts. Ending this needs two approvers.",
)
@click.option(
    "--two-person",
    "two_person",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="Actions on these devices need two persons: device:ID, tag:TAG or host:PATTERN.",
)
@click.option(
    "--end-two-person",
    "one_person",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="End such a rule, once two approvers have endorsed that in the console.",
)
@click.option(
    "--propose",
    type=Choice(get_args(Propose)),
    help="From which band on Vyrox proposes by itself what an incident suggests, if TENANT has an "
    "approver.",
)
@new_option
@by_option
@json_option
def policy(
    tenant_id: str,
    per_hour: int | None,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    other_hosts: OtherHosts | None,
    known_alerts_only: bool | None,
    four_eyes: bool | None,
    two_person: tuple[str, ...],
    one_person: tuple[str, ...],
    propose: Propose | None,
    is_new: bool,
    by: str,
    as_json: bool,
) -> None:
    """Change TENANT's guard rails as the options say, then show them."""
    now = wall_clock()
    change = Change(
        per_hour=per_hour,
        added=added,
        removed=removed,
        other_hosts=other_hosts,
        known_alerts_only=known_alerts_only,
        propose=propose,
        is_new=is_new,
    )
    asked = RuleChange(
        added=(*two_person, *([FOUR_EYES] if four_eyes else [])),
        ended=(*one_person, *([FOUR_EYES] if four_eyes is False else [])),
    )

    rails, rules, waits_for = asyncio.run(
        write_urgently(
            lambda connection: change_policy_and_rules(
                connection, tenant_id, change, asked, by, now
            )
        )
    )
    persons = _Persons(FOUR_EYES in rules, [rule for rule in rules if rule != FOUR_EYES], waits_for)
    if as_json:
        print_json({**msgspec.structs.asdict(rails), **msgspec.structs.asdict(persons)})
        return
    for name, value in rails_facts(rails, rules).items():
        click.echo(f"{name:<14} {printable(value)}")
    if waits_for:
        click.echo(
            f"the end of a rule waits: within a day, {waits_for} approvers must endorse it in the "
            "console",
            err=True,
        )


_PROPOSE: Final[dict[Propose, str]] = {
    "urgent": "what urgent incidents suggest",
    "review": "what incidents in review or urgent ones suggest",
    "none": "nothing",
}


def rails_facts(rails: Rails, rules: Sequence[str]) -> dict[str, str]:
    """Return the guard rails, and where two persons must approve, as facts."""
    return {
        "frozen": _frozen_text(rails),
        "per hour": str(rails.per_hour or "no limit"),
        "never contain": ", ".join(rails.never_contain) or "-",
        "other hosts": rails.other_hosts,
        "alerts": "known ones only" if rails.known_alerts_only else "any",
        "four eyes": "yes" if FOUR_EYES in rules else "no",
        "two persons": ", ".join(rule for rule in rules if rule != FOUR_EYES) or "-",
        "propose": _PROPOSE[rails.propose],
    }


def _frozen_text(rails: Rails) -> str:
    if rails.frozen_at is not None:
        return f"since {as_time(rails.frozen_at)} UTC"
    if rails.all_frozen_at is not None:
        return f"since {as_time(rails.all_frozen_at)} UTC, with every tenant"
    return "no"
