"""Load: senders of alerts and callers of `/execute`, which keep the responses.

A request that was refused or interrupted is sent again: an alert byte for byte, an action with the
same `request_id` and a new signature.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from chaos.oracle import Acknowledged, Action, Lists
from chaos.part import limit
from chaos.site import Site
from tests.adapters.payloads import DOCUMENTED
from tests.ingestion import Webhook, webhook
from tests.proxy import encoded, signed, wanted
from tests.service import Service
from vyrox.store.database import Database

ALERT_SENDERS: Final = 6
ACTION_CALLERS: Final = 6
PATIENCE_S: Final = 20.0
"""Of one request."""

RETRY_S: Final = 0.2
"""Pause before a request that was refused again is sent again."""

KILLS_EVERY: Final = 4
"""One action of so many kills a process; the rest isolate a host."""


class Answered(msgspec.Struct, frozen=True):
    """A response to an alert, with the times of request and response on the loop's clock."""

    sent_at: float
    came_at: float
    status: int


def documented(tenant_id: str) -> bytes:
    """Return the documented alert of a tenant, with an id of its own."""
    body = DOCUMENTED["crowdstrike"].replace(b"abc123", uuid.uuid4().hex.encode())
    return body.replace(b"acme-corp", tenant_id.encode())


class Load:
    """The senders of one tenant.

    Attributes:
        answers: The responses to alerts, in the order in which they came.
        cut_off: Alerts without any response; `actions_cut_off` are such actions.
        refused: What is to be sent again.
        undone: The actions that are to be requested again.
    """

    def __init__(
        self,
        lists: Lists,
        site: Site,
        tenant_id: str,
        make_body: Callable[[str], bytes] = documented,
    ) -> None:
        """`make_body` returns the body of one more alert of a tenant."""
        self._lists = lists
        self._make_body = make_body
        self._site = site
        self.tenant_id = tenant_id
        self._processes: list[tuple[str, str]] = []
        self._is_over = False
        self.answers: list[Answered] = []
        self._news = asyncio.Event()
        self.cut_off: list[Webhook] = []
        self.actions_cut_off: list[Action] = []
        self.refused: list[Webhook] = []
        self.undone: list[Action] = []
        lists.tenants.append(tenant_id)

    async def prepare(self, database: Database, processes: int = 40) -> None:
        """Make the tenant's credentials, and `processes` to kill."""
        await self._site.give_credentials(database, self.tenant_id)
        for _ in range(processes):
            self._processes.append(await self._site.vendor.add_process(database, self.tenant_id))

    async def send_alerts(self, service: Service, senders: int = 4, pause_s: float = 0.01) -> None:
        """Send alerts, each sender with a pause after each, until `stop`."""
        self._is_over = False
        async with _client(service.ingestion_url) as client:
            await asyncio.gather(*(self._send_alerts(client, pause_s) for _ in range(senders)))

    async def run(self, service: Service) -> None:
        """Send until `stop`, or until the service is gone."""
        self._is_over = False
        async with _client(service.ingestion_url) as ingestion, _client(service.proxy_url) as proxy:
            await asyncio.gather(
                *(self._send_alerts(ingestion) for _ in range(ALERT_SENDERS)),
                *(self._call_execute(proxy) for _ in range(ACTION_CALLERS)),
            )

    async def answered(self, holds: Callable[[], bool] = lambda: True) -> None:
        """Return after a response that makes `holds` true."""
        while True:
            self._news.clear()
            await self._news.wait()
            if holds():
                return

    def stop(self) -> None:
        """Let every sender end with the response for which it waits."""
        self._is_over = True

    async def send_alert(self, service: Service) -> None:
        """Send one alert, whatever its result."""
        async with _client(service.ingestion_url) as client:
            await self._deliver(client, self._new_alert())

    async def send_once(self, service: Service) -> None:
        """Send one alert and one action together, whatever their results."""
        async with _client(service.ingestion_url) as ingestion, _client(service.proxy_url) as proxy:
            await asyncio.gather(
                self._deliver(ingestion, self._new_alert()),
                self._ask(proxy, self._new_action()),
            )

    async def send_again(self, service: Service) -> None:
        """Send what has no response yet until all of it is accepted."""
        what = f"{len(self.refused)} alerts and {len(self.undone)} actions sent again"
        async with (
            limit(60, what),
            _client(service.ingestion_url) as ingestion,
            _client(service.proxy_url) as proxy,
        ):
            while self.refused or self.undone:
                refused, undone = self.refused, self.undone
                self.refused, self.undone = [], []
                for sent in refused:
                    await self._deliver(ingestion, sent)
                for action in undone:
                    await self._ask(proxy, action)
                if self.refused or self.undone:
                    await asyncio.sleep(RETRY_S)

    async def _send_alerts(self, client: httpx.AsyncClient, pause_s: float = 0.0) -> None:
        while not self._is_over:
            await asyncio.sleep(pause_s)
            sent = self._new_alert()
            if not await self._deliver(client, sent):
                return
            if uuid.uuid4().int % 10 == 0 and not await self._deliver(client, sent):
                return  # a redelivery of what may be accepted already

    def _new_alert(self) -> Webhook:
        body = self._make_body(self.tenant_id)
        self._lists.sent.add(body)
        return webhook("crowdstrike", body)

    async def _deliver(self, client: httpx.AsyncClient, sent: Webhook) -> bool:
        """Deliver an alert; return whether the service still runs."""
        now = asyncio.get_running_loop().time
        sent_at = now()
        try:
            answer = await client.post(sent.path, headers=sent.headers, content=sent.body)
        except httpx.TransportError:
            self.cut_off.append(sent)
            self.refused.append(sent)
            return False
        self.answers.append(Answered(sent_at, now(), answer.status_code))
        self._news.set()
        if answer.status_code == 202:
            alert_id = answer.json()["alert_id"]
            self._lists.acknowledged.append(Acknowledged(self.tenant_id, sent.body, alert_id))
        else:
            self.refused.append(sent)
            if answer.status_code != 503:
                self._lists.unexpected.append(f"webhook {answer.status_code}")
        return True

    async def _call_execute(self, client: httpx.AsyncClient) -> None:
        while not self._is_over:
            action = self._new_action()
            if not await self._ask(client, action):
                return

    def _new_action(self) -> Action:
        request_id = str(uuid.uuid4())
        if self._processes and len(self._lists.actions) % KILLS_EVERY == 0:
            host, alert_id = self._processes.pop()
            action = Action(self.tenant_id, request_id, "PROCESS_KILL", alert_id, host)
        else:
            host = self._site.vendor.add_host()
            action = Action(self.tenant_id, request_id, "HOST_ISOLATION", "alt_none", host)
        self._lists.actions.append(action)
        return action

    async def _ask(self, client: httpx.AsyncClient, action: Action) -> bool:
        """Request an action; return whether the service still runs."""
        body = encoded(
            wanted(
                request_id=action.request_id,
                tenant_id=action.tenant_id,
                action_type=action.action_type,
                alert_id=action.alert_id,
                host=action.host,
            )
        )
        action.attempts += 1
        try:
            answer = await client.post("/execute", content=body, headers=signed(body))
        except httpx.TransportError:
            self.actions_cut_off.append(action)
            self.undone.append(action)
            return False
        self._news.set()
        if answer.status_code == 200:
            action.executed = True
        elif answer.status_code == 409 and action.action_type == "PROCESS_KILL":
            pass  # its outcome is not known, so it stays refused (contract 22)
        elif answer.status_code in {409, 500}:
            self.undone.append(action)
        else:
            self._lists.unexpected.append(f"/execute {answer.status_code} {answer.text}")
        return True


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False)
