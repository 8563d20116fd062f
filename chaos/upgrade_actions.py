"""Approved actions during a rolling upgrade, through containers of both versions.

Half of them are asked for at `/execute` and `/lift`, with the name of the person who approved. The
other half are proposals that a person approves with a passkey in the console. Each host is
contained and then lifted, and each step goes to another container than the step before, as behind
a load balancer: what gets no answer is asked again, with the same id, of the next one.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import httpx

from benchmarks.load import HMAC_SECRET
from chaos.vendor import Vendor
from tests.approvals.people import ALERT, Person
from tests.vendor import add_alert
from vyrox.chain.entry import Stream
from vyrox.chain.export import pages
from vyrox.chain.verify import ApprovalsReport, verify_approvals
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.models import ActionType, LiftType
from vyrox.store.database import Database, opened_as_it_is

TENANT: Final = "acme-corp"
EVERY_S: Final = 1.5
AGAIN_S: Final = 0.3
ANSWER_WITHIN_S: Final = 25.0
"""An action must be asked for within 30 s after its approval."""

DONE_WITHIN_S: Final = 60.0
CONTAIN: Final[ActionType] = "HOST_ISOLATION"
LIFT: Final[LiftType] = "LIFT_HOST_ISOLATION"
_ORDERS: Final[dict[str, str]] = {CONTAIN: "contain", LIFT: "lift_containment"}


class Reached(Protocol):
    """A container that takes requests."""

    kind: str
    private_url: str
    console_url: str


@dataclass
class Actions:
    """What is asked for, and what the callers know."""

    vendor: Vendor
    person: Person
    living: Callable[[], Sequence[Reached]]
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    crossed: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, str]] = field(default_factory=list)
    done: set[tuple[str, str]] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    is_ending: bool = False
    _turn: int = 0

    async def go_on(self) -> None:
        """Begin with another host every EVERY_S, and wait for all of them at the end."""
        is_proposal = False
        async with asyncio.TaskGroup() as group:
            while not self.is_ending:
                if self.living():
                    is_proposal = not is_proposal
                    group.create_task(self._host(self.vendor.add_host(), is_proposal=is_proposal))
                await asyncio.sleep(EVERY_S)

    async def _host(self, host: str, *, is_proposal: bool) -> None:
        through = []
        for action in (CONTAIN, LIFT):
            self.asked.append((host, action))
            act = self._propose if is_proposal else self._execute
            answered_by = await act(host, action)
            if answered_by is None:
                return
            through.append(answered_by)
            self.done.add((host, action))
            if is_proposal:
                self.proven.add(host)
        self.crossed[" then ".join(through)] += 1

    async def _execute(self, host: str, action: str) -> str | None:
        """Ask until it is answered with 200; return the kind of the container that did."""
        approved = {"approved_by": self.person.name, "approved_at": int(wall_clock())}
        content = _wanted(host, action) | approved
        path = "/execute" if action == CONTAIN else "/lift"
        found = await self._until_answered(path, content, httpx.codes.OK)
        return None if found is None else found[0]

    async def _propose(self, host: str, action: str) -> str | None:
        content = _wanted(host, action) | {"requested_by": "vyrox", "reason": "a rehearsal"}
        found = await self._until_answered("/webhook", content, httpx.codes.ACCEPTED)
        if found is None:
            return None
        return await self._decide(found[1].json()["proposal_id"], host, action)

    async def _decide(self, proposal_id: str, host: str, action: str) -> str | None:
        """Approve in a console, until the vendor has it; return the kind of that container."""
        deadline = wall_clock() + DONE_WITHIN_S
        by, is_decided = None, False
        while wall_clock() < deadline:
            if self.vendor.accepted(_ORDERS[action])[host]:
                return by
            if not is_decided:
                chosen = self._next()
                try:
                    async with self.person.browser(chosen.console_url) as browser:
                        answer = await browser.decide(proposal_id)
                    self.answers[chosen.kind, f"decision {answer.status_code}"] += 1
                    is_decided = answer.status_code == httpx.codes.OK
                    by = chosen.kind if is_decided else by
                except (httpx.TransportError, AssertionError) as exc:
                    # The console asks for a sign-in first: it has said no, or is gone.
                    self.answers[chosen.kind, f"decision {type(exc).__name__}"] += 1
                    by = chosen.kind  # it may have counted
            await asyncio.sleep(AGAIN_S)
        return None

    async def _until_answered(
        self, path: str, content: object, status: int
    ) -> tuple[str, httpx.Response] | None:
        body = json.dumps(content).encode()
        headers = {"x-vyrox-signature": sign(body, HMAC_SECRET)}
        deadline = wall_clock() + ANSWER_WITHIN_S
        async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            while wall_clock() < deadline:
                chosen = self._next()
                try:
                    url = f"{chosen.private_url}{path}"
                    response = await client.post(url, content=body, headers=headers)
                except httpx.TransportError as exc:
                    self.answers[chosen.kind, f"{path} {type(exc).__name__}"] += 1
                else:
                    self.answers[chosen.kind, f"{path} {response.status_code}"] += 1
                    if response.status_code == status:
                        return chosen.kind, response
                await asyncio.sleep(AGAIN_S)
        return None

    def _next(self) -> Reached:
        self._turn += 1
        living = self.living()
        return living[self._turn % len(living)]

    async def judge(self, database: Database, directory: Path) -> bool:
        """Print what was seen; return whether all is as promised."""
        report = await _report(database, directory)
        entries = await _entries(database)
        orders = {
            (host, action): number
            for action, name in _ORDERS.items()
            for host, number in self.vendor.accepted(name).items()
        }
        twice = sum(number > 1 for number in orders.values())
        without = len(orders.keys() - entries.keys())
        lost = len(self.done - orders.keys())
        proven = {each.action.host for each in report.findings if each.not_proven is None}
        unproven = len(self.proven - proven) + len(report.failures)
        for (kind, answer), number in sorted(self.answers.items()):
            print(f"    {kind}: {answer} {number:,} times")
        print(f"contained then lifted, by container: {dict(self.crossed)}")
        print(
            f"{len(self.asked)} actions asked for, {len(self.done)} answered as done, "
            f"{len(orders)} at the vendor: {twice} twice there, {lost} answered and not there, "
            f"{without} without an entry; {unproven} approvals not proven"
        )
        return not (twice or lost or without or unproven) and len(self.done) > 0


def _wanted(host: str, action: str) -> dict[str, object]:
    return {
        "request_id": str(uuid.uuid4()),
        "tenant_id": TENANT,
        "alert_id": ALERT,
        "action_type": action,
        "host": host,
    }


@asynccontextmanager
async def actions(
    vendor: Vendor, url: str, directory: Path, key: str, living: Callable[[], Sequence[Reached]]
) -> AsyncIterator[Actions]:
    """Act on hosts of the tenant until the block sets `is_ending`.

    The tenant's credentials and its approver are written by this code, whatever the schema is.
    """
    person = Person(TENANT, "jane")
    async with opened_as_it_is(url, directory) as database:
        await vendor.give_credentials(database, TENANT, key)
        await add_alert(database, TENANT, ALERT)
        await person.enrol(database)
    asked = Actions(vendor, person, living)
    going_on = asyncio.create_task(asked.go_on())
    try:
        yield asked
        asked.is_ending = True
        await going_on
    finally:
        going_on.cancel()


async def _entries(database: Database) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    async for page in pages(database, TENANT, "actions"):
        for line in page:
            entry = json.loads(line)
            found[entry["host"], entry["action_type"]] += 1
    return found


async def _report(database: Database, directory: Path) -> ApprovalsReport:
    async def export(stream: Stream) -> str:
        path = directory / f"{stream}.ndjson"
        lines = [line async for page in pages(database, TENANT, stream) for line in page]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)

    actions_path, events_path = await export("actions"), await export("events")
    return await asyncio.to_thread(verify_approvals, actions_path, events_path)
