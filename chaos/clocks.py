"""The wall clock jumps under load: far and near, ahead and back, for a moment and for good.

Contract 17, 19, 22 and 40; row 69. While the clock is wrong, no action is carried out, alerts are
accepted and nothing is deleted. Once it is right, actions are carried out again without help.
"""

import asyncio
import signal
import uuid
from pathlib import Path
from typing import Final

import httpx
import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from chaos.load import PATIENCE_S, Load
from chaos.oracle import Action, Lists, judge
from chaos.part import HangError, Row, Size, limit
from chaos.site import Site, site, uncaught
from tests.proxy import encoded, signed, wanted
from tests.service import Service
from vyrox.clock import wall_clock
from vyrox.store.tables import alerts

COMMAND: Final = ("-m", "chaos.jumping_service")
TENANT: Final = "tenant-clocks"
JUMPS_S: Final = (90.0, 700.0, 30 * 86_400.0, 300 * 86_400.0, -90.0, -700.0)
WINDOW_S: Final = 365 * 86_400
"""The longest window of redeliveries (contract 14), longer than each jump: after a jump beyond it,
the bytes that are sent again are a new alert, and rightly so."""

FOR_GOOD_S: Final = 3600.0
SKIPPED: Final = 6
"""How often background work is skipped before the clock is set right again."""

RECOVERY_LIMIT_S: Final = 40.0


class _Found(msgspec.Struct):
    """How often something was tried, and how often it went wrong."""

    asked: int = 0
    carried_out: int = 0
    repeated: int = 0
    done_anew: int = 0
    refused: int = 0
    """Afterwards, when the clock was right."""


class _Jumping:
    """A service, its clock and its load."""

    def __init__(self, here: Site, service: Service, client: httpx.AsyncClient) -> None:
        self.here = here
        self.service = service
        self.lists = Lists()
        self.load = Load(self.lists, here, TENANT)
        self.found = _Found()
        self._client = client
        self._jumps = 0
        self._by_s = 0.0

    async def jump(self, by_s: float) -> None:
        """Set the clock to be off by `by_s`."""
        self._by_s = by_s
        self._jumps += 1
        clock_file(self.here).write_text(str(by_s))
        self.service.signal(signal.SIGUSR1)
        await self.service.wait_for("chaos.jumped", self._jumps)

    async def new_actions(self) -> list[Action]:
        """Return an isolation and a kill, each of a host of its own."""
        async with self.here.database() as database:
            host, alert_id = await self.here.vendor.add_process(database, TENANT)
        actions = [
            Action(TENANT, str(uuid.uuid4()), "PROCESS_KILL", alert_id, host),
            Action(
                TENANT, str(uuid.uuid4()), "HOST_ISOLATION", "alt_none", self.here.vendor.add_host()
            ),
        ]
        self.lists.actions += actions
        return actions

    async def ask(self, action: Action, *, by_s: float | None = None) -> object:
        """Request an action, signed by a wrong clock; return the status of the response."""
        body = encoded(
            wanted(
                request_id=action.request_id,
                tenant_id=action.tenant_id,
                action_type=action.action_type,
                alert_id=action.alert_id,
                host=action.host,
                approved_at=int(wall_clock() + (self._by_s if by_s is None else by_s)),
            )
        )
        action.attempts += 1
        answer = await self._client.post("/execute", content=body, headers=signed(body))
        action.executed |= answer.status_code == httpx.codes.OK
        return answer.json().get("status", answer.status_code)

    async def jump_and_back(self, by_s: float) -> None:
        """Request a finished and a new action, with the wrong clock and then with the right one."""
        done, new = await self.new_actions(), await self.new_actions()
        self.found.refused += sum([await self.ask(each) != "executed" for each in done])
        await self.jump(by_s)
        for action in [*done, *new]:
            for off_s in (0.0, by_s):
                self.found.asked += 1
                self.found.carried_out += await self.ask(action, by_s=off_s) != 500
        skipped = sum(line["event"] == "background.unavailable" for line in self.service.lines)
        await self.service.wait_for("background.unavailable", skipped + SKIPPED)
        await self.jump(0.0)
        for action in done:
            self.found.repeated += 1
            self.found.done_anew += await self.ask(action) != "replayed"
        self.found.refused += sum([await self.ask(each) != "executed" for each in new])

    async def jump_for_good(self) -> float:
        """Return how long it takes until actions are carried out again; losses if it does not."""
        [_, action] = await self.new_actions()
        await self.jump(FOR_GOOD_S)
        began_at = asyncio.get_running_loop().time()
        try:
            async with limit(RECOVERY_LIMIT_S, "the recovery"):
                while await self.ask(action) != "executed":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except HangError:
            self.found.refused += 1
        return asyncio.get_running_loop().time() - began_at


def clock_file(here: Site) -> Path:
    return here.data_dir.parent / "clock"


async def run(size: Size) -> list[Row]:
    """Let the clock jump and come back, and once jump for good."""
    jumps = JUMPS_S * (size.rounds if size.long else 1)
    command = {
        "CLOCK_FILE": "",
        "EDR_DEADLINE_SECONDS": "2",
        "REDELIVERY_WINDOW_SECONDS": str(WINDOW_S),
    }
    async with site() as here:
        command["CLOCK_FILE"] = str(clock_file(here))
        async with (
            here.service(*COMMAND, **command) as service,
            httpx.AsyncClient(
                base_url=service.proxy_url, timeout=PATIENCE_S, trust_env=False
            ) as client,
        ):
            jumping = _Jumping(here, service, client)
            async with here.database() as database:
                await jumping.load.prepare(database, processes=0)
            sending = asyncio.create_task(jumping.load.send_alerts(service, senders=2))
            async with limit(20, "the first answer"):
                await jumping.load.answered()
            async with here.database() as database:
                finished = await database.write(_finish, wall_clock())
            for by_s in jumps:
                async with limit(30, f"the jump by {by_s:.0f} s"):
                    await jumping.jump_and_back(by_s)
            recovery_s = await jumping.jump_for_good()
            jumping.load.stop()
            await sending
            async with here.database() as database:
                kept = await database.read(_count, finished)
                rows = await judge("clocks", jumping.lists, here, database)
            errors = uncaught(service)
    found = jumping.found
    statuses = [answer.status for answer in jumping.load.answers]
    refused = len(statuses) - statuses.count(202)
    figure = f"after a jump for good, {recovery_s:.1f} s"
    return [
        Row("clocks", "alerts not accepted", len(statuses), refused),
        Row("clocks", "actions on a clock that has jumped", found.asked, found.carried_out),
        Row("clocks", "done, and not replayed", found.repeated, found.done_anew),
        Row("clocks", "not well by itself", len(jumps) + 1, found.refused, figure),
        Row("clocks", "finished alerts deleted", len(finished), len(finished) - kept),
        Row("clocks", "uncaught errors", len(jumps), len(errors), "; ".join(errors[:2])),
        *rows,
    ]


def _finish(connection: Connection, now: float) -> list[str]:
    """Acknowledge the queued alerts, as a consumer does; return their ids."""
    finish = alerts.update().values(finished_at=now).returning(alerts.c.id)
    return list(connection.execute(finish).scalars())


def _count(connection: Connection, ids: list[str]) -> int:
    query = sa.select(sa.func.count()).where(alerts.c.id.in_(ids))
    return connection.execute(query).scalar_one()
