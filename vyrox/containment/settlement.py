"""The rows of actions in `confirmations`, from the device's lease to the outcome (contract 37).

A row is stored before the vendor is called. While it is pending, the confirmation checks the device
at the vendor. When the outcome is known, the row is settled: the row of a containment that was
sent, or may have been, stays until the device is lifted. Any other row is deleted.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.containment.attempt import DeviceLease
from vyrox.containment.contained import IS_CONTAINMENT
from vyrox.store.tables import confirmations, leases

_c: Final = confirmations.c
_l: Final = leases.c


def add_pending(
    connection: Connection,
    lease: DeviceLease,
    request_id: str,
    *,
    next_at: float,
    until_at: float,
) -> None:
    """Store the action of `lease`, which has not been sent yet.

    Args:
        next_at: When it is checked first, if its attempt does not end before.
        until_at: When the checks stop.
    """
    connection.execute(
        confirmations.insert().values(
            entry_hash=lease.entry_hash,
            tenant_id=lease.tenant_id,
            vendor=lease.vendor,
            device_id=lease.device_id,
            execution=request_id.encode(),
            target=lease.target,
            reference=None,
            attempts=0,
            next_at=next_at,
            until_at=until_at,
            token=lease.token,
            is_sent=None,
            is_settled=False,
        )
    )


def schedule_checks(
    connection: Connection,
    lease: DeviceLease,
    *,
    is_sent: bool,
    reference: str | None,
    next_at: float,
    until_at: float,
) -> None:
    """Store when the action of an attempt that has ended is checked. Settled actions are not."""
    connection.execute(
        confirmations.update()
        .where(_c.entry_hash == lease.entry_hash, ~_c.is_settled)
        .values(reference=reference, next_at=next_at, until_at=until_at, is_sent=is_sent)
    )


def confirm(
    connection: Connection, lease: DeviceLease, *, is_sent: bool | None, reference: str | None
) -> None:
    """Store that the device is in the target state, and stop checking.

    Nothing changes if the action is settled: it, or a later action, was confirmed before.

    Args:
        is_sent: Whether this action was sent. None if its attempt has not ended, so it is unknown.
            An action that was certainly sent ends the checks of the earlier actions.
        reference: The vendor's id of the action.
    """
    if not _settle(connection, lease, is_sent, reference) or lease.target == "killed":
        return
    earlier = sa.and_(
        _c.tenant_id == lease.tenant_id,
        _c.vendor == lease.vendor,
        _c.device_id == lease.device_id,
        _c.target != "killed",
        _c.token < lease.token,
    )
    if lease.target == "lifted":
        # An earlier pending containment may still take effect, unless this lift was sent after it.
        ended = earlier if is_sent else sa.and_(earlier, _c.is_settled)
        connection.execute(confirmations.delete().where(ended))
    elif is_sent:
        # The earlier containments may contain the device too, so their rows stay.
        connection.execute(confirmations.delete().where(earlier, ~IS_CONTAINMENT))
        kept = confirmations.update().where(earlier, ~_c.is_settled)
        connection.execute(kept.values(is_settled=True))


def stop_checking(
    connection: Connection, lease: DeviceLease, *, is_sent: bool | None, reference: str | None
) -> None:
    """Stop checking an action whose outcome stays unknown. A containment may have succeeded."""
    _settle(connection, lease, is_sent, reference)


def _settle(
    connection: Connection, lease: DeviceLease, is_sent: bool | None, reference: str | None
) -> bool:
    """Stop checking an action. Return False if it is settled already.

    A containment that succeeded, or may have, replaces the ends of earlier ones (contract 68).
    """
    if lease.target == "contained":
        connection.execute(
            leases.delete().where(
                _l.tenant_id == lease.tenant_id,
                _l.vendor == lease.vendor,
                _l.device_id == lease.device_id,
                _l.token < lease.token,
            )
        )
    is_pending = sa.and_(_c.entry_hash == lease.entry_hash, ~_c.is_settled)
    if lease.target == "contained" and is_sent is not False:
        values = {"is_settled": True, "is_sent": is_sent, "reference": reference}
        keep = confirmations.update().where(is_pending).values(**values)
        return connection.execute(keep).rowcount == 1
    return connection.execute(confirmations.delete().where(is_pending)).rowcount == 1


def fail(connection: Connection, entry_hash: str) -> None:
    """Delete the row of an action that has changed nothing, even if a check has settled it.

    A containment that has failed has no end.
    """
    connection.execute(confirmations.delete().where(_c.entry_hash == entry_hash))
    connection.execute(leases.delete().where(_l.entry_hash == entry_hash))


def delete_settled(connection: Connection, entry_hash: str) -> None:
    """Delete the row of an action that sent nothing, but that a check has confirmed.

    The check found the device contained, but not by this action.
    """
    is_settled = sa.and_(_c.entry_hash == entry_hash, _c.is_settled)
    connection.execute(confirmations.delete().where(is_settled))


def is_latest() -> sa.ColumnElement[bool]:
    """Return the condition for pending actions without a later pending action on the device.

    While a later action is pending, the state of the device does not show whether the earlier one
    succeeded. If the later action fails, the earlier one is checked again.
    """
    later = confirmations.alias("later")
    has_later = sa.exists().where(
        later.c.tenant_id == _c.tenant_id,
        later.c.vendor == _c.vendor,
        later.c.device_id == _c.device_id,
        later.c.target != "killed",
        later.c.token > _c.token,
        ~later.c.is_settled,
    )
    return sa.and_(~_c.is_settled, sa.or_(_c.target == "killed", ~has_later))
