"""The keys that encrypt stored secrets: given, or from a file that is made once."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

from tests.service import ROOT
from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.store.encryption import (
    KEY_FILE,
    Kind,
    MisplacedSecretError,
    bind_secret,
    decrypt_secret,
    encrypt_secret,
    open_vault,
)

SECRET = b"a tenant's secret"
OLD_KEY = Fernet.generate_key().decode()
NEW_KEY = Fernet.generate_key().decode()
UNUSED = Path("/unused")
"""The data directory is not read if there are keys."""


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Make the mode of a new file the one that `open` is called with."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_open_vault_makes_a_key_file_for_its_owner_alone_and_warns_once(
    data_dir: Path, caplog: pytest.LogCaptureFixture, open_umask: None
) -> None:
    token = open_vault((), data_dir).encrypt(SECRET)
    again = open_vault((), data_dir).decrypt(token)

    assert again == SECRET
    assert [path.name for path in data_dir.iterdir()] == [KEY_FILE]
    assert (data_dir / KEY_FILE).stat().st_mode & 0o7777 == 0o600
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert "VYROX_ENCRYPTION_KEY is not set" in warning.getMessage()
    assert str(data_dir / KEY_FILE) in warning.getMessage()
    assert (data_dir / KEY_FILE).read_text() not in warning.getMessage()


def test_open_vault_with_a_given_key_makes_no_file(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = open_vault((NEW_KEY,), data_dir).encrypt(SECRET)

    assert Fernet(NEW_KEY).decrypt(token) == SECRET
    assert list(data_dir.iterdir()) == []
    assert caplog.records == []


def test_open_vault_with_several_keys_reads_old_secrets_and_writes_with_the_first() -> None:
    old = open_vault((OLD_KEY,), UNUSED).encrypt(SECRET)
    vault = open_vault((NEW_KEY, OLD_KEY), UNUSED)

    assert vault.decrypt(old) == SECRET
    assert Fernet(NEW_KEY).decrypt(vault.encrypt(SECRET)) == SECRET


def test_open_vault_without_the_key_reads_nothing() -> None:
    old = open_vault((OLD_KEY,), UNUSED).encrypt(SECRET)

    with pytest.raises(InvalidToken):
        open_vault((NEW_KEY,), UNUSED).decrypt(old)


def test_open_vault_fills_the_empty_file_of_a_killed_process(data_dir: Path) -> None:
    (data_dir / KEY_FILE).touch(0o600)
    token = open_vault((), data_dir).encrypt(SECRET)

    assert open_vault((), data_dir).decrypt(token) == SECRET


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not a key", id="reject_text"),
        pytest.param(OLD_KEY.encode()[:20], id="reject_part_of_a_key"),
        pytest.param(b"\xff\x00" * 22, id="reject_binary"),
    ],
)
def test_open_vault_refuses_a_bad_key_file_and_leaves_it(data_dir: Path, content: bytes) -> None:
    path = data_dir / KEY_FILE
    path.write_bytes(content)

    with pytest.raises(OperatorError) as caught:
        open_vault((), data_dir)

    assert str(caught.value) == f"{path} holds no encryption key: restore it from a backup"
    assert path.read_bytes() == content


def test_open_vault_says_why_it_cannot_read_its_key_file(data_dir: Path) -> None:
    (data_dir / KEY_FILE).mkdir()

    with pytest.raises(OperatorError, match=rf"^{data_dir / KEY_FILE}: Is a directory$"):
        open_vault((), data_dir)


@pytest.mark.parametrize("is_empty", [False, True], ids=["missing", "empty"])
def test_open_vault_makes_no_new_key_over_old_secrets_contract_45(
    data_dir: Path, is_empty: bool
) -> None:
    path = data_dir / KEY_FILE
    if is_empty:
        path.touch(0o600)

    with pytest.raises(OperatorError, match="is missing, and the database holds secrets"):
        open_vault((), data_dir, is_key_in_use=True)

    assert [file.stat().st_size for file in data_dir.iterdir()] == [0] * is_empty
    open_vault((NEW_KEY,), data_dir, is_key_in_use=True)


ROUNDS = 20

_RACER = f"""
import sys
from pathlib import Path
from vyrox.store.encryption import open_vault

me, other = sys.argv[2:]
directories = [Path(sys.argv[1]) / str(number) for number in range({ROUNDS})]
try:
    for directory in directories:
        (directory / me).touch()
        while not (directory / other).exists():
            pass
        print(open_vault((), directory).encrypt({SECRET!r}).decode())
finally:
    for directory in directories:
        (directory / me).touch()
"""


def test_open_vault_in_processes_that_race_gives_one_key(data_dir: Path) -> None:
    directories = [data_dir / str(number) for number in range(ROUNDS)]
    for directory in directories:
        directory.mkdir()
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _RACER, str(data_dir), me, other],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for me, other in (("a", "b"), ("b", "a"))
        ]
        outputs = [racer.communicate() for racer in racers]

    for tokens, _ in outputs:
        read = [
            open_vault((), directory).decrypt(token)
            for directory, token in zip(directories, tokens.splitlines(), strict=True)
        ]
        assert read == [SECRET] * ROUNDS
    warnings = "".join(warned for _, warned in outputs)
    assert warnings.count("a key was made") == ROUNDS


def test_open_vault_follows_no_link_contract_48(data_dir: Path) -> None:
    (data_dir / "elsewhere").write_bytes(OLD_KEY.encode())
    (data_dir / KEY_FILE).symlink_to(data_dir / "elsewhere")

    with pytest.raises(OperatorError, match=rf"^{data_dir / KEY_FILE}: "):
        open_vault((), data_dir)


@pytest.mark.parametrize(
    ("tenant_id", "vendor", "kind"),
    [
        pytest.param("initech", "defender", "webhook", id="reject_other_tenant"),
        pytest.param("acme", "sentinelone", "webhook", id="reject_other_vendor"),
        pytest.param("acme", "defender", "vendor", id="reject_other_kind"),
        pytest.param("acm", "defender", "webhook", id="reject_part_of_the_name"),
    ],
)
def test_secret_is_bound_to_its_place_contract_38(
    tenant_id: str, vendor: Vendor, kind: Kind
) -> None:
    vault = open_vault((NEW_KEY,), UNUSED)
    encrypted = encrypt_secret(vault, SECRET, "acme", "defender", "webhook")

    assert decrypt_secret(vault, encrypted, "acme", "defender", "webhook") == SECRET
    with pytest.raises(MisplacedSecretError):
        decrypt_secret(vault, encrypted, tenant_id, vendor, kind)
    # A secret that cannot be decrypted is not changed.
    assert bind_secret(vault, tenant_id, vendor, kind, encrypted) == encrypted


def test_secret_of_an_earlier_version_is_read_and_can_be_bound_contract_38() -> None:
    vault = open_vault((NEW_KEY,), UNUSED)
    old = vault.encrypt(SECRET).decode()

    assert decrypt_secret(vault, old, "acme", "defender", "webhook") == SECRET
    bound = bind_secret(vault, "acme", "defender", "webhook", old)
    assert decrypt_secret(vault, bound, "acme", "defender", "webhook") == SECRET
    with pytest.raises(MisplacedSecretError):
        decrypt_secret(vault, bound, "initech", "defender", "webhook")
