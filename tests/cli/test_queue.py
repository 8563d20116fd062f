"""`vyrox queue`: what is queued and what is quarantined, shown and replayed (contract 14 to 16)."""

import asyncio
import signal
from pathlib import Path

import httpx
import msgspec
import pytest
import redis.asyncio
from click.testing import Result

from tests.adapters.forms import payloads
from tests.cli import Vyrox, drives_no_terminal, refused, rows_of, succeeded
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S
from tests.sample_alerts import NOW, entry_of, new_alert
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.intake import delivery, store
from vyrox.alerts.quarantine import Unreadable, keep
from vyrox.alerts.queue import AlertQueue
from vyrox.crypto import sign
from vyrox.models import NormalizedAlert, Vendor
from vyrox.settings import Settings
from vyrox.store import data_dir as data_dirs
from vyrox.store import valkey
from vyrox.store.database import open_database
from vyrox.store.redis import connect

# For the asynchronous fixtures that these synchronous tests use.
pytestmark = pytest.mark.usefixtures("anyio_backend")

FIELD_MAP = {"raw_id": "id", "hostname": "host", "vendor_severity": "level"}
GOOD = b'{"id":"evt:1","host":"workstation-01","level":"high"}'
OTHER_FIELDS = b'{"event":{"id":"evt:2"},"host":"workstation-02","level":"low"}'
SECRET = "brought-secret-0123456789-0123456789"

HOSTILE = (
    "[bold red]evil[/] :boom: \x1b[31m\x1b]0;title\x07\x00\r\n\t\x7f\x9b2J\u202e\u2028\u200b\ufeff"
)
"""Markup, an emoji code, escape sequences of one and two bytes, and what reorders or hides text."""


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What `quarantine list` prints for each payload with `--json`."""

    id: str
    tenant_id: str
    source: Vendor
    reason: str
    size_bytes: int
    deliveries: int
    first_received_at: float
    last_received_at: float
    replayed_at: float | None
    alert_id: str | None
    dismissed_at: float | None
    only_counted: bool


class Dead(msgspec.Struct, forbid_unknown_fields=True):
    """What `dead list` prints for each alert with `--json`."""

    alert_id: str
    source: Vendor
    received_at: float
    dead_at: float
    reason: str


class Shown(msgspec.Struct, forbid_unknown_fields=True):
    """What `quarantine show` prints for each payload with `--json`."""

    quarantined: Kept
    raw: str


class Replayed(msgspec.Struct, forbid_unknown_fields=True):
    """What `quarantine replay` prints for each payload with `--json`."""

    id: str
    status: str
    alert_id: str | None
    reason: str | None


class Stats(msgspec.Struct, forbid_unknown_fields=True):
    """What `stats` prints for each tenant with `--json`."""

    tenant_id: str
    queued: int
    unfinished: int
    finished: int
    dead: int
    quarantined: int


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None, redis_url: str) -> Vyrox:
    """The command on each of the two databases, with a Redis that is always there."""
    return Vyrox(data_dir, database_url, REDIS_URL=redis_url)


@pytest.fixture
def on_sqlite(data_dir: Path, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, REDIS_URL=redis_url)


@pytest.fixture
def alone(data_dir: Path) -> Vyrox:
    """The command with no REDIS_URL and no service."""
    return Vyrox(data_dir)


async def _fill(settings: Settings, url: str, alerts: tuple[NormalizedAlert, ...]) -> None:
    async with (
        open_database(settings.database_url, settings.data_dir) as database,
        connect(url) as client,
    ):
        queue = AlertQueue(client, settings.queue_max_alerts)
        for alert in alerts:
            arrived = delivery(alert, alert.id.encode(), NOW)
            await database.write(store, [arrived], settings.redelivery_window_s)
            await queue.put_batch([entry_of(arrived)])


def enqueue(vyrox: Vyrox, *alerts: NormalizedAlert) -> None:
    """Store and queue `alerts`, as the service does."""

    async def run() -> None:
        settings = Settings.from_env(vyrox.env)
        if isinstance(settings.redis_url, str):
            await _fill(settings, settings.redis_url, alerts)
            return
        with data_dirs.owned(settings.data_dir):
            async with valkey.embedded_valkey(settings.data_dir) as url:
                await _fill(settings, url, alerts)

    asyncio.run(run())


def alert(tenant_id: str = "acme", **fields: str) -> NormalizedAlert:
    return msgspec.structs.replace(new_alert(tenant_id), **fields)


def quarantine(
    vyrox: Vyrox, raw: bytes, tenant_id: str = "acme", source: Vendor = "generic", at: float = NOW
) -> None:
    payload = Unreadable(tenant_id, source, raw, "the tenant has no field map", at)
    vyrox.write(keep, [payload], 1 << 30)


def onboard(vyrox: Vyrox, field_map: dict[str, str], tenant_id: str = "acme") -> None:
    """Give the tenant `field_map`, whether it has one or not."""
    file = Path(vyrox.env["VYROX_DATA_DIR"]) / "field-map.json"
    file.write_bytes(msgspec.json.encode(field_map))
    added = vyrox("tenant", "add", tenant_id, "--vendor", "generic", "--field-map", str(file))
    if added.exit_code != 0:
        succeeded(vyrox("tenant", "field-map", tenant_id, str(file)))


def peeked(vyrox: Vyrox, tenant_id: str = "acme", *args: str) -> list[NormalizedAlert]:
    printed = succeeded(vyrox("queue", "peek", tenant_id, "--json", *args))
    return msgspec.json.decode(printed, type=list[NormalizedAlert])


def listed(vyrox: Vyrox, tenant_id: str = "acme", *args: str) -> list[Kept]:
    printed = succeeded(vyrox("queue", "quarantine", "list", tenant_id, "--json", *args))
    return msgspec.json.decode(printed, type=list[Kept])


def shown(vyrox: Vyrox, *args: str) -> list[Shown]:
    printed = succeeded(vyrox("queue", "quarantine", "show", "acme", "--json", *args))
    return msgspec.json.decode(printed, type=list[Shown])


def replay(vyrox: Vyrox, *args: str, env: dict[str, str] | None = None) -> list[Replayed]:
    """Return how each replay went; the exit code says whether one was refused."""
    result = vyrox("queue", "quarantine", "replay", "acme", "--json", *args, env=env or {})
    replayed = msgspec.json.decode(result.stdout, type=list[Replayed])
    assert result.exit_code == any(one.status == "refused" for one in replayed)
    return replayed


def columns(result: Result) -> list[list[str]]:
    """Return the cells of each row of the table that was printed."""
    return [list(row.values()) for row in rows_of(succeeded(result))]


def test_peek_shows_the_oldest_first_and_leaves_them_queued(vyrox: Vyrox) -> None:
    alerts = [alert(raw_id=f"evt:{number}") for number in range(3)]
    enqueue(vyrox, *alerts, alert("other"))

    assert peeked(vyrox) == alerts
    assert peeked(vyrox) == alerts
    assert peeked(vyrox, "acme", "--count", "2") == alerts[:2]


def test_peek_shows_twenty_unless_told_otherwise(on_sqlite: Vyrox) -> None:
    enqueue(on_sqlite, *(alert() for _ in range(22)))

    assert len(peeked(on_sqlite)) == 20
    assert len(columns(on_sqlite("queue", "peek", "acme"))) == 20
    assert len(peeked(on_sqlite, "acme", "--count", "10000")) == 22


def test_peek_table_has_a_line_for_each_alert(on_sqlite: Vyrox) -> None:
    full = alert(
        hostname="ws-1",
        username="CORP\\jsmith",
        process_name="cmd.exe",
        technique="T1059",
        vendor_severity="HIGH",
    )
    empty = msgspec.structs.replace(alert(), hostname=None)
    enqueue(on_sqlite, full, empty)

    first, second = columns(on_sqlite("queue", "peek", "acme"))
    time = "2023-11-14 22:13:20"
    assert first[:5] == ["HIGH", "ws-1", "CORP\\jsmith", "cmd.exe", time]
    assert first[5:] == ["crowdstrike", "T1059", full.id]
    assert second == ["-", "-", "-", "-", time, "crowdstrike", "-", empty.id]


def test_peek_of_an_empty_queue_is_an_empty_array(on_sqlite: Vyrox) -> None:
    succeeded(on_sqlite("tenant", "add", "acme", "--vendor", "generic"))
    assert succeeded(on_sqlite("queue", "peek", "acme", "--json")) == "[]\n"
    assert columns(on_sqlite("queue", "peek", "acme")) == []


@pytest.mark.parametrize(
    "command",
    [
        ("peek",),
        ("quarantine", "list"),
        ("quarantine", "show"),
        ("quarantine", "replay"),
        ("dead", "list"),
        ("dead", "revive"),
    ],
    ids=" ".join,
)
def test_mistyped_tenant_is_no_empty_queue_contract_39(
    on_sqlite: Vyrox, command: tuple[str, ...]
) -> None:
    succeeded(on_sqlite("tenant", "add", "acme-corp", "--vendor", "generic"))
    line = refused(on_sqlite("queue", *command, "acme-crop"))
    assert line == "acme-crop is not onboarded and has sent no alert; did you mean acme-corp?"


def test_peek_lets_no_alert_drive_the_terminal(on_sqlite: Vyrox) -> None:
    fields = ("hostname", "process_name", "username", "technique", "vendor_severity")
    hostile = alert(raw_id=HOSTILE, **dict.fromkeys(fields, HOSTILE))
    enqueue(on_sqlite, hostile)

    for args in ((), ("--json",)):
        assert drives_no_terminal(succeeded(on_sqlite("queue", "peek", "acme", *args)))
    assert peeked(on_sqlite) == [hostile]


def test_peek_takes_no_alert_for_markup(on_sqlite: Vyrox) -> None:
    enqueue(on_sqlite, alert(hostname=HOSTILE))

    table = succeeded(on_sqlite("queue", "peek", "acme"))

    assert "[bold red]evil[/] :boom: \\x1b[31m\\x1b]0;title\\x07\\x00\\r\\n\\t\\x7f\\x9b2J" in table


def test_peek_alone_starts_a_valkey_finds_its_data_and_stops_it(
    alone: Vyrox, data_dir: Path
) -> None:
    waiting = alert()
    enqueue(alone, waiting)

    assert peeked(alone) == [waiting]
    assert peeked(alone) == [waiting]
    assert asyncio.run(valkey.is_running(data_dir)) is False
    with data_dirs.owned(data_dir):
        pass


def test_peek_beside_a_process_that_has_its_queue_elsewhere_asks_for_its_url(
    alone: Vyrox, data_dir: Path
) -> None:
    with data_dirs.owned(data_dir):
        line = refused(alone.migrated()("queue", "peek", "acme"))

    assert line.startswith(f"a vyrox process uses {data_dir.resolve()}, but no queue of its own")
    assert "REDIS_URL" in line


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["peek"], id="reject_no_tenant"),
        pytest.param(["peek", "a b"], id="reject_tenant"),
        pytest.param(["peek", "acme", "--count", "0"], id="reject_count_0"),
        pytest.param(["peek", "acme", "--count", "10001"], id="reject_count_10001"),
        pytest.param(["peek", "acme", "--count", "all"], id="reject_count_all"),
        pytest.param(["stats", "acme"], id="reject_stats_argument"),
        pytest.param(["quarantine", "list"], id="reject_list_nobody"),
        pytest.param(["quarantine", "list", "a/b"], id="reject_list_tenant"),
        pytest.param(["quarantine", "list", "acme", "id"], id="reject_list_id"),
        pytest.param(["quarantine", "show"], id="reject_show_nobody"),
        pytest.param(["quarantine", "replay"], id="reject_replay_nobody"),
        pytest.param(["quarantine", "drop", "acme"], id="reject_unknown_command"),
    ],
)
def test_usage_errors_exit_with_2_and_touch_nothing(alone: Vyrox, args: list[str]) -> None:
    result = alone("queue", *args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert list(Path(alone.env["VYROX_DATA_DIR"]).iterdir()) == []


def test_stats_counts_each_tenant_by_where_its_alerts_stand(vyrox: Vyrox) -> None:
    alerts = [alert() for _ in range(5)]
    enqueue(vyrox, *alerts, alert("beta"))
    quarantine(vyrox, b"one")
    quarantine(vyrox, b"two", "gamma")
    _finish_two_and_give_up_one(vyrox)

    printed = succeeded(vyrox("queue", "stats", "--json"))

    assert msgspec.json.decode(printed, type=list[Stats]) == [
        Stats("acme", queued=2, unfinished=2, finished=2, dead=1, quarantined=1),
        Stats("beta", queued=1, unfinished=1, finished=0, dead=0, quarantined=0),
        Stats("gamma", queued=0, unfinished=0, finished=0, dead=0, quarantined=1),
    ]
    assert columns(vyrox("queue", "stats")) == [
        ["acme", "2", "2", "2", "1", "1"],
        ["beta", "1", "1", "0", "0", "0"],
        ["gamma", "0", "0", "0", "0", "1"],
    ]


def _finish_two_and_give_up_one(vyrox: Vyrox) -> None:
    async def run() -> None:
        settings = Settings.from_env(vyrox.env)
        assert settings.redis_url is not None
        async with (
            open_database(settings.database_url, settings.data_dir) as database,
            connect(settings.redis_url) as client,
        ):
            consumer = AlertConsumer(client, database)
            for delivered in await consumer.read("acme", "worker", 2):
                await consumer.acknowledge(delivered, NOW)
            await consumer.read("acme", "worker", 1)
            while await consumer.take_over("acme", "worker", 0, NOW):
                pass

    asyncio.run(run())


def test_dead_letters_are_listed_and_revived_contract_49(vyrox: Vyrox) -> None:
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "generic"))
    waiting = alert(hostname="workstation-09")
    enqueue(vyrox, alert(), alert(), waiting)
    _finish_two_and_give_up_one(vyrox)

    [dead] = msgspec.json.decode(
        succeeded(vyrox("queue", "dead", "list", "acme", "--json")), type=list[Dead]
    )
    assert (dead.alert_id, dead.reason) == (waiting.id, "delivered 5 times, never finished")
    assert columns(vyrox("queue", "dead", "list", "acme"))[0][-1] == waiting.id
    assert "has no dead letter other" in refused(
        vyrox("queue", "dead", "revive", "acme", waiting.id, "other")
    )
    assert "has no dead letter" in refused(vyrox("queue", "dead", "revive", "beta", waiting.id))
    assert peeked(vyrox) == []

    printed = succeeded(vyrox("queue", "dead", "revive", "acme", "--json"))

    assert msgspec.json.decode(printed) == [{"alert_id": waiting.id, "status": "queued"}]
    assert peeked(vyrox) == [waiting]
    assert vyrox("queue", "dead", "list", "acme").stderr == "acme has no dead letter\n"
    assert columns(vyrox("queue", "stats")) == [["acme", "1", "1", "2", "0", "0"]]
    kinds = [e["kind"] for e in shown_events(vyrox)]
    assert kinds.count("alert.dead") == kinds.count("alert.revived") == 1


def test_revive_into_a_full_queue_says_that_the_alert_is_only_stored_contract_49(
    on_sqlite: Vyrox,
) -> None:
    enqueue(on_sqlite, alert(), alert(), alert(), alert())
    _finish_two_and_give_up_one(on_sqlite)

    printed = succeeded(
        on_sqlite("queue", "dead", "revive", "acme", "--json", env={"QUEUE_MAX_ALERTS": "1"})
    )

    assert [one["status"] for one in msgspec.json.decode(printed)] == ["stored"]


def shown_events(vyrox: Vyrox) -> list[dict[str, object]]:
    printed = succeeded(vyrox("audit", "events", "--tenant", "acme", "--json"))
    return [msgspec.json.decode(line) for line in printed.splitlines()]


def test_stats_of_nothing_is_an_empty_array(on_sqlite: Vyrox) -> None:
    assert succeeded(on_sqlite.migrated()("queue", "stats", "--json")) == "[]\n"


def test_stats_shows_what_redis_has_lost(on_sqlite: Vyrox, redis_url: str) -> None:
    enqueue(on_sqlite, alert(), alert())

    async def empty() -> None:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            await client.flushall()

    asyncio.run(empty())

    assert columns(on_sqlite("queue", "stats")) == [["acme", "0", "2", "0", "0", "0"]]


def test_quarantine_list_keeps_the_same_bytes_once_contract_16(vyrox: Vyrox) -> None:
    quarantine(vyrox, GOOD, at=NOW)
    quarantine(vyrox, OTHER_FIELDS, at=NOW + 1)
    quarantine(vyrox, GOOD, at=NOW + 2)
    quarantine(vyrox, GOOD, at=NOW + 3)
    quarantine(vyrox, GOOD, tenant_id="beta")

    first, second = listed(vyrox)

    assert first == Kept(
        id=first.id,
        tenant_id="acme",
        source="generic",
        reason="the tenant has no field map",
        size_bytes=len(GOOD),
        deliveries=3,
        first_received_at=NOW,
        last_received_at=NOW + 3,
        replayed_at=None,
        alert_id=None,
        dismissed_at=None,
        only_counted=False,
    )
    assert (second.deliveries, second.size_bytes) == (1, len(OTHER_FIELDS))
    assert len({first.id, second.id, *(kept.id for kept in listed(vyrox, "beta"))}) == 3


def test_quarantine_list_table_has_a_line_for_each_payload(on_sqlite: Vyrox) -> None:
    quarantine(on_sqlite, GOOD)
    [kept] = listed(on_sqlite)

    [row] = columns(on_sqlite("queue", "quarantine", "list", "acme"))
    received = "2023-11-14 22:13:20"
    assert row[:4] == ["waiting", "generic", "the tenant has no field map", "1"]
    assert row[4:] == [received, received, str(len(GOOD)), "-", kept.id]


def test_quarantine_list_of_nothing_is_an_empty_array(alone: Vyrox) -> None:
    succeeded(alone("tenant", "add", "acme", "--vendor", "generic"))
    assert succeeded(alone("queue", "quarantine", "list", "acme", "--json")) == "[]\n"
    assert columns(alone("queue", "quarantine", "list", "acme")) == []


def test_quarantine_show_prints_the_reason_and_the_body(vyrox: Vyrox) -> None:
    quarantine(vyrox, GOOD, at=NOW)
    quarantine(vyrox, OTHER_FIELDS, at=NOW + 1)
    first, second = listed(vyrox)

    assert shown(vyrox) == [Shown(first, GOOD.decode()), Shown(second, OTHER_FIELDS.decode())]
    assert shown(vyrox, second.id) == [Shown(second, OTHER_FIELDS.decode())]
    assert succeeded(vyrox("queue", "quarantine", "show", "acme", first.id)).splitlines() == [
        f"{first.id}  the tenant has no field map",
        GOOD.decode(),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(HOSTILE.encode(), id="hostile_text"),
        pytest.param(bytes(range(256)), id="every_byte"),
        pytest.param(b'"\xed\xa0\x80\xff\xfe"', id="no_utf_8"),
        pytest.param(b"", id="empty"),
    ],
)
def test_quarantine_show_lets_no_body_drive_the_terminal(on_sqlite: Vyrox, raw: bytes) -> None:
    on_sqlite.write(keep, [Unreadable("acme", "generic", raw, HOSTILE, NOW)], 1 << 30)

    assert drives_no_terminal(succeeded(on_sqlite("queue", "quarantine", "show", "acme")))
    assert drives_no_terminal(succeeded(on_sqlite("queue", "quarantine", "list", "acme")))
    for command in ("show", "list"):
        printed = succeeded(on_sqlite("queue", "quarantine", command, "acme", "--json"))
        assert drives_no_terminal(printed)
    [one] = shown(on_sqlite)
    assert one.quarantined.reason == HOSTILE
    assert one.raw == raw.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("command", ["show", "replay"])
def test_quarantine_ids_of_nobody_are_refused_before_anything_is_done(
    vyrox: Vyrox, command: str
) -> None:
    onboard(vyrox, FIELD_MAP)
    quarantine(vyrox, GOOD)
    quarantine(vyrox, GOOD, tenant_id="beta")
    [own], [others] = listed(vyrox), listed(vyrox, "beta")

    for unknown in ("no-such-id", others.id):
        line = refused(vyrox("queue", "quarantine", command, "acme", own.id, unknown))
        assert line.startswith(f"acme has no quarantined payload {unknown}; see: vyrox queue")

    assert listed(vyrox) == [own]
    assert peeked(vyrox) == []


def test_replay_through_a_changed_field_map_queues_the_alert_contract_16(vyrox: Vyrox) -> None:
    quarantine(vyrox, OTHER_FIELDS)
    [kept] = listed(vyrox)

    assert replay(vyrox) == [Replayed(kept.id, "refused", None, "the tenant has no field map")]
    onboard(vyrox, FIELD_MAP)
    [refusal] = replay(vyrox)
    assert refusal.status == "refused"
    assert "raw_id" in (refusal.reason or "")
    assert listed(vyrox) == [msgspec.structs.replace(kept, reason=refusal.reason)]
    assert peeked(vyrox) == []

    onboard(vyrox, FIELD_MAP | {"raw_id": "event.id"})
    [done] = replay(vyrox)

    assert (done.id, done.status, done.reason) == (kept.id, "queued", None)
    [queued] = peeked(vyrox)
    assert queued == NormalizedAlert(
        id=done.alert_id or "",
        tenant_id="acme",
        source="generic",
        raw_id="evt:2",
        timestamp=NOW,
        hostname="workstation-02",
        vendor_severity="LOW",
        severity="low",
    )
    assert listed(vyrox) == []
    [replayed] = listed(vyrox, "acme", "--all")
    assert replayed.alert_id == done.alert_id
    assert replayed.replayed_at is not None
    assert replay(vyrox) == []


def test_replay_reads_what_an_earlier_version_refused_contract_44(on_sqlite: Vyrox) -> None:
    onboard(on_sqlite, FIELD_MAP)
    raw = GOOD.replace(b"{", rb'{"unread":"\ud83d",', 1)
    quarantine(on_sqlite, raw)

    [done] = replay(on_sqlite)

    assert done.status == "queued"
    [queued] = peeked(on_sqlite)
    assert queued.notes == ("1 x lone UTF-16 surrogate replaced by U+FFFD",)


def test_replay_table_has_a_line_for_each_payload_and_exits_with_1_if_one_is_refused(
    on_sqlite: Vyrox,
) -> None:
    onboard(on_sqlite, FIELD_MAP)
    quarantine(on_sqlite, GOOD, at=NOW)
    quarantine(on_sqlite, OTHER_FIELDS, at=NOW + 1)
    good, other = listed(on_sqlite)

    result = on_sqlite("queue", "quarantine", "replay", "acme")

    assert result.exit_code == 1
    assert result.stderr == ""
    rows = [(row["ID"], row["STATUS"]) for row in rows_of(result.stdout)]
    assert rows == [(good.id, "queued"), (other.id, "refused")]
    assert [kept.id for kept in listed(on_sqlite)] == [other.id]
    assert [queued.raw_id for queued in peeked(on_sqlite)] == ["evt:1"]


def test_replay_of_an_id_leaves_the_others(on_sqlite: Vyrox) -> None:
    onboard(on_sqlite, FIELD_MAP)
    quarantine(on_sqlite, GOOD, at=NOW)
    quarantine(on_sqlite, GOOD + b" ", at=NOW + 1)
    first, second = listed(on_sqlite)

    assert [one.id for one in replay(on_sqlite, second.id)] == [second.id]
    assert listed(on_sqlite) == [first]


def test_replay_twice_queues_one_alert_contract_14(vyrox: Vyrox) -> None:
    onboard(vyrox, FIELD_MAP)
    quarantine(vyrox, GOOD)
    [kept] = listed(vyrox)

    [first] = replay(vyrox, kept.id)
    [second] = replay(vyrox, kept.id)

    assert first.alert_id == second.alert_id
    assert [queued.id for queued in peeked(vyrox)] == [first.alert_id]


def test_replay_of_bytes_that_arrive_again_finds_them_in_quarantine_again(
    on_sqlite: Vyrox,
) -> None:
    onboard(on_sqlite, FIELD_MAP)
    quarantine(on_sqlite, GOOD)
    [first] = replay(on_sqlite)
    quarantine(on_sqlite, GOOD)

    [again] = listed(on_sqlite)
    assert (again.deliveries, again.alert_id) == (2, first.alert_id)
    assert [one.alert_id for one in replay(on_sqlite)] == [first.alert_id]
    assert len(peeked(on_sqlite)) == 1


def test_replay_into_a_full_queue_says_that_the_alert_is_only_stored(on_sqlite: Vyrox) -> None:
    onboard(on_sqlite, FIELD_MAP)
    waiting = alert()
    enqueue(on_sqlite, waiting)
    quarantine(on_sqlite, GOOD)

    [one] = replay(on_sqlite, env={"QUEUE_MAX_ALERTS": "1"})

    assert one.status == "stored"
    assert peeked(on_sqlite) == [waiting]
    assert columns(on_sqlite("queue", "stats")) == [["acme", "1", "2", "0", "0", "0"]]


def test_replay_of_an_alert_that_was_finished_does_not_queue_it_again(on_sqlite: Vyrox) -> None:
    onboard(on_sqlite, FIELD_MAP)
    quarantine(on_sqlite, GOOD)
    [kept] = listed(on_sqlite)
    [first] = replay(on_sqlite, kept.id)
    _finish_two_and_give_up_one(on_sqlite)

    [second] = replay(on_sqlite, kept.id)

    assert second.alert_id == first.alert_id
    assert peeked(on_sqlite) == []


def test_replay_alone_keeps_the_alert_for_the_next_service(alone: Vyrox) -> None:
    onboard(alone, FIELD_MAP)
    quarantine(alone, GOOD)

    [one] = replay(alone)

    assert [queued.id for queued in peeked(alone)] == [one.alert_id]


@pytest.mark.parametrize("source", ["crowdstrike", "sentinelone", "defender"])
def test_replay_goes_through_the_adapter_of_the_source(on_sqlite: Vyrox, source: Vendor) -> None:
    bodies = {
        "crowdstrike": b'{"customer_id":"acme","detect_id":"evt:9"}',
        "sentinelone": b'{"accountId":"acme","id":"evt:9"}',
        "defender": b'{"tenantId":"acme","id":"evt:9"}',
    }
    quarantine(on_sqlite, bodies[source], source=source)

    [one] = replay(on_sqlite)

    assert one.status == "queued"
    assert [(queued.source, queued.raw_id) for queued in peeked(on_sqlite)] == [(source, "evt:9")]


def test_commands_say_that_redis_is_away_and_lose_nothing(on_sqlite: Vyrox) -> None:
    onboard(on_sqlite, FIELD_MAP)
    quarantine(on_sqlite, GOOD)
    away = {"REDIS_URL": "redis://:canary-password@127.0.0.1:1"}

    for args in (["peek", "acme"], ["quarantine", "replay", "acme"]):
        line = refused(on_sqlite("queue", *args, env=away))
        assert line.startswith("Redis is unavailable: ")
        assert "canary" not in line

    # Its row is there, and a running service would queue it.
    assert columns(on_sqlite("queue", "stats")) == [["acme", "0", "1", "0", "0", "0"]]


async def test_quarantine_is_replayed_beside_a_running_service_contract_16(data_dir: Path) -> None:
    alone = Vyrox(data_dir)
    await asyncio.to_thread(onboard, alone, FIELD_MAP)
    rotate = ("tenant", "rotate", "acme", "--secret-stdin")
    succeeded(await asyncio.to_thread(alone, *rotate, stdin=SECRET.encode()))
    async with (
        patient_service(data_dir) as service,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):

        async def send(body: bytes) -> httpx.Response:
            headers = {"x-vyrox-signature": sign(body, SECRET)}
            return await client.post("/webhook/generic/acme", content=body, headers=headers)

        accepted = await send(GOOD)
        assert accepted.status_code == 202
        assert (await send(OTHER_FIELDS)).status_code == 422
        assert (await send(OTHER_FIELDS)).status_code == 422
        [kept] = await asyncio.to_thread(listed, alone)
        assert kept.deliveries == 2

        await asyncio.to_thread(onboard, alone, FIELD_MAP | {"raw_id": "event.id"})
        [one] = await asyncio.to_thread(replay, alone)

        queued = [one.id for one in await asyncio.to_thread(peeked, alone)]
        assert queued == [accepted.json()["alert_id"], one.alert_id]
        # The service's Valkey is left running, and the next alert goes into it.
        stats = await asyncio.to_thread(alone, "queue", "stats")
        assert columns(stats) == [["acme", "2", "2", "0", "0", "0"]]
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0


def test_dismiss_counts_what_was_dismissed_before(on_sqlite: Vyrox) -> None:
    quarantine(on_sqlite, OTHER_FIELDS)
    [kept] = listed(on_sqlite)
    dismiss = ("queue", "quarantine", "dismiss", "acme", kept.id)
    assert succeeded(on_sqlite(*dismiss)) == "1 dismissed\n"
    assert succeeded(on_sqlite(*dismiss)) == "0 dismissed; 1 was already\n"
    changes = [event["change"] for event in shown_events(on_sqlite)]
    assert changes == ["quarantine: 1 dismissed"]


def test_quarantine_replay_reads_a_vendors_own_form_contract_71(vyrox: Vyrox) -> None:
    """And checks whose it is again: a replay must not make it another tenant's."""
    epp = msgspec.json.encode(payloads.EPP)
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "crowdstrike"))
    bound = ["--vendor", "crowdstrike", "--vendor-id", payloads.CID]
    succeeded(vyrox("tenant", "add", "owner", *bound))
    quarantine(vyrox, epp, source="crowdstrike")
    quarantine(vyrox, msgspec.json.encode(payloads.AUDIT), source="crowdstrike", at=NOW + 1)
    assert [row.reason for row in replay(vyrox)] == [
        "the payload names a customer id of another tenant",
        "the payload names a customer id of another tenant",
    ]
    succeeded(vyrox("tenant", "set", "owner", "--vendor", "crowdstrike", "--vendor-id", ""))
    accepted, ignored = replay(vyrox)
    assert ignored.reason == "UserActivityAuditEvent is not a detection"
    [queued] = peeked(vyrox)
    assert (queued.id, queued.raw_id) == (accepted.alert_id, payloads.COMPOSITE)


def test_quarantine_replay_routes_to_a_child_contract_71(vyrox: Vyrox) -> None:
    bound = ["--vendor", "crowdstrike", "--vendor-id", payloads.CID]
    succeeded(vyrox("tenant", "add", "child", *bound))
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "crowdstrike", "--routes-to", "child"))
    quarantine(vyrox, msgspec.json.encode(payloads.EPP), source="crowdstrike")
    [accepted] = replay(vyrox)
    assert peeked(vyrox) == []
    assert [queued.id for queued in peeked(vyrox, "child")] == [accepted.alert_id]


def test_quarantine_replay_finds_the_customer_of_a_wrapped_alert_contract_71(vyrox: Vyrox) -> None:
    bound = ["--vendor", "defender", "--vendor-id", payloads.ENTRA]
    succeeded(vyrox("tenant", "add", "owner", *bound))
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "defender"))
    for wrapped in ({"value": [payloads.MDE]}, [payloads.MDE], {"alert": payloads.MDE}):
        quarantine(vyrox, msgspec.json.encode(wrapped), source="defender")
    reasons = {refused.reason for refused in replay(vyrox)}
    assert reasons == {"the payload names a customer id of another tenant"}
    assert peeked(vyrox) == []
