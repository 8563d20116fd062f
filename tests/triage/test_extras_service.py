"""The optional parts of triage in a running service (contract 60 and 61)."""

import asyncio
import sys
from pathlib import Path

import pytest
import yaml

from tests.patient_service import patient_service
from tests.service import ROOT, environment
from tests.triage.language_model import language_model
from tests.triage.stored import judged, new
from tests.triage.test_notes import ANSWER, LINE
from tests.triage.test_sigma import rule
from vyrox.clock import wall_clock
from vyrox.store.database import open_database

_LOADED = """
import sys
import vyrox.serve
print(*sorted({"sigma", "yaml", "re2", "jq", "requests"} & sys.modules.keys()))
"""


async def test_the_service_reads_the_rules_and_writes_notes_contract_60_and_61(
    data_dir: Path, tmp_path: Path
) -> None:
    async with open_database(None, data_dir) as database:
        at = wall_clock() - 60
        alert = new(0, LINE, timestamp=at, vendor_severity="MEDIUM", severity="medium")
        await judged(database, alert)
    (tmp_path / "good.yml").write_text(yaml.safe_dump(rule({"s": {"CommandLine": "x"}})))
    (tmp_path / "bad.yml").write_text("a: [")
    async with language_model(ANSWER) as model:
        settings = {
            "TRIAGE_SIGMA_DIR": str(tmp_path),
            "TRIAGE_NOTE_URL": model.url,
            "TRIAGE_NOTE_MODEL": "m",
            "TRIAGE_NOTE_KEY": "canary-key",
        }
        async with patient_service(data_dir, **settings) as service:
            assert (await service.wait_for("sigma.failed"))["file"] == "bad.yml"
            assert (await service.wait_for("sigma.loaded"))["rules"] == 1
            assert (await service.wait_for("note.written"))["tokens"] == 120
        assert "canary-key" not in "".join(service.output)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"TRIAGE_SIGMA_DIR": "nowhere"}, "vyrox: TRIAGE_SIGMA_DIR: nowhere is not a directory"),
        (
            {"TRIAGE_NOTE_URL": "http://h/v1"},
            "vyrox: TRIAGE_NOTE_MODEL is required with TRIAGE_NOTE_URL",
        ),
    ],
)
async def test_a_service_that_cannot_do_it_says_so_at_the_start_contract_60_and_61(
    data_dir: Path, settings: dict[str, str], line: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vyrox",
        "serve",
        cwd=ROOT,
        env=environment(data_dir, settings),
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await process.communicate()
    assert process.returncode == 1
    assert output.decode().splitlines()[-1] == line


async def test_without_the_settings_nothing_of_it_is_imported_contract_60() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LOADED, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"\n")
