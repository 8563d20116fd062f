"""The vendor: the mock of CrowdStrike, served by the harness, so that no kill stops it.

Only this module of the harness knows the vendor.
"""

import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.fernet import Fernet
from starlette.requests import ClientDisconnect

from tests.vendor import add_alert
from vyrox.clock import wall_clock
from vyrox.store.database import Database
from vyrox.tenants import edr_credentials
from vyrox.tenants.edr_credentials import EdrCredentials
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving
from vyrox.trial.mock_edr.state import CrowdStrikeAlert, CrowdStrikeDevice, Process

_FIRST_PID: Final = 10_000
_ACCEPTED: Final = 202


class _Ids(msgspec.Struct):
    ids: list[str]


class Vendor:
    """Hosts to act on, and their changes."""

    def __init__(self, mock: MockEdr, url: str) -> None:
        self._mock = mock
        self._url = url

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings with which the service acts here."""
        return {"EDR_TEST_URL": self._url, "DRY_RUN": "false", "EDR_DEADLINE_SECONDS": "5"}

    def add_host(self) -> str:
        """Make one more host, and return what `/execute` calls it."""
        aid = uuid.uuid4().hex
        self._mock.crowdstrike.devices[aid] = CrowdStrikeDevice(device_id=aid, hostname=aid)
        return aid

    async def add_process(self, database: Database, tenant_id: str) -> tuple[str, str]:
        """Make one more host with a process to kill; return the host and the alert about it."""
        aid = self.add_host()
        state = self._mock.crowdstrike
        pid = _FIRST_PID + len(state.alerts)
        started_at = int(self._mock.clock.now()) - 100
        device = state.devices[aid]
        device.processes[pid] = Process(
            pid=pid, name="mimikatz", started_at=started_at, path=r"C:\mimikatz.exe"
        )
        # It is listed after its end as well, so that nothing but Vyrox prevents a second kill.
        started = f"{datetime.fromtimestamp(started_at, UTC):%m/%d/%Y %H:%M:%S}"
        listing = f"Name      Id     StartTime (UTC+0)\r\nmimikatz  {pid}  {started}\r\n"
        device.rtr.stdout["ps"] = listing
        composite_id = f"{uuid.uuid4().hex}:ind:{aid}:{pid}-1-1"
        state.alerts[composite_id] = CrowdStrikeAlert(
            composite_id=composite_id,
            device_id=aid,
            local_process_id=str(pid),
            process_start_time=str(started_at),
            filename="mimikatz.exe",
        )
        alert_id = str(uuid.uuid4())
        await add_alert(database, tenant_id, alert_id, composite_id, device_id=aid)
        return aid, alert_id

    async def give_credentials(self, database: Database, tenant_id: str, key: str) -> None:
        """Let a tenant's actions be carried out here; `key` is the service's encryption key."""
        [client] = self._mock.crowdstrike.clients.values()
        stored = EdrCredentials(
            tenant_id=tenant_id,
            vendor="crowdstrike",
            client_id=client.client_id,
            azure_tenant=None,
            base_url=f"{self._url}/crowdstrike",
            secret=Fernet(key).encrypt(client.client_secret.encode()).decode(),
            version=edr_credentials.new_version(),
        )
        await database.write(edr_credentials.set_credentials, stored, wall_clock())

    @property
    def effects(self) -> Counter[str]:
        """How often each host was changed. Every request counts, even without an effect."""
        commands = self._mock.crowdstrike.commands.values()
        kills = [each.device_id for each in commands if each.base_command == "kill"]
        changes = [each.device_id for each in self._mock.effects if each.what != "kill"]
        return Counter(kills) + (Counter(changes) | self.accepted("contain"))

    def accepted(self, action: str) -> Counter[str]:
        """How often `contain` or `lift_containment` was accepted for each host, needed or not."""
        return Counter(
            aid
            for request in self._mock.requests
            if request.path.endswith("/devices-actions/v2")
            and request.query == f"action_name={action}"
            and request.status == _ACCEPTED
            for aid in msgspec.json.decode(request.body, type=_Ids).ids
        )

    @property
    def changed_at(self) -> dict[str, float]:
        """When each host was changed last."""
        return {each.device_id: each.at for each in self._mock.effects}

    @property
    def violations(self) -> list[str]:
        """What was sent to a vendor and must never be."""
        return self._mock.violations


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """Serve the vendor until the block ends."""
    mock = MockEdr(wall_clock)
    logging.getLogger("uvicorn.error").addFilter(_is_worth_telling)
    async with serving(mock) as url:
        yield Vendor(mock, url)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """A service that is killed during a call is expected here."""
    return record.exc_info is None or record.exc_info[0] is not ClientDisconnect
