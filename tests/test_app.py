"""The application: what its lifespan opens and closes, and the two groups of routes on one port."""

import asyncio
import dataclasses
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import vyrox.app
from tests.http.test_protocol import exchange, serving
from tests.ingestion import SECRET, TENANTS, running, webhook
from tests.polling import until
from tests.sample_alerts import TENANT, stored_entries
from tests.service import HMAC_SECRET, ROOT, environment
from tests.vendor import give_credentials
from vyrox.alerts.dead_letters import MAX_DELIVERIES, list_dead
from vyrox.alerts.queue import GROUP, AlertQueue, stream_key
from vyrox.app import create_app
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError, SettingsError
from vyrox.routes import ingestion, interactions, proxy, tenant_paths
from vyrox.settings import Settings
from vyrox.settings.discord import DiscordApplication
from vyrox.store.database import open_database
from vyrox.store.encryption import KEY_FILE, open_vault
from vyrox.store.redis import connect
from vyrox.store.valkey import is_running, socket_url
from vyrox.tenants.records import add_tenant

NOWHERE: Final = "unix:///nowhere/valkey.sock"


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        encryption_keys=(Fernet.generate_key().decode(),),
        triage_enabled=False,  # the tests read the queue themselves
    )


def open_and_close(settings: Settings) -> None:
    async def run() -> None:
        whole = create_app(settings)
        async with whole.router.lifespan_context(whole):
            pass

    asyncio.run(run())


def test_create_app_opens_nothing(settings: Settings) -> None:
    create_app(settings)
    assert os.listdir(settings.data_dir) == []


async def test_start_tells_of_a_vendors_secret_that_no_key_decrypts_contract_38(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_database(None, settings.data_dir) as database:
        await give_credentials(database, ["acme-corp"])  # with the key of the tests
    whole = create_app(settings)
    async with whole.router.lifespan_context(whole):
        pass
    [record] = [r for r in caplog.records if r.getMessage() == "tenant.undecryptable"]
    assert vars(record)["fields"]["tenant"] == "acme-corp"


def test_create_app_needs_the_hmac_secret(data_dir: Path) -> None:
    with pytest.raises(SettingsError, match=r"^VYROX_HMAC_SECRET is required"):
        create_app(Settings(data_dir=data_dir))


async def test_lifespan_runs_a_valkey_of_its_own_where_none_is_set(settings: Settings) -> None:
    async with running(settings, socket_url(settings.data_dir)) as application:
        await application.onboard_documented()
        answer = await application.post(webhook("crowdstrike"))
        assert answer.status_code == 202
        assert len(await application.queued(TENANTS["crowdstrike"])) == 1
    assert not await is_running(settings.data_dir)


async def test_lifespan_finds_everything_again(settings: Settings) -> None:
    url = socket_url(settings.data_dir)
    async with running(settings, url) as application:
        await application.onboard_documented()
        first = await application.post(webhook("crowdstrike"))
    async with running(settings, url) as application:
        again = await application.post(webhook("crowdstrike"))
        queued = await application.queued(TENANTS["crowdstrike"])
    assert (again.status_code, again.json()) == (202, first.json())
    assert [alert.id for alert in queued] == [first.json()["alert_id"]]


async def test_lifespan_refuses_a_data_directory_in_use(settings: Settings) -> None:
    first, second = create_app(settings), create_app(settings)
    async with first.router.lifespan_context(first):
        opening = second.router.lifespan_context(second)
        with pytest.raises(OperatorError, match="in use by another vyrox process"):
            await opening.__aenter__()


def test_lifespan_refuses_a_database_that_is_away(data_dir: Path) -> None:
    away = Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        database_url="postgresql://user:password@127.0.0.1:1/vyrox",
        encryption_keys=(Fernet.generate_key().decode(),),
    )
    with pytest.raises(OperatorError, match=r"^the database cannot be opened: [^\n]+$") as caught:
        open_and_close(away)
    assert "password" not in str(caught.value)


def test_lifespan_refuses_a_file_that_is_no_database(settings: Settings) -> None:
    (settings.data_dir / "vyrox.db").write_bytes(b"no database, whatever its name\n" * 100)
    with pytest.raises(OperatorError, match=r"^the database cannot be opened: [^\n]+$"):
        open_and_close(settings)


async def test_lifespan_refuses_a_tenants_secret_that_signs_containment_contract_45(
    settings: Settings,
) -> None:
    """One that was stored by an earlier version, or where VYROX_HMAC_SECRET was not set."""
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    encrypted = vault.encrypt(HMAC_SECRET.encode()).decode()
    async with open_database(None, settings.data_dir) as database:
        await database.write(add_tenant, "acme", "defender", encrypted, None, wall_clock())
    said = r"^the secret of acme for defender is VYROX_HMAC_SECRET, .* --overlap 0$"
    with pytest.raises(OperatorError, match=said):
        async with running(settings, socket_url(settings.data_dir)):
            pass


async def test_lifespan_makes_no_new_key_over_old_secrets_contract_45(settings: Settings) -> None:
    """A restore without the key: a new one would leave every tenant without a secret."""
    settings = dataclasses.replace(settings, encryption_keys=())
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    encrypted = vault.encrypt(SECRET.encode()).decode()
    async with open_database(None, settings.data_dir) as database:
        await database.write(add_tenant, "acme", "defender", encrypted, None, wall_clock())
    (settings.data_dir / KEY_FILE).unlink()
    with pytest.raises(OperatorError, match="restore the file from a backup"):
        async with running(settings, socket_url(settings.data_dir)):
            pass
    assert not (settings.data_dir / KEY_FILE).exists()


async def test_lifespan_refuses_a_redis_that_drops_queues_contract_17(
    settings: Settings, redis_url: str
) -> None:
    whole = create_app(dataclasses.replace(settings, redis_url=redis_url))
    async with connect(redis_url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(OperatorError, match="maxmemory-policy"):
                await whole.router.lifespan_context(whole).__aenter__()
        finally:
            await client.config_set("maxmemory-policy", "noeviction")


async def test_service_gives_up_what_a_consumer_never_finishes_contract_49(
    settings: Settings, redis_url: str
) -> None:
    """The consumer is plain Redis, and has had the alert too often."""
    async with open_database(None, settings.data_dir) as database, connect(redis_url) as client:
        [entry] = await stored_entries(database, 1, received_at=wall_clock())
        await AlertQueue(client, 1).put_batch([entry])
        key = stream_key(TENANT)
        await client.xgroup_create(key, GROUP, "0")
        await client.xreadgroup(GROUP, "worker", {key: ">"})
        for _ in range(MAX_DELIVERIES):
            await client.xautoclaim(key, GROUP, "worker", 0)

        async def is_given_up() -> bool:
            return await client.xlen(key) == 0

        whole = create_app(dataclasses.replace(settings, redis_url=redis_url))
        async with whole.router.lifespan_context(whole):
            await until(is_given_up)
        [dead] = await database.read(list_dead, TENANT)
        assert dead.alert_id == entry.alert_id


async def test_lifespan_takes_over_changes_in_the_table_of_tenants(settings: Settings) -> None:
    """Changes by another process too, such as `vyrox tenant`."""
    async with running(settings, socket_url(settings.data_dir)) as application:
        assert (await application.post(webhook("crowdstrike"))).status_code == 401
        vault = open_vault(settings.encryption_keys, settings.data_dir)
        encrypted = vault.encrypt(SECRET.encode()).decode()
        write = application.database.write
        tenant_id = TENANTS["crowdstrike"]
        await write(add_tenant, tenant_id, "crowdstrike", encrypted, None, wall_clock())

        async def accepted() -> bool:
            return (await application.post(webhook("crowdstrike"))).status_code == 202

        await until(accepted)


def paths(routes: list[Route]) -> set[tuple[str, str]]:
    """Return (method, path) of each of `routes`, with a tenant where one belongs."""
    return {
        (method, route.path.replace("{tenant_id}", "acme-corp"))
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }


INGESTION: Final = paths(
    [
        route
        for route in (
            *ingestion.create_routes(),
            *tenant_paths.create_routes(),
            *interactions.create_routes(),
        )
        if type(route) is Route
    ]
)
PROXY: Final = paths([route for route in proxy.create_routes() if type(route) is Route])


DISCORD: Final = DiscordApplication(
    application_id="1" * 18,
    public_key="d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    bot_token="a-token",
)


@asynccontextmanager
async def client_of(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vyrox") as client:
        yield client


async def served(app: Starlette, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of `wanted` that `app` does not answer with 404."""
    async with client_of(app) as client:
        return {
            (method, path)
            for method, path in wanted
            if (await client.request(method, path)).status_code != 404
        }


async def test_each_listener_serves_its_own_routes_alone_contract_29(settings: Settings) -> None:
    whole = create_app(dataclasses.replace(settings, discord=DISCORD))
    async with whole.router.lifespan_context(whole):
        # Three webhooks, four with the tenant in the path, each with a slash at its end too; health
        # and Discord's interactions.
        assert len(INGESTION) == 16
        everything = INGESTION | PROXY
        assert await served(whole.state.ingestion_app, everything) == INGESTION
        assert await served(whole.state.proxy_app, everything) == PROXY
        assert await served(whole, everything) == everything


async def test_without_discord_there_are_no_interactions_contract_67(settings: Settings) -> None:
    whole = create_app(settings)
    async with whole.router.lifespan_context(whole):
        wanted = ("POST", "/interactions")
        assert await served(whole.state.ingestion_app, INGESTION) == INGESTION - {wanted}


async def test_health_of_both_on_one_port_is_ingestions_contract_29(data_dir: Path) -> None:
    whole = create_app(Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=NOWHERE))
    async with whole.router.lifespan_context(whole):
        for app, status in ((whole, 503), (whole.state.proxy_app, 200)):
            async with client_of(app) as client:
                assert (await client.get("/health")).status_code == status


async def test_request_that_the_shutdown_cuts_short_has_an_answer_of_its_listener(
    settings: Settings,
) -> None:
    """A vendor may try again after a 503; the proxy has none (contract 19), but a 500."""

    async def be_cancelled(_request: Request) -> Response:
        raise asyncio.CancelledError

    whole = create_app(settings)
    for app, status in ((whole.state.ingestion_app, 503), (whole.state.proxy_app, 500)):
        app.router.routes.append(Route("/be-cancelled", be_cancelled))
        async with client_of(app) as client:
            assert (await client.get("/be-cancelled")).status_code == status


@pytest.mark.parametrize("path", [b"*", b"/a%0ab", b"/unknown", b"//"])
async def test_unknown_path_of_both_on_one_port_is_404_contract_1(
    settings: Settings, path: bytes
) -> None:
    async with serving(create_app(settings)) as port:
        request = b"GET %b HTTP/1.1\r\nHost: vyrox\r\nConnection: close\r\n\r\n" % path
        (answer,) = await exchange(port, request)
    assert (answer.status, answer.body) == (404, b'{"detail":"not found"}')
    assert answer.field("x-request-id")


def test_app_is_the_only_name_made_on_demand() -> None:
    with pytest.raises(AttributeError):
        vyrox.app.no_such_name  # noqa: B018  (asking for it is what is tested)


@asynccontextmanager
async def uvicorn(data_dir: Path, **extra: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `uvicorn vyrox.app:app`, as one does in development."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "vyrox.app:app", "--port", "0", "--no-use-colors"),
        cwd=ROOT,
        env=environment(data_dir, extra),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_uvicorn_serves_both_groups_on_one_port_contract_29(data_dir: Path) -> None:
    discord = {
        "DISCORD_APPLICATION_ID": DISCORD.application_id,
        "DISCORD_PUBLIC_KEY": DISCORD.public_key,
        "DISCORD_BOT_TOKEN": DISCORD.bot_token,
    }
    async with uvicorn(data_dir, **discord) as process, asyncio.timeout(30):
        assert process.stderr is not None
        url = None
        while url is None:
            line = (await process.stderr.readline()).decode()
            assert line
            url = re.search(r"running on (http://\S+)", line)
        async with httpx.AsyncClient(base_url=url[1]) as client:
            health = await client.get("/health")
            assert (health.status_code, health.json()) == (200, {"status": "ok"})
            for method, path in INGESTION | PROXY:
                assert (await client.request(method, path)).status_code != 404
        process.terminate()
        await process.stderr.read()
    assert not await is_running(data_dir)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param(
            {"VYROX_HMAC_SECRET": "too-short"},
            "vyrox: VYROX_HMAC_SECRET must be at least 32 bytes",
            id="reject_short_secret",
        ),
        pytest.param(
            {"MAX_BODY_BYTES": "many"},
            "vyrox: MAX_BODY_BYTES must be a whole number ",
            id="reject_bad_number",
            marks=pytest.mark.long,
        ),
    ],
)
async def test_uvicorn_ends_with_one_line_on_bad_settings(
    data_dir: Path, extra: dict[str, str], said: str
) -> None:
    async with uvicorn(data_dir, **extra) as process, asyncio.timeout(30):
        _, output = await process.communicate()
    (line,) = output.decode().splitlines()
    assert line.startswith(said)
    assert process.returncode == 1
