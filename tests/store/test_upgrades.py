"""Every earlier schema with rows in it becomes the present one, and all of it works (contract 104).

One database is taken through all migrations, and at each of them a row goes into every table that
has a new form. So the rows of each earlier version go through all migrations that follow it.
"""

import asyncio
import inspect
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests.approvals.story import proposal
from tests.audit import TENANT, action
from tests.cli import Vyrox, succeeded
from tests.ingestion import SECRET, webhook
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S
from vyrox.chain.events import event
from vyrox.chain.live import verify_tenant
from vyrox.chain.verify import Report
from vyrox.chain.writer import append
from vyrox.store import database as store_database
from vyrox.store.backups import making, restoring
from vyrox.store.backups.facts import count_readable, read_facts
from vyrox.store.database import Database, open_database, opened_as_it_is
from vyrox.store.indexes import SCHEMA
from vyrox.store.version import HEAD

pytestmark = pytest.mark.long

THEN: Final = 1_760_000_000
"""When the rows were written: October 2025."""

LATER: Final = 4_000_000_000.0
"""When what waits in them is due: not while a test runs."""

ENDED: Final = "console_sessions"
"""0021 ends them: people sign in again."""

BACKED_UP: Final = ("0019", "0030")
"""Schemas at which a backup is made, and restored with this version."""

Row = dict[str, object]


@pytest.fixture(autouse=True)
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_database, "_connect", inspect.unwrap(store_database._connect))


@pytest.fixture
def database_url(empty_database_url: str | None) -> str | None:
    return empty_database_url


def config_of(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "vyrox.store:migrations")
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    scripts = ScriptDirectory.from_config(config_of()).walk_revisions()
    return [script.revision for script in scripts][::-1]


def forms(connection: Connection) -> dict[str, frozenset[str]]:
    """Return the columns of each table."""
    inspector = sa.inspect(connection)
    names = set(inspector.get_table_names()) - {"alembic_version", "heartbeat", "audit_identity"}
    return {
        name: frozenset(column["name"] for column in inspector.get_columns(name)) for name in names
    }


class Recorder:
    """Takes a database through the migrations, and writes rows on the way.

    Attributes:
        written: How many rows each table has got.
    """

    def __init__(self, vault: MultiFernet) -> None:
        self._vault = vault
        self._forms: dict[str, frozenset[str]] = {}
        self.written: dict[str, int] = {}

    def step(self, connection: Connection, revision: str) -> None:
        """Migrate to `revision`, and write a row to each table that is new or has new columns."""
        if not connection.in_transaction():
            connection.begin()  # as `schema.migrate`
        command.upgrade(config_of(connection), revision)
        present = forms(connection)
        for name in sorted(present):
            if name == "audit_log":
                self._append(connection, revision)
            elif name in MADE or present[name] == self._forms.get(name):
                continue
            else:
                self._insert(connection, name, revision)
        self._forms = present

    def _append(self, connection: Connection, revision: str) -> None:
        accepted = event("alert.accepted", TENANT, None, alert_id=revision)
        append(connection, [action(f"host-{revision}"), accepted], THEN + int(revision))
        self.written["audit_log"] = self.written.get("audit_log", 0) + 2

    def _insert(self, connection: Connection, name: str, revision: str) -> None:
        table = sa.Table(name, sa.MetaData(), autoload_with=connection)
        values = {each.name: self._value(name, each, revision) for each in table.columns}
        connection.execute(table.insert().values(values))
        self.written[name] = self.written.get(name, 0) + 1

    def _value(self, table: str, column: sa.Column[object], revision: str) -> object:
        special = self._special(revision)
        if (table, column.name) in special:
            return special[table, column.name]
        if column.name == "tenant_id":
            return TENANT
        if column.nullable and not column.primary_key:
            return None
        if column.name in {"next_at", "expires_at", "lease_until", "ends_at", "until_at", "due_at"}:
            return LATER
        if isinstance(column.type, sa.Boolean):
            return False
        if isinstance(column.type, sa.Float):
            return float(THEN)
        if isinstance(column.type, sa.Integer):
            return int(revision)
        text = f"{column.name}-{revision}"
        return text.encode() if isinstance(column.type, sa.LargeBinary) else text

    def _special(self, revision: str) -> Mapping[tuple[str, str], object]:
        secret = self._vault.encrypt(SECRET.encode()).decode()
        number = int(revision)
        tenant_id = TENANT if revision == "0001" else f"tenant-{revision}"
        return {
            ("alerts", "id"): str(uuid.UUID(int=number)),
            ("alerts", "source"): "crowdstrike",
            ("alerts", "severity"): "high",
            ("alerts", "raw"): b"{}",
            ("alerts", "alert"): alert(number),
            ("tenant_credentials", "tenant_id"): tenant_id,
            ("tenant_credentials", "vendor"): "crowdstrike",
            ("tenant_credentials", "secret"): secret,
            ("tenant_credentials", "kept_secret"): secret,
            ("edr_credentials", "tenant_id"): tenant_id,
            ("edr_credentials", "vendor"): "crowdstrike",
            ("edr_credentials", "secret"): secret,
            ("edr_credentials", "base_url"): "https://api.crowdstrike.com",
            ("guard_rails", "tenant_id"): tenant_id,
            ("guard_rails", "never_contain"): "[]",
            ("guard_rails", "other_hosts"): "refuse",
            ("guard_rails", "propose"): "off",
            ("notify_targets", "url"): self._vault.encrypt(b"https://example.com/").decode(),
            ("notify_targets", "secret"): secret,
            ("notify_targets", "format"): "vyrox",
            ("notify_targets", "min_band"): "urgent",
            ("audit_readers", "secret"): secret,
            ("incidents", "status"): "closed",
            ("incidents", "band"): "review",
            ("incidents", "story"): b"{}",
            ("verdicts", "verdict"): b"{}",
            ("claims", "state"): "done",
            ("confirmations", "execution"): b"{}",
            ("confirmations", "target"): "contained",
            ("proposals", "state"): "rejected",
            ("proposals", "text"): json.dumps(proposal(id=revision)).encode(),
            ("proposals", "place"): b"{}",
            ("console_links", "tenants"): "[]",
            ("quarantine_totals", "tenant_id"): tenant_id,
            ("quarantine", "source"): "crowdstrike",
            ("quarantine", "reason"): "not_json",
            ("totals_places", "sequence"): 0,
            ("audit_tree", "level"): 32,
            ("containers", "seen_at"): 0.0,
        }


MADE: Final = frozenset({"archived_hashes", "audit_archives", "checkpoint_keys"})
"""Tables whose rows belong to what the chains say; the tests of archives and keys write them."""


def alert(number: int) -> bytes:
    """Return an alert as the first version stored it: every later member is absent."""
    return json.dumps(
        {
            "id": str(uuid.UUID(int=number)),
            "tenant_id": TENANT,
            "source": "crowdstrike",
            "raw_id": f"ldt:{number}",
            "timestamp": float(THEN),
            "hostname": f"host-{number}",
            "device_id": f"device-{number}",
            "severity": "high",
        }
    ).encode()


async def test_rows_of_every_earlier_schema_are_there_after_the_upgrade_contract_104(
    database_url: str | None, data_dir: Path, valkey_url: str, tmp_path: Path
) -> None:
    key = Fernet.generate_key()
    vault = MultiFernet([Fernet(key)])
    recorder = Recorder(vault)
    kept: dict[str, dict[str, int]] = {}
    async with opened_as_it_is(database_url, data_dir) as database:
        for revision in revisions():
            await database.write(recorder.step, revision, timeout_s=60.0)
            if database_url is None and revision in BACKED_UP:
                contents = making.Contents(vault=vault, keys={}, others={})
                manifest = making.back_up_sqlite(data_dir, tmp_path / revision, contents, 0.0)
                assert manifest.facts.schema == revision
                assert manifest.readable == manifest.facts.secrets > 0
                kept[revision] = dict(recorder.written)
    async with open_database(database_url, data_dir) as database:
        await check(database, vault, recorder.written)
    for revision, written in kept.items():
        restored = tmp_path / f"restored-{revision}"
        await restoring.restore_sqlite(
            tmp_path / revision,
            restored,
            restoring.Plan(keys=[key.decode()], finish=()),
        )
        async with open_database(None, restored) as database:
            await check(database, vault, written)
    settings = {"VYROX_ENCRYPTION_KEY": key.decode(), "REDIS_URL": valkey_url}
    await serves(database_url, data_dir, settings)


async def check(database: Database, vault: MultiFernet, written: Mapping[str, int]) -> None:
    """Check that nothing is lost, that the chains verify, and that secrets can be read."""
    facts = await database.read(read_facts)
    assert facts.schema == HEAD
    found = {name: facts.tables.get(name, 0) for name in written.keys() - {ENDED}}
    assert {name: count for name, count in found.items() if count < written[name]} == {}
    assert await database.read(differences) == []
    assert await database.read(count_readable, vault) == facts.secrets > 0
    for stream, report in (await verify_tenant(database, TENANT)).items():
        assert isinstance(report, Report), (stream, report)
        assert report.entries == written["audit_log"] // 2


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), SCHEMA))


async def serves(database_url: str | None, data_dir: Path, settings: Mapping[str, str]) -> None:
    """Check that people see what is there, and that a service accepts what an old tenant signs."""
    env = dict(settings) if database_url is None else {**settings, "DATABASE_URL": database_url}
    vyrox = Vyrox(data_dir)
    vyrox.env |= env
    for command_line, rows in (
        (("alert", "list", TENANT), 3),
        (("tenant", "list"), 5),
        (("queue", "quarantine", "list", TENANT), 2),
        (("incident", "list", TENANT), 1),
        (("audit", "events", TENANT), 1),
    ):
        printed = await asyncio.to_thread(vyrox, *command_line)
        assert len(succeeded(printed).splitlines()) > rows, printed.output
    service_of = patient_service(data_dir, **env, TRIAGE_ENABLED="true")
    async with service_of as service, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        sent = webhook("crowdstrike")
        url = f"{service.ingestion_url}{sent.path}"
        answer = await client.post(url, headers=sent.headers, content=sent.body)
        assert answer.status_code == 202, answer.text
        health = await client.get(f"{service.ingestion_url}/health")
        assert health.status_code == 200, health.text
