"""The arguments and options that several files of commands share."""

import os
import pwd
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from vyrox.cli.groups import NAMED_TENANT
from vyrox.clock import wall_clock
from vyrox.errors import InvalidRequestError
from vyrox.ids import is_tenant_id

F = TypeVar("F", bound=Callable[..., Any])

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def check_tenant_id(
    context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Return the value of an argument or option that names a tenant."""
    context.meta[NAMED_TENANT] = value
    if value is not None and not is_tenant_id(value):
        raise click.BadParameter("must be 1 to 128 letters, digits, dots, underscores and hyphens")
    return value


tenant_argument = click.argument("tenant_id", metavar="TENANT", callback=check_tenant_id)
tenant_or_all = click.argument(
    "tenant_id", metavar="[TENANT]", required=False, callback=check_tenant_id
)
_OLD_TENANT: Final = "vyrox.cli.options.tenant"


def note_tenant(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Note the value of the earlier `--tenant`, an eager option."""
    context.meta[_OLD_TENANT] = value


def noted_tenant(context: click.Context) -> str | None:
    """Return the value of the earlier `--tenant`."""
    earlier: str | None = context.meta.get(_OLD_TENANT)
    return earlier


def tenant_first(
    what: str = "TENANT",
    *,
    required: bool = False,
    check: Callable[[click.Context, click.Parameter, str | None], str | None] = check_tenant_id,
) -> Callable[[F], F]:
    """Return the argument TENANT, with `--tenant` as its earlier spelling.

    Args:
        what: Shown in the usage.
        check: As a callback of an argument.
    """

    def chosen(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        earlier = noted_tenant(context)
        if value is not None and earlier not in {None, value}:
            raise click.UsageError("TENANT and '--tenant' are different.")
        value = earlier if value is None else value
        if value is None and required:
            raise click.UsageError("Missing argument 'TENANT'.")
        return check(context, parameter, value)

    def add(command: F) -> F:
        # The option first: it is eager, so the argument's callback knows it.
        old = click.option(
            "--tenant",
            "old_tenant",
            hidden=True,
            is_eager=True,
            expose_value=False,
            callback=note_tenant,
            help="TENANT.",
        )
        metavar = what if required else f"[{what}]"
        new = click.argument("tenant_id", metavar=metavar, required=False, callback=chosen)
        return new(old(command))

    return add


new_option = click.option(
    "--new", "is_new", is_flag=True, help="Accept a TENANT that is not known yet."
)


def parse_since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int:
    """Return an age or a time as Unix seconds; 0 if it is not given."""
    if text is None:
        return 0
    if age := _AGE.fullmatch(text):
        return int(wall_clock()) - int(age[1]) * _UNITS_S[age[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter("must be an age such as 90s, 30m, 12h, 7d, or ISO 8601") from exc
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def since_option(what: str) -> Callable[[F], F]:
    """Return the option for a list of what has happened since then."""
    text = f"{what} since: an age (90s, 30m, 12h, 7d) or ISO 8601."
    return click.option("--since", callback=parse_since, help=text)


def place_option(parse: Callable[[str], object]) -> Callable[[F], F]:
    """Return the option that continues a list.

    Args:
        parse: Returns the place in a text that a list has printed, or raises InvalidRequestError.
    """

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else parse(value)
        except InvalidRequestError as exc:
            raise click.BadParameter("must be what the list before has printed") from exc

    return click.option(
        "--before", callback=check, help="The next page, as the list has printed it."
    )


def limit_option(largest: int, what: str) -> Callable[[F], F]:
    """Return the option that bounds a list of `what`."""
    return click.option(
        "--limit",
        type=click.IntRange(1, largest),
        default=50,
        show_default=True,
        help=f"The largest number of {what} to list.",
    )


MAX_BY: Final = 256
"""Characters of a person's name."""


def user_name() -> str:
    """Return the name of the user of this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user without a name
        return f"uid {os.getuid()}"


def check_name(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Return a person's name. Raises BadParameter."""
    if value is not None and (not value.strip() or len(value) > MAX_BY):
        raise click.BadParameter(f"must be a text of at most {MAX_BY} characters")
    return value


def _check_by(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    return check_name(context, parameter, value) or user_name()


by_option = click.option(
    "--by", callback=_check_by, help="Your name. Default: the user of this process."
)


same_person_option = click.option(
    "--same-person",
    "is_same",
    is_flag=True,
    help="The approver and the viewer of this name are one person, who acts for both tenants.",
)


MAX_NOTE: Final = 1000
"""Characters of a note."""


def _check_note(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    if value is not None and (not value.strip() or len(value) > MAX_NOTE):
        raise click.BadParameter(f"must be a text of at most {MAX_NOTE} characters")
    return value


note_option = click.option(
    "--note", callback=_check_note, help="Why, for the next person who reads it."
)
