"""Groups of commands that import a command's module only when the command runs.

Importing every command costs more than a second of processor time, so help is printed from the
table alone.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import Final, NamedTuple

import click
from click.shell_completion import CompletionItem


class Lazy(NamedTuple):
    """Where a command is defined.

    Attributes:
        place: `module:attribute`; a module without a dot is one of this package's.
        help: One line for the list of commands.
    """

    place: str
    help: str


Table = dict[str, "Lazy | click.Group"]

NAMED_TENANT: Final = "vyrox.cli.groups.tenant"
"""Where a command's context has the tenant that it is about."""

HELP: Final = 100
"""Characters of the help of a command in a completion."""

_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}


class LazyGroup(click.Group):
    """A group whose commands are in `table`."""

    def __init__(self, name: str, help: str, table: Table) -> None:  # noqa: A002
        """`help` is printed above the list of commands."""
        super().__init__(name, help=help, context_settings=_SETTINGS)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in alphabetical order."""
        return sorted(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command, importing its module; None if no command has this name."""
        entry = self.table.get(cmd_name)
        if not isinstance(entry, Lazy):
            return entry
        module, _, attribute = entry.place.partition(":")
        if "." not in module:
            module = f"vyrox.cli.{module}"
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing any command."""
        names = sorted(name for name in self.table if name.startswith(incomplete))
        found = [CompletionItem(name, help=_short(self.table[name], HELP)) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` names; an unknown name is an error with the nearest."""
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            near = get_close_matches(name, self.table, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, without importing any."""
        width = formatter.width - 6 - max(map(len, self.table))
        rows = [(name, _short(entry, width)) for name, entry in sorted(self.table.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _short(entry: Lazy | click.Group, width: int) -> str:
    if isinstance(entry, Lazy):
        return click.Command(None, help=entry.help).get_short_help_str(width)
    return entry.get_short_help_str(width)
