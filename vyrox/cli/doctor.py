"""`vyrox doctor`: what is well, doubtful and wrong in the whole installation (contract 99)."""

import asyncio
import textwrap
from collections.abc import Iterator
from typing import Final

import click

from vyrox.cli.config import KEY_FILES
from vyrox.cli.doctor_checks import Check, fatal, of_settings, of_this_machine
from vyrox.cli.doctor_stores import of_stores
from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.paging import paged
from vyrox.settings import Settings
from vyrox.settings.shown import show_settings

WIDTH: Final = 80
NAME_WIDTH: Final = 18

_ORDER: Final = ("FAIL", "WARN", "OK")


@click.command()
@click.option("--vendors", is_flag=True, help="Call the vendors too; nothing is changed there.")
@json_option
def doctor(vendors: bool, as_json: bool) -> None:
    """Check the whole installation: FAIL first, then WARN, each with what to do.

    Exits with 1 if anything is FAIL. Settings come from the environment of this command: run it
    with that of the service, which need not run.
    """
    found = asyncio.run(_run(vendors=vendors))
    found.sort(key=lambda each: _ORDER.index(each.state))
    if as_json:
        print_json(found)
    else:
        with paged():
            for line in _lines(found):
                click.echo(line)
    if any(each.state == "FAIL" for each in found):
        raise click.exceptions.Exit(1)


async def _run(*, vendors: bool) -> list[Check]:
    shown = show_settings(KEY_FILES)
    found = list(of_settings(shown))
    if shown.problem is not None:
        return found
    settings = Settings.from_process()
    found += [*fatal(settings), *of_this_machine(settings)]
    found += [each async for each in of_stores(settings, vendors=vendors)]
    return found


def _lines(found: list[Check]) -> Iterator[str]:
    for each in found:
        first = f"{each.state:<5} {each.what:<{NAME_WIDTH}} "
        yield from _folded(first, each.text)
        if each.do:
            yield from _folded(f"{'':<{len(first)}}do: ", each.do)
    numbers = {state: sum(each.state == state for each in found) for state in _ORDER}
    yield ""
    yield ", ".join(f"{number} {state}" for state, number in numbers.items())


def _folded(first: str, text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )
