"""The service on networks of other kinds: Redis over TLS, and IPv6 alone (contract 102)."""

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import httpx
import pytest
import sqlalchemy as sa

from chaos.vendor import Vendor
from tests.alerts.test_redis_check import documented_rights
from tests.cli import Vyrox
from tests.ingestion import SECRET, TENANTS, webhook
from tests.outbound import certificate, pipe, serving_context
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S, until
from tests.proxy import encoded, signed, wanted
from tests.redis_user import redis_user
from tests.service import HMAC_SECRET
from vyrox.clock import wall_clock
from vyrox.errors import QueueUnavailableError
from vyrox.store.database import open_database
from vyrox.store.redis import connect, redis_call
from vyrox.store.tables import alerts
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

TENANT: Final = TENANTS["crowdstrike"]
ENCRYPTION_KEY: Final = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@asynccontextmanager
async def over_tls(socket: str, files: tuple[str, str]) -> AsyncIterator[int]:
    """Serve what is behind a unix socket over TLS; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_unix_connection(socket)
        with closing(ahead), closing(writer):
            await asyncio.gather(pipe(reader, ahead), pipe(behind, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving_context(files))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def finished(data_dir: Path) -> None:
    """Wait until triage has judged an alert."""
    query = sa.select(sa.func.count()).where(alerts.c.finished_at.is_not(None))
    async with open_database(None, data_dir) as database:

        async def is_finished() -> bool:
            return bool(await database.read(lambda c: c.execute(query).scalar()))

        await until(is_finished)


@pytest.mark.long
async def test_every_part_uses_redis_over_tls_with_the_documented_rights_contract_102(
    redis_url: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests share one context, which would remember the authority.
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))
    files = certificate(tmp_path, "localhost")
    socket = redis_url.removeprefix("unix://")
    async with (
        connect(redis_url) as administrator,
        redis_user(administrator, redis_url, *documented_rights()),
        over_tls(socket, files) as port,
    ):
        url = f"rediss://some:word@localhost:{port}/0?ssl_ca_certs={files[0]}"
        await administrator.acl_log_reset()
        env = {"REDIS_URL": url, "CROWDSTRIKE_WEBHOOK_SECRET": SECRET, "TRIAGE_ENABLED": "true"}
        async with (
            patient_service(data_dir, **env) as service,
            httpx.AsyncClient(timeout=PATIENCE_S) as client,
        ):
            sent = webhook("crowdstrike")
            answer = await client.post(
                service.ingestion_url + sent.path, headers=sent.headers, content=sent.body
            )
            assert answer.status_code == 202
            await finished(data_dir)
            console = service.console_url.replace("127.0.0.1", "localhost")
            for page, status in ((console + "/", 303), (service.proxy_url + "/metrics", 200)):
                assert (await client.get(page)).status_code == status
            command = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET, **env)
            await asyncio.to_thread(command, "status")  # the rights are judged below
            for arguments in (
                ("doctor", "--json"),
                ("queue", "stats"),
                ("queue", "peek", TENANT),
                ("queue", "dead", "list", TENANT),
                ("queue", "dead", "revive", TENANT),
            ):
                result = await asyncio.to_thread(command, *arguments)
                assert "WARN: redis" not in result.output
                assert result.exit_code == 0, result.output
        assert await administrator.acl_log() == []  # nothing was refused
        # An authority that the URL does not name is not trusted, nor a certificate of another name.
        for other in (url.partition("?")[0], url.replace("localhost", "127.0.0.1")):
            async with connect(other) as stranger:
                with pytest.raises(QueueUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                    async with redis_call():
                        await stranger.info()


@pytest.mark.long
async def test_everything_works_with_ipv6_alone_contract_102(data_dir: Path) -> None:
    mock = MockEdr(wall_clock)
    async with (
        serving(mock, "::1") as cloud,
        open_database(None, data_dir) as database,
        httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client,
    ):
        assert cloud.startswith("http://[::1]:")
        vendor = Vendor(mock, cloud)
        await vendor.give_credentials(database, TENANT, ENCRYPTION_KEY)
        host = vendor.add_host()
        env = {
            "VYROX_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
            "INGESTION_HOST": "::",
            "PROXY_HOST": "::1",
            "CONSOLE_HOST": "::1",
            **vendor.environment,
        }
        async with patient_service(data_dir, **env) as service:
            public = service.ingestion_url.replace("[::]", "[::1]")
            sent = webhook("crowdstrike")
            answer = await client.post(public + sent.path, headers=sent.headers, content=sent.body)
            assert answer.status_code == 202
            named = {
                "host": service.console_url.removeprefix("http://").replace("[::1]", "localhost")
            }
            page = await client.get(service.console_url + "/", headers=named)
            assert page.headers["location"] == "/sign-in"
            body = encoded(wanted(tenant_id=TENANT, host=host))
            answer = await client.post(
                service.proxy_url + "/execute", content=body, headers=signed(body)
            )
            assert answer.status_code == 200, answer.text
            assert vendor.effects[host] == 1
            port = public.rpartition(":")[2]
            command = Vyrox(
                data_dir, VYROX_HMAC_SECRET=HMAC_SECRET, **env | {"INGESTION_PORT": port}
            )
            result = await asyncio.to_thread(command, "health")
            assert result.exit_code == 0, result.output
