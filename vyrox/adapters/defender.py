"""Microsoft Defender for Endpoint alerts, as `POST /webhook/defender` receives them.

Source: the API reference, `/webhook/defender`; contract 11 to 13 and 18; Microsoft Graph security
API, resource types `alert` (alerts_v2) and `alertEvidence`.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from vyrox.adapters.decoding import ABSENT, Identifier, decode, decode_tenant_id
from vyrox.adapters.severity import severity_of
from vyrox.adapters.timestamps import Timestamp, parse_timestamp
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import MissingTenantError, NormalizationError
from vyrox.ids import new_id
from vyrox.models import NormalizedAlert, Tenant

T = TypeVar("T")

MAX_EVIDENCE = 1000
"""Elements of evidence that are read. Microsoft sends some dozens. The largest body can contain
500,000 empty ones, and reading them would delay all other requests by half a second."""


class _Preview(msgspec.Struct, frozen=True, rename="camel"):
    tenant_id: msgspec.Raw = ABSENT


class _Alert(msgspec.Struct, frozen=True, rename="camel"):
    id: Identifier
    created_date_time: Timestamp = None
    severity: str | None = None
    category: str | None = None
    mitre_techniques: list[str] | None = None
    evidence: list[msgspec.Raw] | None = None


class _Evidence(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of all forty kinds of evidence that are read.

    They are Raw: one field of an unexpected type must not make other fields unreadable.
    """

    device_dns_name: msgspec.Raw = ABSENT
    mde_device_id: msgspec.Raw = ABSENT
    user_account: msgspec.Raw = ABSENT
    image_file: msgspec.Raw = ABSENT
    process_command_line: msgspec.Raw = ABSENT
    file_details: msgspec.Raw = ABSENT


class _Account(msgspec.Struct, frozen=True, rename="camel"):
    user_principal_name: msgspec.Raw = ABSENT
    account_name: msgspec.Raw = ABSENT
    domain_name: msgspec.Raw = ABSENT


class _File(msgspec.Struct, frozen=True, rename="camel"):
    file_name: msgspec.Raw = ABSENT
    sha256: msgspec.Raw = ABSENT


_PREVIEW = msgspec.json.Decoder(_Preview)
_ALERT = msgspec.json.Decoder(_Alert)
_EVIDENCE = msgspec.json.Decoder(_Evidence)
_ACCOUNT = msgspec.json.Decoder(_Account)
_FILE = msgspec.json.Decoder(_File)
_TEXT = msgspec.json.Decoder(str)


def unverified_tenant_id(body: JsonText) -> str:
    """Return the tenant that `body` names; it is not authenticated yet.

    Raises:
        MissingTenantError: The body is not a JSON object with a tenant id in `tenantId`.
    """
    return decode_tenant_id(decode(_PREVIEW, body.content, MissingTenantError).tenant_id)


def normalize(body: JsonText, tenant: Tenant, received_at: float) -> NormalizedAlert:
    """Return the Defender alert in `body` as an alert.

    Host, user, process and hash are each the first in the evidence, from any element. The device
    id is the host's (see `_device_id`). Evidence of an unknown kind or shape is ignored.

    Args:
        body: The body of the request with the token.
        tenant: The authenticated tenant; `tenantId` is not read again.
        received_at: Unix seconds; the alert's time if Defender's alert has none.

    Raises:
        NormalizationError: The body is not an alert of the documented form.
    """
    alert = decode(_ALERT, body.content, NormalizationError)
    elements = alert.evidence or ()
    evidence = _read_all(_EVIDENCE, elements[:MAX_EVIDENCE])
    images = _read_all(_FILE, (item.image_file for item in evidence))
    files = _read_all(_FILE, (item.file_details for item in evidence))
    time = parse_timestamp(alert.created_date_time, received_at)
    return NormalizedAlert(
        id=new_id(),
        tenant_id=tenant.tenant_id,
        source="defender",
        raw_id=alert.id,
        timestamp=time.seconds,
        hostname=_first(_text(item.device_dns_name) for item in evidence),
        device_id=_device_id(evidence, len(elements)),
        username=_username(_read_all(_ACCOUNT, (item.user_account for item in evidence))),
        process_name=_first(_text(image.file_name) for image in images),
        process_cmdline=_first(_text(item.process_command_line) for item in evidence),
        sha256=_first(_text(file.sha256) for file in [*files, *images]),
        tactic=alert.category or None,
        technique=_first(alert.mitre_techniques or ()),
        vendor_severity=alert.severity.upper() if alert.severity else None,
        severity=severity_of(alert.severity),
        notes=(*body.notes, *time.notes),
    )


def _device_id(evidence: list[_Evidence], elements: int) -> str | None:
    """Return the id of the machine that the alert names; None if that is not certain.

    Args:
        evidence: Those of the first MAX_EVIDENCE elements that are objects.
        elements: The number of elements in the alert.
    """
    # A person reads the host name and approves; then `/execute` isolates the machine with this id.
    # So the id must be in the same element as the name: another element may describe another
    # machine.
    for item in evidence:
        if _text(item.device_dns_name):
            return _text(item.mde_device_id)
    known = {device_id for item in evidence if (device_id := _text(item.mde_device_id))}
    all_read = len(evidence) == elements and all(
        _is_text(raw) for item in evidence for raw in (item.device_dns_name, item.mde_device_id)
    )
    return known.pop() if all_read and len(known) == 1 else None


def _username(accounts: list[_Account]) -> str | None:
    return _first(_text(account.user_principal_name) for account in accounts) or _first(
        _domain_account(account) for account in accounts
    )


def _domain_account(account: _Account) -> str | None:
    name, domain = _text(account.account_name), _text(account.domain_name)
    return f"{domain}\\{name}" if name and domain else name


def _first(texts: Iterable[str | None]) -> str | None:
    return next(filter(None, texts), None)


def _text(raw: msgspec.Raw) -> str | None:
    return _read(_TEXT, raw) or None


def _is_text(raw: msgspec.Raw) -> bool:
    """Return whether `raw` is text or null; a missing member is null."""
    return bytes(raw) == b"null" or _read(_TEXT, raw) is not None


def _read_all(decoder: msgspec.json.Decoder[T], raws: Iterable[msgspec.Raw]) -> list[T]:
    return [value for raw in raws if (value := _read(decoder, raw)) is not None]


def _read(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    """Return the value of `raw`, or None if it is missing or of another type."""
    if raw is ABSENT:
        return None
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None
