"""The secrets of the private listener: the previous one, and one for reads only (contract 85)."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.routing import Route

from tests.ingestion import running
from tests.proxy import (
    NOWHERE,
    OTHER_SECRET,
    TENANT,
    Proxied,
    encoded,
    export_headers,
    proxied,
    signed,
    wanted,
)
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError, SettingsError
from vyrox.routes.documents.described import PRIVATE
from vyrox.routes.proxy import create_routes
from vyrox.settings import Settings
from vyrox.tenants.private_secrets import last_use

PREVIOUS = "previous-secret-0123456789-0123456789"
READ = "read-secret-0123456789-0123456789-01234"
NAMES = {
    "VYROX_HMAC_SECRET": "a" * 32,
    "VYROX_HMAC_SECRET_PREVIOUS": "b" * 32,
    "VYROX_READ_SECRET": "c" * 32,
}


@pytest.fixture
def with_all(settings: Settings) -> Settings:
    return replace(settings, redis_url=NOWHERE, previous_hmac_secret=PREVIOUS, read_secret=READ)


@pytest.fixture
async def proxy(with_all: Settings) -> AsyncIterator[Proxied]:
    async with proxied(with_all) as opened:
        yield opened


def routes() -> list[tuple[str, str]]:
    found = [route for route in create_routes() if isinstance(route, Route)]
    return [
        (method, route.path.replace("{", "").replace("}", ""))
        for route in found
        for method in sorted(route.methods or ())
        if PRIVATE[f"{method.replace('HEAD', 'GET')} {route.path}"].credential != "none"
    ]


async def test_read_secret_signs_reads_and_nothing_else_contract_85(proxy: Proxied) -> None:
    """On every route of the listener: a new one cannot forget it."""
    statuses: dict[str, set[int]] = {"GET": set(), "HEAD": set(), "POST": set()}
    for method, path in routes():
        if method == "POST":
            body = encoded(wanted())
            answer = await proxy.client.post(path, content=body, headers=signed(body, READ))
            assert answer.content == b'{"detail":"unauthorized"}'
        else:
            headers = export_headers(secret=READ)
            query = {"tenant_id": TENANT}
            answer = await proxy.client.request(method, path, params=query, headers=headers)
            assert answer.status_code in (200, 400, 404), path
        statuses[method].add(answer.status_code)
    assert statuses["POST"] == {401}
    assert 200 in statuses["GET"]
    assert not await proxy.has_acted()


async def test_previous_secret_is_accepted_and_its_use_kept_contract_85(proxy: Proxied) -> None:
    async def used() -> float | None:
        await proxy.proxy.secrets.store_uses()
        return await proxy.database.read(last_use, PREVIOUS)

    body = encoded(wanted())
    before = wall_clock()
    assert (await proxy.post(body, signed(body))).status_code == 200
    assert (await proxy.export(headers=export_headers(secret=READ))).status_code == 200
    assert await used() is None
    body = encoded(wanted())
    assert (await proxy.post(body, signed(body, PREVIOUS))).status_code == 200
    at = await used()
    assert at is not None
    assert before <= at <= wall_clock()
    assert (await proxy.export(headers=export_headers(secret=PREVIOUS))).status_code == 200
    assert await used() == at  # at most once a minute
    assert await proxy.database.read(last_use, OTHER_SECRET) is None


async def test_without_the_settings_only_the_secret_counts_contract_85(settings: Settings) -> None:
    async with proxied(replace(settings, redis_url=NOWHERE)) as proxy:
        body = encoded(wanted())
        for secret in (PREVIOUS, READ, "", OTHER_SECRET):
            assert (await proxy.post(body, signed(body, secret))).status_code == 401
            headers = export_headers(secret=secret)
            assert (await proxy.export(headers=headers)).status_code == 401
        assert (await proxy.post(body, signed(body))).status_code == 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_no_two_secrets_are_the_same_contract_85(name: str, other: str) -> None:
    if name == other:
        Settings.from_env(NAMES)
        return
    with pytest.raises(SettingsError, match=r"must not be VYROX_.*: each is a secret of its own"):
        Settings.from_env({**NAMES, name: NAMES[other]})


@pytest.mark.parametrize("name", NAMES)
async def test_no_webhook_has_a_secret_of_the_private_listener_contract_85(
    name: str, settings: Settings, redis_url: str
) -> None:
    webhook = "CROWDSTRIKE_WEBHOOK_SECRET"
    with pytest.raises(SettingsError, match=f"^{webhook} must not be {name}, which "):
        Settings.from_env({**NAMES, webhook: NAMES[name]})
    async with running(settings, redis_url) as application:
        await application.onboard("acme", "crowdstrike", secret=NAMES[name])
    found = Settings.from_env(NAMES)
    changed = replace(
        settings,
        hmac_secret=found.hmac_secret,
        previous_hmac_secret=found.previous_hmac_secret,
        read_secret=found.read_secret,
    )
    with pytest.raises(OperatorError, match=f"the secret of acme for crowdstrike is {name}, "):
        async with proxied(changed):
            pass


def reading(env: dict[str, str]) -> str:
    return Settings.from_env(env).require_reading_secret()


def test_reads_are_signed_with_either_contract_85() -> None:
    assert reading(NAMES) == "a" * 32
    assert reading({"VYROX_READ_SECRET": "c" * 32}) == "c" * 32
    with pytest.raises(SettingsError, match="VYROX_HMAC_SECRET is required"):
        reading({})
