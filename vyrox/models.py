"""The values that cross module boundaries."""

import re
from typing import Final, Literal

import msgspec

Vendor = Literal["crowdstrike", "sentinelone", "defender", "generic"]
"""Where an alert comes from; also the last part of the webhook's path."""

BEARER_VENDORS: Final[frozenset[Vendor]] = frozenset({"sentinelone", "defender"})
"""Their webhooks carry the secret itself; the others' carry a signature made with it."""

FieldMap = dict[str, str]
"""For the generic vendor: alert field -> dotted path into the customer's payload (contract 10)."""


EdrVendor = Literal["crowdstrike", "sentinelone", "defender"]
"""Who can act on a host."""

ActionType = Literal["HOST_ISOLATION", "PROCESS_KILL", "NETWORK_QUARANTINE"]
"""What `/execute` carries out."""

LiftType = Literal["LIFT_HOST_ISOLATION", "LIFT_NETWORK_QUARANTINE"]
"""What `/lift` carries out: it undoes the first and the last of the above (contract 34)."""


class ContainmentRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A containment, or its undoing, that a human approved (contract 20 and 34).

    Attributes:
        request_id: The idempotency key.
        host: The vendor's own identifier of the host, or a name that one host has.
        approved_at: Unix seconds.
        force: Lift also what Vyrox has not contained.
    """

    request_id: str
    tenant_id: str
    alert_id: str
    action_type: ActionType | LiftType
    host: str
    approved_by: str
    approved_at: int
    force: bool = False


class Tenant(msgspec.Struct, frozen=True):
    """A tenant whose credential has verified. Only `auth` makes one.

    Everything after authentication takes the tenant from here, never from the body (contract 7).
    """

    tenant_id: str
    field_map: FieldMap | None = None


class NormalizedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in Vyrox's own schema (contract 12). What the payload lacks is None.

    Attributes:
        id: UUID-4, made on receipt.
        raw_id: The vendor's own identifier of the detection, not empty.
        timestamp: Unix seconds, UTC.
        device_id: The vendor's own identifier of the host: what `/execute` takes as `host`.
        vendor_severity: As the vendor puts it, in upper case.
        notes: What was replaced in order to read it (contract 44); alerts of earlier versions have
            no such member.
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
        id: The vendor's own identifier, which its actions take.
        tags: What the customer has put on it at the vendor. None: the vendor's answer had no list
            of tags, which is not the same as an empty one.
        contained_by: What `read_containment` returned; empty if it was not asked.
    """

    id: str
    hostname: str | None = None
    tags: tuple[str, ...] | None = None
    contained_by: tuple[Isolation, ...] = ()


_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def normal_host(host: str) -> str:
    """Return `host` as the vendors write it: identifiers and names have no case.

    CrowdStrike's agent id is 32 hex digits; written as a UUID, it is the same id.
    """
    host = host.lower()
    return host.replace("-", "") if _UUID.fullmatch(host) else host
