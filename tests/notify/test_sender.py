"""The outbox and the sender: at least once, retried, dead after a day (contract 58)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, Clock, events, running_writer
from tests.notify.receiver import Received, Receiver, receiving
from tests.notify.samples import SECRET, announcement
from vyrox import log
from vyrox.errors import OperatorError
from vyrox.notify import delivery, targets
from vyrox.notify.channels import Channels
from vyrox.notify.delivery import (
    CLAIM_S,
    DEAD_AFTER_S,
    Attempt,
    Due,
    claim_due,
    delete_old,
    retry_at,
    settle,
)
from vyrox.notify.messages import Band, Digest, Opened
from vyrox.notify.outbox import HOUR_S, enqueue, tell
from vyrox.notify.sender import MAX_PER_TARGET, Sender
from vyrox.notify.targets import Format, Target
from vyrox.notify.webhook import Webhooks, open_webhooks
from vyrox.store.database import Database
from vyrox.store.tables import notifications, notify_targets

VAULT: Final = MultiFernet([Fernet(Fernet.generate_key())])
PATH: Final = "/CANARY-PATH"
HOUR: Final = NOW // HOUR_S * HOUR_S


class Site:
    """A database with targets, a receiver, a clock to set, and senders."""

    def __init__(self, database: Database, receiver: Receiver) -> None:
        self.database = database
        self.receiver = receiver
        self.clock = Clock()
        self.senders: list[Sender] = []

    @property
    def sender(self) -> Sender:
        return self.senders[0]

    async def add(
        self, min_band: Band = "review", form: Format = "vyrox", tenant_id: str = TENANT
    ) -> str:
        """Add the receiver as a target, and return the target's id."""
        sealed = targets.seal(VAULT, tenant_id, self.receiver.url + PATH, SECRET)
        shown = ("127.0.0.1", form, min_band)
        await self.database.write(targets.add_target, sealed, shown, self.clock())
        return sealed.id

    async def add_channel(self, url: str) -> None:
        sealed = targets.seal(VAULT, TENANT, url, "")
        shown: tuple[str, Format, Band] = ("ntfy", "apprise", "review")
        await self.database.write(targets.add_target, sealed, shown, self.clock())

    async def announce(
        self,
        incident: int = 7,
        band: Band = "urgent",
        key: str | None = None,
        per_hour: int = 30,
        tenant_id: str = TENANT,
    ) -> int:
        def transaction(connection: Connection) -> int:
            message = announcement(incident=incident, band=band)
            return enqueue(
                connection,
                tenant_id,
                incident,
                band,
                message,
                self.clock(),
                key=key,
                per_hour=per_hour,
            )

        return await self.database.write(transaction)

    async def send(self) -> list[Received]:
        """Send what is due, and return what was received by that."""
        before = count = len(self.receiver.received)
        while True:
            await self.send_some()
            if count == (count := len(self.receiver.received)):
                return self.receiver.received[before:]

    async def send_some(self) -> None:
        """Send what one run of the sender begins."""
        await self.sender.run()
        await settled(self.sender)

    async def row(self) -> sa.Row[tuple[object, ...]]:
        [row] = await self.rows()
        return row

    async def rows(self) -> list[sa.Row[tuple[object, ...]]]:
        query = sa.select(notifications).order_by(notifications.c.created_at)
        return await self.database.read(lambda connection: list(connection.execute(query)))


async def settled(sender: Sender) -> None:
    """Wait until nothing is in flight."""
    while sender._sending:
        await asyncio.wait(sender._sending)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with (
        receiving() as receiver,
        running_writer(database) as writer,
        open_webhooks(frozenset({"127.0.0.1"})) as webhooks,
    ):
        made = Site(database, receiver)
        for _ in range(2):
            made.senders.append(
                Sender(
                    database,
                    writer,
                    VAULT,
                    webhooks,
                    Channels(frozenset({"127.0.0.1"}), "https://console.example.com"),
                    lease_time=made.clock,
                    wall=made.clock,
                    jitter=lambda: 1.0,
                )
            )
        yield made
        for sender in made.senders:
            await sender.drain()


async def test_announcement_reaches_each_target_that_wants_it_contract_58(site: Site) -> None:
    await site.add("review", "vyrox")
    await site.add("urgent", "ocsf")
    await site.add("review", tenant_id="initech")
    assert await site.announce(1, "review") == 1
    assert await site.announce(2, "urgent") == 2
    assert await site.announce(3, "close") == 0
    assert await site.announce(4, tenant_id="umbrella") == 0
    bodies = [msgspec.json.decode(request.body) for request in await site.send()]
    assert {body.get("incident") for body in bodies if "type" in body} == {1, 2}
    assert [body["class_uid"] for body in bodies if "class_uid" in body] == [2004]
    assert [row.next_at for row in await site.rows()] == [None] * 3
    assert await site.send() == []


async def test_notice_reaches_every_target_of_the_tenant_once_contract_69(site: Site) -> None:
    await site.add("urgent", "vyrox")
    await site.add("review", "ocsf")
    await site.add("review", tenant_id="initech")

    def transaction(connection: Connection) -> int:
        return tell(connection, TENANT, "lease.ending", "ws\u202e-01 ends", "/approvals/p", NOW)

    assert await site.database.write(transaction) == 2
    assert await site.database.write(transaction) == 0
    bodies = [msgspec.json.decode(request.body) for request in await site.send()]
    [own] = [body for body in bodies if "class_uid" not in body]
    assert own == {
        "type": "notice",
        "tenant_id": TENANT,
        "kind": "lease.ending",
        "at": NOW,
        "text": "ws-01 ends",
        "link": "/approvals/p",
    }
    [finding] = [body for body in bodies if "class_uid" in body]
    assert (finding["message"], finding["unmapped"]["link"]) == ("ws-01 ends", "/approvals/p")


async def test_channel_gets_a_short_text_with_a_link_contract_69(site: Site) -> None:
    site.receiver.behaviours.append(503)
    await site.add_channel(site.receiver.url.replace("http", "ntfy") + "/on-call")
    await site.announce()
    assert len(await site.send()) == 1
    assert "HTTP 503" in str((await site.row()).last_error)
    site.clock.now += 5
    [request] = await site.send()
    sent = msgspec.json.decode(request.body)
    assert (sent["topic"], sent["title"]) == (
        "on-call",
        "Vyrox, urgent: LSASS memory read on ws-01",
    )
    assert sent["message"].splitlines() == [
        "Incident acme-corp-7, score 92, 8 alerts, open",
        "Suggested: HOST＿ISOLATION of ws-01: live intrusion: credentials",  # noqa: RUF001
        "https://console.example.com/",
    ]
    assert (await site.row()).sent_at == NOW + 5


async def test_channel_that_never_answers_is_ended_with_the_service_contract_69(
    site: Site,
) -> None:
    site.receiver.behaviours.append("hang")
    await site.add_channel(site.receiver.url.replace("http", "ntfy") + "/on-call")
    await site.announce()
    await site.sender.run()
    await received(site.receiver, 1)
    await site.sender.drain()
    row = await site.row()
    assert row.next_at is not None
    assert "ended without a result" in str(row.last_error)


async def test_channel_has_one_message_at_a_time_contract_69(site: Site) -> None:
    """Two that hang would take both places from every other channel."""
    await site.add_channel("ntfy://127.0.0.1/on-call")
    for incident in range(3):
        await site.announce(incident)
    assert len(await site.database.write(claim_due, NOW, 10, MAX_PER_TARGET, ())) == 1


async def test_same_announcement_is_one_row_contract_58(site: Site) -> None:
    await site.add()
    assert await site.announce(key="1") == 1
    assert await site.announce(key="1") == 0
    assert await site.announce(key="2") == 1
    assert await site.announce() == 1
    assert await site.announce() == 0
    assert len({request.id for request in await site.send()}) == 3


async def test_rolled_back_announcement_is_not_sent_contract_58(site: Site) -> None:
    await site.add()

    def transaction(connection: Connection) -> None:
        enqueue(connection, TENANT, 7, "urgent", announcement(), NOW)
        raise LookupError

    with pytest.raises(LookupError):
        await site.database.write(transaction)
    assert await site.send() == []


async def test_failure_is_retried_with_the_same_id_contract_58(site: Site) -> None:
    await site.add()
    await site.announce()
    site.receiver.behaviours.extend([500, 503])
    assert len(await site.send()) == 1
    assert (await site.row()).last_error == "the receiver responded with HTTP 500"
    assert await site.send() == []  # not due yet
    for wait_s in (5, 10):
        site.clock.now += wait_s
        assert len(await site.send()) == 1
    row = await site.row()
    assert (row.sent_at, row.next_at, row.attempts) == (NOW + 15, None, 3)
    assert site.receiver.ids == [row.id] * 3
    times = [int(request.headers["webhook-timestamp"]) for request in site.receiver.received]
    assert times == [int(NOW), int(NOW + 5), int(NOW + 15)]


async def test_back_off_doubles_up_to_an_hour_contract_58() -> None:
    def after(attempts: int, jitter: float, age_s: float = 0.0) -> float | None:
        due = Due("", TENANT, "", 1, b"", NOW - age_s, attempts, NOW, "vyrox", "", "", False)
        found = retry_at(due, NOW, jitter)
        return None if found is None else found - NOW

    assert [after(n, 1.0) for n in (1, 2, 3, 10, 11, 1000)] == [5, 10, 20, 2560, 3600, 3600]
    assert after(1, 0.0) == 2.5
    assert after(1, 1.0, DEAD_AFTER_S - 1) == 5
    assert after(1, 1.0, DEAD_AFTER_S) is None


async def test_dead_after_a_day_and_visible_contract_58(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    target = await site.add()
    await site.announce()
    attempts = 0
    while (await site.row()).next_at is not None:
        site.receiver.behaviours.append(500)
        site.clock.now = max(site.clock.now, (await site.row()).next_at)
        attempts += len(await site.send())
    assert DEAD_AFTER_S <= site.clock.now - NOW < DEAD_AFTER_S + HOUR_S
    assert attempts in range(30, 40)
    [listed] = await site.database.read(targets.list_targets, TENANT)
    expected = (0, 1, "the receiver responded with HTTP 500")
    assert (listed.waiting, listed.dead, listed.last_error) == expected
    [dead] = await events(site.database, kind="notify.dead")
    assert dead["target"] == target
    assert (dead["incident"], dead["attempts"]) == (7, attempts)
    assert caplog.messages.count("notify.dead") == 1
    site.clock.now += DEAD_AFTER_S
    assert await site.send() == []
    await delete_old(site.database, site.clock())
    assert await site.rows() == []


async def test_kill_after_sending_repeats_the_id_contract_58(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.add()
    await site.announce()
    deliver = Webhooks.deliver
    was_sent = asyncio.Event()

    async def deliver_and_die(*args: object) -> int:
        await deliver(*args)  # type: ignore[arg-type]
        was_sent.set()
        return await asyncio.Future()

    monkeypatch.setattr(Webhooks, "deliver", deliver_and_die)
    await site.sender.run()
    await was_sent.wait()
    for task in list(site.sender._sending):
        task.cancel()
        await asyncio.wait([task])
    monkeypatch.setattr(Webhooks, "deliver", deliver)
    site.senders.reverse()  # another container
    assert await site.send() == []  # still claimed
    site.clock.now += CLAIM_S
    assert len(await site.send()) == 1
    assert len(site.receiver.received) == 2
    assert len(set(site.receiver.ids)) == 1
    assert (await site.row()).sent_at == NOW + CLAIM_S


async def test_several_containers_send_each_row_once_contract_58(site: Site) -> None:
    for _ in range(5):
        await site.add()
    for incident in range(4):
        await site.announce(incident)
    while any(row.next_at for row in await site.rows()):
        await asyncio.gather(*(sender.run() for sender in site.senders))
        for sender in site.senders:
            await settled(sender)
    assert len(site.receiver.ids) == len(set(site.receiver.ids)) == 20
    assert {row.attempts for row in await site.rows()} == {1}


async def test_slow_target_delays_no_other_contract_58(site: Site) -> None:
    await site.add()
    site.receiver.behaviours.extend(["hang"] * MAX_PER_TARGET)
    for incident in range(3 * MAX_PER_TARGET):
        await site.announce(incident)
    await site.sender.run()
    await received(site.receiver, MAX_PER_TARGET)
    await site.add(tenant_id="initech")
    await site.announce(tenant_id="initech")
    await site.sender.run()
    await received(site.receiver, MAX_PER_TARGET + 1)
    assert len(site.sender._sending) in {MAX_PER_TARGET, MAX_PER_TARGET + 1}
    for task in list(site.sender._sending):
        task.cancel()


async def test_backlog_of_a_target_delays_no_other_contract_58(site: Site) -> None:
    slow = await site.add()
    for incident in range(70):
        await site.announce(incident)
    await site.add(tenant_id="initech")
    await site.announce(tenant_id="initech")
    await site.send_some()
    sent = [row.target_id for row in await site.rows() if row.sent_at]
    assert sent.count(slow) == MAX_PER_TARGET
    assert len(sent) == MAX_PER_TARGET + 1


async def received(receiver: Receiver, count: int) -> None:
    """Wait until `count` requests have arrived."""
    enough = asyncio.Event()

    def check(_request: object) -> None:
        if len(receiver.received) >= count:
            enough.set()

    receiver.on_request = check
    check(None)
    async with asyncio.timeout(30):
        await enough.wait()


async def test_beyond_the_limit_of_an_hour_there_is_one_digest_contract_58(site: Site) -> None:
    site.clock.now = HOUR + 1
    await site.add()
    for incident in range(1, 6):
        await site.announce(incident, "review", per_hour=2)
        await site.announce(incident, "review", per_hour=2)
    await site.announce(9, "urgent", per_hour=2)
    first = [msgspec.json.decode(each.body, type=Opened) for each in await site.send()]
    assert sorted(message.incident for message in first) == [1, 2, 9]
    site.clock.now = HOUR + HOUR_S
    [request] = await site.send()
    digest = msgspec.json.decode(request.body, type=Digest)
    assert (digest.more, digest.incidents, digest.since) == (3, (3, 4, 5), HOUR)
    site.clock.now += 1
    assert await site.announce(10, "review", per_hour=2) == 1
    assert len(await site.send()) == 1


async def test_digest_that_fails_is_sent_again_unchanged_contract_58(site: Site) -> None:
    site.clock.now = HOUR + 1
    await site.add(form="ocsf")
    for incident in (1, 2):
        await site.announce(incident, "review", per_hour=1)
    await site.send()
    site.clock.now = HOUR + HOUR_S
    site.receiver.behaviours.append(500)
    [failed] = await site.send()
    site.clock.now += 5
    [again] = await site.send()
    assert (again.id, again.body) == (failed.id, failed.body)
    assert msgspec.json.decode(again.body)["message"] == "and 1 more incidents"


async def test_time_of_a_wrong_clock_delays_nothing_contract_58(site: Site) -> None:
    await site.add()
    site.clock.now = NOW + 400 * 86_400
    await site.announce()
    site.clock.now = NOW
    assert len(await site.send()) == 1


async def test_removed_target_gets_nothing_contract_58(site: Site) -> None:
    target = await site.add()
    other = await site.add()
    await site.announce()
    assert await site.database.write(targets.remove_target, TENANT, target, NOW) == 1
    assert len(await site.send()) == 1
    rows = {row.target_id: row for row in await site.rows()}
    assert (rows[target].dead_at, rows[target].last_error) == (NOW, "the target was removed")
    assert rows[other].sent_at == NOW
    # A row that was written while the target was being removed.
    await site.database.write(
        lambda connection: connection.execute(
            notifications.update()
            .where(notifications.c.target_id == target)
            .values(next_at=NOW, dead_at=None)
        )
    )
    assert await site.send() == []
    assert [row.next_at for row in await site.rows()] == [None, None]
    for tenant_id, unknown in ((TENANT, target), ("initech", other), (TENANT, "")):
        with pytest.raises(OperatorError, match=f"{tenant_id} has no target with this id"):
            await site.database.write(targets.remove_target, tenant_id, unknown, NOW)


async def test_target_is_shown_and_stored_without_its_secrets_contract_58(site: Site) -> None:
    await site.add("urgent", "ocsf")
    [listed] = await site.database.read(targets.list_targets, TENANT)
    assert listed == Target(listed.id, TENANT, "127.0.0.1", "ocsf", "urgent", NOW)
    rows = await site.database.read(
        lambda connection: connection.execute(sa.text("SELECT * FROM notify_targets")).all()
    )
    sealed = await site.database.read(targets.find_target, TENANT, listed.id)
    chain = await events(site.database, kind="notify.target_added")
    shown = repr((listed, rows, sealed, chain))
    assert "CANARY" not in shown
    assert SECRET not in shown
    assert sealed.open(VAULT) == (site.receiver.url + PATH, SECRET)


async def test_url_in_the_row_of_another_target_is_not_used_contract_58(site: Site) -> None:
    target, other = await site.add(), await site.add(tenant_id="initech")
    await site.announce(tenant_id="initech")
    foreign = await site.database.read(targets.find_target, TENANT, target)
    await site.database.write(
        lambda connection: connection.execute(
            notify_targets.update()
            .where(notify_targets.c.id == other)
            .values(url=foreign.url, secret=foreign.secret)
        )
    )
    assert await site.send() == []
    assert "cannot be decrypted" in str((await site.row()).last_error)


async def test_twenty_targets_are_enough_contract_58(site: Site) -> None:
    for _ in range(targets.MAX_TARGETS):
        await site.add()
    with pytest.raises(OperatorError, match="20 targets already"):
        await site.add()


async def test_log_names_target_and_reason_without_secrets_contract_58(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="vyrox")
    await site.add()
    await site.announce()
    site.receiver.behaviours.append(500)
    await site.send()
    site.clock.now += 5

    async def crash(*_: object) -> int:
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr(Webhooks, "deliver", crash)
        await site.send()
    site.clock.now += CLAIM_S
    await site.send()
    ours = [record for record in caplog.records if record.name == "vyrox"]
    lines = [log.JsonLines().format(record) for record in ours]
    names = [record.getMessage() for record in ours]
    failed = "notify.attempt_failed"
    assert names == [failed, "notify.failed", failed, "notify.sent"]
    assert [line for line in lines if "CANARY" in line or SECRET in line] == []


async def test_ending_service_begins_nothing_contract_58(site: Site) -> None:
    await site.add()
    await site.announce()
    await site.sender.drain()
    assert await site.send() == []


async def test_row_is_claimed_by_one_container_contract_58(site: Site) -> None:
    """Both have read that it is due."""
    await site.add()
    await site.announce()
    read = await site.database.write(claim_due, NOW, 1, 1, ())
    due = msgspec.structs.replace(read[0], next_at=NOW)
    assert await site.database.write(delivery._claim, due, NOW) is None
    row = await site.row()
    assert (row.next_at, row.attempts) == (NOW + CLAIM_S, 1)


async def test_late_failure_does_not_undo_a_delivery_contract_58(site: Site) -> None:
    """The first container's attempt took longer than its claim."""
    await site.add()
    await site.announce()
    [late] = await site.database.write(claim_due, NOW, 1, 1, ())
    site.clock.now += CLAIM_S
    await site.send()
    for retry in (site.clock() + 5, None):
        attempt = Attempt(late, site.clock(), "no response", retry)
        await site.database.write(settle, [attempt])
    row = await site.row()
    assert (row.sent_at, row.next_at, row.dead_at) == (NOW + CLAIM_S, None, None)
    assert await events(site.database, kind="notify.dead") == []
