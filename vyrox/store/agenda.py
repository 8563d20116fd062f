"""Asks in one statement for all background tasks whether something is due.

Each of them searches for work often, and seldom finds any. A transaction for each such search is
what an idle service would mostly do.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.database import Database

Moment = float | sa.ColumnElement[float]
"""Unix seconds, or a parameter for them."""

NOW: Final = sa.bindparam("now", type_=sa.Float)
"""The present, in the conditions of an agenda."""


class Agenda:
    """The conditions under which tasks have work, and the events that wake these tasks."""

    def __init__(
        self,
        database: Database,
        parameters: Callable[[], Mapping[str, object]],
        conditions: Mapping[str, tuple[sa.ColumnElement[bool], asyncio.Event]],
    ) -> None:
        """`parameters` returns the values of NOW, and of other parameters in the conditions."""
        self._database = database
        self._parameters = parameters
        self._events = {name: event for name, (_, event) in conditions.items()}
        self._query: sa.Select[*tuple[object, ...]] = sa.select(
            *(condition.label(name) for name, (condition, _) in conditions.items())
        )

    async def look(self) -> None:
        """Wake each task that has work.

        Raises:
            UnavailableError: The database is unavailable.
            Exception: A bug. In both cases all tasks are woken, and search by themselves.
        """
        names = list(self._events)
        try:
            names = await self._database.read(_due, self._query, self._parameters())
        finally:
            for name in names:
                self._events[name].set()


def _due(
    connection: Connection, query: sa.Select[*tuple[object, ...]], parameters: Mapping[str, object]
) -> list[str]:
    answers = connection.execute(query, dict(parameters)).one()._mapping
    return [name for name, is_due in answers.items() if is_due]
