"""`vyrox tenant explain`: the usual mistakes of senders, found without a service (contract 84)."""

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import Result

from tests.cli import Vyrox, refused, succeeded
from tests.service import HMAC_SECRET
from vyrox.crypto import sign
from vyrox.tenants.suspects import digest_of

BODY: Final = b'{"customer_id": "acme", "detect_id": "evt:1", "host": "b\xc3\xbcro"}\n'
DEFAULT: Final = "default-secret-0123456789-0123456789-0"
ADD: Final = ("--vendor", "crowdstrike", "--json")


@pytest.fixture
def vyrox(data_dir: Path) -> Vyrox:
    return Vyrox(
        data_dir, VYROX_HMAC_SECRET=HMAC_SECRET, CROWDSTRIKE_WEBHOOK_SECRET=DEFAULT
    ).migrated()


def secret_of(vyrox: Vyrox, tenant_id: str, *more: str) -> str:
    printed = succeeded(vyrox("tenant", "add", tenant_id, *ADD, *more))
    secret: str = json.loads(printed)["secret"]
    return secret


def explain(vyrox: Vyrox, signature: str, *more: str, body: bytes = BODY) -> Result:
    words = ("tenant", "explain", "acme", "--vendor", "crowdstrike", "--signature", signature)
    return vyrox(*words, *more, stdin=body)


def mistakes(secret: str) -> Iterator[tuple[str, str]]:
    """Yield what a sender has signed by mistake, and what is said of it."""
    value = json.loads(BODY)
    yield sign(BODY, f"{secret}\n"), "the secret was used with a line end"
    yield sign(BODY, bytes.fromhex(secret)), "the secret was decoded from hex"
    yield sign(BODY, f'"{secret}"'), "the secret was used in quotes"
    yield sign(BODY, secret.upper()), "the secret was used in upper case"
    yield sign(BODY[:-1], secret), "the body was signed without its line end"
    yield sign(BODY + b"\n", secret), "the body was signed with a line end"
    yield sign(BODY[:-1] + b"\r\n", secret), "the body was signed with other line ends"
    yield sign(b"", secret), "nothing was signed: an empty body"
    for anew in (
        json.dumps(value, separators=(",", ":"), sort_keys=True),
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        json.dumps(value, indent=2),
    ):
        yield sign(anew, secret), "the JSON was encoded again after it was signed"
    yield sign(BODY[:-1], f"{secret}\r\n"), "the secret was used with a line end"


def test_usual_mistakes_are_found_contract_84(vyrox: Vyrox) -> None:
    secret = secret_of(vyrox, "acme")
    right = explain(vyrox, sign(BODY, secret))
    assert (
        succeeded(right) == f"right: signed with the present secret over these {len(BODY)} bytes\n"
    )
    for signature, said in mistakes(secret):
        result = explain(vyrox, signature)
        assert result.exit_code == 1
        assert f"wrong: {said}\n" in result.stdout, result.stdout
        assert "signed with the present secret\n" in result.stdout
        assert secret not in result.output
    nothing = explain(vyrox, sign(BODY, "x" * 32))
    assert nothing.exit_code == 1
    assert "wrong: no known secret fits" in nothing.stdout
    assert max(map(len, nothing.stdout.splitlines())) <= 80


def test_whose_secret_it_is_is_found_contract_84(vyrox: Vyrox) -> None:
    secrets = {"acme": secret_of(vyrox, "acme"), "initech": secret_of(vyrox, "initech")}
    rotated = json.loads(succeeded(vyrox("tenant", "rotate", "acme", *ADD)))["secret"]
    cases = {
        secrets["initech"]: "signed with the present secret of initech for crowdstrike",
        DEFAULT: "signed with the default secret of crowdstrike",
        HMAC_SECRET: "signed with VYROX_HMAC_SECRET, which is for the private listener",
    }
    for secret, said in cases.items():
        result = explain(vyrox, sign(BODY, secret))
        assert result.exit_code == 1
        assert result.stdout.startswith(said)
        assert not any(each in result.output for each in (secret, rotated))
    overlapping = explain(vyrox, sign(BODY, secrets["acme"]))
    assert succeeded(overlapping).startswith("right: signed with the previous secret, still valid")
    succeeded(vyrox("tenant", "rotate", "acme", *ADD, "--overlap", "0", "--force"))
    assert explain(vyrox, sign(BODY, secrets["acme"])).exit_code == 1


def test_form_of_a_signature_is_explained_contract_84(vyrox: Vyrox) -> None:
    secret = secret_of(vyrox, "acme")
    right = sign(BODY, secret)
    digest = bytes.fromhex(right[7:])
    for sent, how in (
        (right.upper(), "upper_case"),
        (right[7:], "no_prefix"),
        (base64.b64encode(digest).decode(), "base64"),
        (f'"{right}"', "blanks"),
    ):
        result = explain(vyrox, sent)
        assert result.exit_code == 1
        assert result.stdout.startswith(f"wrong: malformed ({how}): ")
        assert "signed with the present secret over these" in result.stdout
    result = explain(vyrox, "\x1b[2J", "--json")
    found = json.loads(result.stdout)
    assert (found["form"], found["signed_with"], found["is_right"]) == ("characters", None, False)
    assert set(found) >= {"mistakes", "tried", "body_bytes", "secret_sha256"}


def test_own_scheme_of_a_tenant_is_used_contract_84(vyrox: Vyrox) -> None:
    secret = secret_of(vyrox, "acme")
    succeeded(vyrox("tenant", "set", "acme", "--vendor", "crowdstrike", "--signature", "falcon"))
    digest = hmac.digest(secret.encode(), BODY + b"2026-11-29T12:00:00Z", "sha256")
    signature = base64.b64encode(digest).decode()
    time = ("--timestamp", "2026-11-29T12:00:00Z")
    assert succeeded(explain(vyrox, signature, *time)).startswith("right: ")
    without = hmac.digest(secret.encode(), BODY, "sha256")
    result = explain(vyrox, base64.b64encode(without).decode(), *time)
    assert "wrong: the time beside the body was not signed" in result.stdout
    assert "malformed (hex)" in explain(vyrox, sign(BODY, secret), *time).stdout


def test_tokens_are_explained_contract_84(vyrox: Vyrox) -> None:
    words = ("tenant", "explain", "acme", "--vendor", "sentinelone", "--token")
    added = succeeded(vyrox("tenant", "add", "acme", "--vendor", "sentinelone", "--json"))
    secret = json.loads(added)["secret"]
    assert (
        succeeded(vyrox(*words, stdin=secret.encode())) == "right: sent with the present secret\n"
    )
    for sent, said in (
        (f"Bearer {secret}", "the token begins with Bearer"),
        (f'"{secret}"', "quotes are around the token"),
    ):
        result = vyrox(*words, stdin=sent.encode())
        assert result.exit_code == 1
        assert f"wrong: {said}\n" in result.stdout
        assert secret not in result.output
    assert "no known secret fits" in vyrox(*words, stdin=b"x" * 40).stdout
    assert vyrox("tenant", "explain", "acme", *ADD, "--token").exit_code == 2
    assert vyrox("tenant", "explain", "acme", *ADD).exit_code == 2


def test_unknown_tenants_are_named_contract_84(vyrox: Vyrox) -> None:
    secret_of(vyrox, "acme-corp")
    assert "did you mean acme-corp?" in refused(explain(vyrox, "x"))
    result = vyrox(
        *("tenant", "explain", "acme-corp", "--vendor", "generic", "--signature", "x"), stdin=b"{}"
    )
    assert "wrong: acme-corp has no secret for generic" in result.stdout


@pytest.mark.parametrize(
    "text", ["", "sha256=", "x", "\x00", "sha256=" + "g" * 64, "é" * 64, "=" * 44, "A" * 5000]
)
def test_what_is_no_digest_is_none_contract_84(text: str) -> None:
    assert digest_of(text) is None


def test_bytes_that_are_not_utf_8_are_a_malformed_signature_contract_84(vyrox: Vyrox) -> None:
    secret_of(vyrox, "acme")
    wrong = explain(vyrox, "\udcff\udcfe")
    assert wrong.exit_code == 1
    assert "wrong: malformed" in wrong.stdout
    assert "\udcff" not in wrong.output
    timed = explain(vyrox, sign(BODY, "x" * 32), "--timestamp", "\udcff", "--message-id", "\udcff")
    assert "wrong: no known secret fits" in timed.stdout
