"""`vyrox demo`: the story runs the other commands in this process, each in an environment apart."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from click.testing import CliRunner

from vyrox.settings.reading import only_environment
from vyrox.trial.demo import play
from vyrox.trial.demo.terminal import WIDTH, Printed


@click.command()
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Make a week of history up first, and leave the console open until Ctrl-C.  "
    "[default: if this is a terminal]",
)
@click.pass_context
def demo(context: click.Context, keep: bool | None) -> None:
    """Show the main job end to end: alerts, an incident, a host isolated, and the proof.

    Everything is in a temporary directory, with a mock of the vendors' clouds. Nothing is left.
    """
    vyrox = context.find_root().command

    def run(
        words: list[str], env: Mapping[str, str], directory: Path, stdin: bytes | None
    ) -> Printed:
        # Nothing of the user's own environment: it may name a database that is in use.
        with only_environment({**env, "COLUMNS": str(WIDTH)}), contextlib.chdir(directory):
            result = CliRunner().invoke(vyrox, words, input=stdin, prog_name="vyrox")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Printed(result.exit_code, result.stdout, result.stderr)

    play(run, keep=sys.stdout.isatty() if keep is None else keep)
