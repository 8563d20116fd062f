"""The data types that several modules use."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

Vendor = Literal["crowdstrike", "sentinelone", "defender", "generic"]
"""The source of an alert; also the last part of the webhook's path."""

BEARER_VENDORS: Final[frozenset[Vendor]] = frozenset({"sentinelone", "defender"})
"""Vendors that send the secret itself. The other vendors send a signature made with the secret."""

Severity = Literal["critical", "high", "medium", "low", "info", "unknown"]
"""How bad the vendor says an alert is, in one scale for all vendors."""

DeliveryState = Literal["queued", "taken", "unfinished", "done", "dead"]
"""Where an alert is: in the queue, with a consumer, in one of the two (if Redis cannot be asked),
acknowledged or finished by a person, or a dead letter (contract 50)."""

PersonVerdict = Literal["benign", "malicious", "unclear"]
"""What a person has decided about an alert."""

FieldMap = dict[str, str]
"""For the generic vendor: alert field -> dotted path into the customer's payload (contract 10)."""


EdrVendor = Literal["crowdstrike", "sentinelone", "defender"]
"""The vendors whose response API can act on a host."""

ActionType = Literal["HOST_ISOLATION", "PROCESS_KILL", "NETWORK_QUARANTINE"]
"""The actions of `/execute`."""

LiftType = Literal["LIFT_HOST_ISOLATION", "LIFT_NETWORK_QUARANTINE"]
"""The actions of `/lift`, which undo an isolation or a quarantine (contract 34)."""


class ContainmentRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A containment or a lift that a person has approved (contract 20 and 34).

    Attributes:
        request_id: The idempotency key.
        host: The vendor's own identifier of the host, or its name if no other host has that name.
        approved_at: Unix seconds.
        force: Lift even if Vyrox did not contain the host.
    """

    request_id: str
    tenant_id: str
    alert_id: str
    action_type: ActionType | LiftType
    host: str
    approved_by: str
    approved_at: int
    force: bool = False


NOT_BLANK: Final = {"pattern": r"[^\s\u001c-\u001f\u0085]"}
"""For the API's documents: a text that is only white space is refused (contract 20)."""

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=256, extra_json_schema=NOT_BLANK)]
"""A text that the route checks with `check_texts`."""

_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, extra_json_schema=NOT_BLANK)]


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """What a person does without an approval. Other fields are ignored.

    Attributes:
        by: The person, as the command names it.
        at: When it was asked for, in Unix seconds.
    """

    request_id: Words
    tenant_id: Words
    alert_id: Words
    action_type: ActionType | LiftType
    host: Words
    by: Words
    reason: _Reason
    at: int

    @property
    def request(self) -> ContainmentRequest:
        """The request that carries it out."""
        return ContainmentRequest(
            request_id=self.request_id,
            tenant_id=self.tenant_id,
            alert_id=self.alert_id,
            action_type=self.action_type,
            host=self.host,
            approved_by=f"break-glass {self.by}",
            approved_at=self.at,
        )


class Tenant(msgspec.Struct, frozen=True):
    """An authenticated tenant. Requests get one from `tenants.authentication` only.

    After the authentication, the tenant is never read from the body (contract 7).
    """

    tenant_id: str
    field_map: FieldMap | None = None


class NormalizedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in Vyrox's own schema (contract 12). Fields that the payload lacks are None.

    Attributes:
        id: UUID-4, made on receipt.
        raw_id: The vendor's own identifier of the detection, not empty.
        timestamp: Unix seconds, UTC.
        device_id: The vendor's own identifier of the host; `/execute` accepts it as `host`.
        vendor_severity: The vendor's severity in upper case.
        severity: The same in one scale for all vendors. Alerts of earlier versions have "unknown".
        vendor_group: What the vendor calls the alerts that belong together.
        process_id: The operating system's number of the process, as digits.
        process_start: When the process began, in Unix seconds.
        vendor_process_id: The vendor's own identifier of the process: no action takes it.
        notes: What was replaced to make the payload readable (contract 44). Alerts of earlier
            versions have no notes.
    """

    id: str
    tenant_id: str
    source: Vendor
    raw_id: str
    timestamp: float
    hostname: str | None = None
    device_id: str | None = None
    username: str | None = None
    process_name: str | None = None
    process_cmdline: str | None = None
    sha256: str | None = None
    tactic: str | None = None
    technique: str | None = None
    vendor_severity: str | None = None
    severity: Severity = "unknown"
    vendor_group: str | None = None
    process_id: str | None = None
    process_start: float | None = None
    vendor_process_id: str | None = None
    notes: tuple[str, ...] = ()


class Isolation(msgspec.Struct, frozen=True):
    """An action that contains a device, as the vendor's record shows it.

    Attributes:
        reference: What the vendor calls the action.
        comment: What the client that requested it has written.
    """

    reference: str
    comment: str | None = None


class Device(msgspec.Struct, frozen=True):
    """One host at a vendor.

    Attributes:
        id: The vendor's own identifier, which the vendor's actions take.
        tags: The customer's tags at the vendor. None if the vendor's response had no list of tags,
            which is not the same as an empty list.
        contained_by: The result of `read_containment`; empty if it was not called.
    """

    id: str
    hostname: str | None = None
    tags: tuple[str, ...] | None = None
    contained_by: tuple[Isolation, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Outbound:
    """How other servers are reached. The repr shows nothing: the proxy may have a password.

    Attributes:
        proxy: The URL of the HTTP proxy for every call; None: no proxy.
        ca: PEM certificates that are trusted beside the public ones.
        ignored: Variables of the environment that name a proxy, and are not used.
    """

    proxy: str | None = None
    ca: str | None = None
    ignored: tuple[str, ...] = ()


DIRECT: Final = Outbound()
"""Without a proxy, with the public certificates."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def normal_host(host: str) -> str:
    """Return `host` in one form for comparison: identifiers and names ignore case.

    CrowdStrike's agent id is 32 hex digits; the same id may be written as a UUID.
    """
    host = host.lower()
    return host.replace("-", "") if _UUID.fullmatch(host) else host


class Sentinels(NamedTuple):
    """Where to ask for the primary.

    Attributes:
        service: What the Sentinels call it.
        url: Login, database and TLS of primary and Sentinels, as a URL of one server.
        login: With which the Sentinels themselves are asked: user and password, or empty.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    url: str
    login: tuple[str, str]


SYSTEM_AUTHORITIES: Final = "system"
"""In the URL of PostgreSQL, as `sslrootcert`: the authorities that this machine trusts.

Source: libpq 16.
"""
