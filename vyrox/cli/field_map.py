"""`vyrox tenant field-map`: where the fields of a generic alert are."""

from pathlib import Path
from typing import Final

import click
import msgspec

from vyrox.adapters.generic import check_field_map
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import printable
from vyrox.cli.stores import write
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.models import FieldMap
from vyrox.tenants import records

_NEEDED_FIELDS: Final = frozenset({"raw_id", "hostname", "vendor_severity"})


@click.command("field-map")
@tenant_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def field_map(tenant_id: str, file: Path) -> None:
    """Replace TENANT's field map with the one in FILE. See `vyrox queue quarantine replay`."""
    fields = read_field_map(file)

    write(records.set_field_map, tenant_id, "generic", fields, wall_clock())
    click.echo(f"{tenant_id} has a new field map")


def read_field_map(file: Path) -> FieldMap:
    """Return the field map in a JSON file. Raises OperatorError if it is not one."""
    try:
        fields = msgspec.json.decode(file.read_bytes())
        if isinstance(fields, dict) and (missing := sorted(_NEEDED_FIELDS - fields.keys())):
            raise OperatorError(
                f'{printable(str(file))} has no "{missing[0]}": raw_id, hostname and '
                "vendor_severity are needed"
            )
        return check_field_map(fields)
    except (ValueError, RecursionError, OSError) as exc:
        raise OperatorError(f"{file} is not a readable JSON file: {exc}") from exc
