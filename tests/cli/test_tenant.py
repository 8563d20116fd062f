"""`vyrox tenant`: what it prints, what it stores, how it refuses (contract 7, 8 and 10)."""

import asyncio
import re
import time
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import pytest
from cryptography.fernet import Fernet

from tests.cli import Vyrox, refused, rows_of, succeeded
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S, until
from vyrox.crypto import sign
from vyrox.models import FieldMap, Vendor
from vyrox.store.encryption import KEY_FILE
from vyrox.tenants.webhook_options import WebhookOptions

# For the asynchronous fixtures that these synchronous tests use.
pytestmark = pytest.mark.usefixtures("anyio_backend")

SECRET = b"brought-secret-0123456789-0123456789"
HMAC_CANARY = b"canary-hmac-0123456789-0123456789-0123"
FIELD_MAP = {"raw_id": "event.id", "hostname": "device.name", "vendor_severity": "level"}
VENDORS: list[Vendor] = ["crowdstrike", "sentinelone", "defender", "generic"]
SIGNATURE = "X-Vyrox-Signature: sha256=<hex HMAC-SHA256 of the raw body with the secret>"
BEARER = "Authorization: Bearer <secret>"
HEADERS = {
    "crowdstrike": SIGNATURE,
    "sentinelone": BEARER,
    "defender": BEARER,
    "generic": SIGNATURE,
}
DAY_S = 86_400


class Webhook(msgspec.Struct, forbid_unknown_fields=True):
    """What `add` and `rotate` print with `--json`."""

    tenant_id: str
    vendor: Vendor
    webhook_url: str
    header: str
    secret: str | None = None
    previous_secret_expires_at: float | None = None


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """What `list` prints for each tenant with `--json`."""

    tenant_id: str
    vendor: Vendor
    enabled: bool
    created_at: float
    previous_expires_at: float | None
    previous_used_at: float | None
    field_map: FieldMap | None
    webhook: WebhookOptions
    used_at: float | None
    secret_at: float | None
    removed_at: float | None
    keeps_secret: bool
    frozen_at: float | None
    all_frozen_at: float | None
    per_hour: int
    other_hosts: str
    last_alert_at: float | None


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """The command on each of the two databases."""
    return Vyrox(data_dir, database_url)


@pytest.fixture
def on_sqlite(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir)


def add(vyrox: Vyrox, tenant_id: str, vendor: Vendor, *args: str, stdin: bytes = b"") -> Webhook:
    printed = succeeded(
        vyrox("tenant", "add", tenant_id, "--vendor", vendor, "--json", *args, stdin=stdin)
    )
    return msgspec.json.decode(printed, type=Webhook)


def rotate(vyrox: Vyrox, tenant_id: str, *args: str, stdin: bytes = b"") -> Webhook:
    printed = succeeded(vyrox("tenant", "rotate", tenant_id, "--json", *args, stdin=stdin))
    return msgspec.json.decode(printed, type=Webhook)


def rows(vyrox: Vyrox) -> list[Row]:
    return msgspec.json.decode(succeeded(vyrox("tenant", "list", "--json")), type=list[Row])


def secrets(vyrox: Vyrox, tenant_id: str, vendor: Vendor, now: float) -> tuple[bytes, ...]:
    return vyrox.look_up(tenant_id, vendor, now).secrets


def file_with(data_dir: Path, content: bytes) -> str:
    path = data_dir / "field-map.json"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("vendor", VENDORS)
def test_add_prints_the_webhook_and_a_generated_secret_once(
    on_sqlite: Vyrox, vendor: Vendor
) -> None:
    result = on_sqlite.migrated()("tenant", "add", "acme", "--vendor", vendor)

    lines = succeeded(result).splitlines()
    assert lines[:3] == [
        f"tenant   acme ({vendor})",
        f"webhook  http://localhost:8001/webhook/{vendor}/acme",
        f"header   {HEADERS[vendor]}",
    ]
    match = re.fullmatch(r"secret   ([0-9a-f]{64})", lines[3])
    assert match is not None
    assert len(lines) == 4
    assert result.output.count(match[1]) == 1
    assert result.stderr.splitlines()[0] == "The secret is not shown again."
    assert secrets(on_sqlite, "acme", vendor, time.time()) == (match[1].encode(),)


@pytest.mark.parametrize("vendor", VENDORS)
def test_add_json_has_the_webhook_and_the_secret(on_sqlite: Vyrox, vendor: Vendor) -> None:
    webhook = add(on_sqlite, "acme", vendor)

    assert webhook.secret is not None
    assert webhook == Webhook(
        "acme",
        vendor,
        f"http://localhost:8001/webhook/{vendor}/acme",
        HEADERS[vendor],
        webhook.secret,
    )
    assert secrets(on_sqlite, "acme", vendor, time.time()) == (webhook.secret.encode(),)


def test_add_makes_a_new_secret_every_time(on_sqlite: Vyrox) -> None:
    made = {add(on_sqlite, f"tenant-{number}", "crowdstrike").secret for number in range(5)}

    assert len(made) == 5


@pytest.mark.parametrize(
    ("env", "base"),
    [
        ({"PUBLIC_URL": "https://vyrox.example.com/"}, "https://vyrox.example.com"),
        ({"INGESTION_PORT": "8080"}, "http://localhost:8080"),
        ({"PORT": "5000", "INGESTION_PORT": "8080"}, "http://localhost:5000"),
    ],
)
def test_add_prints_the_address_that_vendors_reach(
    on_sqlite: Vyrox, env: dict[str, str], base: str
) -> None:
    printed = succeeded(on_sqlite("tenant", "add", "acme", "--vendor", "defender", env=env))

    assert f"webhook  {base}/webhook/defender/acme\n" in printed


@pytest.mark.parametrize("vendor", ["crowdstrike", "defender"])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(SECRET, SECRET, id="allow_no_line_end"),
        pytest.param(SECRET + b"\n", SECRET, id="allow_newline"),
        pytest.param(SECRET + b"\r\n", SECRET, id="allow_crlf"),
        pytest.param(b"s" * 32 + b"\n", b"s" * 32, id="allow_32_bytes"),
        pytest.param(b"s" * 1024 + b"\r\n", b"s" * 1024, id="allow_1024_bytes"),
    ],
)
def test_add_secret_stdin_drops_one_line_end_and_repeats_nothing(
    on_sqlite: Vyrox, vendor: Vendor, sent: bytes, kept: bytes
) -> None:
    result = on_sqlite("tenant", "add", "acme", "--vendor", vendor, "--secret-stdin", stdin=sent)

    assert succeeded(result).splitlines()[-1] == f"header   {HEADERS[vendor]}"
    assert kept.decode() not in result.output
    assert "not shown again" not in result.output
    assert secrets(on_sqlite, "acme", vendor, time.time()) == (kept,)


def test_add_secret_stdin_json_has_no_secret(on_sqlite: Vyrox) -> None:
    webhook = add(on_sqlite, "acme", "crowdstrike", "--secret-stdin", stdin=SECRET)

    assert webhook.secret is None


def test_add_secret_stdin_takes_any_bytes_for_a_signature(on_sqlite: Vyrox) -> None:
    secret = b"\x00\xff spaces and \n \xc3\xa9" * 4

    add(on_sqlite, "acme", "crowdstrike", "--secret-stdin", stdin=secret + b"\n")

    assert secrets(on_sqlite, "acme", "crowdstrike", time.time()) == (secret,)


@pytest.mark.parametrize("command", ["add", "rotate"])
@pytest.mark.parametrize(
    ("vendor", "sent", "said"),
    [
        pytest.param("crowdstrike", b"", "32 to 1024 bytes", id="reject_nothing"),
        pytest.param("crowdstrike", b"\n", "32 to 1024 bytes", id="reject_line_end_alone"),
        pytest.param("crowdstrike", b"canary" * 6 + b"\n\n", "white space", id="reject_two_lines"),
        pytest.param("crowdstrike", b" " + b"canary" * 6, "white space", id="reject_leading_space"),
        pytest.param("generic", b"canary" * 6 + b"\t\n", "white space", id="reject_tab"),
        pytest.param("crowdstrike", HMAC_CANARY, "must not be VYROX_HMAC_SECRET", id="reject_hmac"),
        pytest.param("defender", HMAC_CANARY + b"\n", "must not be VYROX_HMAC", id="reject_hmac_b"),
        pytest.param("crowdstrike", b"canary" * 5 + b"x\n", "32 to 1024", id="reject_31_bytes"),
        pytest.param("generic", b"canary" + b"x" * 1019, "32 to 1024", id="reject_1025_bytes"),
        pytest.param("generic", b"canary" * 9999, "32 to 1024", id="reject_very_long"),
        pytest.param("sentinelone", b"canary" * 5, "32 to 1024", id="reject_short_bearer"),
        pytest.param("sentinelone", b"can ary" * 5, "printable ASCII", id="reject_bearer_space"),
        pytest.param("defender", b"canary" * 6 + b"\xff", "printable ASCII", id="reject_bearer_ff"),
        pytest.param("defender", b"canary" * 6 + b"\n\n", "white space", id="reject_bearer_lines"),
        pytest.param("defender", b"canary" * 6 + b"\x00", "printable", id="reject_bearer_nul"),
        pytest.param("defender", b"canary" * 6 + b"\x7f", "printable", id="reject_bearer_del"),
    ],
)
def test_secret_stdin_refuses_a_bad_secret_in_a_line_without_it_contract_45(
    on_sqlite: Vyrox, command: Literal["add", "rotate"], vendor: Vendor, sent: bytes, said: str
) -> None:
    before = () if command == "add" else (add(on_sqlite, "acme", vendor).secret or "",)

    args = ("tenant", command, "acme", "--vendor", vendor, "--secret-stdin")
    result = on_sqlite(*args, stdin=sent, env={"VYROX_HMAC_SECRET": HMAC_CANARY.decode()})

    line = refused(result)
    assert line.startswith(("the secret must be ", "the secret must not "))
    assert said in line
    assert "canary" not in line
    held = secrets(on_sqlite, "acme", vendor, time.time())
    assert held == (tuple(s.encode() for s in before) or (b"default",))


def test_add_twice_is_refused_and_says_how_to_get_a_new_secret(vyrox: Vyrox) -> None:
    made = add(vyrox, "acme", "crowdstrike").secret

    line = refused(vyrox("tenant", "add", "acme", "--vendor", "crowdstrike"))

    assert line == (
        "acme is onboarded for crowdstrike already; for a new secret use: "
        "vyrox tenant rotate acme --vendor crowdstrike"
    )
    assert made is not None
    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == (made.encode(),)


def test_add_keeps_the_tenants_vendors_apart(on_sqlite: Vyrox) -> None:
    made = {vendor: add(on_sqlite, "acme", vendor).secret for vendor in VENDORS}

    assert [row.vendor for row in rows(on_sqlite)] == sorted(VENDORS)
    for vendor in VENDORS:
        assert secrets(on_sqlite, "acme", vendor, time.time()) == ((made[vendor] or "").encode(),)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["add", "acme"], id="reject_no_vendor"),
        pytest.param(["add", "acme", "--vendor", "carbonblack"], id="reject_unknown_vendor"),
        pytest.param(["add", "acme", "--vendor", "Defender"], id="reject_vendor_case"),
        pytest.param(["add", "--vendor", "defender"], id="reject_no_tenant"),
        pytest.param(["add", "", "--vendor", "defender"], id="reject_empty_tenant"),
        pytest.param(["add", "a/b", "--vendor", "defender"], id="reject_slash_in_tenant"),
        pytest.param(["add", "..", "--vendor", "defender"], id="reject_dots_tenant"),
        pytest.param(["add", "a\n", "--vendor", "defender"], id="reject_newline_in_tenant"),
        pytest.param(["add", "é", "--vendor", "defender"], id="reject_non_ascii_tenant"),
        pytest.param(["add", "a" * 129, "--vendor", "defender"], id="reject_long_tenant"),
        pytest.param(["add", "a", "b", "--vendor", "generic"], id="reject_two_tenants"),
        pytest.param(
            ["add", "acme", "--vendor", "generic", "--field-map", "no-such"], id="reject_no_file"
        ),
        pytest.param(
            ["add", "acme", "--vendor", "generic", "--field-map", "/"], id="reject_directory"
        ),
        pytest.param(
            ["add", "acme", "--vendor", "defender", "--field-map", "/dev/null"],
            id="reject_field_map_of_another_vendor",
        ),
        pytest.param(["rotate"], id="reject_rotate_nobody"),
        pytest.param(["rotate", "acme", "--overlap", "-1"], id="reject_negative_overlap"),
        pytest.param(["rotate", "acme", "--overlap", "7776001"], id="reject_overlap_over_90_days"),
        pytest.param(["rotate", "acme", "--overlap", "1d"], id="reject_overlap_unit"),
        pytest.param(["remove"], id="reject_remove_nobody"),
        pytest.param(["remove", "acme", "--vendor", "x"], id="reject_remove_unknown_vendor"),
        pytest.param(["field-map", "acme"], id="reject_field_map_no_file"),
        pytest.param(["field-map", "acme", "no-such"], id="reject_field_map_missing_file"),
        pytest.param(["list", "acme"], id="reject_list_argument"),
        pytest.param(["rename"], id="reject_unknown_command"),
    ],
)
def test_usage_errors_exit_with_2_and_touch_nothing(on_sqlite: Vyrox, args: list[str]) -> None:
    result = on_sqlite("tenant", *args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert list(Path(on_sqlite.env["VYROX_DATA_DIR"]).iterdir()) == []


def test_add_field_map_is_stored_with_the_tenant_contract_10(vyrox: Vyrox, data_dir: Path) -> None:
    file = file_with(data_dir, msgspec.json.encode(FIELD_MAP))

    result = vyrox("tenant", "add", "acme", "--vendor", "generic", "--field-map", file)

    succeeded(result)
    assert "No field map" not in result.stderr
    assert vyrox.look_up("acme", "generic", time.time()).field_map == FIELD_MAP


def test_add_generic_without_a_field_map_says_what_is_missing(on_sqlite: Vyrox) -> None:
    result = on_sqlite("tenant", "add", "acme", "--vendor", "generic")

    succeeded(result)
    assert "No field map yet" in result.stderr
    assert "vyrox tenant field-map --help" in result.stderr


@pytest.mark.parametrize("command", ["add", "field-map"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is not a readable JSON file", id="reject_empty"),
        pytest.param(b"raw_id: id", "is not a readable JSON file", id="reject_yaml"),
        pytest.param(b"\xff\xfe{\x00}\x00", "is not a readable JSON file", id="reject_utf_16"),
        pytest.param(b"[" * 100_000, "is not a readable JSON file", id="reject_deep_nesting"),
        pytest.param(b"[]", "field map: ", id="reject_array"),
        pytest.param(b'{"raw_id": "id", "hostname": "h"}', "vendor_severity", id="reject_missing"),
        pytest.param(
            b'{"raw_id": "id", "hostname": "h", "vendor_severity": "s", "hostnam\\u001be": "x"}',
            "hostnam\\x1be",
            id="reject_unknown_field",
        ),
        pytest.param(
            b'{"raw_id": "", "hostname": "h", "vendor_severity": "s"}', "raw_id", id="reject_path"
        ),
        pytest.param(
            b'{"raw_id": 1, "hostname": "h", "vendor_severity": "s"}', "raw_id", id="reject_number"
        ),
    ],
)
def test_a_bad_field_map_is_refused_in_one_line_contract_10(
    on_sqlite: Vyrox,
    data_dir: Path,
    command: Literal["add", "field-map"],
    content: bytes,
    said: str,
) -> None:
    file = file_with(data_dir, content)
    if command == "add":
        result = on_sqlite("tenant", "add", "acme", "--vendor", "generic", "--field-map", file)
    else:
        add(on_sqlite, "acme", "generic")
        result = on_sqlite("tenant", "field-map", "acme", file)

    assert said in refused(result)
    assert on_sqlite.look_up("acme", "generic", time.time()).field_map is None


def test_field_map_replaces_the_tenants(vyrox: Vyrox, data_dir: Path) -> None:
    add(
        vyrox, "acme", "generic", "--field-map", file_with(data_dir, msgspec.json.encode(FIELD_MAP))
    )
    changed = FIELD_MAP | {"username": "actor"}

    result = vyrox("tenant", "field-map", "acme", file_with(data_dir, msgspec.json.encode(changed)))

    assert succeeded(result) == "acme has a new field map\n"
    assert [row.field_map for row in rows(vyrox)] == [changed]


def test_field_map_of_who_is_not_onboarded_is_refused(on_sqlite: Vyrox, data_dir: Path) -> None:
    add(on_sqlite, "acme", "crowdstrike")
    file = file_with(data_dir, msgspec.json.encode(FIELD_MAP))

    line = refused(on_sqlite("tenant", "field-map", "acme", file))

    assert line == "acme is not onboarded for generic; see: vyrox tenant list"


def test_list_of_nobody_is_an_empty_array_and_a_table_without_rows(vyrox: Vyrox) -> None:
    assert rows(vyrox.migrated()) == []
    assert "TENANT" in succeeded(vyrox("tenant", "list"))


def test_list_shows_who_is_removed_and_when_a_previous_secret_was_last_used(
    vyrox: Vyrox,
) -> None:
    before = time.time()
    add(vyrox, "acme", "crowdstrike")
    add(vyrox, "beta", "generic")
    succeeded(vyrox("tenant", "remove", "beta", "--yes"))
    expires_at = rotate(vyrox, "acme").previous_secret_expires_at

    shown = rows(vyrox)

    assert [(row.tenant_id, row.vendor, row.enabled) for row in shown] == [
        ("acme", "crowdstrike", True),
        ("beta", "generic", False),
    ]
    assert all(before <= row.created_at <= time.time() for row in shown)
    assert [row.previous_expires_at for row in shown] == [expires_at, None]
    assert [row.previous_used_at for row in shown] == [None, None]
    rotated = shown[0]  # its secret is younger than the tenant (contract 77)
    assert rotated.created_at < (rotated.secret_at or 0.0) <= time.time()
    table = rows_of(succeeded(vyrox("tenant", "list")))
    assert list(table[0]) == ["TENANT", "VENDOR", "STATE", "LIMIT", "LAST ALERT"]
    assert [list(row.values()) for row in table] == [
        ["acme", "crowdstrike", "enabled", "none", "-"],
        ["beta", "generic", "removed", "none", "-"],
    ]


def test_rotate_keeps_the_old_secret_for_a_day(vyrox: Vyrox) -> None:
    first = (add(vyrox, "acme", "crowdstrike").secret or "").encode()
    before = time.time()

    webhook = rotate(vyrox, "acme")

    assert webhook.vendor == "crowdstrike"
    expires_at = webhook.previous_secret_expires_at
    assert expires_at is not None
    assert before + DAY_S <= expires_at <= time.time() + DAY_S
    second = (webhook.secret or "").encode()
    assert secrets(vyrox, "acme", "crowdstrike", expires_at - 1) == (second, first)
    assert secrets(vyrox, "acme", "crowdstrike", expires_at) == (second,)


def test_rotate_prints_the_new_secret_once_and_until_when_the_old_one_is_valid(
    on_sqlite: Vyrox,
) -> None:
    add(on_sqlite, "acme", "defender")

    result = on_sqlite("tenant", "rotate", "acme", "--vendor", "defender", "--overlap", "60")

    printed = re.search(r"^secret   ([0-9a-f]{64})$", succeeded(result), re.MULTILINE)
    assert printed is not None
    assert result.output.count(printed[1]) == 1
    assert re.search(
        r"^The previous secret is valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.$",
        result.stderr,
        re.MULTILINE,
    )


def test_rotate_overlap_of_0_ends_the_old_secret_at_once(on_sqlite: Vyrox) -> None:
    add(on_sqlite, "acme", "defender")

    result = on_sqlite(
        *("tenant", "rotate", "acme", "--overlap", "0", "--secret-stdin", "--json"),
        stdin=SECRET + b"\n",
    )
    webhook = msgspec.json.decode(succeeded(result), type=Webhook)

    assert result.stderr == "The previous secret is no longer valid.\n"

    assert webhook.secret is None
    assert secrets(on_sqlite, "acme", "defender", time.time()) == (SECRET,)
    # It does not prevent the next rotation.
    rotate(on_sqlite, "acme")


def test_rotate_after_a_lost_key_says_that_the_old_secret_is_not_valid(on_sqlite: Vyrox) -> None:
    add(on_sqlite, "acme", "defender")
    other_key = {"VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode()}

    result = on_sqlite("tenant", "rotate", "acme", env=other_key)

    assert "secret   " in succeeded(result)
    assert result.stderr.splitlines()[-1] == (
        "The previous secret cannot be read with this key: it is not valid."
    )
    assert "is valid until" not in result.stderr
    as_json = on_sqlite("tenant", "rotate", "acme", "--force", "--json")
    assert "previous_secret_expires_at" not in succeeded(as_json)


def test_rotate_within_an_overlap_needs_force(vyrox: Vyrox) -> None:
    add(vyrox, "acme", "crowdstrike")
    second = (rotate(vyrox, "acme").secret or "").encode()

    line = refused(vyrox("tenant", "rotate", "acme"))
    assert "--force" in line
    assert secrets(vyrox, "acme", "crowdstrike", time.time())[0] == second

    third = (rotate(vyrox, "acme", "--force").secret or "").encode()
    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == (third, second)


@pytest.mark.parametrize("command", ["rotate", "remove"])
def test_rotate_and_remove_ask_which_vendor_is_meant(on_sqlite: Vyrox, command: str) -> None:
    words = ("tenant", command, "acme", *(["--yes"] if command == "remove" else []))
    assert refused(on_sqlite.migrated()(*words)) == (
        "acme is not onboarded; see: vyrox tenant list"
    )
    add(on_sqlite, "acme", "defender")
    add(on_sqlite, "acme", "crowdstrike")
    before = rows(on_sqlite)

    assert refused(on_sqlite(*words)) == ("acme has crowdstrike, defender: say which with --vendor")
    assert refused(on_sqlite(*words, "--vendor", "generic")) == (
        "acme is not onboarded for generic; see: vyrox tenant list"
    )
    assert rows(on_sqlite) == before

    succeeded(on_sqlite(*words, "--vendor", "defender"))
    changed = [row.vendor for row, old in zip(rows(on_sqlite), before, strict=True) if row != old]
    assert changed == ["defender"]


def test_remove_without_a_terminal_needs_yes_contract_88(on_sqlite: Vyrox) -> None:
    add(on_sqlite, "acme", "crowdstrike")
    before = rows(on_sqlite)
    for options in ((), ("--purge",), ("--vendor", "crowdstrike")):
        result = on_sqlite("tenant", "remove", "acme", *options)
        assert result.exit_code == 2
        assert "--yes" in result.stderr
    assert rows(on_sqlite) == before
    succeeded(on_sqlite("tenant", "remove", "acme", "--yes"))
    succeeded(on_sqlite("tenant", "remove", "acme", "--undo"))


def test_remove_leaves_no_secret_and_no_default_contract_8(vyrox: Vyrox) -> None:
    add(vyrox, "acme", "crowdstrike")
    assert vyrox.look_up("acme", "crowdstrike", time.time()).secrets != ()

    assert succeeded(vyrox("tenant", "remove", "acme", "--yes")) == (
        "acme removed for crowdstrike\nnew containments are refused; lifts still work\n"
    )

    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == ()
    assert secrets(vyrox, "acme", "defender", time.time()) == ()
    assert secrets(vyrox, "stranger", "crowdstrike", time.time()) == (b"default",)
    assert refused(vyrox("tenant", "remove", "acme", "--yes")) == (
        "acme is not onboarded; see: vyrox tenant list"
    )


def test_a_removal_is_undone_until_the_secret_is_purged_contract_88(vyrox: Vyrox) -> None:
    secret = (add(vyrox, "acme", "crowdstrike").secret or "").encode()
    rotate(vyrox, "acme")
    newest = secrets(vyrox, "acme", "crowdstrike", time.time())[0]
    undo = ("tenant", "remove", "acme", "--undo")
    assert "nothing can be undone" in refused(vyrox(*undo))
    removed = vyrox("tenant", "remove", "acme", "--yes")
    assert "--vendor crowdstrike --undo" in removed.stderr
    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == ()
    [row] = rows(vyrox)
    assert (row.enabled, row.keeps_secret, row.previous_expires_at) == (False, True, None)
    assert "--undo" in succeeded(vyrox("tenant", "show", "acme"))

    assert succeeded(vyrox(*undo)).startswith("acme is onboarded for crowdstrike again")
    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == (newest,)
    assert newest != secret
    assert [row.removed_at for row in rows(vyrox)] == [None]
    succeeded(vyrox("tenant", "remove", "acme", "--yes"))
    assert "is deleted" in succeeded(vyrox("tenant", "remove", "acme", "--yes", "--purge"))
    assert "nothing can be undone" in refused(vyrox(*undo))
    add(vyrox, "acme", "crowdstrike")
    succeeded(vyrox("tenant", "remove", "acme", "--yes", "--purge"))
    assert "nothing can be undone" in refused(vyrox(*undo))
    assert vyrox(*undo, "--purge").exit_code == 2


def test_a_removal_is_not_undone_with_a_secret_that_is_now_another_contract_88(
    on_sqlite: Vyrox, data_dir: Path
) -> None:
    secret = (add(on_sqlite, "acme", "generic").secret or "").encode()
    succeeded(on_sqlite("tenant", "remove", "acme", "--yes"))
    undo = ("tenant", "remove", "acme", "--undo")
    own = {"VYROX_HMAC_SECRET": secret.decode()}
    assert "give it a new one: vyrox tenant add" in refused(on_sqlite(*undo, env=own))
    (data_dir / KEY_FILE).write_bytes(Fernet.generate_key())
    assert "no key of this machine decrypts the kept secret" in refused(on_sqlite(*undo))


def test_add_after_remove_has_the_new_secret_alone(vyrox: Vyrox) -> None:
    add(vyrox, "acme", "crowdstrike")
    rotate(vyrox, "acme")
    succeeded(vyrox("tenant", "remove", "acme", "--yes", "--vendor", "crowdstrike"))

    made = (add(vyrox, "acme", "crowdstrike").secret or "").encode()

    assert secrets(vyrox, "acme", "crowdstrike", time.time()) == (made,)
    [row] = rows(vyrox)
    assert row.enabled
    assert row.previous_expires_at is None


@pytest.mark.parametrize("command", ["add", "rotate"])
def test_no_new_key_is_made_over_old_secrets_contract_45(
    on_sqlite: Vyrox, data_dir: Path, command: str
) -> None:
    add(on_sqlite, "acme", "crowdstrike")
    (data_dir / KEY_FILE).unlink()
    tenant_id = "beta" if command == "add" else "acme"

    line = refused(on_sqlite("tenant", command, tenant_id, "--vendor", "crowdstrike"))

    assert line.startswith(f"{data_dir / KEY_FILE} is missing, and the database holds secrets")
    assert not (data_dir / KEY_FILE).exists()


def test_no_file_holds_a_secret_that_can_be_read(on_sqlite: Vyrox, data_dir: Path) -> None:
    add(on_sqlite, "acme", "crowdstrike", "--secret-stdin", stdin=SECRET)
    made = (rotate(on_sqlite, "acme").secret or "").encode()

    files = [path.read_bytes() for path in data_dir.iterdir() if path.is_file()]
    assert len(files) > 1
    assert not any(SECRET in content or made in content for content in files)


def _detection(number: int) -> bytes:
    return b'{"detect_id":"evt:%d","customer_id":"acme"}' % number


async def test_changes_reach_a_running_service_without_a_restart_contract_8(
    data_dir: Path, redis_url: str
) -> None:
    vyrox = Vyrox(data_dir)
    default = "default-secret-0123456789-0123456789"
    numbers = iter(range(1000))
    async with (
        patient_service(
            data_dir, CROWDSTRIKE_WEBHOOK_SECRET=default, REDIS_URL=redis_url
        ) as service,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):

        async def answer(secret: str) -> int:
            body = _detection(next(numbers))
            headers = {"x-vyrox-signature": sign(body, secret)}
            response = await client.post("/webhook/crowdstrike", content=body, headers=headers)
            return response.status_code

        async def becomes(secret: str, status: int) -> None:
            async def has_become() -> bool:
                return await answer(secret) == status

            await until(has_become)

        assert await answer(default) == 202
        first = (await asyncio.to_thread(add, vyrox, "acme", "crowdstrike")).secret or ""
        await becomes(first, 202)
        assert await answer(default) == 401

        second = (await asyncio.to_thread(rotate, vyrox, "acme")).secret or ""
        await becomes(second, 202)
        assert await answer(first) == 202

        async def last_use_is_listed() -> bool:
            [row] = await asyncio.to_thread(rows, vyrox)
            return row.previous_used_at is not None

        await until(last_use_is_listed)
        shown = succeeded(await asyncio.to_thread(vyrox, "tenant", "show", "acme"))
        assert re.search(r"old secret +valid until .*, last used 20", shown)

        await asyncio.to_thread(rotate, vyrox, "acme", "--overlap", "0", "--force")
        await becomes(second, 401)
        assert await answer(first) == 401

        succeeded(await asyncio.to_thread(vyrox, "tenant", "remove", "acme", "--yes"))
        await asyncio.to_thread(add, vyrox, "acme", "crowdstrike", "--secret-stdin", stdin=SECRET)
        await becomes(SECRET.decode(), 202)

        succeeded(await asyncio.to_thread(vyrox, "tenant", "remove", "acme", "--yes"))
        await becomes(SECRET.decode(), 401)
        assert await answer(default) == 401
