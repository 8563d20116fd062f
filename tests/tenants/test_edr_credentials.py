"""A tenant's credentials at a vendor (contract 38)."""

import pytest
from cryptography.fernet import Fernet, MultiFernet

from vyrox.containment.responder import ClientsOf, EdrClients
from vyrox.edr.vendors import Credentials
from vyrox.errors import VendorError
from vyrox.store.encryption import encrypt_secret
from vyrox.tenants.edr_credentials import EdrCredentials


def test_secret_that_no_key_decrypts_is_logged_before_an_action_needs_it_contract_38(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault, gone = (MultiFernet([Fernet(Fernet.generate_key())]) for _ in range(2))
    exchanged = encrypt_secret(vault, b"secret", "acme-corp", "crowdstrike", "vendor")
    known, forgotten, misplaced = (
        EdrCredentials(
            tenant, "crowdstrike", "id", None, "https://api.crowdstrike.com", secret, "1"
        )
        for tenant, secret in (
            ("acme-corp", vault.encrypt(b"secret").decode()),
            ("initech", gone.encrypt(b"secret").decode()),
            ("exchanged", exchanged),
        )
    )

    def make(_credentials: object) -> None:
        raise AssertionError

    clients = EdrClients(vault, make)  # type: ignore[arg-type]
    clients.report_undecryptable([known, forgotten, misplaced])
    with pytest.raises(VendorError, match="belongs to another tenant"):
        clients.client(misplaced)
    [record, of_another] = caplog.records
    assert of_another.getMessage() == "tenant.secret_misplaced"
    assert vars(of_another)["fields"]["tenant"] == "exchanged"
    assert record.getMessage() == "tenant.undecryptable"
    assert vars(record)["fields"] == {
        "tenant": "initech",
        "vendor": "crowdstrike",
        "column": "vendor credentials",
    }


def test_the_next_action_uses_what_was_set_last_contract_104() -> None:
    """Without a restart. The client before keeps its token for what it is doing."""
    vault = MultiFernet([Fernet(Fernet.generate_key())])
    made: list[str] = []

    def make(credentials: Credentials) -> int:
        made.append(credentials.secret)
        return len(made)

    clients = ClientsOf[int](vault, make)
    for version, secret in (("1", b"old"), ("1", b"old"), ("2", b"new")):
        sealed = encrypt_secret(vault, secret, "acme-corp", "crowdstrike", "vendor")
        url = "https://api.crowdstrike.com"
        stored = EdrCredentials("acme-corp", "crowdstrike", "id", None, url, sealed, version)
        assert clients.client(stored) == int(version)
    assert made == ["old", "new"]
