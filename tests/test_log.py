"""Log lines are JSON, bounded and without secrets, and never block a request."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from cryptography.fernet import Fernet
from hypothesis import example, given
from hypothesis import strategies as st

from tests.adapters.payloads import DOCUMENTED, FIELD_MAP
from tests.ingestion import SECRET, TENANTS, VENDORS, credential, running, webhook
from vyrox import log
from vyrox.app import create_app
from vyrox.errors import VyroxError
from vyrox.models import Vendor
from vyrox.settings import Settings

logger = logging.getLogger("vyrox")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo the changes of `configured` to the process, and reset the counts."""
    noisy = [logging.getLogger(name) for name in ("alembic", "httpx", "uvicorn")]
    levels = {each: each.level for each in (logging.getLogger(), *noisy)}
    log.counts.clear()
    log._lines_in_second.clear()
    yield
    for each, level in levels.items():
        each.setLevel(level)


def lines_of(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_event_is_one_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    with log.configured():
        log.event("alert.accepted", tenant="acme-corp", size=7, ratio=0.5, missing=None)
    (line,) = lines_of(capfd)
    assert line.pop("at")
    assert line == {
        "level": "info",
        "event": "alert.accepted",
        "tenant": "acme-corp",
        "size": 7,
        "ratio": 0.5,
    }


def test_event_at_error_has_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with log.configured():
        try:
            int("no number")
        except ValueError:
            log.event("request.failed", logging.ERROR)
        log.event("store.failed", logging.ERROR)  # outside an `except`
    first, second = lines_of(capfd)
    assert str(first["traceback"]).startswith("Traceback (most recent call last):")
    assert "ValueError: " in str(first["traceback"])
    assert "traceback" not in second


def test_event_at_error_in_a_consumer_prints_no_empty_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A consumer that imports Vyrox has its own logging, and may have none."""
    log.event("alert.dead_lettered", logging.ERROR)
    assert "alert.dead_lettered" in caplog.text
    assert "NoneType" not in caplog.text


def test_configured_takes_what_libraries_log(capfd: pytest.CaptureFixture[str]) -> None:
    with log.configured():
        logging.getLogger("asyncio").error("slow\ncallback")
        logging.getLogger("vyrox.http").warning("refused: %s", "x", extra={"request_id": "r-1"})
        logging.getLogger("httpx").info("left out")
    first, second = lines_of(capfd)
    assert (first["logger"], first["event"]) == ("asyncio", "slow\ncallback")
    assert (second["logger"], second["event"]) == ("vyrox.http", "refused: x")
    assert second["request_id"] == "r-1"


def formatted(**fields: object) -> str:
    record = logging.LogRecord("vyrox", logging.INFO, "", 0, "event", None, None)
    record.__dict__["fields"] = fields
    return log.JsonLines().format(record)


@given(st.text(st.characters(exclude_categories=())))
@example("\n{}")
@example("\r\n")
@example("\x00\x1b[2J\x7f\x9b")
@example("\u2028\u2029\u202e\ufeff")
@example("\ud800")
@example("x" * 200_000)
def test_json_lines_formats_any_field_as_one_bounded_line(value: str) -> None:
    line = formatted(path=value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == value[: log.MAX_FIELD]


@pytest.mark.parametrize(
    "value", [b"\x00\xff" * 9999, ["x" * 9999], RuntimeError("x" * 9999), Path("x" * 9999)]
)
def test_json_lines_bounds_fields_of_any_type(value: object) -> None:
    assert len(json.loads(formatted(reason=value))["reason"]) == log.MAX_FIELD


def test_json_lines_bounds_messages_and_tracebacks() -> None:
    """A library's error can quote its input."""
    error = RuntimeError("x" * 200_000)
    exc_info = (RuntimeError, error, None)
    record = logging.LogRecord("lib", logging.ERROR, "", 0, "y" * 200_000, None, exc_info)
    line = json.loads(log.JsonLines().format(record))
    assert len(line["event"]) == log.MAX_MESSAGE
    assert len(line["traceback"]) == log.MAX_MESSAGE


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_event_holds_back_a_flood_and_counts_it(
    capfd: pytest.CaptureFixture[str], level: int
) -> None:
    with log.configured():
        for _ in range(5000):
            log.event("request.refused.401", level)
        log.event("request.refused.503", level)
    lines = Counter(line["event"] for line in lines_of(capfd))
    assert log.MAX_LINES_PER_SECOND <= lines["request.refused.401"] < 5000
    assert lines["request.refused.503"] == 1
    assert log.counts == {"request.refused.401": 5000, "request.refused.503": 1}


def test_event_writes_every_accepted_alert(capfd: pytest.CaptureFixture[str]) -> None:
    with log.configured():
        for _ in range(500):
            log.event("alert.accepted")
    assert len(lines_of(capfd)) == 500


async def test_report_counts_writes_the_totals(capfd: pytest.CaptureFixture[str]) -> None:
    with log.configured():
        await log.report_counts()  # nothing to report yet
        log.event("b")
        log.event("a")
        log.event("b")
        await log.report_counts()
    assert lines_of(capfd)[-1]["totals"] == {"a": 1, "b": 2}


EVENTS: Final = 15_000
"""One and a half times MAX_BUFFERED."""

SCRIPT: Final = f"""
import asyncio
import logging
from vyrox import log
with log.configured():
    for _ in range({EVENTS}):
        log.event("alert.accepted", tenant="acme-corp")
    print(log.counts["log.dropped"], flush=True)
    input()
    asyncio.run(log.report_counts())
print(log.counts["log.dropped"])
"""
"""Logs, prints how many lines were dropped, and logs again after a line on standard input."""


@contextlib.contextmanager
def started(sink: int) -> Iterator[subprocess.Popen[str]]:
    """Run SCRIPT in a process with `sink` as standard error, for at most 30 s."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=sink, text=True) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        yield process
        process.wait()
        watchdog.cancel()


def full_pipe() -> tuple[int, int]:
    """Return the ends of a full pipe."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    return reading, writing


def test_event_does_not_wait_for_a_blocked_sink() -> None:
    """Lines beyond the buffer are dropped and counted; the rest is written later."""
    reading, writing = full_pipe()
    with started(writing) as process, open(reading) as sink:
        os.close(writing)
        assert process.stdin is not None
        assert process.stdout is not None
        dropped = int(process.stdout.readline())
        assert 0 < dropped < EVENTS
        for _ in range(1000):  # make room for one more
            sink.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        *_, last = sink
        assert process.wait() == 0
    assert json.loads(last)["totals"] == {"alert.accepted": EVENTS, "log.dropped": dropped}


def test_configured_does_not_wait_for_a_blocked_sink_at_the_end() -> None:
    reading, writing = full_pipe()
    with started(writing) as process:
        process.communicate("\n")
    assert process.returncode == 0
    os.close(reading)
    os.close(writing)


def test_event_outlives_a_broken_sink() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with started(writing) as process:
        os.close(writing)
        output, _ = process.communicate("\n")
    assert process.returncode == 0
    assert int(output.split()[-1]) == EVENTS + 1  # the line with the counts was dropped too


def test_configured_outlives_a_record_that_cannot_be_formatted() -> None:
    script = """
import logging
from vyrox import log
with log.configured():
    logging.getLogger("library").warning("%d", "not a number")
    log.event("next")
print(log.counts["log.dropped"])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["next"]
    assert ended.stdout == b"1\n"


HMAC_CANARY: Final = "canary-hmac-secret-0123456789-0123456789"
REDIS_CANARY: Final = "canary-redis-password"
DATABASE_CANARY: Final = "canary-database-password"
PAYLOAD_CANARY: Final = "canary-payload"
KEY_CANARY: Final = Fernet.generate_key().decode()

CANARIES: Final = (
    SECRET,
    HMAC_CANARY,
    REDIS_CANARY,
    DATABASE_CANARY,
    PAYLOAD_CANARY,
    KEY_CANARY,
)
"""No log line and no response may contain one of these."""


def canary_bodies(vendor: Vendor) -> Iterator[bytes]:
    """Yield the vendor's documented body with PAYLOAD_CANARY in it, whole and damaged."""
    documented = DOCUMENTED[vendor]
    yield documented.replace(b"high", PAYLOAD_CANARY.encode())
    for old in (b'"high"', b"1704067200", b'"workstation-01"', b'"TA0004"', b'"cmd.exe"'):
        for new in (b'"%b"', b'["%b"]', b'{"%b":1}', b'"%b', b'"%b\xff"', b'"%b\\ud800"'):
            yield documented.replace(old, new % PAYLOAD_CANARY.encode())


_DELIVERED: Final = ("severity", "host", "process", "technique")
_REFUSED: Final = ("field", "found", "keys")

SHOWN: Final = {
    "alert.accepted": _DELIVERED,
    "alert.redelivered": _DELIVERED,
    "request.refused.400": _REFUSED,
    "request.refused.422": _REFUSED,
}
"""What log lines have of the payload (contracts 50 and 84)."""


def unshown(line: str) -> str:
    """Return `line` without what it may show of the payload."""
    fields = json.loads(line)
    shown = SHOWN.get(fields["event"], ())
    return json.dumps({name: value for name, value in fields.items() if name not in shown})


async def test_no_secret_or_payload_is_told(
    data_dir: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a log line, a response, an error or a repr, with and without Redis."""
    caplog.set_level(logging.DEBUG)
    away = f"redis://:{REDIS_CANARY}@127.0.0.1:1"
    settings = Settings(
        hmac_secret=HMAC_CANARY,
        data_dir=data_dir,
        redis_url=redis_url,
        encryption_keys=(KEY_CANARY,),
        default_secrets={vendor: SECRET.encode() for vendor in VENDORS},
    )
    told = [repr(settings), str(settings)]
    for present in (settings, replace(settings, redis_url=away)):
        async with running(present, redis_url) as application:
            if present is settings:
                await application.onboard(TENANTS["generic"], "generic", field_map=FIELD_MAP)
            told.append(repr(application.ingestion))
            for vendor in VENDORS:
                for body in canary_bodies(vendor):
                    for headers in (credential(vendor, body), {"authorization": SECRET}):
                        sent = replace(webhook(vendor, body), headers=headers)
                        answer = await application.post(sent)
                        told += [answer.text, str(answer.headers)]
            health = await application.client.get("/health")
            told += [health.text, str(health.headers)]
    lines = [unshown(log.JsonLines().format(record)) for record in caplog.records]
    assert {"request.refused.401", "request.refused.422", "request.refused.503"} <= set(log.counts)
    assert "request.failed" not in log.counts
    assert [canary for canary in CANARIES for text in [*told, *lines] if canary in text] == []


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"DATABASE_URL": f"postgresql://u:{DATABASE_CANARY}@127.0.0.1:1/x"}, id="url"),
        pytest.param({"DATABASE_URL": f"postgresql://u:{DATABASE_CANARY}@[/x"}, id="bad_url"),
        pytest.param({"REDIS_URL": f"http://:{REDIS_CANARY}@x"}, id="bad_redis_url"),
        pytest.param({"VYROX_ENCRYPTION_KEY": PAYLOAD_CANARY}, id="bad_key"),
        pytest.param({"VYROX_HMAC_SECRET": PAYLOAD_CANARY}, id="short_secret"),
        pytest.param({"DEFENDER_WEBHOOK_SECRET": PAYLOAD_CANARY}, id="short_token"),
    ],
)
async def test_no_secret_is_told_by_what_stops_the_start(
    environment: dict[str, str], data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    needed = {
        "VYROX_HMAC_SECRET": HMAC_CANARY,
        "VYROX_ENCRYPTION_KEY": KEY_CANARY,
        "VYROX_DATA_DIR": str(data_dir),
    }

    async def start_and_stop() -> None:
        whole = create_app(Settings.from_env({**needed, **environment}))
        async with whole.router.lifespan_context(whole):
            pass

    with pytest.raises(VyroxError) as caught:
        await start_and_stop()
    told = [str(caught.value), *(log.JsonLines().format(record) for record in caplog.records)]
    assert len(str(caught.value).splitlines()) == 1
    assert [canary for canary in CANARIES for text in told if canary in text] == []
