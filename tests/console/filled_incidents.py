"""Stores incidents with their alerts, verdicts and events."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from tests.console.filled_parts import (
    COMMON_HASH,
    COMMON_TECHNIQUE,
    COMMON_USER,
    DAY_S,
    PER_INCIDENT,
    SPAN_S,
    VENDORS,
    Chains,
    device_id,
    host_name,
    insert,
)
from tests.console.filled_templates import HOSTS, TOKEN, Template, templates
from vyrox.alerts.intake import accepted_event, delivery
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.models import NormalizedAlert
from vyrox.store import tables as t
from vyrox.triage.fingerprint import fingerprint_of
from vyrox.triage.hosts import short_name

_encode: Final = msgspec.json.Encoder().encode


class Incidents:
    """Stores the incidents, in order of time."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._size, self._found = chains.size, chains.found
        self._templates = templates()

    def store(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Store some incidents with all that belongs to them, in order of time."""
        if connection.dialect.name == "postgresql":  # making the rows takes longer than it allows
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        self._chains.read_heads(connection)
        made = [self._incident(number) for number in numbers]
        for table, name in (
            (t.alerts, "alerts"),
            (t.verdicts, "verdicts"),
            (t.incidents, "incidents"),
            (t.incident_keys, "keys"),
            (t.incident_steps, "steps"),
        ):
            insert(connection, table, [row for each in made for row in each[name]])
        self._chains.append(
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
        template: Template,
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
        bits = f"{self._chains.random.getrandbits(128):032x}"
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
        template: Template,
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
        template: Template,
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
        story = TOKEN.sub(lambda found: values[found[1].decode()].encode(), template.story)
        for token, host in zip(HOSTS, hosts, strict=True):
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


def _opened(tenant_id: str, number: int, band: str) -> Draft:
    return event(
        "incident.opened", tenant_id, None, incident=f"{tenant_id}-{number}", why="x", band=band
    )
