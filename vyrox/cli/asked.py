"""What the commands print that propose."""

import click

from vyrox.approvals.asking import Asked
from vyrox.cli.output import as_time, print_json, printable


def print_asked(asked: Asked, *, as_json: bool) -> None:
    """Print what is proposed, and who must approve it."""
    if as_json:
        print_json(asked)
        return
    click.echo(f"proposal {asked.proposal_id}, {asked.state}: {asked.action_type}")
    if asked.ends is not None:
        click.echo(f"the containment would end {asked.ends}")
    if asked.is_repeat:
        click.echo(
            printable(
                f"not a new one: {asked.requested_by} has asked for this before, and people decide "
                f"on that text. To change it: vyrox approval withdraw {asked.proposal_id}"
            ),
            err=True,
        )
    persons = "1 person" if asked.required == 1 else f"{asked.required} persons"
    names = ", ".join(asked.approvers) or "none yet: see vyrox approver add"
    if 0 < len(asked.approvers) < asked.required:
        names += ", who are too few: see vyrox approver add"
    click.echo(f"{persons} must approve it, of: {names}", err=True)
    click.echo(f"open until {as_time(asked.expires_at)} UTC", err=True)
