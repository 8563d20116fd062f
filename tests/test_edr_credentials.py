"""A tenant's credentials at a vendor (contract 38)."""

import pytest
from cryptography.fernet import Fernet, MultiFernet

from vyrox.edr_credentials import EdrClients, Stored


def test_secret_that_no_key_decrypts_is_told_before_an_action_needs_it_contract_38(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault, gone = (MultiFernet([Fernet(Fernet.generate_key())]) for _ in range(2))
    known, forgotten = (
        Stored(tenant, "crowdstrike", "id", None, "https://api.crowdstrike.com", secret, "1")
        for tenant, secret in (
            ("acme-corp", vault.encrypt(b"secret").decode()),
            ("initech", gone.encrypt(b"secret").decode()),
        )
    )

    def make(_credentials: object) -> None:
        raise AssertionError

    EdrClients(vault, make).report_undecryptable([known, forgotten])  # type: ignore[arg-type]
    [record] = caplog.records
    assert record.getMessage() == "tenant.undecryptable"
    assert vars(record)["fields"] == {
        "tenant": "initech",
        "vendor": "crowdstrike",
        "column": "vendor credentials",
    }
