"""`vyrox tenant check`, and the steps that `vyrox tenant add` prints (contract 75)."""

import asyncio
import json
import re
import time
from hashlib import sha256
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S, until
from vyrox.adapters import own_forms
from vyrox.cli.vendor_steps import FUSION_BODY, SENTINELONE_BODY, steps
from vyrox.crypto import sign
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.polling.arrivals import MAX_COUNTED, Arrivals, Kept, Refusal, StoredSecrets
from vyrox.polling.findings import Fingerprints, findings
from vyrox.polling.notices import Waiting
from vyrox.polling.rows import STALL_S, Poller
from vyrox.store.tables import edr_credentials, graph_notices, pollers
from vyrox.tenants.records import TenantRow
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions

pytestmark = pytest.mark.usefixtures("anyio_backend")

NOW = 1_700_000_000.0
DOCS = Path(__file__).parents[2] / "docs"
URL = "https://vyrox.example/webhook/v/acme"
VENDORS: list[Vendor] = ["crowdstrike", "sentinelone", "defender", "generic"]


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """The command on each of the two databases."""
    return Vyrox(data_dir, database_url)


VALUES = {
    "Composite ID": "c1", "Time of the detection": "2026-11-29T10:00:00Z", "Severity": "High",
    "Host name": "PC-1", "Sensor ID": "a" * 32, "User name": "jane", "File name": "cmd.exe",
    "Command line": "cmd.exe /c whoami", "SHA-256": "e" * 64, "Tactic": "Execution",
    "Technique": "T1059", "Trigger name": "t",
    "Link to the detection": "https://falcon.crowdstrike.com/activity/detections/detail/x/1",
    "threatInfo.threatId": "225494730938493804", "threatInfo.identifiedAt": "2026-11-29T10:00:00Z",
    "threatInfo.confidenceLevel": "malicious", "threatInfo.classification": "Ransomware",
    "threatInfo.processUser": "jane", "threatInfo.filePath": "C:\\Temp\\cmd.exe",
    "threatInfo.maliciousProcessArguments": "cmd.exe /c whoami", "threatInfo.sha256": "e" * 64,
    "threatInfo.storyline": "S1", "agentRealtimeInfo.agentComputerName": "PC-1",
    "agentRealtimeInfo.agentId": "1234567890", "agentRealtimeInfo.accountId": "77",
}  # fmt: skip


def filled(template: str) -> bytes:
    return re.sub("<([^>]+)>", lambda found: json.dumps(VALUES[found[1]])[1:-1], template).encode()


def test_the_templates_become_alerts_with_every_field_contract_75() -> None:
    falcon = own_forms.read("crowdstrike", filled(FUSION_BODY), Tenant("acme"), NOW)
    sentinel = own_forms.read("sentinelone", filled(SENTINELONE_BODY), Tenant("acme"), NOW)
    for alert in (falcon, sentinel):
        assert isinstance(alert, NormalizedAlert)
        assert alert.timestamp == 1_795_946_400.0
        assert (alert.hostname, alert.username, alert.process_name) == ("PC-1", "jane", "cmd.exe")
        assert (alert.process_cmdline, alert.sha256) == ("cmd.exe /c whoami", "e" * 64)
        assert alert.severity in {"high", "critical"}
    assert isinstance(falcon, NormalizedAlert)
    assert isinstance(sentinel, NormalizedAlert)
    assert (falcon.raw_id, falcon.device_id) == ("c1", "a" * 32)
    assert (falcon.tactic, falcon.technique) == ("Execution", "T1059")
    assert (sentinel.raw_id, sentinel.device_id) == ("225494730938493804", "1234567890")
    assert sentinel.vendor_group == "S1"
    page = (DOCS / "onboarding.md").read_text()
    assert FUSION_BODY in page
    assert SENTINELONE_BODY in page


@pytest.mark.parametrize("vendor", VENDORS)
def test_add_prints_what_to_do_at_the_vendor_contract_75(data_dir: Path, vendor: Vendor) -> None:
    vyrox = Vyrox(data_dir, PUBLIC_URL="https://vyrox.example")
    result = vyrox("tenant", "add", "acme", "--vendor", vendor)
    succeeded(result)
    assert f"https://vyrox.example/webhook/{vendor}/acme" in result.stderr
    assert f"vyrox tenant check acme --vendor {vendor}" in result.stderr
    needed = {
        "crowdstrike": ("detections.composite_id", "--signature falcon", "Alerts: read"),
        "sentinelone": ("Authorization: Bearer <secret>", '"threatInfo"', "view threats"),
        "defender": ("SecurityAlert.Read.All", "vyrox tenant poll acme --vendor defender"),
        "generic": ("X-Vyrox-Signature", "vyrox tenant field-map acme map.json"),
    }[vendor]
    for text in needed:
        assert text in result.stderr
    secret = result.stdout.split()[-1]
    assert secret not in result.stderr


def test_the_steps_are_those_of_the_tenants_scheme_contract_75() -> None:
    options = WebhookOptions("falcon", signature_header="x-own")
    text = "\n".join(steps("crowdstrike", "acme", URL, options))
    assert "x-own" in text
    assert "vyrox tenant set" not in text
    header = WebhookOptions(secret_header="x-secret")
    assert "x-secret: <secret>" in "\n".join(steps("sentinelone", "acme", URL, header))


async def test_check_shows_what_arrived_and_what_was_refused_contract_75(
    data_dir: Path, redis_url: str
) -> None:
    vyrox = Vyrox(data_dir)
    async with (
        patient_service(data_dir, REDIS_URL=redis_url) as service,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):
        printed = succeeded(
            await asyncio.to_thread(
                vyrox, "tenant", "add", "acme", "--vendor", "crowdstrike", "--json"
            )
        )
        secret = json.loads(printed)["secret"]

        async def checked() -> tuple[int, str]:
            result = await asyncio.to_thread(vyrox, "tenant", "check", "acme")
            assert secret not in result.output
            assert all(len(line) <= 80 for line in result.stdout.splitlines())
            return result.exit_code, result.stdout

        async def send(body: bytes, key: str) -> int:
            headers = {"x-vyrox-signature": sign(body, key)}
            path = "/webhook/crowdstrike/acme"
            return (await client.post(path, content=body, headers=headers)).status_code

        async def becomes(code: int, *texts: str) -> None:
            async def has_become() -> bool:
                found, shown = await checked()
                return found == code and all(text in shown for text in texts)

            await until(has_become)

        code, shown = await checked()
        assert code == 1
        assert "WRONG last alert none yet" in shown
        assert "vyrox simulate mimikatz --tenant acme" in shown

        detection = filled(FUSION_BODY)

        async def is_accepted() -> bool:
            return await send(detection, secret) == 202

        await until(is_accepted)
        fingerprint = sha256(secret.encode()).hexdigest()[:8]
        await becomes(0, f"ok    secret     {fingerprint}, last used 20", "ok    last alert 20")

        async def is_refused() -> bool:
            # Again and again: a refusal in the second of the good delivery may be before it.
            assert await send(detection, "another secret") == 401
            found, shown = await checked()
            return found == 1 and "401 wrong" in shown

        await until(is_refused)
        await becomes(1, f"must begin with {fingerprint}", "--signature falcon")

        assert await send(b'{"data": {"detections.hostname": "\x1b[2J"}}', secret) == 422
        await becomes(1, "1 payload waiting", "vyrox queue quarantine list acme")


def switch_on(connection: Connection) -> None:
    connection.execute(
        edr_credentials.insert().values(
            tenant_id="acme", vendor="defender", base_url="u", secret="s", version="1"
        )
    )
    connection.execute(
        pollers.insert().values(
            tenant_id="acme",
            vendor="defender",
            started_at=time.time(),
            since=0.0,
            failures=3,
            last_error="credentials refused\x1b[2J: " + "x" * 300,
            next_at=0.0,
        )
    )


def announce(connection: Connection) -> None:
    row = {"tenant_id": "acme", "raw": b"", "number": 1, "next_at": 0.0}
    for number, failures in enumerate((0, 4, 4, 1)):
        connection.execute(
            graph_notices.insert().values(
                **row,
                alert_id=f"a{number}",
                received_at=NOW + 60 - number,
                failures=failures,
                last_error=f"refused {number}\x1b[2J" if failures else None,
            )
        )


def test_check_shows_what_graph_announced_and_was_not_fetched_contract_75(vyrox: Vyrox) -> None:
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "defender"))
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "generic"))
    vyrox.write(announce)
    result = vyrox("tenant", "check", "acme", "--vendor", "defender")
    assert "WRONG announced  4 alerts waiting, since 2023-11-14 22:14:18, 3 failed" in result.stdout
    assert "WRONG graph says refused 2\\x1b[2J" in result.stdout
    assert "do: vyrox tenant edr check acme --vendor defender" in result.stdout
    assert result.exit_code == 1
    rows = json.loads(vyrox("tenant", "check", "acme", "--json").stdout)
    by_vendor = {row["vendor"]: row["announced"] for row in rows}
    assert by_vendor["defender"]["failing"] == 3
    assert by_vendor["generic"] is None


def test_check_of_a_poller_and_of_unknown_names_contract_75(vyrox: Vyrox) -> None:
    succeeded(vyrox("tenant", "add", "beta", "--vendor", "generic"))
    vyrox.write(switch_on)
    result = vyrox("tenant", "check", "acme")
    assert result.exit_code == 1
    assert "not onboarded: alerts are only pulled" in result.stdout
    assert "3 failures" in result.stdout
    assert "credentials refused\\x1b" in result.stdout
    assert "vyrox tenant edr check acme --vendor defender" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    shown = vyrox("tenant", "check", "acme", "--vendor", "defender", "--json")
    assert shown.exit_code == 1
    [row] = json.loads(shown.stdout)
    assert (row["is_ok"], row["secrets"]["present"]) == (False, None)
    assert row["poller_lag_s"] < STALL_S
    assert "did you mean acme?" in refused(vyrox("tenant", "check", "acne"))
    assert "did you mean acme?" in refused(
        vyrox("tenant", "check", "acne", "--vendor", "crowdstrike")
    )


ROW = TenantRow("acme", "crowdstrike", True, NOW - 9000, None, None, None, DEFAULT, NOW - 100)
GOOD = Arrivals(
    "acme", "crowdstrike", ROW, StoredSecrets("s", None), NOW - 100, None, None, None
)  # fmt: skip
POLLER = Poller(
    "acme", "crowdstrike", NOW - 9000, 0.0, None, None, NOW - 5, NOW - 5, 0, None, 0.0, None, None,
    None,
)  # fmt: skip


def case(*, row: dict[str, object] | None = None, **members: object) -> Arrivals:
    onboarded = msgspec.structs.replace(ROW, **(row or {}))
    return msgspec.structs.replace(GOOD, **{"onboarded": onboarded, **members})


OLD: dict[str, object] = {"previous_expires_at": NOW + 50, "used_at": None}
CASES: dict[str, tuple[Arrivals, set[str]]] = {
    "good": (GOOD, set()),
    "a refusal before the last delivery": (case(refusal=Refusal(NOW - 200, "x")), set()),
    "a refusal after it": (case(refusal=Refusal(NOW - 50, "stale")), {"last 401"}),
    # A polled alert does not show that a delivery was authentic.
    "a refusal and a polled alert": (
        case(refusal=Refusal(NOW - 50, "x"), alert_at=NOW, poller=POLLER),
        {"last 401"},
    ),
    "quarantine": (case(kept=Kept(2, NOW, "why")), {"last 422"}),
    "the previous secret is in use": (
        case(row={**OLD, "previous_used_at": NOW - 10}),
        {"previous"},
    ),
    "the previous secret is only valid": (case(row=OLD), set()),
    "the previous secret is over": (
        case(row={"previous_expires_at": NOW - 1, "previous_used_at": NOW - 10}),
        set(),
    ),
    "removed": (case(row={"enabled": False}), {"webhook"}),
    "the default secret": (case(onboarded=None), {"webhook"}),
    "only a poller": (case(onboarded=None, alert_at=None, poller=POLLER), set()),
    "announced, and fetched soon": (case(notices=Waiting(3, 0, NOW - 5, None)), set()),
    "announced, and Graph refuses": (
        case(notices=Waiting(3, 2, NOW - 50, "401")),
        {"announced", "graph says"},
    ),
    "announced, and no service fetches": (
        case(notices=Waiting(MAX_COUNTED, 0, NOW - STALL_S - 1, None)),
        {"announced"},
    ),
    "a poller that no service runs": (
        case(poller=msgspec.structs.replace(POLLER, caught_up_at=NOW - STALL_S - 1)),
        {"poller"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_check_says_what_is_wrong_and_what_to_do_contract_75(name: str) -> None:
    found, wrong = CASES[name]
    lines = findings(found, Fingerprints("3f2a91c0", "00112233"), NOW)
    assert {line.name for line in lines if line.state == "wrong"} == wrong
    assert all(line.do for line in lines if line.state == "wrong")


def test_check_says_that_no_key_decrypts_the_secret_contract_75() -> None:
    [line] = [line for line in findings(GOOD, Fingerprints(), NOW) if line.state == "wrong"]
    assert line.name == "secret"


def test_check_sends_no_test_alert_that_would_be_refused_contract_75() -> None:
    options = msgspec.structs.replace(DEFAULT, signature="standard")
    found = case(row={"webhook": options}, alert_at=None)
    [line] = [line for line in findings(found, Fingerprints("3f2a91c0"), NOW) if line.do]
    assert "Standard Webhooks" in line.do[0]
    assert "--tenant" not in line.do[0]
