"""`GET /metrics` of the private listener, the dashboard and the rules (contract 98)."""

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml
from cryptography.fernet import Fernet
from starlette.applications import Starlette

from tests.ingestion import SECRET, TENANTS, webhook
from tests.patience import patient_stores
from tests.service import HMAC_SECRET
from vyrox import log, metrics
from vyrox.app import create_app
from vyrox.lifespan import exposing
from vyrox.metrics import Histogram, LabelledCounter
from vyrox.settings import Settings
from vyrox.settings.checkpoints import Witness

ROOT: Final = Path(__file__).parent.parent
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "vyrox.json"
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yaml"

_SAMPLE: Final = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_TYPE: Final = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
_NAME: Final = re.compile(r"\b(?:vyrox|process)_[a-z_]+")

Samples = dict[tuple[str, str], float]


@pytest.fixture
def settings(data_dir: Path, redis_url: str) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=redis_url,
        triage_enabled=False,
        encryption_keys=(Fernet.generate_key().decode(),),
    )


@pytest.fixture(autouse=True)
def no_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process have named some."""
    monkeypatch.setattr(metrics, "_tenants", set())


async def scrape(settings: Settings, redis_url: str) -> tuple[str, str]:
    """Return what is measured before and after: an alert, it again, and three wrong requests."""
    whole = create_app(settings)
    with patient_stores():
        return await _scrape(whole)


async def _scrape(whole: Starlette) -> tuple[str, str]:
    async with (
        whole.router.lifespan_context(whole),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(whole.state.proxy_app), base_url="http://vyrox"
        ) as private,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(whole.state.ingestion_app), base_url="http://vyrox"
        ) as public,
    ):
        answer = await private.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        for secret in (SECRET, SECRET, "wrong" * 8, None):
            sent = webhook("sentinelone", secret=secret)
            await public.post(sent.path, headers=sent.headers, content=sent.body)
        sent = webhook("sentinelone", b'{"accountId":"acme-corp"}')
        await public.post(sent.path, headers=sent.headers, content=sent.body)
        return answer.text, (await private.get("/metrics")).text


def samples(text: str) -> Samples:
    return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}


def added(before: str, after: str, name: str) -> dict[str, float]:
    """Return by labels how much the counter has grown."""
    earlier = samples(before)
    return {
        labels: value - earlier.get((each, labels), 0.0)
        for (each, labels), value in samples(after).items()
        if each == name and value != earlier.get((each, labels), 0.0)
    }


async def test_metrics_count_deliveries_by_outcome_and_name_no_tenant_contract_98(
    settings: Settings, redis_url: str
) -> None:
    defaults = dataclasses.replace(settings, default_secrets={"sentinelone": SECRET.encode()})
    before, after = await scrape(defaults, redis_url)
    assert added(before, after, "vyrox_deliveries_total") == {
        'outcome="accepted",vendor="sentinelone"': 1,
        'outcome="redelivered",vendor="sentinelone"': 1,
        'outcome="unauthorized",vendor="sentinelone"': 2,
        'outcome="unreadable",vendor="sentinelone"': 1,
    }
    assert added(before, after, "vyrox_authentication_failures_total") == {
        'kind="missing",route="webhook"': 1,
        'kind="wrong",route="webhook"': 1,
    }
    assert sum(added(before, after, "vyrox_commit_seconds_count").values()) > 0
    assert sum(added(before, after, "vyrox_redis_seconds_count").values()) > 0
    found = samples(after)
    assert found["vyrox_store_up", 'store="redis"'] == 1
    assert found["vyrox_database_read", ""] == 1
    # A state that has none is a 0, so that its line does not end (contract 98).
    assert found["vyrox_proposals", 'state="pending"'] == 0
    assert found["vyrox_claims", 'state="unknown"'] == 0
    assert TENANTS["sentinelone"] not in after
    assert SECRET not in after


async def test_metrics_name_tenants_if_that_is_set_and_never_too_many_contract_98(
    settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = dataclasses.replace(
        settings, metrics_tenants=True, default_secrets={"sentinelone": SECRET.encode()}
    )
    before, after = await scrape(named, redis_url)
    accepted = 'outcome="accepted",tenant="acme-corp",vendor="sentinelone"'
    assert added(before, after, "vyrox_deliveries_total")[accepted] == 1
    # What is refused has not proved whose it is.
    refused = 'outcome="unauthorized",tenant="",vendor="sentinelone"'
    assert added(before, after, "vyrox_deliveries_total")[refused] == 2
    names = {metrics.tenant_label(f"tenant-{number}") for number in range(1000)}
    assert len(names - {metrics.OTHER}) <= metrics.MAX_TENANTS
    assert metrics.OTHER in names


async def test_metrics_are_there_while_redis_is_not_contract_98(
    settings: Settings, redis_url: str
) -> None:
    away = dataclasses.replace(settings, redis_url="unix:///nowhere/valkey.sock")
    found = samples((await scrape(away, redis_url))[0])
    assert found["vyrox_store_up", 'store="redis"'] == 0
    assert found["vyrox_store_up", 'store="database"'] == 1
    assert found["vyrox_unfinished_alerts", ""] == 0


def test_labels_are_bounded_whatever_is_counted_contract_98() -> None:
    counter = LabelledCounter("some", "text", ("a", "b"))
    histogram = Histogram("some", "text", (1.0,), ("a",))
    for number in range(2 * metrics.MAX_SERIES):
        counter.add(str(number), "b")
        histogram.observe(0.5, str(number))
    assert len(counter.counts) == metrics.MAX_SERIES + 1
    assert counter.counts["other", "other"] == metrics.MAX_SERIES
    assert len(histogram.buckets) == metrics.MAX_SERIES + 1


async def test_dashboard_and_rules_use_what_is_measured_contract_98(
    settings: Settings, redis_url: str
) -> None:
    text, _ = await scrape(settings, redis_url)
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    there = {name + suffix for name, kind in _TYPE.findall(text) for suffix in suffixes[kind]}
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    used = {name for each in (*shown, *(r["expr"] for r in rules)) for name in _NAME.findall(each)}
    assert used - there == set()
    # The other way: nothing is measured that no panel shows.
    kinds = {name for name, _ in _TYPE.findall(text) if name.startswith("vyrox_")}
    assert {k for k in kinds if not any(name.startswith(k) for name in used)} == {
        "vyrox_build_info",
        "vyrox_dry_run",
        "vyrox_database_read",
    }


async def test_errors_are_counted_and_a_witness_that_never_answers_is_seen_contract_98(
    settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposing, "VALID_S", 0.0)
    witness = Witness("http://127.0.0.1:1", None)
    watched = dataclasses.replace(
        settings,
        checkpoints=dataclasses.replace(settings.checkpoints, witnesses=(witness,)),
        default_secrets={"sentinelone": SECRET.encode()},
    )
    earlier = metrics.ERRORS.counts[()]
    log.event("background.failed", logging.ERROR)
    log.event("background.unavailable", logging.WARNING)
    errors = metrics.ERRORS.counts[()]
    before, after = await scrape(watched, redis_url)
    assert samples(before)["vyrox_errors_total", ""] == errors
    assert errors == earlier + 1
    # Now there are entries that it has not seen.
    age = ("vyrox_checkpoint_age_seconds", f'witness="{witness.url}"')
    assert samples(after)[age] > samples(before)[age] >= 0


def test_rules_name_events_that_happen_contract_98() -> None:
    """A rule about an event that no line of the product logs would never fire."""
    # Not of what lists the names itself.
    paths = [path for path in (ROOT / "vyrox").rglob("*.py") if path.name != "exposing.py"]
    source = "".join(path.read_text() for path in paths)
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    matches = [
        match
        for rule in rules
        for match in re.findall(r'(vyrox_\w+)\{(\w+)=~?"([^"]*)"', rule["expr"])
    ]
    assert len(matches) >= 4
    prefixes = {"vyrox_events_total": "", "vyrox_actions_total": "execute."}
    prefixes["vyrox_notifications_total"] = "notify."
    for metric, label, values in matches:
        if metric == "vyrox_deliveries_total":
            assert values in {outcome for _, outcome, _ in metrics.DELIVERIES.counts}
            continue
        assert label in {"event", "outcome"}
        for value in values.split("|"):
            names = (f'"{prefixes[metric]}{value}"', f'"{value}"')
            assert any(name in source for name in names), value


def test_an_event_is_counted_where_the_log_counts_it_contract_98() -> None:
    before = metrics.DELIVERIES.counts["defender", "ignored", "acme"]
    log.event("alert.ignored", source="defender", tenant="acme")
    assert metrics.DELIVERIES.counts["defender", "ignored", "acme"] == before + 1
