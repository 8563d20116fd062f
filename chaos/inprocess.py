"""The whole application in this process, and connections to its listeners without a socket."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from uvicorn.server import ServerState

from chaos.well_formed import SCHEMES, STANDARD_SECRET
from tests.adapters.payloads import FIELD_MAP
from tests.approvals.discord.pressing import ACCOUNTS, CHANNEL, bind
from tests.ingestion import SECRET, Application
from tests.proxy import ALERTS
from tests.proxy import TENANTS as ACTING_TENANTS
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor, add_alert, give_credentials
from vyrox.app import create_app
from vyrox.approvals import approvers
from vyrox.approvals.discord import configured
from vyrox.clock import wall_clock
from vyrox.http.protocol import BoundedHttpProtocol
from vyrox.models import Vendor
from vyrox.settings import Settings
from vyrox.settings.discord import DiscordApplication
from vyrox.store.encryption import open_vault
from vyrox.tenants.webhook_options import WebhookOptions

DISCORD: Final = DiscordApplication(
    application_id=CHANNEL.application_id,
    public_key=CHANNEL.public_key,
    bot_token="a-token",  # noqa: S106  (of a Discord that is never called: nothing is posted)
)

LIMIT_S = 30.0
"""The limit of any one request: one that takes longer hangs."""


class Listeners:
    """Both listeners of one running application."""

    def __init__(self, public: Starlette, private: Starlette) -> None:
        self.public = public
        self.private = private


async def onboard_schemes(application: Application) -> None:
    """Onboard a tenant for each scheme of the paths that name the tenant."""
    for scheme in SCHEMES:
        vendor: Vendor = "generic" if scheme == "standard" else "crowdstrike"
        secret = STANDARD_SECRET if scheme == "standard" else SECRET
        field_map = FIELD_MAP if scheme == "standard" else None
        options = WebhookOptions(signature=scheme)
        await application.onboard(scheme, vendor, secret, field_map, options)


@asynccontextmanager
async def listeners() -> AsyncIterator[Listeners]:
    """Run the application on SQLite and a Valkey of its own, with a vendor that always acts.

    The documented tenants are onboarded; the private listener can act for TENANT.
    """
    with tempfile.TemporaryDirectory(prefix="vx-") as path:
        settings = Settings(
            hmac_secret=HMAC_SECRET,
            triage_enabled=False,
            data_dir=Path(path),
            dry_run=False,
            discord=DISCORD,
            encryption_keys=(Fernet.generate_key().decode(),),
        )
        whole = create_app(settings, FakeVendor().make)
        public: Starlette = whole.state.ingestion_app
        async with whole.router.lifespan_context(whole), httpx.AsyncClient() as client:
            application = Application(client, public, settings, "", whole.state.proxy.database)
            await application.onboard_documented()
            await onboard_schemes(application)
            database = application.database
            await database.write(configured.configure, CHANNEL, "fuzz", wall_clock())
            for name, discord_user_id in ACCOUNTS.items():
                await database.write(approvers.add, CHANNEL.tenant_id, name, "fuzz", wall_clock())
                await database.write(bind, name, discord_user_id)
            await give_credentials(
                database,
                ACTING_TENANTS,
                vault=open_vault(settings.encryption_keys, settings.data_dir),
            )
            for tenant_id, alert_id in ALERTS.items():
                await add_alert(database, tenant_id, alert_id)
            yield Listeners(public, whole.state.proxy_app)


class _Wire(asyncio.Transport):
    """The server's end of a connection; its other end keeps all that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Counting(BoundedHttpProtocol):
    """A parser that knows whether the request is complete."""

    arriving = False

    def on_message_begin(self) -> None:
        self.arriving = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.arriving = False
        super().on_message_complete()


class Listener:
    """One listener, for requests as bytes."""

    def __init__(self, app: Starlette) -> None:
        self._config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._config.load()

    async def answer(self, raw: bytes) -> bytes:
        """Return all responses on a connection that sends `raw` and waits, or disconnects.

        The client disconnects at once if its last request is not complete.

        Raises:
            TimeoutError: A request was still in progress after LIMIT_S.
        """
        state = ServerState()
        protocol = _Counting(self._config, state, {})
        wire = _Wire()
        protocol.connection_made(wire)
        protocol.data_received(raw)
        if protocol.arriving:
            protocol.connection_lost(None)
        try:
            async with asyncio.timeout(LIMIT_S):
                while state.tasks:
                    await asyncio.wait(set(state.tasks))
        finally:
            if not protocol.arriving:
                protocol.connection_lost(None)
        return bytes(wire.written)


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """Collect every line of level ERROR, which uncaught exceptions have."""
    errors = _Errors()
    root = logging.getLogger()
    root.addHandler(errors)
    try:
        yield errors.found
    finally:
        root.removeHandler(errors)
