"""The checks of `vyrox doctor` on the stores, what is in them, and the vendors (contract 99)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.redis_check import SEE, check_server
from vyrox.alerts.refill import Refill
from vyrox.chain.entry import SERVICE
from vyrox.chain.live import STREAMS, verify_newest
from vyrox.chain.verify import TamperedError
from vyrox.cli.doctor_checks import Check, State
from vyrox.cli.status_reading import read_status
from vyrox.cli.stores import Opened
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.console.status import BROKEN
from vyrox.containment.responder import EdrClients
from vyrox.edr.client import Deadline
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, QueueForbiddenError, UnavailableError, VyroxError
from vyrox.notify.targets import has_targets
from vyrox.settings import Settings
from vyrox.settings.places import database_place, queue_place
from vyrox.store import valkey
from vyrox.store.database import (
    SQLITE_FILE,
    Database,
    database_time,
    opened_as_it_is,
    server_version,
)
from vyrox.store.redis import connect, redis_call
from vyrox.store.version import HEAD, read_version
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.known import list_known

MIN_REDIS: Final = (6, 2)
RIGHTS: Final = "give it the rights of the ACL line; see docs/operations.md, Stores"
VENDOR_DEADLINE_S: Final = 60.0
MAX_CHAINS: Final = 200
MAX_APART_S: Final = 2.0
"""How far the clock of a store may be from that of this machine."""


async def of_stores(settings: Settings, *, vendors: bool) -> AsyncIterator[Check]:
    """Return how the database, Redis, the audit log and what is stored in them are."""
    has_file = (settings.data_dir / SQLITE_FILE).exists()
    if settings.database_url is None and not has_file:
        yield Check("WARN", "database", "there is none yet", "vyrox serve makes it")
        return
    async with AsyncExitStack() as stack:
        database, checks = await _open(stack, settings)
        for check in checks:
            yield check
        async for each in _redis(settings, database):
            yield each
        if database is None:
            return
        opened = Opened(settings, database)
        async for each in _contents(opened):
            yield each
        if vendors:
            async for each in _vendors(opened):
                yield each


async def _open(stack: AsyncExitStack, settings: Settings) -> tuple[Database | None, list[Check]]:
    """Return how the database is, and the database itself if it has this version's schema."""
    try:
        database = await stack.enter_async_context(
            opened_as_it_is(settings.database_url, settings.data_dir)
        )
        schema = await database.read(read_version)
        found = _of_schema(schema, await database.read(server_version))
        now = wall_clock()
        drift = await database.read(database_time, now) - now
    except (UnavailableError, OperatorError) as exc:
        where = database_place(settings.database_url, settings.data_dir)
        do = "restore a backup if it is damaged: docs/operations.md, Back up"
        if settings.database_url is not None:
            do = "start it, or correct DATABASE_URL"
        return None, [Check("FAIL", "database", f"{where}: {exc}", do)]
    return database if schema == HEAD else None, [found, _apart("the database", drift)]


def _of_schema(schema: str | None, server: str) -> Check:
    if schema == HEAD:
        return Check("OK", "database", f"{server}, schema {schema}")
    if schema is None or schema < HEAD:
        text = f"{server}, schema {schema or 'none'}; this version has {HEAD}"
        return Check("WARN", "database", text, "back up, then: vyrox migrate, or start the service")
    text = f"{server}, schema {schema} is of a later version of Vyrox"
    return Check("FAIL", "database", text, "run that version")


def _apart(what: str, drift_s: float) -> Check:
    if abs(drift_s) <= MAX_APART_S:
        return Check("OK", "clocks", f"this machine and {what} agree")
    text = f"{what} is {drift_s:+.0f} s from this machine"
    return Check("FAIL", "clocks", text, "set both clocks: no action is carried out until then")


async def _redis(settings: Settings, database: Database | None) -> AsyncIterator[Check]:
    url = settings.redis_url
    if url is None:
        if not await valkey.is_running(settings.data_dir):
            yield Check("OK", "redis", "the service starts its own")
            return
        url = valkey.socket_url(settings.data_dir.resolve())
    async with connect(url) as client:
        now = wall_clock()
        try:
            async with redis_call():
                info: dict[str, Any] = await client.info()
        except QueueForbiddenError as exc:
            yield Check("FAIL", "redis", str(exc), RIGHTS)
            return
        except UnavailableError as exc:
            where = "Redis" if settings.redis_url is None else queue_place(settings.redis_url)
            yield Check("FAIL", "redis", f"{where}: {exc}", "start it, or correct REDIS_URL")
            return
        yield _redis_version(info)
        yield _persistence(info)
        if "server_time_usec" in info:  # TIME would be one more right
            yield _apart("Redis", info["server_time_usec"] / 1e6 - now)
        queue = AlertQueue(client, settings.queue_max_alerts, settings.queue_max_bytes)
        refill = None if database is None else Refill(client, queue, database)
        yield await _fitness(info, queue, refill)


async def _fitness(info: dict[str, Any], queue: AlertQueue, refill: Refill | None) -> Check:
    try:
        check_server(info)
        await queue.check_rights()
        if refill is not None:
            await refill.check_rights()
    except OperatorError as exc:
        text = str(exc).removeprefix("REDIS_URL: ").removesuffix(f"; {SEE}")
        return Check("FAIL", "redis", text, SEE)
    except QueueForbiddenError as exc:
        return Check("FAIL", "redis", str(exc), RIGHTS)
    except UnavailableError as exc:
        return Check("FAIL", "redis", str(exc), "look at its log, its memory and its disk")
    policy = info.get("maxmemory_policy", "unknown")
    return Check("OK", "redis", f"{policy}, and its user has every right needed")


def _redis_version(info: Mapping[str, Any]) -> Check:
    text = str(info.get("redis_version", "unknown"))
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if parts and parts < MIN_REDIS:
        return Check("FAIL", "redis", f"version {text} is too old", "6.2 or newer is needed")
    if valkey_version := info.get("valkey_version"):  # Valkey's other number is Redis 7.2.4
        return Check("OK", "redis", f"Valkey {valkey_version}")
    return Check("OK", "redis", f"Redis {text}")


def _persistence(info: Mapping[str, Any]) -> Check:
    name = "redis persistence"
    if "err" in {info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")}:
        return Check("WARN", name, "the last write to its disk failed", "look at its log and disk")
    if not info.get("aof_enabled"):
        return Check("OK", name, "no append-only file: a lost queue is filled from the database")
    return Check("OK", name, "append-only file")


async def _contents(opened: Opened) -> AsyncIterator[Check]:
    try:
        found = await read_status(opened)
        tenants = await opened.database.read(list_known)
        yield await _chains(opened.database, tenants)
        yield await _channels(opened, tenants)
    except VyroxError as exc:
        yield Check("FAIL", "stored", str(exc), "see: vyrox status")
        return
    if found.clocks is not None:
        yield Check("FAIL", "clocks", found.clocks, "set the clock of that host")
    for each in found.wrong:
        where = " ".join(part for part in (each.tenant_id, each.where) if part)
        text = ": ".join(part for part in (where, each.what, each.text) if part)
        state: State = "FAIL" if each.what in BROKEN else "WARN"
        yield Check(state, "service", text, "; ".join(each.do))
    if not found.wrong:
        yield Check("OK", "service", "it runs, and vyrox status finds nothing wrong")


async def _chains(database: Database, tenants: list[str]) -> Check:
    number = 0
    chains = [(name, stream) for name in (SERVICE, *tenants) for stream in STREAMS]
    for tenant_id, stream in chains[:MAX_CHAINS]:
        try:
            number += await verify_newest(database, tenant_id, stream)
        except TamperedError as exc:
            text = f"{tenant_id or 'the service'}, {stream}: entry {exc.number}: {exc.reason}"
            do = f"see: vyrox audit verify --live {tenant_id or repr('')}"
            return Check("FAIL", "audit log", text, do)
    text = f"the newest {number:,} entries follow one another; vyrox audit verify checks all"
    return Check("OK", "audit log", text)


async def _channels(opened: Opened, tenants: list[str]) -> Check:
    if opened.settings.discord is not None or await opened.database.read(has_targets, tenants):
        return Check("OK", "notifications", "there is a way to people")
    text = "nobody is told: no tenant has a target, and Discord is not set up"
    return Check("WARN", "notifications", text, "vyrox tenant notify add TENANT")


async def _vendors(opened: Opened) -> AsyncIterator[Check]:
    rows = await opened.database.read(list_credentials)
    if not rows:
        return  # and make no key
    async with open_http(outbound=opened.settings.outbound) as http:
        clients = EdrClients(
            await open_vault(opened),
            lambda credentials: make_client(credentials, http, opened.settings.edr_test_url),
        )
        for row in rows:
            name = f"{row.tenant_id}, {row.vendor}"
            do = f"vyrox tenant edr check {row.tenant_id} --vendor {row.vendor}"
            try:
                findings = await clients.client(row).check(Deadline(VENDOR_DEADLINE_S))
            except VyroxError as exc:
                yield Check("FAIL", "vendor", f"{name}: {exc}", do)
                continue
            missing = [each.permission for each in findings if each.present is False]
            if missing:
                yield Check("FAIL", "vendor", f"{name} lacks: {', '.join(missing)}", do)
            else:
                yield Check("OK", "vendor", f"{name}: every permission that can be seen")
