"""Clocks that jump while the service runs (contract 40)."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.ingestion import running, webhook
from tests.polling import until
from tests.postgres import Postgres
from tests.proxy import NOWHERE, encoded, proxied, signed, wanted
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor
from vyrox import log
from vyrox.app import create_app
from vyrox.clock import wall_clock
from vyrox.lifespan import background, listeners, making
from vyrox.settings import Settings
from vyrox.store.tables import alerts

YEAR_S = 365 * 86_400.0


class Shifted:
    """The wall clock plus `by_s`."""

    def __init__(self, by_s: float = 0.0) -> None:
        self.by_s = by_s

    def __call__(self) -> float:
        return wall_clock() + self.by_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Shifted:
    """The wall clock of the application; its background work runs all the time."""
    clock = Shifted()
    for module in (making, listeners):
        monkeypatch.setattr(module, "wall_clock", clock)
    monkeypatch.setattr(background, "CLAIMS_INTERVAL_S", 0.02)
    monkeypatch.setattr(background, "RETENTION_INTERVAL_S", 0.02)
    monkeypatch.setattr(background, "RETENTION_FIRST_S", 0.0)
    return clock


@pytest.fixture
def acting(data_dir: Path) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=NOWHERE,
        dry_run=False,
        triage_enabled=False,  # the test sets when an alert is finished
        encryption_keys=(Fernet.generate_key().decode(),),
    )


def status_of(answer: httpx.Response) -> object:
    """Return the status in the response, or the status code of an error."""
    return answer.json().get("status", answer.status_code)


async def skipped(times: int = 4) -> None:
    """Wait until background work was skipped, because the clocks are not trusted."""
    before = log.counts["background.unavailable"]

    async def is_so() -> bool:
        return log.counts["background.unavailable"] >= before + times

    await until(is_so)


@pytest.mark.parametrize("jump_s", [90.0, 700.0, 30 * 86_400.0, -700.0])
async def test_execute_while_the_clock_has_jumped_is_500_and_once_it_is_back_is_carried_out(
    acting: Settings, clock: Shifted, caplog: pytest.LogCaptureFixture, jump_s: float
) -> None:
    """Contract 19, 22 and 40. An action that was carried out is not repeated after a jump."""
    vendor = FakeVendor()
    async with proxied(acting, vendor) as running:
        done = wanted(host="host-1")
        assert status_of(await running.execute(done)) == "executed"
        jumps = log.counts["clock.jumped"]
        clock.by_s = jump_s
        # Signed by a client with the right time, and by one with the service's wrong time.
        for approved_at in (wall_clock(), clock()):
            answer = await running.execute(wanted(approved_at=int(approved_at)))
            assert (answer.status_code, answer.json()) == (500, {"detail": "internal error"})
        lift = encoded(wanted(action_type="LIFT_HOST_ISOLATION"))
        lifted = await running.client.post("/lift", content=lift, headers=signed(lift))
        assert lifted.status_code == 500
        assert (await running.client.get("/health")).status_code == 200
        assert log.counts["clock.jumped"] == jumps + 1
        await skipped()
        assert len(await running.entries()) == 1
        clock.by_s = 0.0
        # The claim was not deleted meanwhile.
        assert status_of(await running.execute(done)) == "replayed"
        assert status_of(await running.execute(wanted(host="host-2"))) == "executed"
        assert [host for _, host in vendor.did] == ["host-1", "host-2"]
    reasons = [getattr(each, "fields", {}).get("reason", "") for each in caplog.records]
    assert any(f"the wall clock has jumped by {jump_s:.0f} s" in reason for reason in reasons)


async def test_alerts_are_accepted_while_the_clock_has_jumped_contract_40(
    acting: Settings, clock: Shifted, redis_url: str
) -> None:
    async with running(replace(acting, redis_url=redis_url), redis_url) as opened:
        await opened.onboard_documented()
        clock.by_s = 30 * 86_400.0
        await skipped()
        assert (await opened.post(webhook("crowdstrike"))).status_code == 202
        health = await opened.client.get("/health")
        assert (health.status_code, health.json()) == (200, {"status": "ok"})


async def test_retention_does_not_run_on_a_clock_that_has_jumped_contract_40(
    acting: Settings, clock: Shifted, redis_url: str
) -> None:
    async with running(replace(acting, redis_url=redis_url), redis_url) as opened:
        await opened.onboard_documented()
        await opened.post(webhook("crowdstrike"))
        await opened.database.write(finish_all, wall_clock())
        clock.by_s = 10 * YEAR_S
        await skipped()
        assert len(await opened.stored()) == 1
        clock.by_s = 0.0
        # An alert that is old by the right clock is deleted, without an operator.
        await opened.database.write(finish_all, wall_clock() - YEAR_S)

        async def is_gone() -> bool:
            return not await opened.stored()

        await until(is_gone)


def finish_all(connection: Connection, at: float) -> None:
    connection.execute(alerts.update().values(finished_at=at))


async def test_two_containers_whose_clocks_differ_act_once_contract_22_and_40(
    acting: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock that is ahead, the lease of the first container has expired from the start."""
    settings = replace(acting, database_url=await ready_postgres_database(postgres))
    right, ahead = FakeVendor(), FakeVendor()
    clock_ahead = Shifted(90.0)
    for module in (making, listeners):
        monkeypatch.setattr(module, "wall_clock", clock_ahead)
    other = create_app(replace(settings, data_dir=settings.data_dir / "2"), ahead.make)
    async with (
        other.router.lifespan_context(other),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(other.state.proxy_app), base_url="http://vyrox"
        ) as second,
    ):
        for module in (making, listeners):
            monkeypatch.setattr(module, "wall_clock", wall_clock)
        async with proxied(settings, right) as first:
            once = wanted()
            right.gate.clear()
            working = asyncio.create_task(first.execute(once))
            await right.began.wait()
            retry = encoded({**once, "approved_at": int(clock_ahead())})
            answer = await second.post("/execute", content=retry, headers=signed(retry))
            assert answer.status_code == 409
            right.gate.set()
            assert status_of(await working) == "executed"
            answer = await second.post("/execute", content=retry, headers=signed(retry))
            assert status_of(answer) == "replayed"
    assert len(right.did) + len(ahead.did) == 1
