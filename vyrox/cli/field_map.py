"""`vyrox tenant field-map`: where the fields of a generic alert are."""

import re
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

_JSON_PATH: Final = re.compile(r"^[$@](?:$|[.\[])|\[(?:[0-9*]+|'[^']*'|\"[^\"]*\")\]")
_BRACKET: Final = re.compile(r"\[['\"]?([^\]'\"]*)['\"]?\]")


@click.command("field-map")
@tenant_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def field_map(tenant_id: str, file: Path) -> None:
    """Replace TENANT's field map with the one in FILE. See `vyrox queue quarantine replay`."""
    fields = read_field_map(file)

    write(records.set_field_map, tenant_id, "generic", fields, wall_clock())
    click.echo(f"{tenant_id} has a new field map")


def read_field_map(file: Path) -> FieldMap:
    """Return the field map in a JSON file, and print a warning for each odd path.

    Raises:
        OperatorError: The file has no field map.
    """
    try:
        fields = msgspec.json.decode(file.read_bytes())
        if isinstance(fields, dict) and (missing := sorted(_NEEDED_FIELDS - fields.keys())):
            raise OperatorError(
                f'{printable(str(file))} has no "{missing[0]}": raw_id, hostname and '
                "vendor_severity are needed"
            )
        checked = check_field_map(fields)
    except (ValueError, RecursionError, OSError) as exc:
        raise OperatorError(f"{file} is not a readable JSON file: {exc}") from exc
    for field, path in checked.items():
        _warn_of_json_path(field, str(path))
    return checked


def _warn_of_json_path(field: str, path: str) -> None:
    """Print a warning if `path` looks like JSONPath: Vyrox searches for a member named `$`."""
    if _JSON_PATH.search(path):
        plain = _BRACKET.sub(r".\1", path).lstrip("$@").strip(".")
        click.echo(
            f"vyrox: warning: {field}: {printable(path)} looks like JSONPath, which is not read; "
            f"a path is member names with dots, here perhaps {printable(plain)}",
            err=True,
        )
