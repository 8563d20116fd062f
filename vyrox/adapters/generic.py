"""Alerts of any other product, read with the tenant's field map.

Source: the API reference, `/webhook/generic/{tenant_id}`; contract 9 to 13. The tenant is in the
path, so there is no `unverified_tenant_id`.
"""

import re
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from vyrox.adapters.decoding import decode, one_line
from vyrox.adapters.severity import severity_of
from vyrox.adapters.timestamps import parse_timestamp
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError, OperatorError
from vyrox.ids import new_id
from vyrox.models import FieldMap, NormalizedAlert, Tenant

_Path = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _FieldMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    raw_id: _Path
    hostname: _Path
    vendor_severity: _Path
    device_id: _Path | UnsetType = UNSET
    username: _Path | UnsetType = UNSET
    process_name: _Path | UnsetType = UNSET
    process_cmdline: _Path | UnsetType = UNSET
    sha256: _Path | UnsetType = UNSET
    tactic: _Path | UnsetType = UNSET
    technique: _Path | UnsetType = UNSET
    timestamp: _Path | UnsetType = UNSET


_Level = dict[str, msgspec.Raw] | list[msgspec.Raw] | str | int | float | bool | None
"""One level of a payload. Its members are not decoded: a field that is not in the field map may
have any value (contract 11)."""

_LEVEL: msgspec.json.Decoder[_Level] = msgspec.json.Decoder(_Level)

_Found = dict[str, msgspec.Raw | None]
"""Alert field -> the JSON text at its path, or None if the payload has nothing there."""

_INDEX = re.compile(r"[0-9]{1,9}")
"""ASCII digits only, and so few that `int` accepts them."""


def check_field_map(value: object) -> FieldMap:
    """Return `value` as a valid field map.

    Args:
        value: The decoded JSON of the operator.

    Raises:
        OperatorError: It is not an object of alert fields and paths of 1 to 256 characters, or an
            alert field is unknown or missing.
    """
    try:
        field_map: FieldMap = msgspec.to_builtins(msgspec.convert(value, _FieldMap))
    except msgspec.ValidationError as exc:
        raise OperatorError(one_line(f"field map: {exc}")) from exc
    return field_map


class Looked(NamedTuple):
    """What a field map finds for one field: `text` is None if there is nothing."""

    field: str
    path: str
    text: str | None
    error: str | None = None


def explain(body: JsonText, field_map: FieldMap) -> list[Looked]:
    """Return what `field_map` finds in `body`, field by field, also if it is no alert.

    Raises:
        NormalizationError: The body is not JSON.
    """
    levels = {"": decode(_LEVEL, body.content, NormalizationError)}
    return [_look(field, path, levels) for field, path in field_map.items()]


def _look(field: str, path: str, levels: dict[str, _Level]) -> Looked:
    try:
        raw = _find(field, path, levels)
        text = _text(field, {field: raw})
    except NormalizationError as exc:
        return Looked(field, path, None, str(exc))
    return Looked(field, path, text)


def normalize(body: JsonText, tenant: Tenant, received_at: float) -> NormalizedAlert:
    """Return the alert that the tenant's field map finds in `body`.

    Args:
        body: The body, whose signature is valid.
        tenant: The authenticated tenant, with its field map.
        received_at: Unix seconds; the alert's time if the map or the payload has none.

    Raises:
        NormalizationError: The tenant has no field map, the body is not JSON, a field is of the
            wrong type, or a required field is missing or empty.
    """
    if tenant.field_map is None:
        raise NormalizationError("the tenant has no field map")
    levels = {"": decode(_LEVEL, body.content, NormalizationError)}
    found = {
        field: _find(field, path, levels)
        for field, path in tenant.field_map.items()
        if field in _FieldMap.__struct_fields__
    }
    at = found.get("timestamp")
    time = parse_timestamp(
        None if at is None else decode(_LEVEL, at, NormalizationError, "timestamp"), received_at
    )
    severity = _required_text("vendor_severity", found)
    return NormalizedAlert(
        id=new_id(),
        tenant_id=tenant.tenant_id,
        source="generic",
        raw_id=_required_text("raw_id", found),
        timestamp=time.seconds,
        hostname=_required_text("hostname", found),
        device_id=_text("device_id", found),
        username=_text("username", found),
        process_name=_text("process_name", found),
        process_cmdline=_text("process_cmdline", found),
        sha256=_text("sha256", found),
        tactic=_text("tactic", found),
        technique=_text("technique", found),
        vendor_severity=severity.upper(),
        severity=severity_of(severity),
        notes=(*body.notes, *time.notes),
    )


def _find(field: str, path: str, levels: dict[str, _Level]) -> msgspec.Raw | None:
    """Return the JSON text at `path`, or None if the payload has nothing there.

    At each level, the rest of the path is tried as one key first, and then its first part: vendors
    send keys such as `"detections.hostname"`, at the top or inside another object.

    Args:
        field: The alert field, for the error.
        path: The path from the top of the payload.
        levels: Decoded levels by path, the top at `""`; the levels of this path are added.
    """
    walked = ""
    while True:
        level = levels[walked]
        part, dot, rest = path.partition(".")
        raw = None
        if isinstance(level, dict):
            if path in level:
                return level[path]
            raw = level.get(part)
        elif isinstance(level, list) and _INDEX.fullmatch(part) and int(part) < len(level):
            raw = level[int(part)]
        if raw is None or not dot:
            return raw
        walked, path = f"{walked}{part}.", rest
        if walked not in levels:
            levels[walked] = decode(_LEVEL, raw, NormalizationError, field)


def _text(field: str, found: _Found) -> str | None:
    raw = found.get(field)
    if raw is None:
        return None
    value = decode(_LEVEL, raw, NormalizationError, field)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | dict | list):
        raise NormalizationError(f"{field}: expected text or a number")
    # The digits as received: a float would round a long identifier.
    return bytes(raw).decode("ascii")


def _required_text(field: str, found: _Found) -> str:
    text = _text(field, found)
    if text is None:
        raise NormalizationError(f"{field}: required, but there is no value at the mapped path")
    return text
