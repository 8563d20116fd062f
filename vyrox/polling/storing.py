"""A page of a vendor's alerts becomes rows, in one transaction with the cursor (contract 72)."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from vyrox.adapters.own_forms import Ignored, read
from vyrox.adapters.tolerant_json import JsonText
from vyrox.alerts import intake, quarantine
from vyrox.alerts.intake import Delivery
from vyrox.alerts.quarantine import Unreadable
from vyrox.alerts.queue import QueueEntry
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant
from vyrox.polling import rows
from vyrox.polling.pages import Account, Element, Page
from vyrox.polling.rows import LEASE_S, Lease, Seen
from vyrox.tenants.bindings import Bindings
from vyrox.tenants.customers import tenant_of

_encoder: Final = msgspec.json.Encoder()


class Limits(NamedTuple):
    """The limits of bodies, as for webhooks."""

    max_body_bytes: int
    quarantine_max_bytes: int


class Read(NamedTuple):
    """An element, and what it is: an alert, a known event, or what goes to quarantine."""

    element: Element
    what: NormalizedAlert | Ignored | Unreadable
    seen: Seen

    @classmethod
    def of(cls, element: Element, what: NormalizedAlert | Ignored | Unreadable) -> "Read":
        """Return `element` with what is stored to know it again."""
        if not isinstance(what, NormalizedAlert):
            return cls(element, what, Seen(_digest(b"raw", element.raw), None, b""))
        # Not its time: without a time of its own it has the time of receipt.
        same = msgspec.structs.replace(what, id="", timestamp=0.0)
        key = _digest(b"id", what.raw_id.encode("utf-8", "replace"))
        digest = _digest(b"alert", _encoder.encode(same))
        return cls(element, what, Seen(key, element.updated, digest))


class Stored(NamedTuple):
    """What became of a page.

    Attributes:
        entries: The new alerts, for the queue.
        known: How many were stored before.
    """

    entries: tuple[QueueEntry, ...] = ()
    known: int = 0
    quarantined: int = 0
    ignored: int = 0


def read_elements(
    account: Account, bindings: Bindings, page: Page, limits: Limits, now: float
) -> list[Read]:
    """Return what each element of `page` is.

    Args:
        bindings: Whose the vendor's customer ids are: they are checked as for webhooks.
    """
    return [
        Read.of(each, _what(account, bindings, each.raw, limits.max_body_bytes, now))
        for each in page.elements
    ]


def _what(
    account: Account, bindings: Bindings, raw: bytes, max_bytes: int, now: float
) -> NormalizedAlert | Ignored | Unreadable:
    text, tenant = JsonText(raw), Tenant(account.tenant_id)
    if len(raw) > max_bytes:
        reason = f"{len(raw)} bytes are more than MAX_BODY_BYTES"
        return Unreadable(tenant.tenant_id, account.vendor, raw, reason, now)
    try:
        tenant = tenant_of(account.vendor, text, tenant, bindings)
        return read(account.vendor, text, tenant, now)
    except NormalizationError as exc:
        return Unreadable(tenant.tenant_id, account.vendor, raw, str(exc), now)


def store_page(
    connection: Connection,
    lease: Lease,
    all_read: Sequence[Read],
    cursor: dict[str, object],
    limits: Limits,
    now: float,
) -> Stored:
    """Store a page and the cursor behind it: all of it or nothing.

    Args:
        cursor: The columns that record how far the poller has come.

    Raises:
        LostLeaseError: Another container polls now, or none does.
    """
    rows.change(connection, lease, now, {**cursor, "lease_until": now + LEASE_S})
    return store_elements(connection, lease.poller.account, all_read, limits, now)


def store_elements(
    connection: Connection, account: Account, all_read: Sequence[Read], limits: Limits, now: float
) -> Stored:
    """Store what was not read before, with its events."""
    new, ignored = _new_ones(connection, account, all_read, now)
    deliveries = [
        intake.delivery(each.what, each.element.raw, now)
        for each in new
        if isinstance(each.what, NormalizedAlert)
    ]
    # The same bytes are the same alert, however old: the vendor has not changed it.
    stored = intake.store(connection, deliveries, float("inf"))
    drafts = [
        _accepted(each)
        for each, result in zip(deliveries, stored, strict=True)
        if not result.redelivery
    ]
    unreadable = [each.what for each in new if isinstance(each.what, Unreadable)]
    drafts += quarantine.keep_with_events(
        connection, unreadable, limits.quarantine_max_bytes, polled=True
    )
    append(connection, drafts, now)
    entries = tuple(
        QueueEntry(delivered.tenant_id, each.alert_id, each.alert, delivered.raw)
        for each, delivered in zip(stored, deliveries, strict=True)
        if not each.finished
    )
    known = len(all_read) - len(new) - ignored
    return Stored(entries, known, len(unreadable), ignored)


def _new_ones(
    connection: Connection, account: Account, all_read: Sequence[Read], now: float
) -> tuple[list[Read], int]:
    """Return what was not read before, the same alert once, and the number of ignored events."""
    tenant_id, vendor = account
    wanted = {each.seen.key: each for each in all_read if not isinstance(each.what, Ignored)}
    before = rows.find_seen(connection, tenant_id, vendor, sorted(wanted))
    changed = [each for key, each in wanted.items() if not _is_same(before.get(key), each.seen)]
    rows.store_seen(connection, tenant_id, vendor, [each.seen for each in changed], now)
    new = [
        each
        for each in changed
        if (known := before.get(each.seen.key)) is None or known.digest != each.seen.digest
    ]
    return new, sum(isinstance(each.what, Ignored) for each in all_read)


def _is_same(before: Seen | None, now: Seen) -> bool:
    """Return whether the vendor has not changed it since. Without a time its content decides."""
    if before is None:
        return False
    if now.updated is None:
        return before.digest == now.digest
    return before.updated == now.updated


def _accepted(new: Delivery) -> Draft:
    return event(
        "alert.accepted",
        new.tenant_id,
        None,
        alert_id=new.alert_id,
        source=new.source,
        severity=new.severity,
        host=new.host,
        process=new.process,
        technique=new.technique,
        polled=True,
    )


def _digest(kind: bytes, content: bytes) -> bytes:
    return sha256(kind + b"\0" + content).digest()
