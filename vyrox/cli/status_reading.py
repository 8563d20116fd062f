"""What `vyrox status` asks the stores itself: whether they work, and who runs (contract 86)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import msgspec

from vyrox.alerts.health import Health
from vyrox.alerts.queue import AlertQueue
from vyrox.cli.stores import Opened
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.console.status import PreviousSecret, Status, status_of, touch
from vyrox.errors import OperatorError, UnavailableError
from vyrox.store import data_dir, valkey
from vyrox.store.redis import connect
from vyrox.tenants.containers import Reported, newest, running
from vyrox.tenants.fingerprints import fingerprint
from vyrox.tenants.known import list_known
from vyrox.tenants.private_secrets import last_use
from vyrox.tenants.records import holds_secrets

_Fingerprint = Callable[[str, str, str | None], str | None]


@dataclass(frozen=True)
class _Discord:
    is_on: bool
    refused: str | None = None  # only the service knows


@dataclass(frozen=True)
class _Failing:
    found: Mapping[str, str]

    def failing(self) -> Mapping[str, str]:
        return self.found


@dataclass(frozen=True)
class _Service:
    """What the functions of the console ask, read here from the stores."""

    health: _Failing
    discord: _Discord
    distrust: str | None
    fingerprint: _Fingerprint

    def check_clocks(self) -> None:
        if self.distrust is not None:
            raise UnavailableError(self.distrust)


async def read_status(opened: Opened) -> Status:
    """Return how the service is. Raises DatabaseUnavailableError."""
    now = wall_clock()
    database = opened.database
    containers = await _running(opened, now)
    tenant_ids = await database.read(list_known)
    failing, entries = await _probe_stores(opened, tenant_ids, is_running=bool(containers))
    distrust = next((each.distrust for each in containers if each.distrust is not None), None)
    find, lost = await _open_secrets(opened)
    discord = _Discord(opened.settings.discord is not None)
    service = _Service(_Failing(failing), discord, distrust, find)
    found = await database.read(status_of, service, containers, tenant_ids, entries, now, lost)
    previous = opened.settings.previous_hmac_secret
    if previous is None:
        return found
    used = PreviousSecret(await database.read(last_use, previous))
    return msgspec.structs.replace(found, previous_secret=used)


async def _running(opened: Opened, now: float) -> Sequence[Reported]:
    """Return the containers that run.

    The only one that uses a SQLite file has locked its directory. So rows in a copy of the file,
    or of a service that was killed, are of none. And one that cannot write its row runs all the
    same.
    """
    found = await opened.database.read(running, now)
    settings = opened.settings
    if settings.database_url is not None:
        return found
    if not data_dir.is_owned(settings.data_dir):
        return []
    return found or await opened.database.read(newest, now)


async def _open_secrets(opened: Opened) -> tuple[_Fingerprint, str | None]:
    """Return what finds the fingerprint of a secret, and why no secret can be read.

    It makes no key file: a command that only looks changes nothing.
    """
    if not await opened.database.read(holds_secrets):
        return _no_fingerprint, None
    try:
        return partial(fingerprint, await open_vault(opened)), None
    except OperatorError as exc:
        return _no_fingerprint, str(exc)


def _no_fingerprint(_tenant_id: str, _vendor: str, _encrypted: str | None) -> None:
    return None


async def _probe_stores(
    opened: Opened, tenant_ids: Sequence[str], *, is_running: bool
) -> tuple[dict[str, str], int | None]:
    """Return why a store does not work, as `Health.failing`, and the length of the queue.

    An embedded Valkey belongs to a running service. Without one, nothing is started or reported.
    """
    settings = opened.settings
    url = settings.redis_url
    async with AsyncExitStack() as stack:
        if url is None:
            if not await valkey.is_running(settings.data_dir):
                failing = {"queue": "queue: the embedded Valkey does not run"}
                return failing if is_running else {}, None
            url = valkey.socket_url(data_dir.prepare(settings.data_dir))
        client = await stack.enter_async_context(connect(url))
        queue = AlertQueue(client, settings.queue_max_alerts, settings.queue_max_bytes)
        write = partial(opened.database.write, touch, wall_clock())
        health = Health(write, queue.probe, is_logged=False)
        await health.probe()
        failing = dict(health.failing())
        if "queue" in failing:
            return failing, None
        try:
            return failing, sum(await queue.count(tenant_ids))
        except UnavailableError as exc:
            return {**failing, "queue": f"queue: {exc}"}, None
