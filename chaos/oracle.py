"""The oracle: four lists that only grow, and what must hold between them.

Contract 14 to 17, 19, 22, 27, 30 and 32.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, cast

import msgspec
import redis.asyncio

from chaos.part import Row, limit
from chaos.site import Site
from tests import audit
from tests.sample_alerts import unfinished
from vyrox.alerts.queue import stream_key
from vyrox.chain.verify import TamperedError
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database

REFILL_LIMIT_S: Final = 35.0
"""Within 30 s the refill restores what Redis has lost (contract 17)."""


class Acknowledged(msgspec.Struct, frozen=True):
    """An alert that got 202, as its sender keeps it."""

    tenant_id: str
    body: bytes
    alert_id: str


class Queued(msgspec.Struct, frozen=True):
    """An entry of a stream."""

    tenant_id: str
    raw: bytes
    alert_id: str


class Action(msgspec.Struct):
    """A requested action, as its caller keeps it. Each has a host of its own.

    Attributes:
        attempts: How often it was sent.
        executed: Whether it ever got 200.
    """

    tenant_id: str
    request_id: str
    action_type: str
    alert_id: str
    host: str
    attempts: int = 0
    executed: bool = False


class Lists:
    """What the senders keep: every list only grows."""

    def __init__(self) -> None:
        self.tenants: list[str] = []
        self.sent: set[bytes] = set()
        self.acknowledged: list[Acknowledged] = []
        self.actions: list[Action] = []
        self.unexpected: list[str] = []
        """Responses that the contract does not have for the request."""


class _Chains(msgspec.Struct):
    """The verifier's result for the audit log.

    Attributes:
        entries: The hosts of the entries of all tenants' actions.
        hashes: Of the same entries.
        reported: The entries whose outcome an event has.
    """

    done: int = 0
    broken: list[str] = msgspec.field(default_factory=list)
    entries: Counter[str] = msgspec.field(default_factory=Counter)
    hashes: set[str] = msgspec.field(default_factory=set)
    reported: set[str] = msgspec.field(default_factory=set)


async def judge(part: str, lists: Lists, site: Site, database: Database) -> list[Row]:
    """Return the losses, once the service has had time to refill what Redis has lost."""
    rows, queued = await _settled(lists, site, database)
    chains = await _read_chains(lists.tenants, database)
    return [
        *(Row(part, *finding) for finding in _judge_alerts(lists, rows, queued)),
        *(
            Row(part, *finding)
            for finding in _judge_actions(lists, site.vendor.effects, chains)
            if lists.actions
        ),
        Row(part, "chains broken", chains.done, len(chains.broken), "; ".join(chains.broken)),
        Row(
            part,
            "answers that should not be",
            len(lists.sent) + sum(action.attempts for action in lists.actions),
            len(lists.unexpected) + len(site.vendor.violations),
            "; ".join([*lists.unexpected, *site.vendor.violations][:3]),
        ),
    ]


_Finding = tuple[str, int, int]


def _judge_alerts(
    lists: Lists, rows: set[tuple[str, str]], queued: list[Queued]
) -> Iterator[_Finding]:
    entries = {(entry.tenant_id, entry.alert_id): entry.raw for entry in queued}
    lost = [
        each
        for each in lists.acknowledged
        if entries.get((each.tenant_id, each.alert_id)) != each.body
    ]
    yield "acknowledged alerts lost", len(lists.acknowledged), len(lost)
    yield "alerts queued twice", len(queued), _surplus(each.raw for each in queued)
    foreign = [each for each in queued if each.raw not in lists.sent]
    yield "queued, and never sent", len(queued), len(foreign)
    yield "stored, and not queued", len(rows), len(rows - entries.keys())
    ids: dict[bytes, set[str]] = defaultdict(set)
    for each in lists.acknowledged:
        ids[each.body].add(each.alert_id)
    yield "redeliveries under another id", len(ids), sum(len(found) > 1 for found in ids.values())


def _judge_actions(lists: Lists, effects: Counter[str], chains: _Chains) -> Iterator[_Finding]:
    executed = [action for action in lists.actions if action.executed]
    changed = [action for action in lists.actions if effects[action.host]]
    without_entry = [action for action in [*executed, *changed] if not chains.entries[action.host]]
    yield "actions without an entry", len(executed) + len(changed), len(without_entry)
    yield (
        "answered executed, and nothing done",
        len(executed),
        sum(not effects[action.host] for action in executed),
    )
    yield (
        "changed twice for one request_id",
        len(changed),
        sum(effects[action.host] - 1 for action in changed),
    )
    asked_for = {action.host for action in lists.actions}
    yield "hosts changed without a request", len(effects), len(effects.keys() - asked_for)
    surplus = [action for action in lists.actions if chains.entries[action.host] > action.attempts]
    yield "entries without an attempt", chains.entries.total(), len(surplus)
    yield (
        "entries whose outcome is not reported",
        len(chains.hashes),
        len(chains.hashes - chains.reported),
    )


def _surplus(values: Iterable[bytes]) -> int:
    return sum(count - 1 for count in Counter(values).values())


async def _settled(
    lists: Lists, site: Site, database: Database
) -> tuple[set[tuple[str, str]], list[Queued]]:
    """Return the rows and the entries, as soon as every row has its entry, or at the limit."""
    deadline = asyncio.get_running_loop().time() + REFILL_LIMIT_S
    while True:
        rows = await unfinished(database)
        queued = await read_queue(lists.tenants, site.valkey.url)
        missing = rows - {(entry.tenant_id, entry.alert_id) for entry in queued}
        if not missing or asyncio.get_running_loop().time() > deadline:
            return rows, queued
        await asyncio.sleep(0.2)


async def read_queue(tenant_ids: Iterable[str], url: str) -> list[Queued]:
    """Return every entry of the tenants' streams."""
    found: list[Queued] = []
    async with limit(30, "reading the queue"), redis.asyncio.Redis.from_url(url) as client:
        for tenant_id in tenant_ids:
            reply = await client.xrange(stream_key(tenant_id))
            for _, fields in cast(list[tuple[bytes, dict[bytes, bytes]]], reply):
                alert = msgspec.json.decode(fields[b"alert"], type=NormalizedAlert)
                found.append(Queued(tenant_id, fields[b"raw"], alert.id))
    return found


async def _read_chains(tenant_ids: Iterable[str], database: Database) -> _Chains:
    chains = _Chains()
    for tenant_id in tenant_ids:
        try:
            actions = await audit.entries(database, tenant_id)
            outcomes = await audit.events(database, tenant_id, "execute.outcome")
        except TamperedError as exc:
            chains.broken.append(f"{tenant_id}: {exc}")
            continue
        finally:
            chains.done += 2
        chains.entries.update(str(entry["host"]) for entry in actions)
        chains.hashes.update(str(entry["hash"]) for entry in actions)
        chains.reported.update(str(event["entry"]) for event in outcomes)
    return chains
