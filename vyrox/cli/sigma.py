"""`vyrox triage sigma`: which Sigma rules of the user's own Vyrox can judge by."""

from collections import Counter
from pathlib import Path

import click
import msgspec

from vyrox.cli.output import json_option, print_json
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.triage.sigma.rules import load


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@wide_option
@json_option
def check(directory: Path, as_json: bool) -> None:
    """List the rules in DIR: loaded or refused, and why.

    Exits with 1 if a file or a rule is in error. A refused rule is no error.
    """
    outcomes = load(directory).outcomes
    if as_json:
        print_json([msgspec.structs.asdict(each) for each in outcomes])
    else:
        columns = ("RESULT", Column("FILE", "cut"), Column("RULE", "cut"), Column("WHY", "cut"))
        rows = [(each.result, each.file, each.rule, each.why) for each in outcomes]
        print_table(columns, rows)
        counts = Counter(each.result for each in outcomes)
        click.echo(
            f"{counts['loaded']} loaded, {counts['refused']} refused, {counts['failed']} failed"
        )
    if any(each.result == "failed" for each in outcomes):
        raise click.exceptions.Exit(1)
