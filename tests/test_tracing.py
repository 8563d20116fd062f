"""Spans of one alert, from the webhook to the vendor (contract 106)."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy import Connection

from tests.approvals.decided import WANTED, Said, prepared, proposed
from tests.audit import TENANT, Clock, running_writer
from tests.blocking import nothing_blocks_the_loop
from tests.ingestion import SECRET, webhook
from tests.notify.receiver import Receiver, receiving
from tests.notify.test_sender import VAULT as NOTIFY_VAULT
from tests.notify.test_sender import Site, settled
from tests.outbound import certificate, proxying
from tests.patience import patient_stores
from tests.polling import PATIENCE_S
from tests.polling import until as until_async
from tests.proxy import encoded, signed, wanted
from tests.service import HMAC_SECRET
from tests.vendor import VAULT
from vyrox import log, tracing
from vyrox.app import create_app
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.proposing import propose
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.errors import SettingsError
from vyrox.lifespan import background, collecting, fatal, otlp
from vyrox.models import DIRECT
from vyrox.notify.channels import Channels
from vyrox.notify.sender import Sender
from vyrox.notify.webhook import open_webhooks
from vyrox.settings import Settings
from vyrox.settings.shown import show
from vyrox.settings.telemetry import TelemetrySettings
from vyrox.store.database import Database
from vyrox.tenants.edr_credentials import EdrCredentials, new_version, set_credentials
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="
TOKEN: Final = "CANARY-TOKEN-OF-THE-COLLECTOR"
NOWHERE: Final = "http://127.0.0.1:1"


class Collector:
    """What a real receiver of OTLP over HTTP has got."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.url = receiver.url

    @property
    def spans(self) -> list[Span]:
        found: list[Span] = []
        for received in self.receiver.received:
            assert received.path == "/v1/traces"
            assert received.headers["content-type"] == "application/x-protobuf"
            for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found

    def of(self, key: str) -> dict[str, list[Span]]:
        """Return the spans of an alert or an incident, by name."""
        trace_id = sha256(key.encode()).digest()[:16]  # as docs/operations.md says
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.trace_id == trace_id:
                found.setdefault(span.name, []).append(span)
        return found

    @property
    def sent(self) -> bytes:
        return b"".join(received.body for received in self.receiver.received)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    monkeypatch.setattr(otlp, "INTERVAL_MS", 20)
    async with receiving() as receiver:
        yield Collector(receiver)


@pytest.fixture
def settings(data_dir: Path, redis_url: str, collector: Collector) -> Settings:
    return Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data_dir,
        redis_url=redis_url,
        dry_run=False,
        encryption_keys=(KEY,),
        triage_enabled=True,
        default_secrets={"crowdstrike": SECRET.encode()},
        telemetry=TelemetrySettings(url=collector.url, headers={"authorization": TOKEN}),
    )


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Run the whole application in process, both listeners behind one client."""
    whole = create_app(settings)
    with patient_stores():
        async with (
            whole.router.lifespan_context(whole),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(whole), base_url="http://vyrox", timeout=PATIENCE_S
            ) as client,
        ):
            client.database = whole.state.proxy.database  # type: ignore[attr-defined]
            with nothing_blocks_the_loop():
                yield client


async def until(condition: Callable[[], bool]) -> None:
    async def checked() -> bool:
        return condition()

    await until_async(checked)


async def deliver(client: httpx.AsyncClient, **headers: str) -> str:
    sent = webhook("crowdstrike")
    answer = await client.post(sent.path, headers={**sent.headers, **headers}, content=sent.body)
    assert answer.status_code == 202
    alert_id: str = answer.json()["alert_id"]
    return alert_id


def attributes(span: Span) -> dict[str, str | int | bool]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


async def give_crowdstrike(database: Database, mock: MockEdr, url: str) -> None:
    [client] = mock.crowdstrike.clients.values()
    stored = EdrCredentials(
        tenant_id=TENANT,
        vendor="crowdstrike",
        client_id=client.client_id,
        azure_tenant=None,
        base_url=f"{url}/crowdstrike",
        secret=VAULT.encrypt(client.client_secret.encode()).decode(),
        version=new_version(),
    )
    await database.write(set_credentials, stored, wall_clock())


async def test_one_trace_has_an_alert_from_its_webhook_to_the_vendor_contract_106(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "AGENDA_INTERVAL_S", 0.02)
    mock = MockEdr(wall_clock)
    async with (
        serving(mock) as url,
        service(replace(settings, edr_test_url=url)) as client,
    ):
        alert_id = await deliver(client, **{"x-request-id": "REQUEST-1"})
        assert await deliver(client) == alert_id
        await give_crowdstrike(client.database, mock, url)  # type: ignore[attr-defined]
        await until(lambda: "verdict" in collector.of(alert_id))
        action = wanted(tenant_id=TENANT, alert_id=alert_id, host=fleet.WORKSTATION_01)
        body = encoded(action)
        answer = await client.post("/execute", content=body, headers=signed(body))
        assert answer.status_code == 200, answer.text
        await until(lambda: {"result", "confirmation"} <= collector.of(alert_id).keys())
    found = collector.of(alert_id)
    assert found.keys() == {
        *("webhook", "store", "queue", "verdict"),
        *("action", "claim", "vendor call", "result", "confirmation"),
    }
    first, again = found["webhook"]
    assert not first.parent_span_id
    assert again.parent_span_id == first.span_id
    assert attributes(first) == {
        "vyrox.vendor": "crowdstrike",
        "vyrox.alert_id": alert_id,
        "vyrox.request_id": "REQUEST-1",
        "vyrox.outcome": "accepted",
    }
    [acted] = found["action"]
    assert attributes(acted)["vyrox.outcome"] == "executed"
    assert {span.parent_span_id for span in found["verdict"] + found["confirmation"]} == {
        first.span_id
    }
    parents = {span.parent_span_id for span in found["claim"] + found["result"]}
    assert parents == {acted.span_id}
    calls = [attributes(span)["vyrox.call"] for span in found["vendor call"]]
    assert len(calls) >= 3
    # Nothing of the alert or the vendor, and no tenant's name, left the service.
    for secret in (b"workstation", b"jsmith", b"powershell", b"acme-corp", SECRET.encode()):
        assert secret not in collector.sent
    assert {each.headers["authorization"] for each in collector.receiver.received} == {TOKEN}


async def test_spans_name_tenants_if_metrics_do_contract_106(
    settings: Settings, collector: Collector
) -> None:
    async with service(replace(settings, metrics_tenants=True)) as client:
        alert_id = await deliver(client)
        refused = webhook("crowdstrike", secret="wrong" * 8)
        await client.post(refused.path, headers=refused.headers, content=refused.body)
    # The end of the service sends what waits.
    [first] = collector.of(alert_id)["webhook"]
    assert attributes(first)["vyrox.tenant"] == "acme-corp"
    # What has proved nothing has no span.
    assert [span.name for span in collector.spans].count("webhook") == 1


async def test_all_spans_of_an_alert_are_sent_or_none_contract_106(
    settings: Settings, collector: Collector
) -> None:
    none = replace(settings, telemetry=replace(settings.telemetry, share=0.0))
    async with service(none) as client:
        await deliver(client)
    assert collector.receiver.received == []


async def test_a_collector_that_is_away_delays_nothing_and_is_logged_once_contract_106(
    settings: Settings, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.receiver.behaviours.extend([400] * 3)
    failed = log.counts["tracing.not_sent"]
    with caplog.at_level(logging.INFO):
        async with service(settings) as client:
            while log.counts["tracing.not_sent"] < failed + 3:
                before = log.counts["tracing.not_sent"]
                await deliver(client)
                await until(lambda before=before: log.counts["tracing.not_sent"] > before)  # type: ignore[misc]
            await deliver(client)
            await until(lambda: "tracing.sent_again" in caplog.messages)
    assert caplog.messages.count("tracing.not_sent") == 1
    assert TOKEN not in caplog.text
    [line] = [each for each in caplog.records if each.getMessage() == "tracing.not_sent"]
    assert vars(line)["fields"]["reason"] == "HTTP 400"


@pytest.mark.parametrize("url", ["hang", NOWHERE])
async def test_the_end_does_not_wait_for_a_collector_that_hangs_contract_106(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(otlp, "FLUSH_S", 0.05)
    monkeypatch.setattr(otlp, "TIMEOUT_S", 10 * PATIENCE_S)
    collector.receiver.behaviours.extend(["hang"] * 9)
    telemetry = replace(settings.telemetry, url=collector.url if url == "hang" else url)
    async with service(replace(settings, telemetry=telemetry)) as client:
        await deliver(client)
    assert not collector.receiver.disconnected.is_set()


async def test_a_response_that_never_ends_does_not_keep_the_thread_contract_106(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otlp, "REQUEST_S", 0.2)
    monkeypatch.setattr(otlp, "RETRY_S", ())
    monkeypatch.setattr(otlp, "INTERVAL_MS", 20)

    dripping: list[bool] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dripping.append(True)
        with suppress(OSError):
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not writer.is_closing():
                writer.write(b"x: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        dripping.pop()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, otlp.open_collector(TelemetrySettings(), url, DIRECT, names=False):
        for number in range(2):  # the thread goes on with the next ones
            before = log.counts["tracing.not_sent"]
            tracing.record("verdict", f"alert-{number}", tracing.now())
            await until(lambda before=before: log.counts["tracing.not_sent"] > before)  # type: ignore[misc]
        await until(lambda: not dripping)
    [line] = [each for each in caplog.records if each.getMessage() == "tracing.not_sent"]
    assert vars(line)["fields"]["reason"] == "TimeoutError"


async def test_a_name_that_is_looked_up_for_long_does_not_hold_up_the_end_contract_106(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python ends when all threads have that are no daemons."""
    monkeypatch.setattr(otlp, "FLUSH_S", 0)
    monkeypatch.setattr(otlp, "INTERVAL_MS", 20)
    threads: list[threading.Thread] = []
    ended = threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        ended.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        async with otlp.open_collector(
            TelemetrySettings(), "http://collector.test:4318", DIRECT, names=False
        ):
            tracing.record("verdict", "alert", tracing.now())
            await until(lambda: bool(threads))
        assert threads[0].daemon
    finally:
        ended.set()


async def test_a_batch_is_sent_again_where_the_collector_asks_for_it_contract_106(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "RETRY_S", (0.01, 0.01))
    collector.receiver.behaviours.extend([503, 429])
    async with service(settings) as client:
        alert_id = await deliver(client)
        await until(lambda: len(collector.receiver.received) >= 3)
    bodies = [received.body for received in collector.receiver.received[:3]]
    assert len(set(bodies)) == 1
    assert "webhook" in collector.of(alert_id)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return certificate(tmp_path, "localhost")


@pytest.fixture
def pem(files: tuple[str, str]) -> str:
    return Path(files[0]).read_text()


async def test_a_collector_is_reached_through_the_proxy_with_the_own_certificate_contract_106(
    files: tuple[str, str], pem: str
) -> None:
    async with receiving(tls=files) as receiver, proxying() as proxy:
        collector = Collector(receiver)
        url = receiver.url.replace("127.0.0.1", "localhost")
        outbound = proxy.outbound(pem)
        async with otlp.open_collector(TelemetrySettings(), url, outbound, names=False):
            tracing.record("verdict", "alert", tracing.now())
    assert collector.of("alert").keys() == {"verdict"}
    assert {line.split(" ")[0] for line in proxy.asked} == {"CONNECT"}


async def test_a_delivery_of_thousands_makes_few_spans_contract_106(collector: Collector) -> None:
    async with otlp.open_collector(TelemetrySettings(), collector.url, DIRECT, names=False):
        with tracing.delivery("webhook", tracing.now()) as arrival:
            arrival.stored((f"alert-{number}", False) for number in range(3000))
    assert len(collector.spans) == 3 * tracing.MAX_ALERTS


async def test_proposal_and_decision_are_in_the_trace_of_their_alert_contract_106(
    database: Database, collector: Collector
) -> None:
    opened = await prepared(database)
    clock = Clock()
    decisions = Decisions(opened, lambda: None, clock, [])

    def propose_and_fail(connection: Connection) -> None:
        propose(connection, WANTED, clock(), DECIDE_S)
        raise ZeroDivisionError

    async with otlp.open_collector(TelemetrySettings(), collector.url, DIRECT, names=False):
        with pytest.raises(ZeroDivisionError):
            await opened.write(propose_and_fail)
        new = await proposed(opened)
        for name in ("ann", "bob"):
            await decisions.decide(TENANT, new.proposal_id, Said(new.proposal_sha256, name))
    found = collector.of("alt_abc123")
    assert {name: len(spans) for name, spans in found.items()} == {"proposal": 1, "decision": 2}
    outcomes = [attributes(span)["vyrox.outcome"] for span in found["decision"]]
    assert outcomes == ["pending", "approved"]
    assert b"ann" not in collector.sent


async def test_notifications_are_in_the_trace_of_their_incident_contract_106(
    database: Database, collector: Collector
) -> None:
    async with (
        receiving() as receiver,
        running_writer(database) as writer,
        open_webhooks(frozenset({"127.0.0.1"})) as webhooks,
        otlp.open_collector(TelemetrySettings(), collector.url, DIRECT, names=False),
    ):
        site = Site(database, receiver)
        channels = Channels(frozenset(), None)
        sender = Sender(
            *(database, writer, NOTIFY_VAULT, webhooks, channels),
            lease_time=site.clock,
            wall=site.clock,
        )
        await site.add()
        await site.announce(incident=7)
        await sender.run()
        await settled(sender)
    [span] = collector.of(f"{TENANT}-7")["notification"]
    assert attributes(span) == {"vyrox.incident": 7, "vyrox.outcome": "sent"}


def test_without_the_extra_the_service_does_not_start_and_says_why_contract_106(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = Settings(hmac_secret=HMAC_SECRET, data_dir=tmp_path)
    monkeypatch.setattr(collecting, "_NEEDED", ("no_such_package.sdk",))
    fatal.check_fatal(unset)
    with pytest.raises(SettingsError, match=r"EXTRAS=otel deploy/install\.sh"):
        fatal.check_fatal(replace(unset, telemetry=TelemetrySettings(url=NOWHERE)))


def test_without_a_collector_nothing_of_it_is_loaded_contract_106() -> None:
    code = (
        "import sys, vyrox.lifespan.opening, vyrox.tracing as t\n"
        "with t.step('a', 'b') as step: step.set(c=1)\n"
        "t.record('a', 'b', t.now())\n"
        "found = {'opentelemetry.sdk.trace', 'opentelemetry.exporter'} & sys.modules.keys()\n"
        "sys.exit(bool(found))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert tracing.step("a", "b") is tracing.step("c")


def test_settings_of_the_collector_are_checked_and_not_shown_contract_106() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.com",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{TOKEN}, x-scope=acme",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
    }
    telemetry = Settings.from_env(env).telemetry
    assert telemetry.headers == {"authorization": f"Bearer {TOKEN}", "x-scope": "acme"}
    assert telemetry.share == 0.25
    assert TOKEN not in repr(telemetry)
    assert TOKEN not in json.dumps([str(each) for each in show(env, {}).settings])
    for name, bad in (
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={TOKEN}%0d%0ax: y"),
        ("OTEL_EXPORTER_OTLP_HEADERS", TOKEN),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.com/v1/traces/"),
        ("OTEL_SERVICE_NAME", "a b"),
    ):
        with pytest.raises(SettingsError, match=name) as refused:
            Settings.from_env({**env, name: bad})
        assert TOKEN not in str(refused.value)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT is required"):
        Settings.from_env({"OTEL_EXPORTER_OTLP_HEADERS": "a=b"})


async def test_a_queue_that_is_full_loses_spans_and_no_alert_contract_106(
    settings: Settings,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(otlp, "MAX_WAITING", 4)
    monkeypatch.setattr(otlp, "MAX_SENT", 2)
    monkeypatch.setattr(otlp, "FLUSH_S", 0.05)
    collector.receiver.behaviours.extend(["hang"] * 9)
    async with service(settings) as client:
        with caplog.at_level(logging.WARNING):
            assert len({await deliver(client) for _ in range(9)}) == 1
    full = [line for line in caplog.records if line.name.startswith("opentelemetry")]
    assert 1 <= len(full) <= 2  # one for each minute
