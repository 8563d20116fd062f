"""The arguments and options that several files of commands share."""

import click

from vyrox.ids import is_tenant_id


def _check_tenant_id(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    if value is not None and not is_tenant_id(value):
        raise click.BadParameter("must be 1 to 128 letters, digits, dots, underscores and hyphens")
    return value


tenant_argument = click.argument("tenant_id", metavar="TENANT", callback=_check_tenant_id)
tenant_or_all = click.argument(
    "tenant_id", metavar="[TENANT]", required=False, callback=_check_tenant_id
)
new_option = click.option(
    "--new", "is_new", is_flag=True, help="Accept a TENANT that is not known yet."
)
