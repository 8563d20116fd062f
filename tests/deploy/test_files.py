"""The files for deployment fit the product: settings, ports, paths, and no way to the private side.

What needs their own tools (hadolint, systemd-analyze, docker compose) is in `make check-deploy`.
"""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.test_docs import variables
from vyrox.chain.log_keys import open_log_keys
from vyrox.errors import SettingsError
from vyrox.settings import Settings, values

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
UNIT = (ROOT / "deploy" / "vyrox.service").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
APP = json.loads((ROOT / "app.json").read_text())


def unit(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_every_variable_that_the_files_set_is_a_setting_contract_101() -> None:
    known = {*variables(), "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    in_image = re.findall(r"(?:ENV | {4})([A-Z_]+)=", DOCKERFILE)
    in_unit = re.findall(r"([A-Z_]+)=", " ".join(unit("Environment")))
    written = re.findall(r"^#?([A-Z_]+)=", (ROOT / "deploy/install.sh").read_text(), re.MULTILINE)
    for names in (
        in_image,
        in_unit,
        written,
        COMPOSE["services"]["vyrox"]["environment"],
        APP["env"],
    ):
        assert names
        assert set(names) <= known


def test_compose_publishes_the_proxy_alone_contract_101() -> None:
    services = COMPOSE["services"]
    assert [name for name, each in services.items() if each.get("ports")] == ["caddy"]
    assert "stores" not in services["caddy"]["networks"]
    assert COMPOSE["networks"]["stores"] == {"internal": True}
    assert "PROXY_HOST" not in services["vyrox"]["environment"]
    assert services["vyrox"]["read_only"]
    assert services["vyrox"]["cap_drop"] == ["ALL"]


def test_no_file_has_a_secret_contract_101() -> None:
    for name in ("VYROX_HMAC_SECRET", "VYROX_ENCRYPTION_KEY"):
        assert COMPOSE["services"]["vyrox"]["environment"][name].startswith(f"${{{name}:?")
        assert "value" not in APP["env"][name]


def test_the_image_runs_as_a_number_and_has_a_health_check_contract_101() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert '["python", "-m", "vyrox", "health"]' in DOCKERFILE
    assert "3000" not in " ".join(re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE))
    assert "--require-hashes" in DOCKERFILE


@pytest.mark.parametrize("extra", ["otel", "sigma"])
def test_an_optional_part_is_installed_from_a_lock_file_contract_101(extra: str) -> None:
    """Not from a package index by the name of Vyrox, where it may be another package."""
    name = f"requirements-{extra}.txt"
    pinned = re.compile(r"^[\w.-]+(?:\[.*\])?==\S+", re.MULTILINE)
    of_extra, of_all = (
        set(pinned.findall((ROOT / each).read_text())) for each in (name, "requirements.txt")
    )
    assert of_all < of_extra
    assert name in DOCKERFILE
    assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()
    installs = '-r "requirements-$extra.txt"'
    assert installs in DOCKERFILE
    assert installs in (ROOT / "deploy/install.sh").read_text()


def test_the_grace_time_is_longer_than_an_action_takes_contract_101() -> None:
    needed = Settings.edr_deadline_s + 30
    assert int(unit("TimeoutStopSec")[0]) > needed
    assert int(COMPOSE["services"]["vyrox"]["stop_grace_period"].removesuffix("s")) > needed


def test_the_unit_writes_to_its_own_directory_alone_contract_101() -> None:
    assert unit("ProtectSystem") == ["strict"]
    assert unit("CapabilityBoundingSet") == [""]
    assert unit("StateDirectoryMode") == ["0700"]
    assert "VYROX_DATA_DIR=/var/lib/vyrox" in unit("Environment")[0]
    assert not unit("ReadWritePaths")


def test_the_version_of_the_image_is_that_of_the_package_contract_101() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert COMPOSE["services"]["vyrox"]["image"] == f"vyrox:{version}"


def test_init_writes_secrets_that_are_accepted_and_never_overwrites_contract_101(
    tmp_path: Path,
) -> None:
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy" / "init.sh"
    script.write_text((ROOT / "deploy" / "init.sh").read_text())
    command = ["sh", str(script), "hooks.example.com", "vyrox.example.com"]
    subprocess.run(command, check=True, capture_output=True)
    written = tmp_path / ".env"
    assert written.stat().st_mode & 0o777 == 0o600
    env = dict(line.split("=", 1) for line in written.read_text().splitlines())
    assert len(values.encryption_keys(env["VYROX_ENCRYPTION_KEY"])) == 1
    assert len(open_log_keys([env["VYROX_CHECKPOINT_KEY"]], None, make=False)) == 1
    assert len(env["VYROX_HMAC_SECRET"]) == 64
    before = written.read_text()
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert written.read_text() == before


def test_commands_read_the_settings_as_systemd_does_contract_101(tmp_path: Path) -> None:
    settings = tmp_path / "vyrox.env"
    settings.write_text("# no\nA=1 2 $(x)\nB=\"3 'x'\"\nC='4'\n D=5\nE=\"\n")
    script = (ROOT / "deploy" / "vyrox-as-service").read_text()
    _, _, script = script.partition("\nfi\n")  # what comes after the change of the user
    for name, other in {
        "/etc/vyrox/vyrox.env": str(settings),
        "/var/lib/vyrox": str(tmp_path),
        "/opt/vyrox/bin/vyrox": "/usr/bin/env",
    }.items():
        script = script.replace(name, other)
    ran = subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True, env={})
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert {name: found.get(name) for name in "ABCDE"} == {
        "A": "1 2 $(x)", "B": "3 'x'", "C": "4", "D": None, "E": '"',
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["install.sh", "init.sh", "check.sh", "check-wheel.sh", "vyrox-as-service"]
)
def test_scripts_are_valid_shell_and_executable_contract_101(name: str) -> None:
    path = ROOT / "deploy" / name
    subprocess.run(["sh", "-n", str(path)], check=True)
    assert path.stat().st_mode & 0o111


def test_the_procfile_runs_commands_that_exist_contract_101() -> None:
    for line in (ROOT / "Procfile").read_text().splitlines():
        argv = shlex.split(line.partition(":")[2])
        assert argv[:3] == ["python", "-m", "vyrox"]
        assert argv[3:] in (["migrate"], ["serve"])


@pytest.mark.parametrize("link", ["tcp://10.0.0.7:3000", "tcp://[fd00::7]:3000"])
def test_a_service_link_of_kubernetes_is_no_port_contract_101(link: str) -> None:
    assert Settings.from_env({"PROXY_PORT": link, "CONSOLE_PORT": link}) == Settings()


@pytest.mark.parametrize("text", ["tcp://", "http://10.0.0.7:3000", "tcp://name:3000", "3000x"])
def test_what_is_no_service_link_is_an_error_contract_101(text: str) -> None:
    with pytest.raises(SettingsError, match="PROXY_PORT"):
        Settings.from_env({"PROXY_PORT": text})


def test_every_installed_package_has_its_licence_contract_105() -> None:
    """`make supply-chain` writes the table again."""
    text = (ROOT / "requirements.txt").read_text()
    lines = [line.removesuffix("\\").strip() for line in text.splitlines() if "==" in line]
    # Lines of a platform or an older Python are not installed everywhere; the table has one's.
    pairs = [line.split("==") for line in lines if ";" not in line]
    pinned = {(name.replace("_", "-").lower(), version) for name, version in pairs}
    rows = re.findall(
        r"^\| (\S+) +\| (\S+) +\| (\S.*?) +\|",
        (ROOT / "docs/licences.md").read_text(),
        re.MULTILINE,
    )
    listed = {(name.replace("_", "-").lower(), version) for name, version, _ in rows}
    assert len(pinned) > 40
    assert pinned - listed == set()
    assert "UNKNOWN" not in [licence for *_, licence in rows]
