"""`GET /audit/export`: who gets a tenant's entries, in what form, and what is not in it.

And `GET /health` of the same listener, which touches nothing (contract 28).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import httpx
import pytest
from sqlalchemy import Connection
from starlette.types import Message, Scope

from tests.audit import NOW, Clock, action
from tests.http.test_protocol import serving
from tests.polling import PATIENCE_S
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT, Proxied, export_headers, proxied, wanted
from tests.routes.test_execute import bad_signatures
from tests.service import HMAC_SECRET
from vyrox.chain.entry import Draft
from vyrox.chain.export import PAGE
from vyrox.chain.verify import Report, TamperedError, verify_path
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import DatabaseUnavailableError
from vyrox.settings import Settings
from vyrox.store.database import Database

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MEMBERS: Final = {
    "timestamp",
    "tenant_id",
    "action_type",
    "host",
    "approved_by",
    "dry_run",
    "previous_hash",
    "hash",
}
LINES: Final = "application/x-ndjson"


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(hmac_secret=HMAC_SECRET, data_dir=data_dir, redis_url=NOWHERE)


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Proxied]:
    """The listener, on SQLite."""
    async with proxied(settings) as opened:
        yield opened


@pytest.fixture
async def running_on_each(settings: Settings, database_url: str | None) -> AsyncIterator[Proxied]:
    """The listener, on each of the two databases."""
    key = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="
    on_each = replace(settings, database_url=database_url, encryption_keys=(key,))
    async with proxied(on_each) as opened:
        yield opened


async def fill(database: Database, count: int, tenant_id: str = TENANT, first: int = 0) -> None:
    """Append `count` actions to a tenant's chain; their hosts are numbered from `first`."""

    def write(connection: Connection, drafts: Sequence[Draft]) -> None:
        append(connection, drafts, NOW)

    drafts = [action(f"host-{number}", tenant_id) for number in range(first, first + count)]
    await database.write(write, drafts, timeout_s=30)


async def verified(directory: Path, content: bytes | bytearray) -> Report:
    """Return what an export consists of, once the verifier has read it from a file."""
    file = directory / "export"
    file.write_bytes(content)
    return await asyncio.to_thread(verify_path, str(file))


def hosts(content: bytes) -> list[str]:
    return [entry["host"] for entry in json.loads(content)]


def check_refused(answer: httpx.Response, status: int, detail: str) -> None:
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert answer.headers["content-type"] == "application/json"


async def test_export_is_every_entry_oldest_first_contract_26(
    running_on_each: Proxied, data_dir: Path
) -> None:
    requests = [
        wanted(host=f"host-{number}", approved_by=f"j\u00e4ne #{number}") for number in range(3)
    ]
    for fields in requests:
        assert (await running_on_each.execute(fields)).status_code == 200
    answer = await running_on_each.export()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    entries = json.loads(answer.content)
    assert [set(entry) for entry in entries] == [MEMBERS] * 3
    assert [(entry["host"], entry["approved_by"]) for entry in entries] == [
        (fields["host"], fields["approved_by"]) for fields in requests
    ]
    assert {type(entry["timestamp"]) for entry in entries} == {int}
    assert {entry["dry_run"] for entry in entries} == {True}
    report = await verified(data_dir, answer.content)
    assert (report.entries, report.stream, report.tenant_id) == (3, "actions", TENANT)


async def test_export_of_no_entries_is_an_empty_array_contract_26(running: Proxied) -> None:
    answer = await running.export("nobody-yet")
    assert (answer.status_code, answer.content) == (200, b"[]")
    lines = await running.export("nobody-yet", {**export_headers("nobody-yet"), "accept": LINES})
    assert (lines.status_code, lines.content) == (200, b"")


@pytest.mark.parametrize("count", [1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 500])
async def test_export_has_the_same_entries_in_both_forms_contract_26(
    running: Proxied, data_dir: Path, count: int
) -> None:
    """Whatever the number of pages that it is read in, and the verifier takes either."""
    await fill(running.database, count)
    array = await running.export()
    lines = await running.export(headers={**export_headers(), "accept": LINES})
    assert hosts(array.content) == [f"host-{number}" for number in range(count)]
    assert lines.headers["content-type"] == LINES
    assert lines.content.endswith(b"\n")
    assert [json.loads(line) for line in lines.content.splitlines()] == json.loads(array.content)
    for answer in (array, lines):
        assert (await verified(data_dir, answer.content)).entries == count


@pytest.mark.parametrize(
    ("accept", "is_lines"),
    [
        pytest.param("application/x-ndjson", True, id="allow_alone"),
        pytest.param("Application/X-NDJSON", True, id="allow_any_case"),
        pytest.param("text/plain, application/x-ndjson; q=0.9", True, id="allow_among_others"),
        pytest.param("application/json", False, id="allow_json"),
        pytest.param("*/*", False, id="allow_anything"),
    ],
)
async def test_export_is_in_the_form_that_is_accepted_contract_26(
    running: Proxied, accept: str, is_lines: bool
) -> None:
    await fill(running.database, 2)
    answer = await running.export(headers={**export_headers(), "accept": accept})
    assert (answer.headers["content-type"] == LINES) == is_lines
    assert (answer.content[:1] == b"{") == is_lines


async def test_export_is_of_the_signers_tenant_alone_contract_26(
    running_on_each: Proxied,
) -> None:
    for tenant_id in ("acme", "acme-corp", "acme.corp", "ACME"):
        await fill(running_on_each.database, 3, tenant_id)
    for tenant_id in ("acme", "acme-corp", "acme.corp", "ACME"):
        answer = await running_on_each.export(tenant_id)
        entries = json.loads(answer.content)
        assert [entry["tenant_id"] for entry in entries] == [tenant_id] * 3
        for other in {"acme", "acme-corp", "acme.corp", "ACME"} - {tenant_id}:
            refused = await running_on_each.export(other, export_headers(tenant_id))
            check_refused(refused, 401, "unauthorized")


FAULTS: Final = {
    "no_timestamp": 401,
    "odd_timestamp": 401,
    "no_signature": 401,
    "no_tenant": 400,
    "bad_signature": 401,
    "stale": 410,
}
"""In contract 26's order, with the status of each."""


async def test_export_refuses_in_order_contract_26(running: Proxied) -> None:
    """Of any set of faults, the first in contract 26's order is the one that is answered."""
    await fill(running.database, 1)
    subsets = [found for size in range(len(FAULTS) + 1) for found in combinations(FAULTS, size)]
    answered = {}
    for faults in subsets:
        timestamp = str(int(wall_clock()) - (60 if "stale" in faults else 0))
        timestamp += ".0" if "odd_timestamp" in faults else ""
        secret = OTHER_SECRET if "bad_signature" in faults else HMAC_SECRET
        headers = export_headers(TENANT, timestamp, secret)
        if "no_timestamp" in faults:
            del headers["x-vyrox-timestamp"]
        if "no_signature" in faults:
            del headers["x-vyrox-signature"]
        params = {} if "no_tenant" in faults else {"tenant_id": TENANT}
        answer = await running.client.get("/audit/export", params=params, headers=headers)
        answered[faults] = answer.status_code
    assert answered == {
        faults: next((FAULTS[name] for name in FAULTS if name in faults), 200) for faults in subsets
    }


async def test_export_takes_whole_seconds_for_a_timestamp_contract_26(running: Proxied) -> None:
    """Anything else is 401, though it is signed, and though Python would read a number in it."""
    now = str(int(wall_clock()))
    rejected = {
        "reject_underscore": "1_0",
        "reject_underscores": f"{now[:1]}_{now[1:]}",
        "reject_space_before": f" {now}",
        "reject_space_behind": f"{now} ",
        "reject_tab": f"\t{now}",
        "reject_plus": f"+{now}",
        "reject_minus": f"-{now}",
        "reject_fraction": f"{now}.0",
        "reject_exponent": "1e9",
        "reject_hex": hex(int(now)),
        "reject_13_digits": f"{now}000",
        "reject_13_digits_with_zeros": now.zfill(13),
        "reject_4301_digits": "9" * 4301,
        "reject_empty": "",
        "reject_word": "now",
        "reject_nan": "nan",
        "reject_iso": "2024-01-01T00:00:00Z",
        "reject_list": f"{now},{now}",
        "reject_arabic_digits": now.translate({48 + d: 0x660 + d for d in range(10)}),
        "reject_superscript": f"{now[:-1]}\u00b2",
        "reject_nul": f"{now}\0",
        "reject_newline": f"{now}\n",
    }
    answered = {}
    for case, timestamp in rejected.items():
        headers = [
            (b"x-vyrox-timestamp", timestamp.encode()),
            (b"x-vyrox-signature", sign(f"{TENANT}:{timestamp}", HMAC_SECRET).encode()),
        ]
        answer = await running.client.get(
            "/audit/export", params={"tenant_id": TENANT}, headers=headers
        )
        answered[case] = (answer.status_code, answer.content)
    assert answered == dict.fromkeys(rejected, (401, b'{"detail":"unauthorized"}'))


async def test_export_takes_one_of_each_header_contract_26(running: Proxied) -> None:
    """Two that are the same are two."""
    [timestamp, signature] = [
        (name.encode(), value.encode()) for name, value in export_headers().items()
    ]
    for headers in ([timestamp, timestamp, signature], [timestamp, signature, signature]):
        answer = await running.client.get(
            "/audit/export", params={"tenant_id": TENANT}, headers=headers
        )
        check_refused(answer, 401, "unauthorized")


async def test_export_is_of_exactly_one_tenant_contract_26(running: Proxied) -> None:
    rejected = {
        "reject_none": "",
        "reject_empty": "tenant_id=",
        "reject_no_value": "tenant_id",
        "reject_other_name": "tenant=acme-corp",
        "reject_upper_case_name": "TENANT_ID=acme-corp",
        "reject_twice": "tenant_id=acme-corp&tenant_id=acme-corp",
        "reject_two": "tenant_id=acme-corp&tenant_id=initech",
        "reject_empty_and_one": "tenant_id=&tenant_id=acme-corp",
        "reject_nul": "tenant_id=acme-corp%00",
        "reject_newline": "tenant_id=acme-corp%0A",
        "reject_space": "tenant_id=acme+corp",
        "reject_colon": "tenant_id=acme:corp",
        "reject_no_utf_8": "tenant_id=%FF",
        "reject_surrogate": "tenant_id=%ED%A0%80",
        "reject_dot_dot": "tenant_id=..",
        "reject_path": "tenant_id=../acme-corp",
        "reject_star": "tenant_id=*",
        "reject_too_long": "tenant_id=" + "x" * 129,
    }
    await fill(running.database, 1)
    answered = {}
    for case, query in rejected.items():
        answer = await running.client.get(f"/audit/export?{query}", headers=export_headers())
        answered[case] = (answer.status_code, answer.content)
    assert answered == dict.fromkeys(rejected, (400, b'{"detail":"invalid request"}'))


async def test_export_reads_a_signature_in_one_way_contract_26(running: Proxied) -> None:
    """A tenant has no colon in it, so what is signed is one tenant and one timestamp."""
    now = str(int(wall_clock()))
    await fill(running.database, 1, "a")
    for tenant_id, timestamp in ((f"a:{now[:3]}", now[3:]), ("a", f"{now}:{now}"), ("a:", now)):
        message = f"{tenant_id}:{timestamp}"
        headers = {
            "x-vyrox-timestamp": timestamp,
            "x-vyrox-signature": sign(message, HMAC_SECRET),
        }
        answer = await running.export(tenant_id, headers)
        assert answer.status_code in {400, 401}


async def test_export_has_one_answer_for_every_bad_credential_contract_3(
    running: Proxied,
) -> None:
    await fill(running.database, 1)
    timestamp = str(int(wall_clock()))
    causes = bad_signatures(f"{TENANT}:{timestamp}".encode(), f"initech:{timestamp}".encode())
    answers = {}
    for cause, values in causes.items():
        headers = [(b"x-vyrox-timestamp", timestamp.encode())]
        headers += [(b"x-vyrox-signature", value) for value in values]
        for tenant_id in (TENANT, "nobody-yet"):
            answer = await running.client.get(
                "/audit/export", params={"tenant_id": tenant_id}, headers=headers
            )
            del answer.headers["x-request-id"]
            kept = (answer.status_code, answer.content, sorted(answer.headers.raw))
            answers[tenant_id, cause] = kept
    # Signed for the other tenant, it is wrong for this one alone.
    del answers["nobody-yet", "other_message"]
    assert set(map(str, answers.values())) == {str(answers[TENANT, "missing"])}
    assert answers[TENANT, "missing"][:2] == (401, b'{"detail":"unauthorized"}')


@pytest.mark.parametrize(
    ("age_s", "status"),
    [
        pytest.param(30, 200, id="allow_30_s_ago"),
        pytest.param(-30, 200, id="allow_30_s_ahead"),
        pytest.param(30.001, 410, id="reject_more_than_30_s_ago"),
        pytest.param(-30.001, 410, id="reject_more_than_30_s_ahead"),
    ],
)
async def test_export_keeps_to_the_replay_window_contract_26(
    running: Proxied, age_s: float, status: int
) -> None:
    running.app.state.proxy = replace(running.proxy, clock=Clock(int(NOW) + age_s))
    answer = await running.export(headers=export_headers(timestamp=str(int(NOW))))
    assert answer.status_code == status


async def chunks(running: Proxied, accept: str) -> AsyncIterator[bytes]:
    """Yield an export as the application sends it, which waits until the next part is wanted."""
    ready: asyncio.Queue[bytes | None] = asyncio.Queue(1)
    sending = asyncio.Semaphore(0)
    headers = {**export_headers(), "accept": accept}

    async def receive() -> Message:
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await ready.put(message["body"])
            if not message.get("more_body", False):
                await ready.put(None)
            await sending.acquire()

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/audit/export",
        "raw_path": b"/audit/export",
        "query_string": f"tenant_id={TENANT}".encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    async with asyncio.TaskGroup() as group:
        serve = group.create_task(running.app(scope, receive, send))
        try:
            while (part := await ready.get()) is not None:
                yield part
                sending.release()
        finally:
            serve.cancel()


@pytest.mark.parametrize("accept", ["application/json", LINES])
async def test_export_shows_what_was_committed_when_it_began_contract_26(
    running_on_each: Proxied, data_dir: Path, accept: str
) -> None:
    """However much is appended while it is being read, within its last page too."""
    await fill(running_on_each.database, PAGE + 10)
    first_page = True
    received = b""
    async with aclosing(chunks(running_on_each, accept)) as parts:  # type: ignore[type-var]
        async for part in parts:
            received += part
            if first_page:
                await fill(running_on_each.database, 2 * PAGE, first=PAGE + 10)
                first_page = False
    assert (await verified(data_dir, received)).entries == PAGE + 10
    answer = await running_on_each.export()
    assert len(hosts(answer.content)) == 3 * PAGE + 10


class FailingReads:
    """A real store whose reads fail once `reads` of them have succeeded."""

    def __init__(self, database: Database, reads: int) -> None:
        self._database = database
        self._left = reads

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = PATIENCE_S,
    ) -> T:
        self._left -= 1
        if self._left < 0:
            raise DatabaseUnavailableError("away")
        return await self._database.read(transaction, *args, timeout_s=timeout_s)

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = PATIENCE_S,
        pause: bool = False,
    ) -> T:
        return await self._database.write(transaction, *args, timeout_s=timeout_s, pause=pause)


@pytest.mark.parametrize("reads", [0, 1])
async def test_export_is_an_error_while_the_database_is_away_contract_26(
    running: Proxied, reads: int
) -> None:
    await fill(running.database, 1)
    whole = running.proxy
    running.app.state.proxy = replace(whole, database=FailingReads(running.database, reads))
    check_refused(await running.export(), 500, "internal error")
    running.app.state.proxy = whole
    assert len(hosts((await running.export()).content)) == 1
    assert len(await running.events(kind="audit.exported")) == 1


@pytest.mark.parametrize("accept", ["application/json", LINES])
async def test_export_that_loses_its_database_is_cut_short_contract_26(
    running: Proxied, data_dir: Path, accept: str
) -> None:
    """On a real socket: no reader can take it for whole, and the verifier says so of an array."""
    await fill(running.database, 3 * PAGE)
    running.app.state.proxy = replace(running.proxy, database=FailingReads(running.database, 3))
    received = bytearray()
    async with (
        serving(running.app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        client.stream(
            "GET",
            "/audit/export",
            params={"tenant_id": TENANT},
            headers={**export_headers(), "accept": accept},
        ) as answer,
    ):
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await read_into(received, answer)
    if accept == LINES:
        assert (await verified(data_dir, received)).entries == 2 * PAGE
    else:
        with pytest.raises(TamperedError, match="cut short") as caught:
            await verified(data_dir, received)
        assert caught.value.number == 2 * PAGE + 1


async def read_into(received: bytearray, answer: httpx.Response) -> None:
    async for part in answer.aiter_bytes():
        received += part


async def test_health_needs_nothing_contract_28(running: Proxied) -> None:
    """Neither Redis, which is away in all of these tests, nor the database."""
    running.app.state.proxy = replace(running.proxy, database=FailingReads(running.database, 0))
    answer = await running.client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_health_answers_while_an_export_is_being_read_contract_28(running: Proxied) -> None:
    await fill(running.database, 2 * PAGE)
    async with aclosing(chunks(running, LINES)) as parts:  # type: ignore[type-var]
        async for _ in parts:
            assert (await running.client.get("/health")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_export_takes_get_alone_contract_1(running: Proxied, method: str) -> None:
    answer = await running.client.request(
        method, "/audit/export", params={"tenant_id": TENANT}, headers=export_headers()
    )
    check_refused(answer, 405, "method not allowed")
