"""`vyrox simulate`: what it prints, what it sends, how it exits."""

import re
import subprocess
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.trial.simulate.conftest import ACCEPTED, Recorder
from vyrox.cli import cli
from vyrox.crypto import verify
from vyrox.trial.demo.terminal import Terminal
from vyrox.trial.demo.week import Sender
from vyrox.trial.simulate.scenarios import SCENARIOS
from vyrox.trial.simulate.sending import ATTEMPTS

SECRET = "s3cret'\" $(x) \\ é" + "k" * 64
TOKEN = "t0ken-of-32-characters-or-more-xyz"
ONE_PER_VENDOR = ["mimikatz", "psexec", "lsass-dump", "backup"]


def run(*args: str, **env: str) -> Result:
    # From the top: a command that is invoked alone would keep help without `-h`.
    return CliRunner().invoke(cli, ["simulate", *args], env=env, prog_name="vyrox")


def openssl_hmac(body: bytes, secret: str) -> str:
    command = ["openssl", "dgst", "-sha256", "-hmac", secret, "-r"]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout[:64].decode()


def decode(body: str | bytes) -> dict[str, object]:
    return msgspec.json.decode(body, type=dict[str, object])


def test_list_shows_every_scenario() -> None:
    result = run("--list")

    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["NAME", "VENDOR", "STAGES", "DESCRIPTION"]
    assert [row.split(maxsplit=3) for row in rows] == [
        [s.name, s.vendor, str(len(s.stages)), s.description] for s in SCENARIOS.values()
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param([], "Missing argument 'SCENARIO'", id="reject_no_scenario"),
        pytest.param(["nope"], "'encoded-powershell', 'lateral-", id="reject_unknown_scenario"),
        pytest.param(["mimikatz", "--stage", "2"], "has 1 stage(s), not 2", id="reject_stage_2"),
        pytest.param(["mimikatz", "--stage", "0"], "--stage", id="reject_stage_0"),
        pytest.param(["psexec", "--stage", "1", "--all-stages"], "Give either", id="reject_both"),
        pytest.param(["mimikatz", "--tenant", "a/b"], "VYROX_TENANT_ID", id="reject_tenant"),
        pytest.param(["mimikatz", "--tenant", ""], "VYROX_TENANT_ID", id="reject_no_tenant"),
        pytest.param(["mimikatz", "--url", "localhost"], "VYROX_URL", id="reject_url_no_scheme"),
        pytest.param(["mimikatz", "--url", "http://h:x"], "VYROX_URL", id="reject_url_port"),
        pytest.param(["mimikatz", "--url", "http://u:p@h"], "VYROX_URL", id="reject_url_password"),
        pytest.param(["mimikatz", "--url", "http://h?a=b"], "VYROX_URL", id="reject_url_query"),
        pytest.param(["mimikatz", "--secret", ""], "No secret", id="reject_empty_secret"),
        pytest.param(["psexec", "--secret", "t0k en"], "bearer token", id="reject_token_space"),
        pytest.param(["psexec", "--secret", "t0k\r\nen"], "bearer token", id="reject_token_line"),
    ],
)
def test_simulate_says_what_is_wrong_with_its_usage(args: list[str], said: str) -> None:
    secret = [] if "--secret" in args else ["--secret", SECRET]

    result = run(*args, *secret)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "t0k" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ONE_PER_VENDOR)
def test_simulate_never_reads_the_secret_of_containment_contract_45(
    name: str, recorder: Recorder
) -> None:
    """It would go to the vendor's webhook in clear: the vendors' tokens are sent as they are."""
    result = run(name, "--url", recorder.url, VYROX_HMAC_SECRET=TOKEN)

    assert result.exit_code == 2
    variable = f"{SCENARIOS[name].vendor.upper()}_WEBHOOK_SECRET"
    assert f"No secret: set {variable} or give --secret, as" in result.stderr
    assert "VYROX_HMAC_SECRET" not in run("--help").stdout
    assert recorder.received == []


@pytest.mark.parametrize("name", ["mimikatz", "psexec"])
@pytest.mark.parametrize("secret", [f" {TOKEN}", f"{TOKEN}\n", f"{TOKEN}\u00a0"])
def test_simulate_refuses_white_space_at_the_ends_of_a_secret_contract_45(
    name: str, secret: str
) -> None:
    variable = f"{SCENARIOS[name].vendor.upper()}_WEBHOOK_SECRET"
    result = run(name, "--dry-run", **{variable: secret})

    assert result.exit_code == 2
    assert f"{variable}) must not begin or end with white space" in result.stderr
    assert TOKEN not in result.output


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_simulate_takes_no_proxy_of_the_environment_for_loopback_contract_45(
    recorder: Recorder, unused_url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), unused_url)
    url = recorder.url.replace("127.0.0.1", host)
    result = run("psexec", "--stage", "1", "--url", url, "--secret", TOKEN, **proxy)

    assert (result.exit_code, len(recorder.received)) == (0, 1)


def test_simulate_takes_the_proxy_of_the_environment_for_other_hosts(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    url = "http://vyrox.invalid/webhook"
    result = run("mimikatz", "--url", url, "--secret", SECRET, http_proxy=recorder.url)

    assert (result.exit_code, len(recorder.received)) == (0, 1)


def test_simulate_escapes_the_alert_id_of_a_server(recorder: Recorder) -> None:
    recorder.answers = [(202, rb'{"status":"queued","alert_id":"\u001b[2J\u202e"}')]

    result = run("mimikatz", "--url", recorder.url, "--secret", SECRET)

    assert result.stdout == "stage 1: 202 queued ?[2J?\n"


@pytest.mark.parametrize("name", ["mimikatz", "backup"])
def test_dry_run_prints_a_signature_that_openssl_reproduces(name: str) -> None:
    result = run(name, "--stage", "1", "--dry-run", "--secret", SECRET)

    assert (result.exit_code, result.stderr) == (0, "")
    *_, signature, blank, body = result.stdout.removesuffix("\n").split("\n")
    assert blank == ""
    digest = openssl_hmac(body.encode(), SECRET)
    assert signature == f"X-Vyrox-Signature: sha256={digest}"
    assert SECRET not in result.stdout


@pytest.mark.parametrize(("name", "path"), [("psexec", "sentinelone"), ("lsass-dump", "defender")])
def test_dry_run_prints_the_whole_bearer_request(name: str, path: str) -> None:
    result = run(name, "--dry-run", "--stage", "1", **{f"{path.upper()}_WEBHOOK_SECRET": TOKEN})

    assert result.stdout.splitlines()[:4] == [
        f"POST http://localhost:8001/webhook/{path}",
        "Content-Type: application/json",
        f"Authorization: Bearer {TOKEN}",
        "",
    ]


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender", "generic"])
def test_simulate_sends_a_scenario_as_any_vendor_reports_it(
    recorder: Recorder, vendor: str
) -> None:
    args = ("backup", "--stage", "1", "--vendor", vendor, "--url", recorder.url)
    result = run(*args, **{f"{vendor.upper()}_WEBHOOK_SECRET": TOKEN})

    assert (result.exit_code, result.stderr) == (0, "")
    [received] = recorder.received
    assert received.path.startswith(f"/webhook/{vendor}")
    assert b"wbadmin.exe start backup" in received.body


def test_dry_run_of_all_stages_parts_the_requests_with_blank_lines() -> None:
    result = run("lateral-movement", "--dry-run", "--all-stages", "--secret", SECRET)

    requests = result.stdout.split("\n\nPOST ")
    assert len(requests) == 8
    bodies = [decode(line) for line in result.stdout.splitlines() if line.startswith("{")]
    techniques = [stage.technique for stage in SCENARIOS["lateral-movement"].stages]
    assert [body["technique"] for body in bodies] == techniques
    assert len({str(body["detect_id"]) for body in bodies}) == 8
    assert result.stderr == ""


def test_dry_run_sends_nothing(recorder: Recorder) -> None:
    assert run("mimikatz", "--dry-run", "--secret", SECRET, "--url", recorder.url).exit_code == 0

    assert recorder.received == []


def test_simulate_without_a_stage_takes_the_first_and_says_how_many_there_are() -> None:
    result = run("lateral-movement", "--dry-run", "--secret", SECRET)

    assert '"technique":"T1566.001"' in result.stdout
    assert "lateral-movement has 8 stages, and this was the first" in result.stderr


@pytest.mark.parametrize("name", ["mimikatz", "backup"])
def test_simulate_sends_bytes_that_verify(recorder: Recorder, name: str) -> None:
    args = ("--stage", "1", "--url", recorder.url, "--tenant", "t-1", "--secret", SECRET)
    result = run(name, *args)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "stage 1: 202 queued 0b9c7f52-60a1-4a3e-8a55-4f5a3a1c9d10\n"
    [received] = recorder.received
    vendor = SCENARIOS[name].vendor
    path = f"/webhook/{vendor}" + ("/t-1" if vendor == "generic" else "")
    assert (received.method, received.path) == ("POST", path)
    assert received.headers["Content-Type"] == "application/json"
    assert verify(received.body, received.headers["X-Vyrox-Signature"], SECRET)
    assert received.headers["Authorization"] is None


@pytest.mark.parametrize(
    ("name", "tenant_field"), [("psexec", "accountId"), ("lsass-dump", "tenantId")]
)
def test_simulate_sends_the_bearer_token(recorder: Recorder, name: str, tenant_field: str) -> None:
    args = ("--stage", "1", "--url", recorder.url, "--tenant", "t-1", "--secret", TOKEN)
    result = run(name, *args)

    assert (result.exit_code, result.stderr) == (0, "")
    [received] = recorder.received
    assert (received.method, received.path) == ("POST", f"/webhook/{SCENARIOS[name].vendor}")
    assert received.headers["Authorization"] == f"Bearer {TOKEN}"
    assert received.headers["X-Vyrox-Signature"] is None
    assert decode(received.body)[tenant_field] == "t-1"


@pytest.mark.parametrize("name", ONE_PER_VENDOR)
def test_simulate_never_sends_a_redelivery(recorder: Recorder, name: str) -> None:
    for _ in range(2):
        run(name, "--stage", "1", "--url", recorder.url, "--secret", TOKEN)

    first, second = recorder.received
    assert first.body != second.body


def test_simulate_sends_all_stages_in_order(recorder: Recorder) -> None:
    args = ("lateral-movement", "--all-stages", "--url", recorder.url, "--secret", SECRET)
    result = run(*args)

    assert result.exit_code == 0
    assert re.findall(r"^stage (\d): 202 queued \S+$", result.stdout, re.M) == list("12345678")
    techniques = [decode(received.body)["technique"] for received in recorder.received]
    assert techniques == [stage.technique for stage in SCENARIOS["lateral-movement"].stages]


def test_simulate_takes_everything_from_the_environment(recorder: Recorder) -> None:
    env = {"VYROX_URL": recorder.url, "VYROX_TENANT_ID": "t-2"}
    assert run("mimikatz", **env, CROWDSTRIKE_WEBHOOK_SECRET=SECRET).exit_code == 0

    [received] = recorder.received
    assert decode(received.body)["customer_id"] == "t-2"
    assert verify(received.body, received.headers["X-Vyrox-Signature"], SECRET)


@pytest.mark.parametrize("name", ONE_PER_VENDOR)
@pytest.mark.parametrize("on_command_line", [False, True])
def test_option_wins_over_the_vendors_variable(
    recorder: Recorder, name: str, on_command_line: bool
) -> None:
    env = {f"{SCENARIOS[name].vendor.upper()}_WEBHOOK_SECRET": "vendors"}
    args = ["--secret", "option"] if on_command_line else []

    assert run(name, "--url", recorder.url, *args, **env).exit_code == 0

    [received] = recorder.received
    secret = "option" if on_command_line else "vendors"
    if "Authorization" in received.headers:
        assert received.headers["Authorization"] == f"Bearer {secret}"
    else:
        assert verify(received.body, received.headers["X-Vyrox-Signature"], secret)


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b'{"detail":"unauthorized"}', "stage 1: 401 unauthorized"),
        (503, b'{"detail":"service unavailable"}', "stage 1: 503 service unavailable"),
        (404, b"<html>", "stage 1: 404 not a response of Vyrox"),
        (200, b'{"status":"ok"}', "stage 1: 200 not a response of Vyrox"),
        (202, b"", "stage 1: 202 not a response of Vyrox"),
        (202, b"\xff", "stage 1: 202 not a response of Vyrox"),
        (500, b"[" * 100_000, "stage 1: 500 not a response of Vyrox"),
        (400, rb'{"detail":"\u001b[31m"}', "stage 1: 400 ?[31m"),
    ],
)
def test_simulate_fails_on_anything_but_a_documented_202(
    recorder: Recorder, status: int, answer: bytes, said: str
) -> None:
    recorder.answers = [(status, answer)]

    result = run("mimikatz", "--url", recorder.url, "--secret", SECRET)

    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_simulate_stops_at_the_first_refused_stage(recorder: Recorder) -> None:
    recorder.answers = [ACCEPTED, (503, b'{"detail":"service unavailable"}'), ACCEPTED]

    result = run("ransomware", "--all-stages", "--url", recorder.url, "--secret", SECRET)

    assert result.exit_code == 1
    assert result.stdout.count("202 queued") == 1
    assert "stage 2: 503 service unavailable" in result.stderr
    assert len(recorder.received) == 2


UNAVAILABLE = (503, b'{"detail":"service unavailable"}')


def test_simulate_sends_the_same_bytes_again_when_asked_to(recorder: Recorder) -> None:
    recorder.headers = {"Retry-After": "0"}
    recorder.answers = [UNAVAILABLE, ACCEPTED]

    result = run("mimikatz", "--url", recorder.url, "--secret", SECRET)

    assert result.exit_code == 0
    first, second = recorder.received
    assert first.body == second.body


def test_the_history_of_the_demo_is_sent_again_when_asked_to(recorder: Recorder) -> None:
    """A busy machine must not end the demo."""
    recorder.headers = {"Retry-After": "0"}
    recorder.answers = [UNAVAILABLE, ACCEPTED]

    def no_command(*_: object) -> NoReturn:
        raise AssertionError

    terminal = Terminal(no_command, Path(), {"VYROX_URL": recorder.url})
    sender = Sender(terminal, "acme-corp", {"crowdstrike": SECRET})

    assert sender.send(SCENARIOS["mimikatz"], 1, 1_700_000_000.0)
    first, second = recorder.received
    assert first.body == second.body


@pytest.mark.parametrize(("later", "sent"), [("0", ATTEMPTS), ("3600", 1), ("Sat, 29 Nov", 1)])
def test_simulate_gives_up_in_the_end(recorder: Recorder, later: str, sent: int) -> None:
    recorder.headers = {"Retry-After": later}
    recorder.answers = [UNAVAILABLE]

    result = run("mimikatz", "--url", recorder.url, "--secret", SECRET)

    assert (result.exit_code, len(recorder.received)) == (1, sent)
    assert "stage 1: 503 service unavailable" in result.stderr


@pytest.mark.parametrize("name", ["mimikatz", "lsass-dump"])
def test_simulate_says_in_one_line_that_nobody_listens(name: str, unused_url: str) -> None:
    result = run(name, "--url", unused_url, "--secret", TOKEN)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: stage 1: http://127.0.0.1:")
    assert result.stderr.count("\n") == 1
    assert TOKEN not in result.stderr
