"""`vyrox tenant edr`: credentials for a vendor, kept, checked and taken away (contract 38)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from click.testing import Result
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from vyrox.clock import wall_clock
from vyrox.containment.responder import ClientsOf
from vyrox.edr.vendors import Credentials
from vyrox.settings import Settings
from vyrox.store.encryption import open_vault
from vyrox.tenants import edr_credentials
from vyrox.tenants.edr_credentials import EdrCredentials
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

SECRET: Final = "edr-secret-0123456789-CANARY"
CROWDSTRIKE: Final = ("--vendor", "crowdstrike", "--client-id", "client-1")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return Vyrox(data_dir, database_url).migrated()


def stored(vyrox: Vyrox) -> list[EdrCredentials]:
    def find(connection: Connection) -> list[EdrCredentials]:
        return edr_credentials.list_credentials(connection, "acme")

    return vyrox.write(find)


def set_(vyrox: Vyrox, *options: str, secret: str = SECRET, **env: str) -> Result:
    """Set the credentials of a tenant that need not be known (contract 39)."""
    args = ("tenant", "edr", "set", "acme", "--new", *options)
    return vyrox(*args, stdin=secret.encode() + b"\n", env=env)


@pytest.mark.parametrize(
    ("options", "base_url"),
    [
        pytest.param(CROWDSTRIKE, "https://api.crowdstrike.com", id="crowdstrike"),
        pytest.param(
            (*CROWDSTRIKE, "--base-url", "https://API.eu-1.crowdstrike.com/"),
            "https://api.eu-1.crowdstrike.com",
            id="crowdstrike_region",
        ),
        pytest.param(
            ("--vendor", "sentinelone", "--base-url", "https://acme.sentinelone.net"),
            "https://acme.sentinelone.net",
            id="sentinelone",
        ),
        pytest.param(
            ("--vendor", "defender", "--client-id", "app", "--azure-tenant", "directory"),
            "https://api.security.microsoft.com",
            id="defender",
        ),
    ],
)
@pytest.mark.usefixtures("anyio_backend")
def test_set_keeps_the_secret_encrypted_contract_38(
    vyrox: Vyrox, options: tuple[str, ...], base_url: str
) -> None:
    printed = succeeded(set_(vyrox, *options))
    assert printed == f"acme has credentials for {options[1]} at {base_url}\n"
    [row] = stored(vyrox)
    assert row.base_url == base_url
    assert SECRET not in repr(row)
    shown = succeeded(vyrox("tenant", "edr", "list")) + succeeded(
        vyrox("tenant", "edr", "list", "--json")
    )
    assert base_url in shown
    assert SECRET not in shown
    assert row.secret not in shown
    # Again, and another version is in force.
    succeeded(set_(vyrox, *options, secret="another-secret"))
    [again] = stored(vyrox)
    assert again.version != row.version
    removed = vyrox("tenant", "edr", "remove", "acme", "--vendor", options[1])
    assert succeeded(removed) == f"acme has no credentials for {options[1]} any more\n"
    assert stored(vyrox) == []
    assert "no credentials" in refused(
        vyrox("tenant", "edr", "remove", "acme", "--vendor", options[1])
    )
    told = succeeded(vyrox("audit", "events", "--tenant", "acme", "--json"))
    assert [json.loads(line)["change"] for line in told.splitlines()] == [
        "vendor credentials set",
        "vendor credentials set",
        "vendor credentials removed",
    ]
    assert SECRET not in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--vendor", "crowdstrike"), "needs --client-id", id="no_client_id"),
        pytest.param(("--vendor", "sentinelone"), "needs --base-url", id="no_base_url"),
        pytest.param(
            ("--vendor", "defender", "--client-id", "app"),
            "needs --azure-tenant",
            id="no_directory",
        ),
        pytest.param(
            (*CROWDSTRIKE, "--azure-tenant", "x"), "--azure-tenant is not for", id="not_its_own"
        ),
        *(
            pytest.param((*CROWDSTRIKE, "--base-url", url), "--base-url", id=url)
            for url in (
                "http://api.crowdstrike.com",
                "https://api.crowdstrike.com.evil.example",
                "https://api.crowdstrike.com@evil.example",
                "https://api.crowdstrike.com:8443",
                "https://acme.sentinelone.net",
                "https://evil.example",
                "http://127.0.0.1:9443/crowdstrike",
            )
        ),
    ],
)
def test_set_refuses_what_the_vendor_does_not_take_contract_38(
    data_dir: Path, options: tuple[str, ...], said: str
) -> None:
    vyrox = Vyrox(data_dir)
    result = set_(vyrox, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert SECRET not in result.output


@pytest.mark.parametrize("secret", [f" {SECRET}", f"{SECRET}\n\n", f"{SECRET} \n"])
def test_set_refuses_white_space_at_the_ends_of_a_secret_contract_45(
    data_dir: Path, secret: str
) -> None:
    line = refused(set_(Vyrox(data_dir), *CROWDSTRIKE, secret=secret))
    assert line == "the secret must not begin or end with white space"


@pytest.mark.parametrize("secret", ["", "with space", "with\x00nul", "größe", "x" * 4097])
def test_set_refuses_a_secret_that_no_header_can_carry_contract_38(
    data_dir: Path, secret: str
) -> None:
    line = refused(set_(Vyrox(data_dir), *CROWDSTRIKE, secret=secret))
    assert line.startswith("the secret must be")
    assert not secret or secret not in line


@asynccontextmanager
async def mocked(vyrox: Vyrox) -> AsyncIterator[tuple[MockEdr, str]]:
    mock = MockEdr(wall_clock)
    async with serving(mock) as url:
        vyrox.env["EDR_TEST_URL"] = url
        yield mock, url


async def test_check_tells_which_permissions_are_missing_contract_38(data_dir: Path) -> None:
    vyrox = await asyncio.to_thread(Vyrox(data_dir).migrated)
    async with mocked(vyrox) as (mock, url):
        [client] = mock.crowdstrike.clients.values()
        options: tuple[str, ...] = ("--vendor", "crowdstrike", "--client-id", client.client_id)
        options += ("--base-url", f"{url}/crowdstrike")
        await asyncio.to_thread(set_, vyrox, *options, secret=client.client_secret)

        async def check(*more: str) -> Result:
            return await asyncio.to_thread(vyrox, "tenant", "edr", "check", "acme", *more)

        found = json.loads(succeeded(await check("--json")))
        assert {each["permission"]: each["present"] for each in found} == {
            "Hosts: Read": True,
            "Hosts: Write": None,
            "Alerts: Read": True,
            "Real time response: Read": True,
            "Real time response: Write": True,
        }
        client.scopes.discard("alerts:read")
        missing = await check()
        assert missing.exit_code == 1
        assert "MISSING" in missing.stdout
        await asyncio.to_thread(set_, vyrox, *options, secret="wrong-secret")
        line = refused(await check())
        assert line.startswith("the vendor does not accept the stored credentials (")
        assert line.endswith("set them again with vyrox tenant edr set acme")
        assert "wrong-secret" not in line
        assert "has no defender credentials" in refused(await check("--vendor", "defender"))
        assert mock.effects == []
        assert mock.violations == []


def test_check_of_two_vendors_wants_to_know_which_contract_38(data_dir: Path) -> None:
    vyrox = Vyrox(data_dir).migrated()
    succeeded(set_(vyrox, *CROWDSTRIKE))
    succeeded(set_(vyrox, "--vendor", "sentinelone", "--base-url", "https://a.sentinelone.net"))
    line = refused(vyrox("tenant", "edr", "check", "acme"))
    assert line == "acme has crowdstrike, sentinelone: choose one with --vendor"


@pytest.mark.usefixtures("anyio_backend")
def test_set_keeps_the_child_that_a_parents_client_acts_for_contract_73(vyrox: Vyrox) -> None:
    cid = "0123456789abcdef0123456789abcdef"
    succeeded(set_(vyrox, *CROWDSTRIKE, "--member-cid", f"{cid.upper()}-A1"))
    [shown] = json.loads(succeeded(vyrox("tenant", "edr", "list", "--json")))
    assert (shown["member_cid"], shown["azure_tenant"]) == (cid, None)
    seen: list[Credentials] = []
    settings = Settings.from_env(vyrox.env)
    vault = open_vault(settings.encryption_keys, settings.data_dir)
    ClientsOf(vault, seen.append).client(stored(vyrox)[0])
    assert seen[0].member_cid == cid
    for options in (
        (*CROWDSTRIKE, "--member-cid", "0123"),
        ("--vendor", "sentinelone", "--base-url", "https://a.sentinelone.net", "--member-cid", cid),
    ):
        assert set_(vyrox, *options).exit_code == 2
