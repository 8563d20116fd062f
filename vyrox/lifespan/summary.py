"""What a person wants to know of a service that has just started (contract 90)."""

from importlib.metadata import version
from typing import Literal

import msgspec
from sqlalchemy import Connection

from vyrox.approvals.approvers import list_approvers
from vyrox.errors import DatabaseUnavailableError
from vyrox.settings import Settings
from vyrox.settings.places import database_place, queue_place
from vyrox.store.database import Database
from vyrox.tenants.records import list_tenants


class Summary(msgspec.Struct, frozen=True):
    """The service in a few words.

    Attributes:
        tenants: How many are onboarded; None if the database was too busy to say it.
        approvers: How many persons may decide, in all tenants; None likewise.
    """

    version: str
    mode: Literal["dry_run", "live"]
    database: str
    queue: str
    tenants: int | None
    approvers: int | None


async def summarize(settings: Settings, database: Database) -> Summary:
    """Return the summary. A database that is too busy to count does not end the start."""
    tenants, approvers = await _counted(database)
    return Summary(
        version=version("vyrox"),
        mode="dry_run" if settings.dry_run else "live",
        database=database_place(settings.database_url, settings.data_dir),
        queue=queue_place(settings.redis_url),
        tenants=tenants,
        approvers=approvers,
    )


async def _counted(database: Database) -> tuple[int | None, int | None]:
    try:
        return await database.read(_count)
    except DatabaseUnavailableError:
        return None, None


def _count(connection: Connection) -> tuple[int, int]:
    tenants = {each.tenant_id for each in list_tenants(connection) if each.enabled}
    people = {each.name for each in list_approvers(connection, None) if each.removed_at is None}
    return len(tenants), len(people)
