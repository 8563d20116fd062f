"""The key of stored secrets is changed without setting a secret again (contract 104)."""

import itertools
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.cli.test_notify import add as add_target
from vyrox.clock import wall_clock
from vyrox.store import encrypted
from vyrox.store.encrypted import ENCRYPTED, encrypt_page
from vyrox.store.tables import metadata

pytestmark = pytest.mark.usefixtures("anyio_backend")

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """With a secret in every column that holds one."""
    vyrox = Vyrox(data_dir, database_url)
    vyrox.env |= {"VYROX_ENCRYPTION_KEY": OLD}
    for tenant in ("acme-corp", "gone-corp"):
        succeeded(vyrox("tenant", "add", tenant, "--vendor", "crowdstrike", stdin=b""))
    succeeded(vyrox("tenant", "rotate", "acme-corp", "--vendor", "crowdstrike"))
    succeeded(vyrox("tenant", "remove", "gone-corp", "--vendor", "crowdstrike", "--yes"))
    edr = ("tenant", "edr", "set", "acme-corp", "--vendor", "sentinelone")
    succeeded(vyrox(*edr, "--base-url", "https://usea1.sentinelone.net", stdin=b"token-0123456789"))
    succeeded(add_target(vyrox))
    succeeded(vyrox("audit", "reader", "acme-corp"))
    return vyrox


def secrets(connection: Connection) -> dict[str, list[str]]:
    found = {}
    for table, columns in ENCRYPTED.items():
        for column in columns:
            query = sa.select(metadata.tables[table].c[column])
            values = connection.execute(query).scalars()
            found[f"{table}.{column}"] = [each for each in values if each is not None]
    return found


def test_after_it_the_old_key_is_not_needed_contract_104(vyrox: Vyrox) -> None:
    before = vyrox.write(secrets)
    assert [name for name, found in before.items() if not found] == []
    number = sum(map(len, before.values()))
    looked_up = vyrox.look_up("acme-corp", "crowdstrike", wall_clock())

    vyrox.env |= {"VYROX_ENCRYPTION_KEY": f"{NEW},{OLD}"}
    assert str(number) in succeeded(vyrox("encrypt-again"))
    vyrox.env |= {"VYROX_ENCRYPTION_KEY": NEW}
    assert vyrox.look_up("acme-corp", "crowdstrike", wall_clock()) == looked_up
    vault, old = MultiFernet([Fernet(NEW)]), MultiFernet([Fernet(OLD)])
    after = vyrox.write(secrets)
    assert {name: len(found) for name, found in after.items()} == {
        name: len(found) for name, found in before.items()
    }
    for name, found in after.items():
        assert sorted(map(vault.decrypt, found)) == sorted(map(old.decrypt, before[name]))
    assert json.loads(succeeded(vyrox("encrypt-again", "--json")))["encrypted"] == number


def test_each_transaction_has_a_bounded_number_of_rows_contract_104(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a running service waits for none of them, and one that ends in between is run again."""
    number = sum(map(len, vyrox.write(secrets).values()))
    vyrox.env |= {"VYROX_ENCRYPTION_KEY": f"{NEW},{OLD}"}
    monkeypatch.setattr(encrypted, "PAGE", 1)
    assert str(number) in succeeded(vyrox("encrypt-again"))
    new = MultiFernet([Fernet(NEW)])
    assert all(map(new.decrypt, itertools.chain(*vyrox.write(secrets).values())))


def test_without_the_old_key_nothing_is_changed_contract_104(vyrox: Vyrox) -> None:
    before = vyrox.write(secrets)
    vyrox.env |= {"VYROX_ENCRYPTION_KEY": NEW}
    found = vyrox("encrypt-again", "--json")
    assert found.exit_code == 1
    assert "cannot be read with any of the keys" in found.stderr
    assert vyrox.write(secrets) == before


def test_a_secret_that_changes_meanwhile_is_kept_contract_104(vyrox: Vyrox) -> None:
    """On PostgreSQL a command of another process can commit between the two statements."""

    class Changing(MultiFernet):
        def __init__(self, connection: Connection) -> None:
            super().__init__([Fernet(NEW), Fernet(OLD)])
            self._connection = connection

        def rotate(self, msg: bytes | str) -> bytes:
            table = metadata.tables["edr_credentials"]
            is_read = table.c.secret == msg
            self._connection.execute(table.update().where(is_read).values(secret="set meanwhile"))
            return super().rotate(msg)

    def run(connection: Connection) -> list[str]:
        for name in ("edr_credentials", "audit_readers"):
            encrypt_page(connection, Changing(connection), name, ())
        return secrets(connection)["edr_credentials.secret"]

    assert vyrox.write(run) == ["set meanwhile"]
    with pytest.raises(InvalidToken):
        MultiFernet([Fernet(OLD)]).decrypt(vyrox.write(secrets)["audit_readers.secret"][0])


def test_it_makes_no_database_contract_104(tmp_path: Path) -> None:
    assert "there is no database" in refused(Vyrox(tmp_path / "none")("encrypt-again"))
