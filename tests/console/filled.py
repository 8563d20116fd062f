"""A database as it is after months: rows of every kind that the console's pages read.

The rows are made directly, not by the service: a million alerts would take it an hour. The alerts,
verdicts, stories and audit entries are made by the service's own functions, so pages can read them.
`benchmarks/console.py` fills a database with a million alerts, `test_plans.py` with hundreds.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec
import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from sqlalchemy import Connection

from vyrox.alerts.intake import accepted_event, delivery
from vyrox.approvals import break_glass
from vyrox.approvals.changes import Change
from vyrox.approvals.proposal import Proposal, canonical, digest
from vyrox.approvals.rows import place_of
from vyrox.chain.entry import GENESIS, SERVICE, Draft, seal
from vyrox.chain.events import event
from vyrox.models import BreakGlass, NormalizedAlert, Vendor
from vyrox.store import tables as t
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.tenants.records import add_tenant
from vyrox.triage.fingerprint import fingerprint_of
from vyrox.triage.hosts import short_name
from vyrox.triage.incidents import Grouping
from vyrox.triage.judged import Judged
from vyrox.triage.score import Verdict, judge
from vyrox.triage.story import BANDS
from vyrox.triage.totals import MAX_KEYS, Counted, Total, add, day_of
from vyrox.triage.totals_log import count_log
from vyrox.triage.trying import read_line

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

_SAMPLES: Final = Path(__file__).parent.parent / "data" / "triage"
_TOKEN: Final = re.compile(rb"TOKEN-([A-Z]+\d*)-")
_HOSTS: Final = (770_001, 770_002)
_encode: Final = msgspec.json.Encoder().encode


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


@dataclass
class Filled:
    """What there is, by which pages are asked for.

    Attributes:
        alerts: Ids of the first tenant, from all its time, oldest first.
        incidents: The highest number of an incident, by tenant.
    """

    now: float
    tenants: list[str]
    hosts: int
    alerts: list[str] = field(default_factory=list)
    incidents: dict[str, int] = field(default_factory=dict)
    proposals: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    glasses: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    raw_ids: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Template:
    """An incident to be copied: its alerts, their verdicts, and its story."""

    alerts: Sequence[NormalizedAlert]
    verdicts: Sequence[Verdict]
    encoded: Sequence[bytes]
    story: bytes
    score: float
    band: str


async def fill(database: Database, vault: MultiFernet, size: Size, now: float) -> Filled:
    """Fill an empty database and return what is in it."""
    tenants = [f"tenant-{number:03}" for number in range(size.tenants)]
    found = Filled(now, tenants, size.hosts)
    await database.write(_prepare, timeout_s=600.0)
    await database.write(_add_tenants, tenants, vault, now, timeout_s=600.0)
    filler = _Filler(size, found)
    incidents = iter(range(size.incidents))
    while numbers := list(islice(incidents, BATCH)):
        await database.write(filler.store, numbers, timeout_s=600.0)
    await database.write(filler.finish, timeout_s=600.0)
    await database.write(filler.store_others, timeout_s=600.0)
    await database.write(filler.save_heads, timeout_s=600.0)
    for tenant_id in tenants:
        await database.write(_count, found, tenant_id, timeout_s=600.0)
        while await database.write(count_log, tenant_id, timeout_s=600.0):
            pass
    return found


def _count(connection: Connection, found: Filled, tenant_id: str) -> None:
    """Store the totals of eight weeks. The first tenant has as many rules as a day can have."""
    rules = MAX_KEYS if tenant_id == found.tenants[0] else MAX_KEYS // 10
    today = day_of(found.now)
    totals = [
        Total(day, name, key)
        for day in range(today - 56, today + 1)
        for name, keys in (
            ("band", BANDS),
            ("signal", [f"family.signal_{n}" for n in range(rules)]),
            ("rule", [f'["crowdstrike","T1059","program{n}.exe"]' for n in range(rules)]),
        )
        for key in keys
    ]
    counted = Counted(
        Counter({total: 1 + n % 50 for n, total in enumerate(totals)}),
        Counter({total: n % 9 for n, total in enumerate(totals)}),
        Counter({total: n % 3 for n, total in enumerate(totals)}),
    )
    add(connection, tenant_id, counted)


def _prepare(connection: Connection) -> None:
    """Let SQLite keep what it changes in memory, not 2 MB of it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size = -2000000")


def _add_tenants(
    connection: Connection, tenants: Sequence[str], vault: MultiFernet, now: float
) -> None:
    secret = vault.encrypt(SECRET.encode()).decode()
    for tenant_id in tenants:
        for vendor in VENDORS:
            add_tenant(connection, tenant_id, vendor, secret, None, now - SPAN_S)


class _Filler:
    def __init__(self, size: Size, found: Filled) -> None:
        self._size = size
        self._found = found
        self._random = random.Random(20)  # noqa: S311
        self._templates = templates()
        self._heads: dict[tuple[str, str], tuple[int, str, int]] = {}
        self._sequences_known = False

    def store(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Store some incidents with all that belongs to them, in order of time."""
        if connection.dialect.name == "postgresql":  # making the rows takes longer than it allows
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._read_heads(connection)
        made = [self._incident(number) for number in numbers]
        for table, name in (
            (t.alerts, "alerts"),
            (t.verdicts, "verdicts"),
            (t.incidents, "incidents"),
            (t.incident_keys, "keys"),
            (t.incident_steps, "steps"),
        ):
            insert(connection, table, [row for each in made for row in each[name]])
        self._append(
            connection,
            [pair for each in made for pair in each["drafts"]],
        )

    def _incident(self, place: int) -> dict[str, list[Any]]:
        size, found = self._size, self._found
        is_last = place == size.incidents - 1
        tenants = found.tenants
        tenant_id = tenants[0]
        if place % 2 and len(tenants) > 1 and not is_last:
            tenant_id = tenants[1 + place // 2 % (len(tenants) - 1)]
        number = found.incidents[tenant_id] = found.incidents.get(tenant_id, 0) + 1
        at = found.now - SPAN_S + (SPAN_S - 3600) * (place + 1) / size.incidents
        template = self._templates[place % len(self._templates)]
        hosts = self._hosts_of(tenant_id, place)
        alerts = [
            self._alert(template, each, tenant_id, number, hosts, at, place)
            for each in range(size.giant if is_last else PER_INCIDENT)
        ]
        if tenant_id == tenants[0]:
            found.alerts += [row["id"] for row, _ in alerts[:: 1000 if is_last else 5]]
        is_open = place / 7 % 1 < size.open_share
        return {
            "alerts": [row for row, _ in alerts],
            "verdicts": [
                self._verdict(template, n, row, judged, number, hosts, at)
                for n, (row, judged) in enumerate(alerts)
            ],
            "incidents": [self._row(template, tenant_id, number, at, alerts, hosts, is_open)],
            "keys": [
                {"tenant_id": tenant_id, "key": key, "number": number}
                for key in (*(f"host:{host}" for host in hosts), f"group:generic:g-{number}")
            ],
            "steps": self._steps(tenant_id, number, at, 40 if is_last else place % 3),
            "drafts": [
                *((row["draft"], row["received_at"]) for row, _ in alerts),
                (_opened(tenant_id, number, template.band), at + 60.0),
            ],
        }

    def _hosts_of(self, tenant_id: str, place: int) -> tuple[int, int]:
        count = self._size.hosts
        if tenant_id != self._found.tenants[0]:
            count = max(2, count // 50)
        first = 1 + place // 2 % count
        return first, 1 + first % count

    def _alert(
        self,
        template: _Template,
        each: int,
        tenant_id: str,
        number: int,
        hosts: tuple[int, int],
        at: float,
        place: int,
    ) -> tuple[dict[str, Any], NormalizedAlert]:
        sample = template.alerts[each % PER_INCIDENT]
        host = hosts[each % 5 == 4]
        vendor = VENDORS[host % len(VENDORS)]
        received_at = at + 3000.0 * each / max(PER_INCIDENT, each + 1)
        bits = f"{self._random.getrandbits(128):032x}"
        alert = msgspec.structs.replace(
            sample,
            id=f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
            tenant_id=tenant_id,
            source=vendor,
            raw_id=f"ldt:{bits[:12]}:{number}",
            timestamp=received_at - 5.0,
            hostname=host_name(host),
            device_id=device_id(tenant_id, host),
            username=COMMON_USER if each % 3 else f"corp\\user{place % 500}",
            sha256=COMMON_HASH if each % 2 else sha256(bits.encode()).hexdigest(),
            technique=COMMON_TECHNIQUE if each % 3 == 0 else sample.technique,
            vendor_group=f"g-{number}",
        )
        raw = _encode({"detect_id": alert.raw_id, "sensor": {"hostname": alert.hostname}})
        new = delivery(alert, raw + b" " * 400, received_at, f"req-{bits[:12]}")
        is_dead = place % 200 == 11 and each == 3
        if is_dead and tenant_id == self._found.tenants[0]:
            self._found.dead.append(alert.id)
        row = {
            **msgspec.structs.asdict(new),
            "id": alert.id,
            "dedup_key": new.dedup_key if received_at > self._found.now - DAY_S else None,
            "finished_at": received_at + 1.0,
            "dead_reason": "delivered 5 times, never finished" if is_dead else None,
            "draft": accepted_event(new),
        }
        if place % 10 == 3 and each == 0:
            row.update(
                verdict=("benign", "malicious")[place % 20 == 3],
                verdict_by="solo",
                verdict_at=received_at + 600.0,
                verdict_note="seen before: the deployment of the agents",
            )
        if tenant_id == self._found.tenants[0] and each == 0:
            self._found.raw_ids.append(alert.raw_id)
            self._found.hashes.append(str(alert.sha256))
        return row, alert

    def _verdict(
        self,
        template: _Template,
        each: int,
        row: dict[str, Any],
        alert: NormalizedAlert,
        number: int,
        hosts: tuple[int, int],
        at: float,
    ) -> dict[str, Any]:
        verdict = template.verdicts[each % PER_INCIDENT]
        is_close = verdict.band == "close"
        return {
            "alert_id": alert.id,
            "tenant_id": alert.tenant_id,
            "incident": number,
            "score": verdict.score,
            "band": verdict.band,
            "happened_at": alert.timestamp,
            "judged_at": row["received_at"] + 1.0,
            "host": hosts[each % 5 == 4],
            "fingerprint": fingerprint_of(alert),
            "verdict": template.encoded[each % PER_INCIDENT],
            "sampled_at": row["received_at"] + 1.0 if is_close and each == 0 else None,
            "is_counted": True,
        }

    def _row(
        self,
        template: _Template,
        tenant_id: str,
        number: int,
        at: float,
        alerts: Sequence[tuple[dict[str, Any], NormalizedAlert]],
        hosts: tuple[int, int],
        is_open: bool,
    ) -> dict[str, Any]:
        last_at = alerts[-1][1].timestamp
        values = {f"ALERT{n}": alert.id for n, (_, alert) in enumerate(alerts[:PER_INCIDENT])}
        values |= {f"HOST{n}": host_name(host) for n, host in enumerate(hosts)}
        values |= {f"DEVICE{n}": device_id(tenant_id, host) for n, host in enumerate(hosts)}
        values["USER0"] = COMMON_USER.replace("\\", "\\\\")
        story = _TOKEN.sub(lambda found: values[found[1].decode()].encode(), template.story)
        for token, host in zip(_HOSTS, hosts, strict=True):
            story = story.replace(str(token).encode(), str(host).encode())
        return {
            "tenant_id": tenant_id,
            "number": number,
            "status": ("open", "acknowledged")[number % 4 == 0] if is_open else "closed",
            "resolution": None if is_open else ("malicious", "benign_expected")[number % 2],
            "assignee": "solo" if number % 4 == 0 else None,
            "score": template.score,
            "band": template.band,
            "opened_at": at,
            "first_at": at,
            "last_at": last_at,
            "updated_at": last_at + 5.0,
            "closed_at": None if is_open else last_at + 600.0,
            "alerts": len(alerts),
            "story": story,
            "earlier": number - 1 if number % 5 == 0 else None,
            "announced_band": template.band,
            "announced_at": last_at,
        }

    def _steps(self, tenant_id: str, number: int, at: float, count: int) -> list[dict[str, Any]]:
        return [
            {
                "id": f"{tenant_id}-{number}-{each}",
                "tenant_id": tenant_id,
                "number": number,
                "at": at + 60.0 * each,
                "by": "solo",
                "step": "comment",
                "text": "asked the owner of the host",
            }
            for each in range(count)
        ]

    def finish(self, connection: Connection) -> None:
        """Store the hosts of each tenant, and how many hosts and incidents it has."""
        found, size = self._found, self._size
        devices, names, counts = [], [], []
        times = {"first_at": found.now - SPAN_S, "last_at": found.now - 60.0}
        for tenant_id in found.tenants:
            count = size.hosts if tenant_id == found.tenants[0] else max(2, size.hosts // 50)
            counts.append(
                {"tenant_id": tenant_id, "hosts": count, "incidents": found.incidents[tenant_id]}
            )
            for host in range(1, count + 1):
                of_host = {"tenant_id": tenant_id, "host": host, **times}
                source = VENDORS[host % len(VENDORS)]
                name = host_name(host).lower()
                devices.append(
                    {**of_host, "source": source, "device_id": device_id(tenant_id, host)}
                )
                names.append({**of_host, "name": name, "short_name": short_name(name)})
        insert(connection, t.host_devices, devices)
        insert(connection, t.host_names, names)
        insert(connection, t.triage_tenants, counts)

    def store_others(self, connection: Connection) -> None:
        """Store what people and the service did beside."""
        self._read_heads(connection)
        found, others = self._found, self._size.others
        drafts: list[tuple[Draft, float]] = []
        proposals, decisions, leases, devices, confirmations = [], [], [], [], []
        for place in range(others):
            tenant_id = self._turn(place)
            at = found.now - 20 * DAY_S * (others - place) / others
            is_open = place >= others - min(300, others // 3)
            host = 1 + place % max(2, self._size.hosts // (1 if place % 2 == 0 else 50))
            proposal = self._proposal(tenant_id, place, host, at, is_open=is_open)
            text = canonical(proposal)
            row = {
                "id": proposal.id,
                "tenant_id": tenant_id,
                "sha256": digest(text),
                "text": text,
                "place": place_of(proposal),
                "state": "pending" if is_open else ("dispatched", "rejected")[place % 3 == 0],
                "created_at": proposal.created_at,
                "expires_at": proposal.expires_at,
                "approved_at": None if is_open or place % 3 == 0 else at + 60.0,
                "ended_at": None if is_open else at + 90.0,
                "end_reason": None,
                "repeats": 0,
            }
            proposals.append(row)
            if tenant_id == found.tenants[0]:
                found.proposals.append(proposal.id)
            drafts.append((_proposed(proposal, text), at))
            if is_open:
                continue
            decisions.append(_decision(proposal, place, at + 60.0))
            drafts += _done(proposal, at + 61.0)
            if place % 3 and place % 4 == 0:
                devices.append(_device(proposal, host))
                confirmations.append(_confirmation(proposal, found.now))
                leases.append(_lease(proposal, host, found.now))
        insert(connection, t.proposals, proposals)
        insert(connection, t.decisions, decisions)
        insert(connection, t.devices, list({_key(row): row for row in devices}.values()))
        insert(connection, t.confirmations, confirmations)
        insert(connection, t.leases, leases)
        drafts.sort(key=lambda pair: pair[1])
        self._append(connection, drafts)
        self._store_quarantine(connection)
        self._store_suppressions(connection)
        self._store_notifications(connection)
        self._store_glasses(connection)
        self._store_changes(connection)
        self._store_refused(connection)
        insert(connection, t.pollers, [self._poller(each) for each in found.tenants])

    def _turn(self, place: int) -> str:
        tenants = self._found.tenants
        return tenants[0] if place % 2 == 0 else tenants[place // 2 % len(tenants)]

    def _proposal(
        self, tenant_id: str, place: int, host: int, at: float, *, is_open: bool
    ) -> Proposal:
        found = self._found
        bits = f"{self._random.getrandbits(128):032x}"
        is_first = tenant_id == found.tenants[0]
        return Proposal(
            id=f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
            tenant_id=tenant_id,
            alert_id=found.alerts[place % len(found.alerts)] if is_first else "of-another-time",
            vendor="crowdstrike",
            action_type="HOST_ISOLATION",
            host=device_id(tenant_id, host),
            hostname=host_name(host),
            process=None,
            device_state=None,
            lease_s=14_400,
            requested_by="vyrox",
            reason="score 97: it deletes the shadow copies",
            created_at=int(at),
            expires_at=int(found.now + 40 * DAY_S if is_open else at + 900),
            required=1,
            nonce=bits[:22],
        )

    def _store_quarantine(self, connection: Connection) -> None:
        found, rows = self._found, []
        others = self._size.others
        for place in range(others):
            tenant_id = self._turn(place)
            at = found.now - SPAN_S * (others - place) / others
            row_id = f"q-{place:06}"
            if tenant_id == found.tenants[0]:
                found.quarantined.append(row_id)
            raw = b'{"alert": {"name": "odd %d", "fields": [%b]}}' % (place, b"1," * 200 + b"1")
            rows.append(
                {
                    "id": row_id,
                    "tenant_id": tenant_id,
                    "source": VENDORS[place % len(VENDORS)],
                    "dedup_key": sha256(row_id.encode()).digest(),
                    "reason": "the payload has no identifier of the detection",
                    "raw": raw,
                    "first_received_at": at,
                    "last_received_at": at + 60.0,
                    "deliveries": 1 + place % 5,
                    "replayed_at": at + 600.0 if place % 5 == 4 else None,
                    "dismissed_at": at + 600.0 if place % 7 == 4 else None,
                }
            )
        insert(connection, t.quarantine, rows)

    def _store_suppressions(self, connection: Connection) -> None:
        found = self._found
        insert(
            connection,
            t.suppressions,
            [
                {
                    "id": f"sup-{place}",
                    "tenant_id": self._turn(place),
                    "program": f"agent{place}.exe",
                    "reason": "the deployment of the agents",
                    "author": "solo",
                    "created_at": found.now - DAY_S,
                    "expires_at": found.now + 30 * DAY_S,
                    "hits": place,
                }
                for place in range(self._size.others // 5)
            ],
        )

    def _store_notifications(self, connection: Connection) -> None:
        found, others = self._found, self._size.others
        targets = [
            {
                "id": f"target-{tenant_id}",
                "tenant_id": tenant_id,
                "format": "vyrox",
                "min_band": "urgent",
                "host": "hooks.example.com",
                "url": "",
                "secret": "",
                "created_at": found.now - SPAN_S,
            }
            for tenant_id in found.tenants
        ]
        sent = [
            {
                "id": f"note-{place}",
                "tenant_id": self._turn(place),
                "target_id": f"target-{self._turn(place)}",
                "incident": 1,
                "body": b"{}",
                "created_at": found.now - SPAN_S * (others - place) / others,
                "attempts": 1,
                "sent_at": found.now if place % 10 else None,
                "dead_at": None if place % 10 else found.now,
                "last_error": None if place % 10 else "the server answered 500",
            }
            for place in range(others)
        ]
        insert(connection, t.notify_targets, targets)
        insert(connection, t.notifications, sent)

    def _store_glasses(self, connection: Connection) -> None:
        found, rows = self._found, []
        for place in range(max(4, self._size.others // 100)):
            tenant_id = self._turn(place)
            asked = BreakGlass(
                request_id=f"glass-{place}",
                tenant_id=tenant_id,
                alert_id=found.alerts[0],
                action_type="HOST_ISOLATION",
                host=device_id(tenant_id, 1),
                by="solo",
                reason="nobody could be reached",
                at=int(found.now) - 3600,
            )
            text = msgspec.json.encode(asked, order="sorted")
            rows.append(
                {
                    "id": f"glass-{place}",
                    "tenant_id": tenant_id,
                    "text": text,
                    "sha256": break_glass.digest(text),
                    "at": found.now - 3600.0 + place,
                    "acknowledged_at": found.now if place % 4 else None,
                    "acknowledged_by": "solo" if place % 4 else None,
                }
            )
            if tenant_id == found.tenants[0] and place % 4 == 0:
                found.glasses.append(f"glass-{place}")
        insert(connection, t.break_glass, rows)

    def _store_changes(self, connection: Connection) -> None:
        found, rows = self._found, []
        for place in range(4):
            change = Change(
                kind="end_rule", tenant_id=found.tenants[0], approver=None, subject=f"rule-{place}"
            )
            rows.append(
                {
                    "id": f"change-{place}",
                    "tenant_id": change.tenant_id,
                    "text": msgspec.json.encode(change, order="sorted").decode(),
                    "needed": 2,
                    "asked_by": "operator",
                    "asked_at": found.now - 60.0,
                    "expires_at": found.now + 40 * DAY_S,
                }
            )
            found.changes.append(f"change-{place}")
        insert(connection, t.approver_changes, rows)

    def _store_refused(self, connection: Connection) -> None:
        """Store refused deliveries, which are in the service's own chain."""
        found, others = self._found, self._size.others
        self._append(
            connection,
            [
                (
                    event(
                        "auth.failed", SERVICE, None, tenant=found.tenants[0], reason="signature"
                    ),
                    found.now - DAY_S * (others - place) / others,
                )
                for place in range(others)
            ],
        )

    def _poller(self, tenant_id: str) -> dict[str, Any]:
        now = self._found.now
        return {
            "tenant_id": tenant_id,
            "vendor": "crowdstrike",
            "started_at": now - SPAN_S,
            "since": now - 60.0,
            "succeeded_at": now - 30.0,
            "caught_up_at": now - 30.0,
            "failures": 0,
            "next_at": now + 1e6,
        }

    def _read_heads(self, connection: Connection) -> None:
        if self._heads:
            return
        c = t.audit_log.c
        query = sa.select(c.tenant_id, c.stream, c.sequence, c.hash, c.timestamp)
        for row in connection.execute(query.order_by(c.sequence)):
            # Of the tenants' addition: it was written with an earlier time than it has.
            self._heads[row.tenant_id, row.stream] = (row.sequence, row.hash, 0)
        self._heads.setdefault((SERVICE, "events"), (0, GENESIS, 0))

    def _append(self, connection: Connection, drafts: Iterable[tuple[Draft, float]]) -> None:
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

    def save_heads(self, _connection: Connection) -> None:
        """Note how long the chains are."""
        self._found.sequences = {
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


def _opened(tenant_id: str, number: int, band: str) -> Draft:
    return event(
        "incident.opened", tenant_id, None, incident=f"{tenant_id}-{number}", why="x", band=band
    )


def _proposed(proposal: Proposal, text: bytes) -> Draft:
    members = {
        "kind": "approval.proposed",
        "request_id": None,
        "proposal_id": proposal.id,
        "proposal_sha256": digest(text),
        "proposal": text.decode(),
    }
    return Draft(proposal.tenant_id, "events", "approval.proposed", cast("Any", members))


def _done(proposal: Proposal, at: float) -> list[tuple[Draft, float]]:
    entry = Draft(
        proposal.tenant_id,
        "actions",
        proposal.action_type,
        {
            "action_type": proposal.action_type,
            "host": proposal.host,
            "approved_by": "solo",
            "dry_run": False,
        },
    )
    outcome = event(
        "execute.outcome",
        proposal.tenant_id,
        None,
        execution=proposal.id,
        entry="",
        outcome="confirmed",
        reason=None,
        alert_id=proposal.alert_id,
        force=False,
    )
    return [(entry, at), (outcome, at)]


def _decision(proposal: Proposal, place: int, at: float) -> dict[str, Any]:
    return {
        "proposal_id": proposal.id,
        "approver": "solo",
        "decision": ("approve", "reject")[place % 3 == 0],
        "proof": "webauthn",
        "proof_key": f"proof-{proposal.id}",
        "at": at,
        "entry_hash": sha256(proposal.id.encode()).hexdigest(),
        "means": "a-key",
        "comment": "seen",
    }


def _device(proposal: Proposal, host: int) -> dict[str, Any]:
    return {
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "hostname": host_name(host).lower(),
        "lease_until": 0.0,
        "token": 1,
    }


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["tenant_id"], row["vendor"], row["device_id"]


def _confirmation(proposal: Proposal, now: float) -> dict[str, Any]:
    return {
        "entry_hash": sha256(b"c" + proposal.id.encode()).hexdigest(),
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "execution": proposal.id.encode(),
        "target": "contained",
        "attempts": 1,
        "next_at": now,
        "until_at": now,
        "token": 1,
        "is_sent": True,
        "is_settled": True,
    }


def _lease(proposal: Proposal, host: int, now: float) -> dict[str, Any]:
    return {
        "proposal_id": proposal.id,
        "tenant_id": proposal.tenant_id,
        "vendor": proposal.vendor,
        "device_id": proposal.host,
        "hostname": host_name(host).lower(),
        "action_type": proposal.action_type,
        "alert_id": proposal.alert_id.encode(),
        "sha256": digest(canonical(proposal)),
        "entry_hash": sha256(b"c" + proposal.id.encode()).hexdigest(),
        "token": 1,
        "lease_s": 14_400,
        "since": now - 3600.0,
        "began_at": now - 3600.0,
        "ends_at": now + 40 * DAY_S,
        "attempts": 0,
        "next_at": now + 40 * DAY_S,
    }


@cache
def templates() -> Sequence[_Template]:
    """Return incidents of real alerts, as triage judges and groups them."""
    found = list(_samples())
    return [
        _template(found[first : first + PER_INCIDENT])
        for first in range(0, len(found) - PER_INCIDENT + 1, PER_INCIDENT)
    ]


def _samples() -> Iterator[NormalizedAlert]:
    """Yield malicious and benign alerts in turn."""
    kinds = [
        [
            read.judged.alert
            for number, line in enumerate((_SAMPLES / name).read_bytes().splitlines()[:300], 1)
            for read in read_line(line, number)
        ]
        for name in ("malicious.jsonl", "benign.jsonl")
    ]
    for pair in zip(*kinds, strict=False):
        yield from pair


def _template(alerts: Sequence[NormalizedAlert]) -> _Template:
    grouping = Grouping("template")
    judged = []
    for number, alert in enumerate(alerts):
        host = number % 5 == 4
        placed = msgspec.structs.replace(
            alert,
            id=f"TOKEN-ALERT{number}-",
            tenant_id="template",
            source="generic",
            raw_id=f"TOKEN-ALERT{number}-",
            timestamp=1e6 + number,
            hostname=f"TOKEN-HOST{int(host)}-",
            device_id=f"TOKEN-DEVICE{int(host)}-",
            username="TOKEN-USER0-",
            vendor_group="g",
        )
        judged.append(Judged(placed, judge(placed), 1e6 + number))
        grouping.add(judged[-1])
    [incident] = [each for each in grouping.incidents.values() if each.merged_into is None]
    story = incident.story
    numbers = dict(zip(sorted(story.hosts), _HOSTS, strict=False))
    story.hosts = [numbers[host] for host in story.hosts]
    story.looks = [(at, numbers.get(host, host), signal) for at, host, signal in story.looks]
    story.devices = {
        key: msgspec.structs.replace(seen, host=numbers[seen.host])
        for key, seen in story.devices.items()
    }
    verdicts = [each.verdict for each in judged]
    return _Template(
        alerts,
        verdicts,
        [_encode(each) for each in verdicts],
        _encode(story),
        incident.score,
        incident.band,
    )
