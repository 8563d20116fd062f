"""Requests made from the API's document, to both listeners of a real service (contract 100)."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.api.hooks import DISCORD, HMAC_SECRET, TENANT, WEBHOOK_SECRET
from tests.cli import Vyrox, succeeded
from tests.ingestion import VENDORS, webhook
from tests.patience import PATIENT_VYROX
from tests.polling import PATIENCE_S, until
from tests.proxy import encoded, export_headers, signed
from tests.service import ROOT, Service, running_service

pytestmark = pytest.mark.api

HERE: Final = Path(__file__).parent

SETTINGS: Final = {
    "VYROX_HMAC_SECRET": HMAC_SECRET,
    **{f"{vendor.upper()}_WEBHOOK_SECRET": WEBHOOK_SECRET for vendor in VENDORS},
    "TRIAGE_ENABLED": "true",
    "DISCORD_APPLICATION_ID": "12345678901234567",
    "DISCORD_BOT_TOKEN": "token-of-a-bot-that-does-not-exist",
    "DISCORD_PUBLIC_KEY": DISCORD.public_key().public_bytes_raw().hex(),
    "DISCORD_TEST_URL": "http://127.0.0.1:9",
}


@pytest.fixture
async def service(data_dir: Path) -> AsyncIterator[Service]:
    async with running_service(data_dir, "-c", PATIENT_VYROX, "serve", **SETTINGS) as running:
        yield running


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("listener", ["public", "private"])
async def test_what_the_document_allows_and_forbids_is_so_contract_100(
    service: Service, data_dir: Path, listener: str, is_signed: bool
) -> None:
    """No 5xx, and every response as documented; without a credential nothing gets through."""
    ids = await known_ids(service, data_dir) if listener == "private" and is_signed else {}
    url = service.ingestion_url if listener == "public" else service.proxy_url
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
        *("run", ROOT / "docs" / "api" / "openapi.json", "--url", url, "--include-tag", listener),
        *("--max-examples", "25" if is_signed else "8", "--no-color"),
        *("--generation-with-security-parameters", str(not is_signed).lower()),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.api.hooks",
            "SIGNED": str(is_signed).lower(),
            "IDS": json.dumps(ids),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert [line for line in service.lines if line["level"] == "error"] == []


async def known_ids(service: Service, data_dir: Path) -> dict[str, str]:
    """Make one of each thing that a path can name, and return their ids."""
    vyrox = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    words = ("tenant", "edr", "set", TENANT, "--new", "--vendor", "crowdstrike", "--client-id", "c")
    succeeded(await asyncio.to_thread(vyrox, *words, stdin=b"secret-of-the-vendor"))
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        sent = webhook("crowdstrike", secret=WEBHOOK_SECRET)
        url = f"{service.ingestion_url}{sent.path}"
        answer = await client.post(url, headers=sent.headers, content=sent.body)
        alert_id = answer.json()["alert_id"]

        async def read(path: str) -> httpx.Response:
            headers = export_headers(TENANT, secret=HMAC_SECRET)
            url = f"{service.proxy_url}{path}"
            return await client.get(url, params={"tenant_id": TENANT}, headers=headers)

        async def has_incident() -> bool:
            return bool((await read("/incidents")).json()["incidents"])

        async def change(path: str, **fields: object) -> dict[str, object]:
            body = encoded({"tenant_id": TENANT, "request_id": str(uuid4()), **fields})
            headers = signed(body, HMAC_SECRET)
            answer = await client.post(f"{service.proxy_url}{path}", headers=headers, content=body)
            assert answer.is_success, answer.text
            made: dict[str, object] = answer.json()
            return made

        await until(has_incident)
        [incident] = (await read("/incidents")).json()["incidents"]
        scope = {"program": "backup.exe", "any_host": True, "reason": "the nightly backup"}
        suppression = await change("/suppressions", by="jo", at=int(time.time()), **scope)
        wanted = {"alert_id": alert_id, "action_type": "HOST_ISOLATION", "host": "workstation-01"}
        proposal = await change("/webhook", requested_by="jo", reason="a beacon", **wanted)
    return {
        "alert_id": alert_id,
        "incident_id": str(incident["id"]),
        "suppression_id": str(suppression["id"]),
        "proposal_id": str(proposal["proposal_id"]),
    }
