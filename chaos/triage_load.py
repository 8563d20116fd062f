"""The alerts that triage is killed over, and how a storm of them is sent."""

import asyncio
import random
import uuid
from typing import Final

import httpx
import msgspec

from chaos.oracle import Acknowledged, Lists
from chaos.part import limit
from tests.ingestion import webhook
from tests.service import Service
from vyrox.clock import wall_clock

STORM_SENDERS: Final = 16

HOSTS: Final = 4
"""Hosts of a tenant that its alerts name in one round, besides those that only one alert names."""

URGENT: Final = "vssadmin delete shadows /all /quiet"
COMMANDS: Final = (
    URGENT,
    "rundll32 comsvcs.dll, MiniDump 624 C:\\Temp\\l.dmp full",
    "wmic /node:{other} process call create C:\\Temp\\a.exe",
    "ipconfig /all",
    "whoami",
    None,
)
USERS: Final = ("CORP\\alice", "CORP\\bob", "SYSTEM", None)


class Alerts:
    """Makes the bodies of alerts: stories over a few hosts, new and old, and lonely ones."""

    def __init__(self, seed: int) -> None:
        self._choice = random.Random(seed)
        self._hosts = [""]
        self._made = 0

    def begin(self, number: int) -> None:
        """Begin a round, in which other hosts are named; one of the last round stays."""
        self._hosts = [self._hosts[-1], *(f"ws-{number}-{n}" for n in range(HOSTS))]

    def body(self, tenant_id: str) -> bytes:
        self._made += 1
        if self._made % 20 == 1:
            # An incident of its own, so that every round has something to announce.
            name = f"lone-{uuid.UUID(int=self._choice.getrandbits(128)).hex[:12]}"
            return detection(tenant_id, name, URGENT, None)
        host, other = self._choice.sample(self._hosts[1:], 2)
        if self._choice.random() < 0.05:
            host = self._hosts[0]
        command = self._choice.choice(COMMANDS)
        return detection(
            tenant_id,
            host,
            command and command.format(other=other),
            self._choice.choice(USERS),
            self._choice.uniform(0, 600),
        )


def detection(
    tenant_id: str, host: str, command: str | None, user: str | None, ago_s: float = 0.0
) -> bytes:
    """Return the body of a detection with an id of its own."""
    process = {"file_name": "cmd.exe", "command_line": command, "user_name": user}
    return msgspec.json.encode(
        {
            "detect_id": uuid.uuid4().hex,
            "customer_id": tenant_id,
            "timestamp": wall_clock() - ago_s,
            "severity": "medium",
            "sensor": {"hostname": host, "agent_id": f"device-of-{host}"},
            "process": process,
        }
    )


async def pour(
    lists: Lists, tenant_id: str, waiting: list[bytes], service: Service, left: int
) -> None:
    """Send the bodies on a few connections until only `left` have no response."""
    address = httpx.URL(service.ingestion_url)

    async def send() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            while len(waiting) > left:
                body = waiting.pop()
                writer.write(
                    webhook("crowdstrike", body).raw().replace(b"Connection: close\r\n", b"")
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                answer = await reader.readexactly(length)
                if b" 202 " not in head.partition(b"\r\n")[0]:
                    waiting.append(body)
                    continue
                alert_id = msgspec.json.decode(answer)["alert_id"]
                lists.acknowledged.append(Acknowledged(tenant_id, body, alert_id))
        finally:
            writer.close()

    async with limit(120, "the storm"):
        await asyncio.gather(*(send() for _ in range(STORM_SENDERS)))
