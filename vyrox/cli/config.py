"""`vyrox config`: every setting, its value and where it came from (contract 89)."""

from difflib import get_close_matches
from typing import Final

import click

from vyrox.chain import log_keys
from vyrox.cli.folding import say
from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.settings.shown import Shown, ShownSettings, show_settings
from vyrox.store.encryption import KEY_FILE

KEY_FILES: Final = {"VYROX_ENCRYPTION_KEY": KEY_FILE, "VYROX_CHECKPOINT_KEY": log_keys.KEY_FILE}
"""The secrets that are in a file of the data directory if their variable is not set."""

_ORDER: Final = ("environment", "file", "default")


@click.command()
@click.argument("names", nargs=-1, metavar="[SETTING]...")
@wide_option
@json_option
def config(names: tuple[str, ...], as_json: bool) -> None:
    """Show every setting, its value and where it came from; or only each SETTING.

    A secret is only shown as set or not set. Settings come from the environment of this command:
    run it with that of the service. The exit code is 1 if the service would not start with them.
    """
    found = show_settings(KEY_FILES)
    chosen = _chosen(found.settings, names)
    if as_json:
        print_json(ShownSettings(chosen, found.unknown, found.problem))
    else:
        _print(chosen)
    for each in found.unknown:
        say(f"warning: {each.text}")
    if found.problem is not None:
        say(f"vyrox: {printable(found.problem)}")
        click.get_current_context().exit(1)


def _chosen(settings: list[Shown], names: tuple[str, ...]) -> list[Shown]:
    by_name = {each.name: each for each in settings}
    for name in names:
        if name.upper() not in by_name:
            near = get_close_matches(name.upper(), by_name, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such setting '{printable(name)}'.{hint}")
    return [by_name[name.upper()] for name in names] or settings


def _print(settings: list[Shown]) -> None:
    ordered = sorted(settings, key=lambda each: (_ORDER.index(each.source), each.name))
    rows = [(each.source, each.name, _value(each)) for each in ordered]
    print_table(("FROM", Column("SETTING", "name"), Column("VALUE", "cut")), rows)


def _value(setting: Shown) -> str:
    if setting.problem is not None:
        return f"REFUSED: it {setting.problem}"
    if setting.value is not None:
        return setting.value
    return "set" if setting.is_set else "not set"
