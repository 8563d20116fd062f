"""`docs/a-night.md` shows what the commands print (contracts 83 and 86 to 90)."""

import pytest

from tests.trial.night import COLUMNS, PAGE, plain, read_steps, replay

MAX_COMMAND = 100
"""Characters that a person types at night."""


def test_a_night_takes_four_commands_from_alert_to_closed() -> None:
    commands = [step.command for step in read_steps(PAGE.read_text())]
    assert max(map(len, commands)) <= MAX_COMMAND
    words = [command.split()[1:3] for command in commands]
    first, last = words.index(["alert", "show"]), words.index(["alert", "finish"])
    assert last - first < 4
    assert "execute" in [each[0] for each in words[first:last]]


def test_a_night_fits_a_terminal() -> None:
    lines = [line for step in read_steps(PAGE.read_text()) for line in step.output.splitlines()]
    assert [line for line in lines if len(line) > COLUMNS] == []


@pytest.mark.long
async def test_a_night_is_what_happens() -> None:
    """From a fresh data directory, with a real service and real commands in a terminal."""
    steps = read_steps(PAGE.read_text())
    for on_page, now in zip(steps, await replay(steps), strict=True):
        assert plain(now.output) == plain(on_page.output), now.command
