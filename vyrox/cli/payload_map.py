"""`vyrox map`: how a payload becomes an alert. It needs no service (contract 73)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import click
import msgspec

from vyrox.adapters.suggesting import suggest
from vyrox.alerts.quarantine_review import find_quarantined
from vyrox.cli.choices import Choice
from vyrox.cli.field_map import read_field_map
from vyrox.cli.ids import whole
from vyrox.cli.output import as_time, json_option, print_json, printable
from vyrox.cli.stores import read
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import NormalizationError, OperatorError
from vyrox.models import Tenant, Vendor
from vyrox.tenants import records
from vyrox.tenants.mapping import Given, Mapped, MappedField, mapped, parts_of

MAX_FILE_BYTES: Final = 64 << 20

_TIMES: Final = frozenset({"timestamp", "process_start"})

_file_argument = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
_quarantined_option = click.option(
    "--quarantined",
    metavar="ID",
    callback=whole("payload"),
    help="The payload with this id in quarantine, instead of FILE.",
)


@click.command("test")
@_file_argument
@_quarantined_option
@click.option("--vendor", type=Choice(get_args(Vendor)), help="Who sends it.")
@click.option(
    "--field-map",
    "field_map_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON file with the place of each alert field. For the generic vendor.",
)
@wide_option
@json_option
def test(
    file: Path | None,
    quarantined: str | None,
    vendor: Vendor | None,
    field_map_file: Path | None,
    as_json: bool,
) -> None:
    """Show what the payload in FILE becomes, and which field comes from where.

    A quarantined payload is read as its tenant's vendor sent it, with the tenant's field map. Exits
    with 1 if something is no alert and no event that is known.
    """
    given = _given(file, quarantined, vendor, field_map_file)
    try:
        results = [_as_shown(mapped(part, given)) for part in parts_of(given)]
    except NormalizationError as exc:
        results = [Mapped("refused", reason=str(exc), documented=False)]
    if as_json:
        print_json(results)
    else:
        for number, result in enumerate(results):
            if len(results) > 1:
                click.echo(f"{'' if number == 0 else chr(10)}payload {number + 1}")
            _print(result, given)
    if not results or any(result.status == "refused" for result in results):
        raise click.exceptions.Exit(1)


@click.command("suggest")
@_file_argument
@_quarantined_option
def suggest_(file: Path | None, quarantined: str | None) -> None:
    """Print a field map for the payload in FILE, for the generic vendor. Check it before use.

    Exits with 1 if the payload has nothing that fits a required field.
    """
    given = _given(file, quarantined, "generic", None, needs_map=False)
    try:
        suggested = suggest(parts_of(given)[0].content)
    except NormalizationError as exc:
        raise OperatorError(f"the payload cannot be read: {exc}") from exc
    print_json(suggested.field_map)
    for field, value in suggested.values.items():
        shown = printable(value[:100])
        click.echo(f"{field}: {shown}  ({printable(str(suggested.field_map[field]))})", err=True)
    for field in suggested.missing:
        click.echo(f"{field} is required, and nothing in the payload fits it", err=True)
    if suggested.missing:
        raise click.exceptions.Exit(1)


def _given(
    file: Path | None,
    quarantined: str | None,
    vendor: Vendor | None,
    field_map_file: Path | None,
    *,
    needs_map: bool = True,
) -> Given:
    if (file is None) == (quarantined is None):
        raise click.UsageError("Name a FILE, or a payload with --quarantined ID.")
    field_map = None if field_map_file is None else read_field_map(field_map_file)
    if file is None:
        row, raw = read(find_quarantined, quarantined or "")
        chosen = vendor or row.source
        if field_map is None and chosen == "generic":
            field_map = read(records.field_map_of, row.tenant_id, chosen)
        return Given(raw, chosen, Tenant(row.tenant_id, field_map), row.first_received_at)
    if vendor is None:
        raise click.UsageError("Say who sends it with --vendor.")
    if (vendor == "generic") != (field_map is not None) and needs_map:
        raise click.UsageError("--field-map is needed with --vendor generic, and only with it.")
    return Given(_read_file(file), vendor, Tenant("TENANT", field_map), wall_clock())


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            body = opened.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise OperatorError(f"{printable(str(file))} cannot be read: {exc.strerror}") from exc
    if len(body) > MAX_FILE_BYTES:
        raise OperatorError(f"{printable(str(file))} has more than {MAX_FILE_BYTES} bytes")
    return body


def _as_shown(result: Mapped) -> Mapped:
    """Return the result with times as people read them."""
    if result.alert is None:
        return result
    fields = [
        msgspec.structs.replace(each, value=_time(getattr(result.alert, each.field)))
        if each.field in _TIMES
        else each
        for each in result.fields
    ]
    return msgspec.structs.replace(result, fields=fields)


def _time(seconds: float) -> str:
    try:
        return f"{as_time(seconds)} UTC"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _print(result: Mapped, given: Given) -> None:
    if result.status != "alert":
        click.echo(f"{result.status}: {printable(result.reason or '')}")
    if result.fields:
        print_table(
            ("FIELD", Column("VALUE", "cut"), Column("FROM", "cut")),
            ((row.field, _cell(row), ", ".join(row.sources) or None) for row in result.fields),
        )
    for line in _lines(result, given.vendor, given.received_at):
        click.echo(printable(line))


def _cell(row: MappedField) -> str:
    if row.error is not None:
        return f"FAILED: {row.error}"
    return "nothing there" if row.value is None else row.value


def _lines(result: Mapped, vendor: Vendor, received_at: float) -> Iterator[str]:
    if result.alert and result.alert.timestamp == received_at:
        yield "the payload has no time that can be read, so the time of receipt is used"
    if result.missing:
        yield f"not in the payload: {', '.join(result.missing)}"
    if result.customer_ids:
        yield f"the vendor's customer id in it: {', '.join(result.customer_ids)}"
    yield from (f"note: {note}" for note in result.notes)
    if result.status == "alert" and not result.documented:
        yield f"only /webhook/{vendor}/TENANT takes it, the path with the tenant in it"
