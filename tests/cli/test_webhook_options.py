"""`vyrox tenant add`, `set` and `show`: the options of a tenant's own path (contract 71)."""

import base64
import json
import time
from pathlib import Path

import pytest

from tests.cli import Vyrox, refused, succeeded
from vyrox.crypto import standard_key
from vyrox.models import Vendor
from vyrox.tenants.webhook_options import WebhookOptions

pytestmark = pytest.mark.usefixtures("anyio_backend")

CID = "0123456789abcdef0123456789ABCDEF"
WHSEC = b"whsec_" + base64.b64encode(bytes(range(32)))


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """The command on each of the two databases."""
    return Vyrox(data_dir, database_url)


@pytest.fixture
def on_sqlite(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir)


def add(vyrox: Vyrox, tenant_id: str, vendor: Vendor, *args: str) -> str:
    return succeeded(vyrox("tenant", "add", tenant_id, "--vendor", vendor, *args))


def options(vyrox: Vyrox, tenant_id: str, vendor: Vendor) -> WebhookOptions:
    return vyrox.look_up(tenant_id, vendor, time.time()).options


def test_add_and_set_store_what_a_service_then_takes_contract_71(vyrox: Vyrox) -> None:
    printed = add(vyrox, "acme", "crowdstrike", "--signature", "falcon", "--vendor-id", f"{CID}-0f")
    assert "/webhook/crowdstrike/acme\n" in printed
    assert "x-cs-primary-signature" in printed
    cid = CID.lower()
    assert options(vyrox, "acme", "crowdstrike") == WebhookOptions("falcon", vendor_ids=(cid,))

    change = ["--timestamp-header", "X-Time", "--routes-to", "child", "--signature", "falcon-hex"]
    for command in (["set", "acme"], ["add", "other"]):
        unknown = vyrox("tenant", *command, "--vendor", "crowdstrike", "--routes-to", "acmee")
        assert unknown.exit_code == 1
        assert "did you mean acme?" in unknown.stderr
    add(vyrox, "child", "crowdstrike")
    shown = succeeded(vyrox("tenant", "set", "acme", "--vendor", "crowdstrike", *change))
    assert options(vyrox, "acme", "crowdstrike") == WebhookOptions(
        "falcon-hex", timestamp_header="x-time", vendor_ids=(cid,), routes_to=("child",)
    )
    whole = succeeded(vyrox("tenant", "show", "acme"))
    assert set(shown.splitlines()) < set(whole.splitlines())
    for text in ("falcon-hex", "x-time", cid, "child", "/webhook/crowdstrike/acme"):
        assert text in shown
    assert "falcon-hex" in succeeded(vyrox("tenant", "list", "--wide"))
    [row] = json.loads(succeeded(vyrox("tenant", "show", "acme", "--json")))
    assert row["webhook"]["signature"] == "falcon-hex"

    back = ["--signature", "vyrox", "--vendor-id", "", "--routes-to", ""]
    succeeded(vyrox("tenant", "set", "acme", "--vendor", "crowdstrike", *back))
    assert options(vyrox, "acme", "crowdstrike") == WebhookOptions()


def test_a_customer_id_belongs_to_one_tenant_contract_71(vyrox: Vyrox) -> None:
    add(vyrox, "acme", "crowdstrike", "--vendor-id", CID)
    spelled = f"{CID[:8]}-{CID[8:12]}-{CID[12:16]}-{CID[16:20]}-{CID[20:]}".lower()
    result = vyrox("tenant", "add", "beta", "--vendor", "crowdstrike", "--vendor-id", spelled)
    assert refused(result) == f"{CID.lower()} is the crowdstrike customer id of acme"
    add(vyrox, "beta", "crowdstrike")
    result = vyrox("tenant", "set", "beta", "--vendor", "crowdstrike", "--vendor-id", CID)
    assert "of acme" in refused(result)
    add(vyrox, "beta", "sentinelone", "--vendor-id", CID)  # another vendor's
    succeeded(vyrox("tenant", "remove", "acme", "--yes"))
    succeeded(vyrox("tenant", "set", "beta", "--vendor", "crowdstrike", "--vendor-id", CID))


def test_the_secret_of_the_standard_scheme_is_of_its_form_contract_71(on_sqlite: Vyrox) -> None:
    made = add(on_sqlite, "acme", "generic", "--signature", "standard", "--json")
    assert standard_key(json.loads(made)["secret"].encode()) is not None
    made = succeeded(on_sqlite("tenant", "rotate", "acme", "--json"))
    assert standard_key(json.loads(made)["secret"].encode()) is not None
    bad = on_sqlite("tenant", "rotate", "acme", "--secret-stdin", stdin=b"x" * 40)
    assert "whsec_" in refused(bad)
    add(on_sqlite, "beta", "generic")
    to_standard = ["tenant", "set", "beta", "--vendor", "generic", "--signature", "standard"]
    assert "vyrox tenant rotate beta" in refused(on_sqlite(*to_standard))
    succeeded(on_sqlite("tenant", "rotate", "beta", "--secret-stdin", stdin=WHSEC))
    succeeded(on_sqlite(*to_standard))
    assert standard_key(WHSEC) in on_sqlite.look_up("beta", "generic", time.time()).secrets


@pytest.mark.parametrize(
    ("vendor", "args", "text"),
    [
        ("generic", ["--signature", "falcon"], "only for --vendor crowdstrike"),
        ("sentinelone", ["--signature", "falcon-hex"], "only for --vendor crowdstrike"),
        ("crowdstrike", ["--signature", "standard"], "only for --vendor generic"),
        ("crowdstrike", ["--signature-header", "x-a"], "need --signature falcon"),
        ("crowdstrike", ["--secret-header", "x-a"], "only for --vendor sentinelone"),
        ("sentinelone", ["--secret-header", "authorization"], "no other meaning"),
        ("sentinelone", ["--secret-header", "x a"], "--secret-header must be"),
        ("sentinelone", ["--secret-header", "x" * 65], "--secret-header must be"),
        ("crowdstrike", ["--also-signature"], "--also-signature"),
        ("generic", ["--vendor-id", "x"], "not for --vendor generic"),
        ("crowdstrike", ["--vendor-id", "a b"], "--vendor-id 'a b'"),
        ("crowdstrike", ["--routes-to", "acme"], "the tenant itself"),
        ("crowdstrike", ["--routes-to", "a/b"], "not a tenant's name"),
        (
            "crowdstrike",
            ["--signature", "falcon", "--signature-header", "x", "--timestamp-header", "X"],
            "must differ",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_contract_71(
    on_sqlite: Vyrox, vendor: Vendor, args: list[str], text: str
) -> None:
    result = on_sqlite("tenant", "add", "acme", "--vendor", vendor, *args)
    assert result.exit_code == 2
    assert text in result.stderr
    add(on_sqlite, "acme", vendor)
    result = on_sqlite("tenant", "set", "acme", "--vendor", vendor, *args)
    assert (result.exit_code, text in result.stderr) == (2, True)
    assert options(on_sqlite, "acme", vendor) == WebhookOptions()


def test_set_and_show_of_who_is_not_onboarded_are_refused_contract_71(on_sqlite: Vyrox) -> None:
    on_sqlite.migrated()
    assert "not onboarded" in refused(on_sqlite("tenant", "show", "acme"))
    result = on_sqlite("tenant", "set", "acme", "--vendor", "sentinelone", "--also-signature")
    assert "not onboarded" in refused(result)
    assert on_sqlite("tenant", "set", "acme", "--vendor", "defender").exit_code == 2


@pytest.mark.parametrize("scheme", ["falcon", "falcon-hex"])
def test_falcon_sets_its_headers_by_itself_contract_75(vyrox: Vyrox, scheme: str) -> None:
    added = succeeded(
        vyrox("tenant", "add", "acme", "--vendor", "crowdstrike", "--signature", scheme)
    )
    assert "x-cs-primary-signature, x-cs-delivery-timestamp: as Falcon sets them" in added
