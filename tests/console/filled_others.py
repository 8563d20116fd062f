"""Stores what people and the service did beside: a few thousand rows of each kind."""

from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Connection

from tests.console.filled_parts import (
    DAY_S,
    SPAN_S,
    VENDORS,
    Chains,
    device_id,
    insert,
)
from vyrox.approvals import break_glass
from vyrox.approvals.changes import Change
from vyrox.chain.entry import SERVICE
from vyrox.chain.events import event
from vyrox.models import BreakGlass
from vyrox.store import tables as t


class Others:
    """Stores the rows of each further kind."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._size, self._found = chains.size, chains.found

    def store(self, connection: Connection) -> None:
        """Store all of them."""
        self._chains.read_heads(connection)
        self._store_quarantine(connection)
        self._store_suppressions(connection)
        self._store_notifications(connection)
        self._store_glasses(connection)
        self._store_changes(connection)
        self._store_refused(connection)
        insert(connection, t.pollers, [self._poller(each) for each in self._found.tenants])

    def _store_quarantine(self, connection: Connection) -> None:
        found, rows = self._found, []
        others = self._size.others
        for place in range(others):
            tenant_id = self._chains.turn(place)
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
                    "tenant_id": self._chains.turn(place),
                    "program": f"agent{place}.exe",
                    "reason": "the deployment of the agents",
                    "author": "solo",
                    "created_at": found.now - DAY_S,
                    "expires_at": found.now + 30 * DAY_S,
                    "hits": place,
                }
                for place in range(self._size.others // 25)
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
                "tenant_id": self._chains.turn(place),
                "target_id": f"target-{self._chains.turn(place)}",
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
            tenant_id = self._chains.turn(place)
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
        for place in range(1):
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
        self._chains.append(
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
