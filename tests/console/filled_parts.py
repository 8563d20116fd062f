"""What the modules that fill a database share: how much there is, and what there is."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import GENESIS, SERVICE, Draft, seal
from vyrox.models import Vendor
from vyrox.store import tables as t
from vyrox.store.rows import insert_rows

DAY_S: Final = 86_400.0
SPAN_S: Final = 28 * DAY_S
"""The alerts are this old at most."""

PER_INCIDENT: Final = 20
BATCH: Final = 200
"""Incidents that are stored in one transaction."""

SECRET: Final = "a-webhook-secret-of-a-tenant-0123456789"
"""Of all tenants."""

COMMON_USER: Final = "corp\\svc-backup"
COMMON_HASH: Final = "c0" * 32
COMMON_TECHNIQUE: Final = "T1059.001"
VENDORS: Final[tuple[Vendor, ...]] = get_args(Vendor)


@dataclass(frozen=True)
class Size:
    """How much there is.

    Attributes:
        incidents: Each has PER_INCIDENT alerts. Half of them are the first tenant's.
        giant: The alerts of the first tenant's newest incident.
        open_share: Of the incidents.
        others: Rows of each further kind, over all tenants.
        accepted_events: Whether each alert has its event.
    """

    incidents: int = 50_000
    giant: int = 50_000
    tenants: int = 100
    hosts: int = 2_000
    open_share: float = 0.8
    others: int = 5_000


SMALL: Final = Size(incidents=60, giant=60, tenants=3, hosts=8, others=30)


class Filled(msgspec.Struct):
    """What there is, by which pages are asked for.

    Attributes:
        alerts: Ids of the first tenant, from all its time, oldest first.
        incidents: The highest number of an incident, by tenant.
    """

    now: float
    tenants: list[str]
    hosts: int
    alerts: list[str] = []
    incidents: dict[str, int] = {}
    proposals: list[str] = []
    quarantined: list[str] = []
    dead: list[str] = []
    glasses: list[str] = []
    changes: list[str] = []
    raw_ids: list[str] = []
    hashes: list[str] = []
    sequences: dict[str, int] = {}


class Chains:
    """The audit chains, which grow with what is stored.

    Attributes:
        random: Makes ids, the same in each run.
    """

    def __init__(self, size: Size, found: Filled) -> None:
        self.size = size
        self.found = found
        self.random = random.Random(20)  # noqa: S311
        self._heads: dict[tuple[str, str], tuple[int, str, int]] = {}

    def turn(self, place: int) -> str:
        """Return whose the row is: every other one is the first tenant's."""
        tenants = self.found.tenants
        return tenants[0] if place % 2 == 0 else tenants[place // 2 % len(tenants)]

    def new_id(self) -> str:
        """Return an id of the form of UUID version 4."""
        bits = f"{self.random.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"

    def read_heads(self, connection: Connection) -> None:
        """Read the ends of the chains that there are."""
        if self._heads:
            return
        c = t.audit_log.c
        query = sa.select(c.tenant_id, c.stream, c.sequence, c.hash, c.timestamp)
        for row in connection.execute(query.order_by(c.sequence)):
            # Of the tenants' addition: it was written with an earlier time than it has.
            self._heads[row.tenant_id, row.stream] = (row.sequence, row.hash, 0)
        self._heads.setdefault((SERVICE, "events"), (0, GENESIS, 0))

    def append(self, connection: Connection, drafts: Iterable[tuple[Draft, float]]) -> None:
        """Append entries, each with its time."""
        rows = []
        hashes = ""
        for draft, at in drafts:
            chain = (draft.tenant_id, draft.stream)
            sequence, previous, last = self._heads.get(chain, (0, GENESIS, 0))
            members = {**draft.members, "tenant_id": draft.tenant_id}
            if members.get("entry") == "":
                members["entry"] = hashes
            sealed = seal(members, previous, max(int(at), last))
            hashes = sealed.hash
            self._heads[chain] = (sequence + 1, sealed.hash, sealed.timestamp)
            rows.append(
                {
                    "tenant_id": draft.tenant_id,
                    "stream": draft.stream,
                    "sequence": sequence + 1,
                    "kind": draft.kind,
                    "timestamp": sealed.timestamp,
                    "hash": sealed.hash,
                    "entry": sealed.json,
                }
            )
        insert(connection, t.audit_log, rows)

    def lengths(self) -> dict[str, int]:
        """Return how many events each tenant has."""
        return {
            tenant_id: sequence
            for (tenant_id, stream), (sequence, _, _) in self._heads.items()
            if stream == "events"
        }


def insert(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, a few thousand with one statement."""
    defaults = {"severity": "unknown"}
    names = [column.name for column in table.columns]
    values = [tuple(row.get(name, defaults.get(name)) for name in names) for row in rows]
    for first in range(0, len(values), 5000):
        insert_rows(connection, table, values[first : first + 5000])


def host_name(host: int) -> str:
    """Return the name of a tenant's host."""
    return f"WS-{host:05}.corp.example"


def device_id(tenant_id: str, host: int) -> str:
    """Return what the vendor calls a host."""
    return sha256(f"{tenant_id}/{host}".encode()).hexdigest()[:32]
