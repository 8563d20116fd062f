"""`simulate.sh` does what `vyrox simulate` does for CrowdStrike, with bash, openssl and curl."""

import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from tests.trial.simulate.conftest import ACCEPTED, Recorder
from vyrox.crypto import verify
from vyrox.trial.simulate.request import build_request
from vyrox.trial.simulate.scenarios import SCENARIOS
from vyrox.trial.simulate.stages import Scenario

SCRIPT = Path(__file__).parents[3] / "simulate.sh"
SECRET = "s3cret'\" $(x) \\ %s é"
CROWDSTRIKE = [s for s in SCENARIOS.values() if s.vendor == "crowdstrike"]
STAGES = [
    pytest.param(scenario, number, id=f"{scenario.name}-{number}")
    for scenario in CROWDSTRIKE
    for number in range(1, len(scenario.stages) + 1)
]


def run(*args: str, secret: str = SECRET, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "VYROX_HMAC_SECRET": secret, **env}
    return subprocess.run(
        ["bash", str(SCRIPT), *args], env=settings, capture_output=True, encoding="utf-8"
    )


def decode(body: str | bytes) -> dict[str, object]:
    return msgspec.json.decode(body, type=dict[str, object])


def test_script_parses_and_is_executable() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize(("scenario", "number"), STAGES)
def test_script_sends_the_very_bytes_of_the_python_command(scenario: Scenario, number: int) -> None:
    result = run(scenario.name, "--stage", str(number), "--dry-run")

    assert (result.returncode, result.stderr) == (0, "")
    body = result.stdout.splitlines()[-1]
    sent = decode(body)
    expected = build_request(
        scenario, number, "acme-corp", SECRET, "http://localhost:8001/webhook", 0, uuid4()
    )
    # The identifier and the time are new with every sending; everything else is byte for byte.
    own = decode(expected.body)
    python = expected.body.decode().replace(str(own["detect_id"]), str(sent["detect_id"]))
    assert body == python.replace('"timestamp":0', f'"timestamp":{sent["timestamp"]}')
    assert f"POST {expected.url}\nContent-Type: application/json\n" in result.stdout


def test_script_lists_the_crowdstrike_scenarios_as_the_python_command_does() -> None:
    result = run("--list")

    assert result.returncode == 0
    assert [row.split(maxsplit=3) for row in result.stdout.splitlines()[1:]] == [
        [s.name, s.vendor, str(len(s.stages)), s.description] for s in CROWDSTRIKE
    ]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_script_signs_as_openssl_does_for_keys_of_every_length(length: int) -> None:
    # Every printable character, as keys that fit SHA-256's block of 64 bytes and that do not.
    secret = "".join(chr(33 + i * 7 % 94) for i in range(length))

    result = run("mimikatz", "--dry-run", secret=secret)

    *_, signature, _, body = result.stdout.splitlines()
    command = ["openssl", "dgst", "-sha256", "-hmac", secret, "-r"]
    digest = subprocess.run(command, input=body.encode(), capture_output=True, check=True).stdout
    assert signature == f"X-Vyrox-Signature: sha256={digest[:64].decode()}"


@pytest.mark.parametrize("secret", ["".join(map(chr, range(1, 40))), "ключ-é-鍵", "a \t\n a\n\nb"])
def test_script_signs_with_any_bytes_as_key(secret: str) -> None:
    *_, signature, _, body = run("mimikatz", "--dry-run", secret=secret).stdout.splitlines()

    assert verify(body, signature.removeprefix("X-Vyrox-Signature: "), secret)


def test_script_keeps_the_secret_out_of_every_command_line(
    tmp_path: Path, recorder: Recorder
) -> None:
    for tool in ("openssl", "curl"):
        real = shutil.which(tool)
        shim = tmp_path / tool
        shim.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" >>"{tmp_path}/seen"\nexec {real} "$@"\n'
        )
        shim.chmod(0o755)

    result = run("mimikatz", VYROX_URL=recorder.url, PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert result.returncode == 0
    seen = (tmp_path / "seen").read_text()
    assert {"openssl", "curl"} <= {Path(line).name for line in seen.splitlines()}
    assert SECRET not in seen
    assert SECRET.encode().hex() not in seen


def test_script_never_sends_the_secret_contract_45(recorder: Recorder) -> None:
    """It takes VYROX_HMAC_SECRET, and all its scenarios are signed."""
    secret = "0123456789-secret-0123456789-secret"
    run("lateral-movement", "--all-stages", "--url", recorder.url, secret=secret)

    assert len(recorder.received) == 8
    for received in recorder.received:
        assert secret not in f"{received.headers}{received.path}{received.body!r}"
        assert verify(received.body, received.headers["X-Vyrox-Signature"], secret)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_script_takes_no_proxy_of_the_environment_for_loopback_contract_45(
    recorder: Recorder, unused_url: str, host: str
) -> None:
    proxy = dict.fromkeys(("http_proxy", "ALL_PROXY", "all_proxy"), unused_url)
    url = recorder.url.replace("127.0.0.1", host)
    result = run("mimikatz", "--url", url, no_proxy="", NO_PROXY="", **proxy)

    assert (result.returncode, len(recorder.received)) == (0, 1)


def test_script_takes_the_proxy_of_the_environment_for_other_hosts(recorder: Recorder) -> None:
    proxy = {"http_proxy": recorder.url, "no_proxy": "", "NO_PROXY": ""}
    result = run("mimikatz", "--url", "http://localhost.invalid/webhook", **proxy)

    assert (result.returncode, len(recorder.received)) == (0, 1)


@pytest.mark.parametrize("secret", [f" {SECRET}", f"{SECRET}\t"])
def test_script_refuses_white_space_at_the_ends_of_a_secret_contract_45(secret: str) -> None:
    result = run("mimikatz", "--dry-run", secret=secret)

    assert (result.returncode, result.stdout) == (2, "")
    assert "VYROX_HMAC_SECRET must not begin or end with white space" in result.stderr


def test_script_sends_bytes_that_verify(recorder: Recorder) -> None:
    result = run("mimikatz", VYROX_URL=recorder.url, VYROX_TENANT_ID="t-1")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "stage 1: 202 queued 0b9c7f52-60a1-4a3e-8a55-4f5a3a1c9d10\n"
    [received] = recorder.received
    assert (received.method, received.path) == ("POST", "/webhook/crowdstrike")
    assert received.headers["Content-Type"] == "application/json"
    assert verify(received.body, received.headers["X-Vyrox-Signature"], SECRET)
    assert decode(received.body)["customer_id"] == "t-1"


def test_script_sends_all_stages_in_order_each_with_its_own_id(recorder: Recorder) -> None:
    result = run("lateral-movement", "--all-stages", f"--url={recorder.url}/")

    assert result.returncode == 0
    bodies = [decode(received.body) for received in recorder.received]
    techniques = [stage.technique for stage in SCENARIOS["lateral-movement"].stages]
    assert [body["technique"] for body in bodies] == techniques
    assert len({str(body["detect_id"]) for body in bodies}) == 8
    assert result.stdout.count("202 queued") == 8


def test_script_without_a_stage_takes_the_first_and_says_how_many_there_are() -> None:
    result = run("lateral-movement", "--dry-run")

    assert '"technique":"T1566.001"' in result.stdout
    assert "lateral-movement has 8 stages, and this was the first" in result.stderr


def test_script_prefers_the_vendors_variable(recorder: Recorder) -> None:
    run("mimikatz", "--url", recorder.url, CROWDSTRIKE_WEBHOOK_SECRET="vendors")

    [received] = recorder.received
    assert verify(received.body, received.headers["X-Vyrox-Signature"], "vendors")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param([], "missing SCENARIO", id="reject_no_scenario"),
        pytest.param(["nope"], "mimikatz ransomware encoded-", id="reject_unknown_scenario"),
        pytest.param(["psexec"], "not one of", id="reject_other_vendor"),
        pytest.param(["mimikatz", "ransomware"], "one scenario", id="reject_two_scenarios"),
        pytest.param(["mimikatz", "--stage", "2"], "has 1 stage(s), not 2", id="reject_stage_2"),
        pytest.param(["mimikatz", "--stage", "0"], "--stage", id="reject_stage_0"),
        pytest.param(["mimikatz", "--stage", "x[$(id)]"], "--stage", id="reject_stage_code"),
        pytest.param(["mimikatz", "--stage"], "requires an argument", id="reject_stage_nothing"),
        pytest.param(["ransomware", "--stage=1", "--all-stages"], "give either", id="reject_both"),
        pytest.param(["mimikatz", "--tenant", 'a"b'], "VYROX_TENANT_ID", id="reject_tenant"),
        pytest.param(["mimikatz", "--tenant", ".."], "VYROX_TENANT_ID", id="reject_tenant_dots"),
        pytest.param(["mimikatz", "--url", "-o/tmp/x"], "VYROX_URL", id="reject_url"),
        pytest.param(["mimikatz", "--nope"], "no such option", id="reject_option"),
    ],
)
def test_script_says_what_is_wrong_with_its_usage(args: list[str], said: str) -> None:
    result = run(*args)

    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_script_without_a_secret_names_the_variables() -> None:
    result = run("mimikatz", secret="")

    assert result.returncode == 2
    assert "CROWDSTRIKE_WEBHOOK_SECRET or VYROX_HMAC_SECRET" in result.stderr


def test_script_helps() -> None:
    result = run("--help")

    assert result.returncode == 0
    assert "--all-stages" in result.stdout


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b'{"detail": "unauthorized"}', "stage 1: 401 unauthorized"),
        (503, b'{"detail":"service unavailable"}', "stage 1: 503 service unavailable"),
        (404, b"<html>", "stage 1: 404 not a response of Vyrox"),
        (202, b"", "stage 1: 202 not a response of Vyrox"),
        (400, b'{"detail":"\x1b[31m"}', "stage 1: 400 ?[31m"),
    ],
)
def test_script_fails_on_anything_but_a_documented_202(
    recorder: Recorder, status: int, answer: bytes, said: str
) -> None:
    recorder.answers = [(status, answer)]

    result = run("mimikatz", "--url", recorder.url)

    assert (result.returncode, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_script_stops_at_the_first_refused_stage(recorder: Recorder) -> None:
    recorder.answers = [ACCEPTED, (503, b'{"detail":"service unavailable"}'), ACCEPTED]

    result = run("ransomware", "--all-stages", "--url", recorder.url)

    assert result.returncode == 1
    assert len(recorder.received) == 2


def test_script_says_in_one_line_that_nobody_listens(unused_url: str) -> None:
    result = run("mimikatz", "--url", unused_url)

    assert (result.returncode, result.stdout) == (1, "")
    assert "Failed to connect" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["openssl", "curl"])
def test_script_names_the_tool_that_is_missing(tmp_path: Path, missing: str) -> None:
    for tool in {"openssl", "curl"} - {missing}:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "")

    result = run("mimikatz", PATH=str(tmp_path))

    assert (result.returncode, result.stderr) == (1, f"Error: needs {missing}\n")
