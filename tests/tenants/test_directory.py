"""Which secrets are valid, and how a change reaches a running service (contract 8)."""

import asyncio
import logging
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.postgres import Postgres
from vyrox.errors import DatabaseUnavailableError, OperatorError
from vyrox.models import FieldMap, Vendor
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import encrypt_secret
from vyrox.store.tables import tenant_credentials
from vyrox.tenants.directory import Credentials, TenantDirectory
from vyrox.tenants.records import (
    TenantRow,
    add_tenant,
    field_map_of,
    list_tenants,
    rotate_tenant,
    set_field_map,
)
from vyrox.tenants.removal import remove_tenant
from vyrox.tenants.used import record_used

OLD_KEY = Fernet(Fernet.generate_key())
NEW_KEY = Fernet(Fernet.generate_key())
VAULT = MultiFernet([NEW_KEY])

DEFAULTS: Mapping[Vendor, bytes] = {"crowdstrike": b"default-c", "defender": b"default-d"}
FIELD_MAP = {"raw_id": "id", "hostname": "host", "vendor_severity": "level"}
NOW = 1_700_000_000.0
OVERLAP_S = 3600


def directory(
    database: Database, *, require_onboarding: bool = False, vault: MultiFernet = VAULT
) -> TenantDirectory:
    return TenantDirectory(database, vault, DEFAULTS, require_onboarding=require_onboarding)


async def refreshed(database: Database, vault: MultiFernet = VAULT) -> TenantDirectory:
    fresh = directory(database, vault=vault)
    await fresh.refresh()
    return fresh


async def add(
    database: Database,
    tenant_id: str,
    vendor: Vendor,
    secret: bytes,
    field_map: FieldMap | None = None,
    encrypted_by: Fernet = NEW_KEY,
) -> None:
    encrypted = encrypted_by.encrypt(secret).decode()
    await database.write(add_tenant, tenant_id, vendor, encrypted, field_map, NOW)


async def rotate(
    database: Database,
    tenant_id: str,
    vendor: Vendor,
    secret: bytes,
    now: float = NOW,
    *,
    force: bool = False,
) -> None:
    encrypted = NEW_KEY.encrypt(secret).decode()
    await database.write(rotate_tenant, tenant_id, vendor, encrypted, OVERLAP_S, now, force)


async def remove(database: Database, tenant_id: str, vendor: Vendor) -> None:
    await database.write(remove_tenant, tenant_id, vendor, NOW)


async def listed(database: Database, tenant_id: str) -> TenantRow:
    [row] = [row for row in await database.read(list_tenants) if row.tenant_id == tenant_id]
    return row


def read_versions(connection: sa.Connection) -> dict[tuple[str, str], int]:
    c = tenant_credentials.c
    rows = connection.execute(sa.select(c.tenant_id, c.vendor, c.version))
    return {(row.tenant_id, row.vendor): row.version for row in rows}


async def test_look_up_without_a_row_falls_back_to_the_vendors_default_contract_8(
    database: Database,
) -> None:
    tenants = await refreshed(database)

    assert tenants.look_up("acme", "crowdstrike", NOW) == Credentials(
        "acme", (b"default-c",), onboarded=False
    )
    assert tenants.look_up("acme", "defender", NOW).secrets == (b"default-d",)
    assert tenants.look_up("acme", "sentinelone", NOW).secrets == ()
    assert tenants.look_up("acme", "generic", NOW).secrets == ()


async def test_look_up_with_a_row_for_any_vendor_has_no_default_contract_8(
    database: Database,
) -> None:
    await add(database, "acme", "sentinelone", b"own-s")
    tenants = await refreshed(database)

    assert tenants.look_up("acme", "sentinelone", NOW).secrets == (b"own-s",)
    assert tenants.look_up("acme", "crowdstrike", NOW) == Credentials("acme", (), onboarded=True)
    assert tenants.look_up("other", "crowdstrike", NOW).secrets == (b"default-c",)
    assert tenants.look_up("ACME", "crowdstrike", NOW).secrets == (b"default-c",)


CID = "0123456789abcdef0123456789abcdef"
OTHER_CIDS = [CID.upper(), f"{CID}-A1", "01234567-89ab-cdef-0123-456789abcdef"]


@pytest.mark.parametrize("spelling", OTHER_CIDS)
async def test_look_up_finds_another_spelling_of_the_vendors_id_contract_73(
    database: Database, spelling: str
) -> None:
    await add(database, spelling, "crowdstrike", b"own-c")
    tenants = await refreshed(database)

    found = Credentials(spelling, (b"own-c",), onboarded=True)
    assert [tenants.look_up(each, "crowdstrike", NOW) for each in (CID, *OTHER_CIDS)] == [found] * 4
    # At another vendor the onboarded tenant has no secret, so the default one is not accepted.
    assert tenants.look_up(CID, "defender", NOW).secrets == (
        () if "A1" not in spelling else (b"default-d",)
    )
    assert tenants.look_up(f"x{CID}", "crowdstrike", NOW).secrets == (b"default-c",)


async def test_add_refuses_a_second_spelling_contract_73(database: Database) -> None:
    await add(database, CID, "crowdstrike", b"own-c")
    for other in OTHER_CIDS:
        with pytest.raises(OperatorError, match=f"is another spelling of {CID}, which is onboarde"):
            await add(database, other, "crowdstrike", b"other-c")
    await add(database, CID.upper(), "sentinelone", b"other-s")
    await add(database, CID, "generic", b"own-g")
    await remove(database, CID, "crowdstrike")
    await remove(database, CID, "generic")
    with pytest.raises(OperatorError, match="another spelling"):
        await add(database, CID, "crowdstrike", b"own-c")
    await add(database, CID.upper(), "crowdstrike", b"upper-c")

    tenants = await refreshed(database)
    assert tenants.look_up(f"{CID}-A1", "crowdstrike", NOW).secrets == (b"upper-c",)
    # The removed tenant itself is still found by its own name, without a secret.
    assert tenants.look_up(CID, "crowdstrike", NOW) == Credentials(CID, (), onboarded=True)


async def test_look_up_of_a_removed_tenant_has_no_secret_contract_8(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"own-c")
    await rotate(database, "acme", "crowdstrike", b"new-c")
    await remove(database, "acme", "crowdstrike")
    tenants = await refreshed(database)

    assert tenants.look_up("acme", "crowdstrike", NOW) == Credentials("acme", (), onboarded=True)
    assert tenants.look_up("acme", "defender", NOW) == Credentials("acme", (), onboarded=True)


async def test_look_up_with_onboarding_required_has_no_default(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"own-c")
    tenants = directory(database, require_onboarding=True)
    await tenants.refresh()

    assert tenants.look_up("other", "crowdstrike", NOW) == Credentials("other", (), onboarded=False)
    assert tenants.look_up("acme", "crowdstrike", NOW).secrets == (b"own-c",)


async def test_look_up_keeps_vendors_and_tenants_apart_contract_8(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"acme-c")
    await add(database, "acme", "generic", b"acme-g", FIELD_MAP)
    await add(database, "beta", "crowdstrike", b"beta-c")
    tenants = await refreshed(database)

    assert tenants.look_up("acme", "crowdstrike", NOW) == Credentials(
        "acme", (b"acme-c",), onboarded=True
    )
    assert tenants.look_up("acme", "generic", NOW) == Credentials(
        "acme", (b"acme-g",), onboarded=True, field_map=FIELD_MAP
    )
    assert tenants.look_up("beta", "crowdstrike", NOW).secrets == (b"beta-c",)
    assert tenants.look_up("beta", "generic", NOW).secrets == ()


async def test_look_up_during_a_rotation_has_both_secrets_until_it_ends(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"old")
    await rotate(database, "acme", "crowdstrike", b"new")
    tenants = await refreshed(database)

    def secrets(now: float) -> tuple[bytes, ...]:
        return tenants.look_up("acme", "crowdstrike", now).secrets

    assert secrets(NOW) == (b"new", b"old")
    assert secrets(NOW + OVERLAP_S - 0.001) == (b"new", b"old")
    assert secrets(NOW + OVERLAP_S) == (b"new",)
    assert secrets(NOW + 10 * OVERLAP_S) == (b"new",)


async def test_look_up_of_unknown_tenants_stores_nothing(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"own-c")
    tenants = await refreshed(database)

    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(20_000):
        tenants.look_up(f"{number:0128}", "crowdstrike", NOW)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 200_000  # the names alone take ten times as much


async def test_refresh_takes_over_every_change_and_nothing_before_it(database: Database) -> None:
    tenants = await refreshed(database)

    def credentials() -> Credentials:
        return tenants.look_up("acme", "generic", NOW)

    async def after_refresh() -> Credentials:
        await tenants.refresh()
        return credentials()

    assert credentials().onboarded is False
    await add(database, "acme", "generic", b"first")
    assert credentials().onboarded is False
    assert await after_refresh() == Credentials("acme", (b"first",), onboarded=True)

    await rotate(database, "acme", "generic", b"second")
    assert credentials().secrets == (b"first",)
    assert (await after_refresh()).secrets == (b"second", b"first")

    await database.write(set_field_map, "acme", "generic", FIELD_MAP, NOW)
    assert credentials().field_map is None
    assert (await after_refresh()).field_map == FIELD_MAP

    await remove(database, "acme", "generic")
    assert credentials().secrets == (b"second", b"first")
    assert (await after_refresh()).secrets == ()

    await add(database, "acme", "generic", b"third")
    assert await after_refresh() == Credentials("acme", (b"third",), onboarded=True)


async def test_refresh_reaches_every_container(database: Database) -> None:
    containers = [await refreshed(database) for _ in range(3)]
    await add(database, "acme", "crowdstrike", b"own-c")

    for container in containers:
        await container.refresh()

    for container in containers:
        assert container.look_up("acme", "crowdstrike", NOW).secrets == (b"own-c",)


async def test_every_change_has_a_higher_version_than_any_before(database: Database) -> None:
    highest = 0

    async def check_risen(vendor: Vendor) -> None:
        nonlocal highest
        versions = await database.read(read_versions)
        assert versions.pop(("acme", vendor)) > highest
        assert all(version <= highest for version in versions.values())
        highest = max((await database.read(read_versions)).values())

    await add(database, "acme", "crowdstrike", b"c")
    await check_risen("crowdstrike")
    await add(database, "acme", "generic", b"g")
    await check_risen("generic")
    await rotate(database, "acme", "crowdstrike", b"c2")
    await check_risen("crowdstrike")
    await remove(database, "acme", "generic")
    await check_risen("generic")
    await remove(database, "acme", "crowdstrike")
    await check_risen("crowdstrike")
    await add(database, "acme", "generic", b"g2")
    await check_risen("generic")
    await database.write(set_field_map, "acme", "generic", FIELD_MAP, NOW)
    await check_risen("generic")


async def test_add_tenant_refuses_who_is_onboarded(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"own-c")

    with pytest.raises(OperatorError, match="vyrox tenant rotate acme --vendor crowdstrike"):
        await add(database, "acme", "crowdstrike", b"other")

    assert (await refreshed(database)).look_up("acme", "crowdstrike", NOW).secrets == (b"own-c",)


async def test_add_tenant_again_begins_anew(database: Database) -> None:
    await add(database, "acme", "generic", b"first", FIELD_MAP)
    await rotate(database, "acme", "generic", b"second")
    tenants = await refreshed(database)
    tenants.note_used("acme", "generic", 1, NOW + 1)
    await tenants.refresh()
    await remove(database, "acme", "generic")

    await database.write(
        add_tenant, "acme", "generic", NEW_KEY.encrypt(b"third").decode(), None, NOW + 2
    )

    assert await listed(database, "acme") == TenantRow(
        tenant_id="acme",
        vendor="generic",
        enabled=True,
        created_at=NOW + 2,
        previous_expires_at=None,
        previous_used_at=None,
        field_map=None,
        secret_at=NOW + 2,
    )
    # No overlap of the earlier onboarding is left.
    await rotate(database, "acme", "generic", b"fourth")
    secrets = (await refreshed(database)).look_up("acme", "generic", NOW).secrets
    assert secrets == (b"fourth", b"third")


@pytest.mark.parametrize("removed", [False, True], ids=["never_onboarded", "removed"])
async def test_changes_of_who_is_not_onboarded_are_refused(
    database: Database, removed: bool
) -> None:
    await add(database, "acme", "crowdstrike", b"own-c")
    if removed:
        await add(database, "acme", "generic", b"own-g")
        await remove(database, "acme", "generic")
    before = await database.read(list_tenants)

    with pytest.raises(OperatorError, match="acme is not onboarded for generic"):
        await rotate(database, "acme", "generic", b"new")
    with pytest.raises(OperatorError, match="acme is not onboarded for generic"):
        await remove(database, "acme", "generic")
    with pytest.raises(OperatorError, match="acme is not onboarded for generic"):
        await database.write(set_field_map, "acme", "generic", FIELD_MAP, NOW)

    assert await database.read(list_tenants) == before


async def test_rotate_tenant_within_an_overlap_needs_force(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"first")
    await rotate(database, "acme", "crowdstrike", b"second")

    with pytest.raises(OperatorError, match="--force"):
        await rotate(database, "acme", "crowdstrike", b"third", NOW + OVERLAP_S - 1)
    secrets = (await refreshed(database)).look_up("acme", "crowdstrike", NOW).secrets
    assert secrets == (b"second", b"first")

    await rotate(database, "acme", "crowdstrike", b"third", NOW + OVERLAP_S - 1, force=True)
    secrets = (await refreshed(database)).look_up("acme", "crowdstrike", NOW).secrets
    assert secrets == (b"third", b"second")


async def test_rotate_tenant_after_an_overlap_needs_no_force(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"first")
    await rotate(database, "acme", "crowdstrike", b"second")

    await rotate(database, "acme", "crowdstrike", b"third", NOW + OVERLAP_S)

    tenants = await refreshed(database)
    assert tenants.look_up("acme", "crowdstrike", NOW).secrets == (b"third", b"second")


async def test_refresh_writes_down_when_the_previous_secret_was_last_used(
    database: Database,
) -> None:
    await add(database, "acme", "crowdstrike", b"first")
    await rotate(database, "acme", "crowdstrike", b"second")
    tenants = await refreshed(database)
    assert (await listed(database, "acme")).previous_used_at is None

    tenants.note_used("acme", "crowdstrike", 1, NOW + 1)
    tenants.note_used("acme", "crowdstrike", 1, NOW + 2)
    assert (await listed(database, "acme")).previous_used_at is None
    await tenants.refresh()
    assert (await listed(database, "acme")).previous_used_at == NOW + 1

    # Once a minute.
    tenants.note_used("acme", "crowdstrike", 1, NOW + 60)
    await tenants.refresh()
    assert (await listed(database, "acme")).previous_used_at == NOW + 1
    tenants.note_used("acme", "crowdstrike", 1, NOW + 61)
    await tenants.refresh()
    assert (await listed(database, "acme")).previous_used_at == NOW + 61

    # The next rotation has a new previous secret, which was not used yet.
    tenants.note_used("acme", "crowdstrike", 1, NOW + 130)
    await rotate(database, "acme", "crowdstrike", b"third", NOW + OVERLAP_S)
    await tenants.refresh()
    assert (await listed(database, "acme")).previous_used_at is None


async def used_at(database: Database, tenant_id: str) -> float | None:
    def read(connection: Connection) -> float | None:
        c = tenant_credentials.c
        return connection.execute(sa.select(c.used_at).where(c.tenant_id == tenant_id)).scalar()

    return await database.read(read)


async def test_refresh_stores_when_the_present_secret_was_last_used_contract_75(
    database: Database,
) -> None:
    await add(database, "acme", "crowdstrike", b"first")
    tenants = await refreshed(database)
    tenants.note_used("acme", "crowdstrike", 0, NOW)
    # A sender with the default secret can invent names: they cost no memory and no transaction.
    for number in range(1000):
        tenants.note_used(f"invented-{number}", "crowdstrike", 0, NOW)
    assert len(tenants._to_store) == 1
    await tenants.refresh()
    assert await used_at(database, "acme") == NOW
    assert not tenants._to_store

    # What another container noted later stays; what is noted of an earlier secret is not stored.
    await database.write(record_used, {("acme", "crowdstrike", False): NOW + 50}, 1)
    await database.write(record_used, {("acme", "crowdstrike", False): NOW + 40}, 1)
    assert await used_at(database, "acme") == NOW + 50
    await rotate(database, "acme", "crowdstrike", b"second")
    await database.write(record_used, {("acme", "crowdstrike", False): NOW + 99}, 1)
    assert await used_at(database, "acme") is None


async def test_list_tenants_gives_every_row_in_order_of_name(database: Database) -> None:
    await add(database, "beta", "generic", b"b", FIELD_MAP)
    await add(database, "acme", "defender", b"a")
    await add(database, "acme", "crowdstrike", b"a")
    await rotate(database, "acme", "crowdstrike", b"a2")
    await remove(database, "acme", "defender")

    assert await database.read(list_tenants) == [
        TenantRow("acme", "crowdstrike", True, NOW, NOW + OVERLAP_S, None, None, secret_at=NOW),
        TenantRow(
            *("acme", "defender", False, NOW, None, None, None),
            secret_at=NOW,
            removed_at=NOW,
            keeps_secret=True,
        ),
        TenantRow("beta", "generic", True, NOW, None, None, FIELD_MAP, secret_at=NOW),
    ]


async def test_field_map_of_gives_the_map_of_that_tenant_and_vendor(database: Database) -> None:
    await add(database, "acme", "generic", b"a", FIELD_MAP)
    await add(database, "beta", "generic", b"b")

    assert await database.read(field_map_of, "acme", "generic") == FIELD_MAP
    assert await database.read(field_map_of, "beta", "generic") is None
    assert await database.read(field_map_of, "nobody", "generic") is None


async def test_the_table_holds_no_secret_that_can_be_read(database: Database) -> None:
    await add(database, "acme", "crowdstrike", b"canary-one")
    await rotate(database, "acme", "crowdstrike", b"canary-two")

    def read_all(connection: sa.Connection) -> str:
        return repr(connection.execute(sa.select(tenant_credentials)).all())

    assert "acme" in await database.read(read_all)
    assert "canary" not in await database.read(read_all)
    await remove(database, "acme", "crowdstrike")

    def read_secrets(connection: sa.Connection) -> list[tuple[object, ...]]:
        c = tenant_credentials.c
        return [tuple(row) for row in connection.execute(sa.select(c.secret, c.previous_secret))]

    assert await database.read(read_secrets) == [(None, None)]


async def test_refresh_shuts_out_only_the_tenant_whose_secret_cannot_be_decrypted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await add(database, "lost", "crowdstrike", b"lost-c", encrypted_by=OLD_KEY)
    await add(database, "acme", "crowdstrike", b"own-c")

    tenants = await refreshed(database)

    assert tenants.look_up("lost", "crowdstrike", NOW) == Credentials("lost", (), onboarded=True)
    assert tenants.look_up("lost", "defender", NOW).secrets == ()
    assert tenants.look_up("acme", "crowdstrike", NOW).secrets == (b"own-c",)
    [record] = [r for r in caplog.records if r.getMessage() == "tenant.undecryptable"]
    assert record.levelno == logging.ERROR
    assert record.__dict__["fields"] == {
        "tenant": "lost",
        "vendor": "crowdstrike",
        "column": "secret",
    }

    # With the key it works again: no secret was deleted.
    tenants = await refreshed(database, MultiFernet([NEW_KEY, OLD_KEY]))
    assert tenants.look_up("lost", "crowdstrike", NOW).secrets == (b"lost-c",)


def exchange_secrets(connection: Connection) -> None:
    """Exchange the secrets of two tenants, as a user of the database can."""
    rows = connection.execute(sa.select(tenant_credentials)).all()
    for row, other in zip(rows, reversed(rows), strict=True):
        connection.execute(
            tenant_credentials.update()
            .where(tenant_credentials.c.tenant_id == row.tenant_id)
            .values(secret=other.secret)
        )


async def test_refresh_takes_no_secret_of_another_tenants_row_contract_38(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one tenant could send alerts as the other."""
    for name in ("acme", "initech"):
        encrypted = encrypt_secret(VAULT, name.encode(), name, "crowdstrike", "webhook")
        await database.write(add_tenant, name, "crowdstrike", encrypted, None, NOW)
    assert (await refreshed(database)).look_up("acme", "crowdstrike", NOW).secrets == (b"acme",)
    await database.write(exchange_secrets)

    tenants = await refreshed(database)

    for name in ("acme", "initech"):
        assert tenants.look_up(name, "crowdstrike", NOW) == Credentials(name, (), onboarded=True)
    records = [r for r in caplog.records if r.getMessage() == "tenant.secret_misplaced"]
    assert [record.levelno for record in records] == [logging.ERROR] * 2
    assert records[0].__dict__["fields"]["column"] == "secret"


async def test_refresh_does_without_a_previous_secret_whose_key_was_retired(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await add(database, "acme", "crowdstrike", b"old", encrypted_by=OLD_KEY)
    await rotate(database, "acme", "crowdstrike", b"new")

    tenants = await refreshed(database)

    assert tenants.look_up("acme", "crowdstrike", NOW).secrets == (b"new",)
    [record] = [r for r in caplog.records if r.getMessage() == "tenant.undecryptable"]
    assert record.levelno == logging.WARNING
    assert record.__dict__["fields"]["column"] == "previous_secret"


async def test_refresh_never_misses_a_change_among_concurrent_ones(
    database: Database, database_url: str | None, data_dir: Path
) -> None:
    reader = await refreshed(database)
    names = [f"tenant-{number}" for number in range(6)]

    async def change(other: Database, name: str) -> None:
        for number in range(4):
            await add(other, name, "crowdstrike", b"%d-added" % number)
            await rotate(other, name, "crowdstrike", b"%d-rotated" % number)
            if number < 3:
                await remove(other, name, "crowdstrike")

    async def read_until(done: asyncio.Event) -> None:
        while not done.is_set():
            await reader.refresh()

    # A second connection pool, as in another process.
    async with open_database(database_url, data_dir) as other:
        done = asyncio.Event()
        reading = asyncio.create_task(read_until(done))
        await asyncio.gather(*(change(other, name) for name in names))
        done.set()
        await reading
    await reader.refresh()

    for name in names:
        secrets = reader.look_up(name, "crowdstrike", NOW).secrets
        assert secrets == (b"3-rotated", b"3-added")
    versions = await database.read(read_versions)
    assert len(set(versions.values())) == len(names)


async def test_refresh_without_a_database_keeps_what_is_in_memory_contract_17(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    name = url.partition("@/")[2].partition("?")[0]
    async with open_database(url, data_dir) as database:
        await add(database, "acme", "crowdstrike", b"old")
        await rotate(database, "acme", "crowdstrike", b"new")
        tenants = await refreshed(database)
        tenants.note_used("acme", "crowdstrike", 1, NOW + 1)
        admin = await asyncpg.connect(postgres.url("postgres"))
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name
        )

        with pytest.raises(DatabaseUnavailableError):
            await tenants.refresh()

        assert tenants.look_up("acme", "crowdstrike", NOW).secrets == (b"new", b"old")

        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
        await tenants.refresh()
        assert (await listed(database, "acme")).previous_used_at == NOW + 1


async def test_previous_secrets_are_noted_in_one_order_in_every_container(
    database: Database,
) -> None:
    """Two transactions that lock the same rows in different orders deadlock."""
    locked: list[str] = []

    def record(connection: Connection) -> None:
        def note(*call: object) -> None:
            locked.append(str(call[3]))

        sa.event.listen(connection, "before_cursor_execute", note)
        used: dict[tuple[str, Vendor, bool], float] = {
            (name, "crowdstrike", True): NOW for name in ("initech", "acme", "globex")
        }
        record_used(connection, used, 1)

    await database.write(record)
    assert [next(n for n in ("acme", "globex", "initech") if n in one) for one in locked] == [
        "acme",
        "globex",
        "initech",
    ]
