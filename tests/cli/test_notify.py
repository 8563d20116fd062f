"""`vyrox tenant notify`: targets added, listed, tried and removed (contract 58)."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from click.testing import Result

from tests.audit import NOW
from tests.cli import Vyrox, refused, succeeded
from tests.notify.receiver import receiving
from tests.notify.samples import SECRET, announcement
from vyrox.cli import secret_input
from vyrox.notify.outbox import enqueue

URL = "https://hooks.example.com:8443/CANARY-PATH?t=CANARY-QUERY"
TENANT = "acme-corp"
pytestmark = pytest.mark.usefixtures("anyio_backend")

LOCAL = {"NOTIFY_ALLOWED_HOSTS": "127.0.0.1"}


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return onboarded(data_dir, database_url)


def onboarded(data_dir: Path, database_url: str | None = None) -> Vyrox:
    made = Vyrox(data_dir, database_url)
    succeeded(made("tenant", "add", TENANT, "--vendor", "crowdstrike"))
    return made


def add(vyrox: Vyrox, *options: str, stdin: str = URL + "\n", tenant: str = TENANT) -> Result:
    return vyrox("tenant", "notify", "add", tenant, *options, stdin=stdin.encode(), env=LOCAL)


def listed(vyrox: Vyrox) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        succeeded(vyrox("tenant", "notify", "list", TENANT, "--json"))
    )
    return found


def test_secret_is_printed_once_and_the_url_never_contract_58(vyrox: Vyrox) -> None:
    result = add(vyrox, "--min-band", "urgent", "--format", "ocsf")
    printed = succeeded(result)
    assert "CANARY" not in result.output
    assert re.search(r"^secret  whsec_[A-Za-z0-9+/]{43}=$", printed, re.M)
    [target] = listed(vyrox)
    assert (target["host"], target["format"], target["min_band"]) == (
        "hooks.example.com:8443",
        "ocsf",
        "urgent",
    )
    shown = succeeded(vyrox("tenant", "notify", "list", TENANT))
    assert str(target["id"]) in shown
    assert "CANARY" not in shown + json.dumps(target)
    assert "whsec_" not in shown + json.dumps(target)


def test_own_secret_is_taken_and_not_printed_contract_58(vyrox: Vyrox) -> None:
    result = add(vyrox, "--own-secret", "--json", stdin=f"{URL}\n{SECRET}\n")
    assert "secret" not in json.loads(succeeded(result))
    assert SECRET not in result.output
    for stdin in (f"{URL}\n", f"{URL}\n{SECRET}\nmore\n", f"{URL}\n\n{SECRET}\n"):
        reason = refused(add(vyrox, "--own-secret", stdin=stdin))
        assert reason == (
            "standard input must hold the URL on a line, then the secret on a line, and nothing "
            "more"
        )
    reason = refused(add(vyrox, "--own-secret", stdin=f"{URL}\nCANARY\n"))
    assert reason == "the secret must be whsec_ and Base64 of 24 to 64 bytes"


def test_url_that_may_not_be_used_is_refused_contract_58(vyrox: Vyrox) -> None:
    for stdin, reason in (
        ("", "standard input must hold the URL on a line"),
        ("http://hooks.example.com/CANARY", "the URL must begin with"),
        (f" {URL}", "the URL must not begin or end"),
        ("x" * 4000, "the URL must be printable ASCII"),
    ):
        told = refused(add(vyrox, stdin=stdin))
        assert told.startswith(reason)
        assert "CANARY" not in told
    assert listed(vyrox) == []


def test_channel_has_no_secret_and_shows_none_contract_69(vyrox: Vyrox) -> None:
    slack = "slack://CANARYT1/CANARYB2/CANARYTOKEN/#general"
    told = refused(add(vyrox, "--format", "apprise", stdin="json://CANARY@example.com"))
    assert "slack://" in told
    added = add(vyrox, "--format", "apprise", stdin=slack)
    assert "whsec_" not in succeeded(added)
    [target] = listed(vyrox)
    assert (target["host"], target["format"]) == ("slack", "apprise")
    both = add(vyrox, "--format", "apprise", "--own-secret", stdin=slack)
    assert both.exit_code == 2
    assert "CANARY" not in told + added.output + both.output + json.dumps(target)


def test_terminal_is_asked_without_an_echo_contract_58(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_input, "is_terminal", lambda: True)
    result = add(vyrox, "--own-secret", stdin=f"{URL}\n{SECRET}\n")
    succeeded(result)
    assert "URL: " in result.stderr
    assert "CANARY" not in result.output
    assert SECRET not in result.output
    assert len(listed(vyrox)) == 1


def test_unknown_tenant_or_target_is_an_error_contract_58(vyrox: Vyrox) -> None:
    assert "did you mean acme-corp?" in refused(add(vyrox, tenant="acme-corb"))
    assert "did you mean" in refused(vyrox("tenant", "notify", "list", "acme-corb"))
    assert "did you mean" in refused(vyrox("tenant", "notify", "test", "acme-corb"))
    succeeded(add(vyrox))
    for command in ("test", "remove"):
        reason = refused(vyrox("tenant", "notify", command, TENANT, "nothing"))
        assert reason == (
            "acme-corp has no target with this id; see: vyrox tenant notify list acme-corp"
        )


def test_without_a_target_it_is_said_how_to_add_one_contract_58(vyrox: Vyrox) -> None:
    hint = "acme-corp has no target; to add one: vyrox tenant notify add acme-corp"
    assert refused(vyrox("tenant", "notify", "test", TENANT)) == hint
    assert hint in vyrox("tenant", "notify", "list", TENANT).stderr


def test_removed_target_is_gone_with_what_waited_contract_58(vyrox: Vyrox) -> None:
    succeeded(add(vyrox))
    [target] = listed(vyrox)
    vyrox.write(enqueue, TENANT, 7, "urgent", announcement(), NOW)
    assert listed(vyrox)[0]["waiting"] == 1
    printed = succeeded(vyrox("tenant", "notify", "remove", TENANT, str(target["id"])))
    assert printed == f"target {target['id']} removed\nnotifications that are not sent: 1\n"
    assert listed(vyrox) == []
    events = succeeded(vyrox("audit", "events", "--tenant", TENANT, "--json"))
    kinds = [json.loads(line)["kind"] for line in events.splitlines()]
    assert kinds[-2:] == ["notify.target_added", "notify.target_removed"]
    assert "CANARY" not in events


async def test_test_says_what_happened_contract_58(data_dir: Path) -> None:
    vyrox = await asyncio.to_thread(onboarded, data_dir)

    async def test(*args: str) -> Result:
        return await asyncio.to_thread(vyrox, "tenant", "notify", "test", TENANT, *args, env=LOCAL)

    async with receiving() as receiver:
        for url in (receiver.url + "/CANARY", "https://10.0.0.1/CANARY"):
            await asyncio.to_thread(add, vyrox, stdin=url)
        receiver.behaviours.extend([200, 500])
        good, refusing = await asyncio.to_thread(listed, vyrox)
        printed = succeeded(await test(str(good["id"])))
        host = receiver.url.removeprefix("http://")
        assert printed == (
            f"{good['id']} ({host}): delivered: the receiver responded with HTTP 200\n"
        )
        both = await test("--json")
        assert both.exit_code == 1
        assert [(each["delivered"], each["result"]) for each in json.loads(both.stdout)] == [
            (False, "the receiver responded with HTTP 500"),
            (
                False,
                "refused address: 10.0.0.1 is not on the public internet. To allow this host, "
                "name it in NOTIFY_ALLOWED_HOSTS",
            ),
        ]
        assert refusing["host"] == "10.0.0.1"
        assert "CANARY" not in both.output
        sent = json.loads(receiver.received[0].body)
        assert (sent["type"], sent["tenant_id"]) == ("test", TENANT)
        channel = receiver.url.replace("http", "ntfy") + "/on-call"
        await asyncio.to_thread(add, vyrox, "--format", "apprise", stdin=channel)
        [*_, ntfy] = await asyncio.to_thread(listed, vyrox)
        told = succeeded(await test(str(ntfy["id"])))
        assert told == f"{ntfy['id']} (ntfy): delivered: the channel took it\n"


def test_missing_key_file_is_an_error_while_a_target_is_stored_contract_45(
    data_dir: Path,
) -> None:
    vyrox = onboarded(data_dir)
    succeeded(add(vyrox))
    succeeded(vyrox("tenant", "remove", TENANT, "--yes"))
    (data_dir / "encryption.key").unlink()
    assert "encryption.key is missing" in refused(add(vyrox))
