"""`vyrox map`: how a payload becomes an alert. It needs no service (contract 73)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import click
import msgspec

from vyrox.adapters import ADAPTERS, generic, own_forms
from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.probing import FIELDS, loaded, sources_of
from vyrox.adapters.received import elements_of, text_of
from vyrox.adapters.suggesting import suggest
from vyrox.adapters.tolerant_json import JsonText
from vyrox.alerts.quarantine_review import find_quarantined
from vyrox.cli.field_map import read_field_map
from vyrox.cli.output import as_time, json_option, print_json, print_table, printable
from vyrox.cli.stores import read
from vyrox.clock import wall_clock
from vyrox.errors import NormalizationError, OperatorError
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.tenants import records
from vyrox.tenants.customers import read_element

MAX_FILE_BYTES: Final = 64 << 20
MAX_SHOWN_MEMBERS: Final = 20

_GZIP: Final = b"\x1f\x8b"

_file_argument = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
_quarantined_option = click.option(
    "--quarantined", metavar="ID", help="The payload with this id in quarantine, instead of FILE."
)


class _Field(msgspec.Struct, frozen=True):
    """One field of the alert. `sources` are the places of its value, the best one first."""

    field: str
    value: str | None
    sources: Sequence[str] = ()
    error: str | None = None


class Mapped(msgspec.Struct, frozen=True):
    """What one payload becomes.

    Attributes:
        reason: Why it is refused, or which event is ignored.
        customer_ids: The vendor's own ids of the customer in it.
        documented: Whether the path without the tenant takes it too.
    """

    status: Literal["alert", "ignored", "refused"]
    fields: Sequence[_Field] = ()
    missing: Sequence[str] = ()
    reason: str | None = None
    customer_ids: Sequence[str] = ()
    documented: bool = True
    notes: Sequence[str] = ()
    alert: NormalizedAlert | None = None


class _Given(msgspec.Struct, frozen=True):
    body: bytes
    vendor: Vendor
    tenant: Tenant
    received_at: float


@click.command("test")
@_file_argument
@_quarantined_option
@click.option("--vendor", type=click.Choice(get_args(Vendor)), help="Who sends it.")
@click.option(
    "--field-map",
    "field_map_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON file with the place of each alert field. For the generic vendor.",
)
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
        results = [_mapped(part, given) for part in _parts(given)]
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
        suggested = suggest(_parts(given)[0].content)
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
) -> _Given:
    if (file is None) == (quarantined is None):
        raise click.UsageError("Name a FILE, or a payload with --quarantined ID.")
    field_map = None if field_map_file is None else read_field_map(field_map_file)
    if file is None:
        row, raw = read(find_quarantined, quarantined or "")
        chosen = vendor or row.source
        if field_map is None and chosen == "generic":
            field_map = read(records.field_map_of, row.tenant_id, chosen)
        return _Given(raw, chosen, Tenant(row.tenant_id, field_map), row.first_received_at)
    if vendor is None:
        raise click.UsageError("Say who sends it with --vendor.")
    if (vendor == "generic") != (field_map is not None) and needs_map:
        raise click.UsageError("--field-map is needed with --vendor generic, and only with it.")
    return _Given(_read_file(file), vendor, Tenant("TENANT", field_map), wall_clock())


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            body = opened.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise OperatorError(f"{printable(str(file))} cannot be read: {exc.strerror}") from exc
    if len(body) > MAX_FILE_BYTES:
        raise OperatorError(f"{printable(str(file))} has more than {MAX_FILE_BYTES} bytes")
    return body


def _parts(given: _Given) -> list[JsonText]:
    """Return the elements of the payload, as the path with the tenant in it reads them."""
    text = text_of(given.body, b"", is_gzip=given.body.startswith(_GZIP))
    return [each.text for each in elements_of(given.vendor, text, given.tenant.field_map)]


def _mapped(part: JsonText, given: _Given) -> Mapped:
    vendor = given.vendor

    def read_alert(body: JsonText) -> NormalizedAlert | Ignored:
        return read_element(vendor, body, given.tenant, given.received_at)

    ids = [] if vendor == "generic" else own_forms.customer_ids(vendor, part)
    try:
        alert = read_alert(part)
    except NormalizationError as exc:
        return Mapped(
            "refused",
            _found_by_map(part, given),
            reason=f"{exc}{_members(part)}",
            customer_ids=ids,
            documented=False,
        )
    if isinstance(alert, Ignored):
        return Mapped("ignored", reason=alert.what, customer_ids=ids, documented=False)
    sources = sources_of(read_alert, part.content)
    fields = [
        _Field(name, _shown(name, getattr(alert, name)), sources.get(name, ()))
        for name in FIELDS
        if getattr(alert, name) is not None
    ]
    return Mapped(
        "alert",
        fields,
        [name for name in FIELDS if getattr(alert, name) is None],
        customer_ids=ids,
        documented=_is_documented(part, given),
        notes=alert.notes,
        alert=alert,
    )


def _found_by_map(part: JsonText, given: _Given) -> list[_Field]:
    if given.vendor != "generic" or given.tenant.field_map is None:
        return []
    try:
        looked = generic.explain(part, given.tenant.field_map)
    except NormalizationError:
        return []
    return [_Field(each.field, each.text, (each.path,), each.error) for each in looked]


def _members(part: JsonText) -> str:
    """Return which members the payload has, to compare them with what is expected."""
    try:
        value = loaded(part.content)
    except NormalizationError:
        return ""
    names = list(value)[:MAX_SHOWN_MEMBERS] if isinstance(value, dict) else []
    return f" (its members: {', '.join(names)})" if names else ""


def _is_documented(part: JsonText, given: _Given) -> bool:
    if given.vendor == "generic":
        return True
    adapter = ADAPTERS[given.vendor]
    try:
        adapter.normalize(part, given.tenant, given.received_at)
    except NormalizationError:
        return False
    return True


def _shown(name: str, value: object) -> str:
    if name in {"timestamp", "process_start"} and isinstance(value, float | int):
        try:
            return f"{as_time(value)} UTC"
        except (ValueError, OverflowError, OSError):
            return str(value)
    return str(value)


def _print(result: Mapped, given: _Given) -> None:
    if result.status != "alert":
        click.echo(f"{result.status}: {printable(result.reason or '')}")
    if result.fields:
        print_table(
            ("FIELD", "VALUE", "FROM"),
            ((row.field, _cell(row), ", ".join(row.sources) or None) for row in result.fields),
        )
    for line in _lines(result, given.vendor, given.received_at):
        click.echo(printable(line))


def _cell(row: _Field) -> str:
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
