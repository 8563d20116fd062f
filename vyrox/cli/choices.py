"""Options that take one of some words; the error about another names the nearest (88)."""

from collections.abc import Sequence
from difflib import get_close_matches

import click


class Choice(click.Choice[str]):
    """One of these words."""

    def __init__(self, choices: Sequence[str]) -> None:
        """Return the type of an option."""
        super().__init__(choices)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return what is printed of another word."""
        text = super().get_invalid_choice_message(value, ctx)
        near = get_close_matches(str(value).lower(), [each.lower() for each in self.choices], n=1)
        return f"{text} Did you mean {near[0]!r}?" if near else text
