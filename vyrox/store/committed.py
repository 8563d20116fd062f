"""What is done once a transaction has committed, and not if it is rolled back."""

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

_calls: Final = WeakKeyDictionary[Connection, list[Callable[[], None]]]()


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Call `call` when the transaction of `connection` has committed. It must not raise."""
    _calls.setdefault(connection, []).append(call)


def run_calls(connection: Connection) -> None:
    """Call what was to be called. The store does this after each commit."""
    for call in _calls.pop(connection, ()):
        call()


def drop_calls(connection: Connection) -> None:
    """Forget what was to be called: the connection, which is used again, was rolled back."""
    _calls.pop(connection, None)
