"""Signals that a tenant has switched off."""

from difflib import get_close_matches

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import MAX_NAME, storable
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError
from vyrox.store.rows import insert_rows
from vyrox.store.tables import disabled_signals
from vyrox.triage.rules import SIGNALS
from vyrox.triage.scope import DANGEROUS
from vyrox.triage.suppression_life import same_person

_c = disabled_signals.c


class Disabled(msgspec.Struct, frozen=True):
    """A signal that is switched off, by whom and since when (Unix seconds)."""

    tenant_id: str
    signal: str
    by: str
    at: float


def disable(connection: Connection, disabled: Disabled, second: str | None = None) -> bool:
    """Switch a signal off, from the next batch on; return whether it was on.

    Args:
        second: Another person who agrees. A signal of a dangerous family needs one, as a
            suppression of such a family does: it hides the same alerts, and more.

    Raises:
        InvalidRequestError: There is no such signal; the text names the nearest. Or a second person
            is needed, or is the first one.
    """
    _require_signal(disabled.signal)
    _require_second(disabled, second)
    by = storable(disabled.by)
    row = (disabled.tenant_id, storable(disabled.signal), by, disabled.at)
    if not insert_rows(connection, disabled_signals, [row], "ON CONFLICT DO NOTHING"):
        return False
    draft = event(
        "signal.disabled",
        disabled.tenant_id,
        None,
        signal=disabled.signal,
        by=by,
        second=None if second is None else storable(second),
    )
    append(connection, [draft], disabled.at)
    return True


def enable(connection: Connection, tenant_id: str, signal: str, by: str, now: float) -> bool:
    """Switch a signal on again; return whether it was off.

    Raises:
        InvalidRequestError: There is no such signal, and none was switched off by this name.
    """
    deleted = connection.execute(
        disabled_signals.delete().where(_c.tenant_id == tenant_id, _c.signal == storable(signal))
    )
    if not deleted.rowcount:
        _require_signal(signal)
        return False
    append(connection, [event("signal.enabled", tenant_id, None, signal=signal, by=by)], now)
    return True


def list_disabled(connection: Connection, tenant_id: str) -> list[Disabled]:
    """Return the signals that the tenant has switched off."""
    query = sa.select(_c.tenant_id, _c.signal, _c.by, _c.at).where(_c.tenant_id == tenant_id)
    return [Disabled(*row) for row in connection.execute(query.order_by(_c.signal))]


def _require_signal(name: str) -> None:
    """Raise if there is no such signal. Only the service knows the user's own rules."""
    if name.startswith("sigma.") and len(name) <= MAX_NAME:
        return
    names = [signal.name for signal in SIGNALS]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see: vyrox triage signals"
        raise InvalidRequestError(f"there is no signal {name[:64]}{hint}")


def _require_second(disabled: Disabled, second: str | None) -> None:
    family = disabled.signal.partition(".")[0]
    if second is None:
        if family in DANGEROUS:
            raise InvalidRequestError(
                f"{disabled.signal} shows {family}: a second person must agree; name them with "
                "--second"
            )
    elif not second.strip() or same_person(second, disabled.by):
        raise InvalidRequestError("the second person must be another than the first")
