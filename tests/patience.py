"""The product's short time limits, made long for tests that are not about them.

An alert has 0.9 s to be stored and queued, a probe of a store 0.5 s, a connection to a database
1 s, and a transaction 5 s. A busy machine can take longer, and the product then rightly responds
with 503. Only a test of an outage may see that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from tests.polling import PATIENCE_S
from vyrox.alerts import health
from vyrox.approvals.discord import receiving
from vyrox.containment import execution
from vyrox.routes import ingestion
from vyrox.store import postgres, redis, sqlite

PATIENT_VYROX = """
from tests.patience import Forever, make_stores_patient
from vyrox.cli import main
make_stores_patient(Forever())
main()
"""
"""`vyrox`, as a program for `python -c`, with the long limits."""


POSTGRES_ARGS: Final = postgres._ARGS
"""What the product passes to PostgreSQL."""


class Patch(Protocol):
    """What replaces an attribute or an item, as pytest's `monkeypatch` does."""

    def setattr(self, target: object, name: str, value: object, /) -> None:
        """Replace an attribute."""
        ...

    def setitem(self, mapping: dict[str, object], name: str, value: object, /) -> None:
        """Replace an item."""
        ...


class Forever:
    """Replaces until the process ends. A service need not import pytest."""

    def setattr(self, target: object, name: str, value: object) -> None:
        setattr(target, name, value)

    def setitem(self, mapping: dict[str, object], name: str, value: object) -> None:
        mapping[name] = value


@contextmanager
def patient_stores() -> Iterator[None]:
    """Let the stores take PATIENCE_S for each step of accepting an alert, until the block ends."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        make_stores_patient(patch)
        yield


def make_stores_patient(patch: Patch) -> None:
    """Let the stores take PATIENCE_S for each step of accepting an alert, or a click."""
    patch.setattr(ingestion.store_timeout, "_limit_s", PATIENCE_S)
    patch.setattr(redis, "CALL_TIMEOUT_S", PATIENCE_S)
    patch.setattr(health, "TIMEOUT_S", PATIENCE_S)
    patch.setattr(receiving, "ANSWER_S", PATIENCE_S)
    patch.setattr(receiving, "SHOW_S", PATIENCE_S)
    make_databases_patient(patch)


def make_databases_patient(patch: Patch) -> None:
    """Let a database take PATIENCE_S for a connection, a transaction and the commit of a claim."""
    patch.setattr(postgres, "POOL_TIMEOUT_S", PATIENCE_S)
    patch.setattr(postgres, "CONNECT_TIMEOUT_S", PATIENCE_S)
    patch.setattr(execution, "COMMIT_TIMEOUT_S", PATIENCE_S)
    # PostgreSQL ends a session that is idle in a transaction, as one of a busy machine may be.
    session = postgres._SESSION | {"idle_in_transaction_session_timeout": f"{PATIENCE_S:.0f}s"}
    settings = {"server_settings": {"application_name": "vyrox", **session}}
    patch.setattr(postgres, "_ARGS", settings)
    make_transactions_patient(patch)


def make_transactions_patient(patch: Patch) -> None:
    """Let a transaction take PATIENCE_S, if its caller sets no limit of its own."""
    # SQLite treats a transaction that may take longer than this in its own way.
    patch.setattr(sqlite, "TRANSACTION_TIMEOUT_S", PATIENCE_S)
    for method in (
        sqlite.Sqlite.read,
        sqlite.Sqlite.write,
        postgres.Postgres.read,
        postgres.Postgres.write,
    ):
        assert method.__kwdefaults__ is not None
        patch.setitem(method.__kwdefaults__, "timeout_s", PATIENCE_S)
