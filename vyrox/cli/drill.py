"""`vyrox approver drill`: who can decide, and how fast (contract 65)."""

import asyncio
from typing import Final

import click

from vyrox.approvals import approver_commands as commands
from vyrox.approvals.drills import DrillAnswer, ShownDrill
from vyrox.cli.options import by_option, tenant_argument
from vyrox.cli.output import as_time, json_option, print_json
from vyrox.cli.stores import opened_database
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.clock import monotonic_clock, wall_clock

POLL_S: Final = 0.5


@click.command()
@tenant_argument
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 900),
    default=0,
    metavar="SECONDS",
    help="Wait so long, or until all who can decide have answered.",
)
@by_option
@wide_option
@json_option
def drill(tenant_id: str, wait_s: float, by: str, as_json: bool) -> None:
    """Ask TENANT's approvers for an answer that has no effect, and show who has answered.

    A drill is open for 15 minutes. The same command shows the answers to an open one.
    """
    shown = asyncio.run(_drilled(tenant_id, by, wait_s))
    if as_json:
        print_json(shown)
        return
    click.echo(f"drill {shown.proposal_id}, open until {as_time(shown.expires_at)} UTC")
    columns = (Column("APPROVER", "name"), "ANSWERED BY", "AFTER")
    print_table(columns, (_row(each) for each in shown.answers))


async def _drilled(tenant_id: str, by: str, wait_s: float) -> ShownDrill:
    deadline = monotonic_clock() + wait_s
    async with opened_database() as opened:
        shown = await opened.database.write(commands.start_drill, tenant_id, by, wall_clock())
        while not shown.is_complete and (left := deadline - monotonic_clock()) > 0:
            await asyncio.sleep(min(POLL_S, left))
            shown = await opened.database.read(
                commands.show_drill, tenant_id, shown.proposal_id, wall_clock()
            )
    return shown


def _row(each: DrillAnswer) -> tuple[object, ...]:
    if each.proof is not None:
        channel = "passkey" if each.proof == "webauthn" else "Discord"
        now = channel if each.can_decide else f"{channel}; cannot any more"
        return each.approver, now, f"{each.after_s:.0f} s"
    return each.approver, "-" if each.can_decide else "cannot: no passkey, no account", None
