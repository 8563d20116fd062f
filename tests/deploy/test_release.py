"""A version and its notes (contract 104)."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.cli import Vyrox, succeeded

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "deploy" / "release-notes.sh"


def test_all_files_name_one_version_contract_104(tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert compose["services"]["vyrox"]["image"] == f"vyrox:{version}"
    document = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text())
    assert document["info"]["version"] == version
    assert succeeded(Vyrox(tmp_path)("--version")) == f"vyrox, version {version}\n"


CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- New.

## [0.2.0] - 2026-12-01

### When you upgrade

- Back up.

## [0.1.0] - 2026-01-01

First.
"""


def notes(directory: Path, *version: str) -> subprocess.CompletedProcess[str]:
    script = directory / "deploy" / SCRIPT.name
    return subprocess.run([script, *version], capture_output=True, text=True, check=False)


def test_notes_of_a_tag_are_the_section_of_its_version_contract_104(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    copy = tmp_path / "deploy" / SCRIPT.name
    copy.write_bytes(SCRIPT.read_bytes())
    copy.chmod(0o755)
    assert notes(tmp_path, "0.2.0").stdout.strip() == "### When you upgrade\n\n- Back up."
    assert notes(tmp_path, "0.1.0").stdout.strip() == "First."
    assert notes(tmp_path, "Unreleased").stdout.startswith("### Added\n")
    for missing in ("0.3.0", "0", ".", "0.2"):
        found = notes(tmp_path, missing)
        assert (found.returncode, found.stdout) == (1, "")
    assert notes(tmp_path).returncode != 0


def test_what_an_upgrade_changes_is_in_the_changelog_contract_104() -> None:
    found = notes(ROOT, "Unreleased")
    assert found.returncode == 0
    assert re.search(r"^### When you upgrade$", found.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "pyproject.toml", "compose.yaml"])
def test_contributing_names_what_a_release_changes_contract_104(name: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert f"`{name}`" in text.partition("## Make a release")[2]
