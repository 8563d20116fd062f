"""Where a tenant's notifications go: rows whose URL and secret are encrypted (contract 58)."""

import secrets
from collections.abc import Collection
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import NotDeliveredError, OperatorError
from vyrox.notify.messages import Band
from vyrox.store.encryption import decrypt_secret, encrypt_secret
from vyrox.store.tables import notifications, notify_targets

Format = Literal["vyrox", "ocsf", "apprise"]
"""`vyrox` is our own JSON, `ocsf` a Detection Finding, `apprise` a short text to a channel."""

MAX_TARGETS: Final = 20
"""Targets of one tenant: each announcement is a row for each of them."""

FAILING_S: Final = 172_800.0
"""How old a notification may be that shows whether its target works."""

# Literally the condition of the index `notifications_failed`, so that both databases use it.
_HAS_FAILED: Final = sa.text("last_error IS NOT NULL AND sent_at IS NULL")

_t: Final = notify_targets.c
_n: Final = notifications.c


class Target(msgspec.Struct, frozen=True):
    """A target as it may be shown.

    Attributes:
        host: Host and port of its URL. Of a channel: what `parse_channel` shows.
        waiting: Notifications that are not sent yet.
        dead: Notifications that were not delivered within a day.
        last_error: Why the latest failed attempt of a notification that is not sent failed.
    """

    id: str
    tenant_id: str
    host: str
    format: Format
    min_band: Band
    created_at: float
    waiting: int = 0
    dead: int = 0
    last_error: str | None = None


class FailingTarget(msgspec.Struct, frozen=True):
    """A target that does not take what is sent.

    Attributes:
        waiting: Notifications that have failed and are tried again.
        dead: Notifications of the last two days that were never delivered.
        error: Why one of them failed.
    """

    tenant_id: str
    target_id: str
    host: str
    waiting: int
    dead: int
    error: str


class SealedTarget(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The encrypted URL and secret of a target, and what they are bound to."""

    id: str
    tenant_id: str
    url: str
    secret: str

    def open(self, vault: MultiFernet) -> tuple[str, str]:
        """Return the URL and the secret.

        Raises:
            NotDeliveredError: No key decrypts them, or they belong to another target.
        """
        try:
            url = decrypt_secret(vault, self.url, self.tenant_id, self.id, "notify url")
            secret = decrypt_secret(vault, self.secret, self.tenant_id, self.id, "notify secret")
        except InvalidToken:
            raise NotDeliveredError(
                "the stored URL cannot be decrypted with the present key: remove the target and "
                "add it again"
            ) from None
        return url.decode(), secret.decode()


def seal(vault: MultiFernet, tenant_id: str, url: str, secret: str) -> SealedTarget:
    """Return a new target with its URL and secret encrypted."""
    target_id = secrets.token_hex(6)
    return SealedTarget(
        target_id,
        tenant_id,
        encrypt_secret(vault, url.encode(), tenant_id, target_id, "notify url"),
        encrypt_secret(vault, secret.encode(), tenant_id, target_id, "notify secret"),
    )


def add_target(
    connection: Connection,
    sealed: SealedTarget,
    shown: tuple[str, Format, Band],
    now: float,
) -> None:
    """Store a target.

    Args:
        shown: The host, the format and the lowest band that is announced.

    Raises:
        OperatorError: The tenant has MAX_TARGETS already.
    """
    if len(list_targets(connection, sealed.tenant_id)) >= MAX_TARGETS:
        raise OperatorError(f"{sealed.tenant_id} has {MAX_TARGETS} targets already: remove one")
    host, form, min_band = shown
    connection.execute(
        notify_targets.insert().values(
            id=sealed.id,
            tenant_id=sealed.tenant_id,
            format=form,
            min_band=min_band,
            host=host,
            url=sealed.url,
            secret=sealed.secret,
            created_at=now,
        )
    )
    added = event(
        "notify.target_added",
        sealed.tenant_id,
        None,
        target=sealed.id,
        host=host,
        format=form,
        min_band=min_band,
    )
    append(connection, [added], now)


def remove_target(connection: Connection, tenant_id: str, target_id: str, now: float) -> int:
    """Remove a target with its URL and secret; return how many notifications are not sent now.

    Raises:
        OperatorError: The tenant has no such target.
    """
    removed = connection.execute(
        notify_targets.update()
        .where(_t.tenant_id == tenant_id, _t.id == target_id, _t.removed_at.is_(None))
        .values(url="", secret="", removed_at=now)
    )
    if removed.rowcount == 0:
        raise no_target(tenant_id)
    unsent = connection.execute(
        notifications.update()
        .where(_n.target_id == target_id, _n.next_at.is_not(None))
        .values(next_at=None, dead_at=now, last_error="the target was removed")
    )
    gone = event(
        "notify.target_removed", tenant_id, None, target=target_id, not_sent=unsent.rowcount
    )
    append(connection, [gone], now)
    return unsent.rowcount


def list_targets(connection: Connection, tenant_id: str) -> list[Target]:
    """Return the tenant's targets with what waits and what is dead, the oldest first."""
    states = _states(connection, tenant_id)
    targets = own_targets(connection, tenant_id)
    return [msgspec.structs.replace(each, **states.get(each.id, {})) for each in targets]


def own_targets(connection: Connection, tenant_id: str) -> list[Target]:
    """Return the tenant's targets, the oldest first, without reading any notification."""
    shown = [_t[name] for name in ("id", "tenant_id", "host", "format", "min_band", "created_at")]
    query = (
        sa.select(*shown)
        .where(_t.tenant_id == tenant_id, _t.removed_at.is_(None))
        .order_by(_t.created_at, _t.id)
    )
    return [Target(*tuple(row)) for row in connection.execute(query)]


def find_target(connection: Connection, tenant_id: str, target_id: str) -> SealedTarget:
    """Return a target's encrypted URL and secret, and its place.

    Raises:
        OperatorError: The tenant has no such target.
    """
    query = sa.select(_t.id, _t.tenant_id, _t.url, _t.secret).where(
        _t.tenant_id == tenant_id, _t.id == target_id, _t.removed_at.is_(None)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise no_target(tenant_id)
    return SealedTarget(*row)


def no_target(tenant_id: str) -> OperatorError:
    """Return the error for an unknown target."""
    return OperatorError(
        f"{tenant_id} has no target with this id; see: vyrox tenant notify list {tenant_id}"
    )


def find_failing(
    connection: Connection, tenant_ids: Collection[str], now: float
) -> list[FailingTarget]:
    """Return the targets of some tenants that do not take what is sent."""
    own = sa.and_(_t.id == _n.target_id, _t.tenant_id == _n.tenant_id, _t.removed_at.is_(None))
    query = (
        sa.select(
            _n.tenant_id,
            _n.target_id,
            sa.func.min(_t.host),
            sa.func.count(_n.next_at),
            sa.func.count(_n.dead_at),
            sa.func.max(_n.last_error),
        )
        .join(notify_targets, own)
        .where(_n.tenant_id.in_(tenant_ids), _HAS_FAILED, _n.created_at > now - FAILING_S)
        .group_by(_n.tenant_id, _n.target_id)
        .order_by(_n.tenant_id, _n.target_id)
    )
    return [FailingTarget(*tuple(row)) for row in connection.execute(query)]


def has_targets(connection: Connection, tenant_ids: Collection[str]) -> bool:
    """Return whether one of the tenants has a target."""
    query = sa.select(_t.id).where(_t.tenant_id.in_(tenant_ids), _t.removed_at.is_(None)).limit(1)
    return connection.execute(query).first() is not None


def _states(connection: Connection, tenant_id: str) -> dict[str, dict[str, object]]:
    """Return by target what is waiting, what is dead, and the latest error."""
    newest = sa.func.max(sa.case((_n.last_error.is_not(None), _n.created_at)))
    query = (
        sa.select(_n.target_id, sa.func.count(_n.next_at), sa.func.count(_n.dead_at), newest)
        .where(_n.tenant_id == tenant_id)
        .group_by(_n.target_id)
    )
    states: dict[str, dict[str, object]] = {}
    for target_id, waiting, dead, failed_at in connection.execute(query):
        error = sa.select(_n.last_error).where(
            _n.tenant_id == tenant_id,
            _n.target_id == target_id,
            _n.created_at == failed_at,
            _n.last_error.is_not(None),
        )
        latest = connection.execute(error.limit(1)).scalar()
        states[target_id] = {"waiting": waiting, "dead": dead, "last_error": latest}
    return states
