"""Each signed change is made once: the same request gets the same response (contract 51)."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import RequestReusedError
from vyrox.store.rows import insert_rows
from vyrox.store.tables import signed_changes

KEPT_S: Final = 86_400.0
"""How long a response is kept: much longer than a client retries."""

_c: Final = signed_changes.c


def run_once(
    connection: Connection,
    request_id: str,
    fingerprint: bytes,
    change: Callable[[Connection], bytes],
    now: float,
) -> bytes:
    """Return what `change(connection)` returns, or has returned for this `request_id` before.

    Both are in this transaction. If `change` raises, the `request_id` is not used up.

    Args:
        fingerprint: Of what the request asks for: equal requests have equal ones.

    Raises:
        RequestReusedError: The `request_id` was used for something else.
        Exception: What `change` has raised.
    """
    # First: PostgreSQL waits here for another container that runs the same request.
    row = (request_id, fingerprint, b"", now)
    if insert_rows(connection, signed_changes, [row], "ON CONFLICT (request_id) DO NOTHING") == 0:
        return _earlier(connection, request_id, fingerprint)
    response = change(connection)
    connection.execute(
        signed_changes.update().where(_c.request_id == request_id).values(response=response)
    )
    return response


def _earlier(connection: Connection, request_id: str, fingerprint: bytes) -> bytes:
    query = sa.select(_c.fingerprint, _c.response).where(_c.request_id == request_id)
    earlier = connection.execute(query).one()
    if earlier.fingerprint != fingerprint:
        raise RequestReusedError("the request_id was used for another change")
    response: bytes = earlier.response
    return response


def delete_earlier(connection: Connection, now: float) -> int:
    """Delete responses that are older than KEPT_S; return how many."""
    return connection.execute(signed_changes.delete().where(_c.at < now - KEPT_S)).rowcount
