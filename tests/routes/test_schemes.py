"""Each tenant's own scheme on the path with the tenant in it (contract 71)."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Final

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from tests.adapters.forms import payloads
from tests.adapters.payloads import DOCUMENTED, FIELD_MAP
from tests.ingestion import OTHER_SECRET, SECRET, TENANTS, Application, Webhook
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.models import EdrVendor
from vyrox.tenants.webhook_options import Signature, WebhookOptions

EPP: Final = json.dumps(payloads.EPP).encode()
WHSEC: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_WHSEC: Final = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
GENERIC: Final = DOCUMENTED["generic"]


def falcon(
    time: str, body: bytes = EPP, scheme: Signature = "falcon", secret: str = SECRET
) -> dict[str, str]:
    """The headers that Falcon sets, made again from the description of both schemes."""
    key, stamp = secret.encode(), time.encode()
    if scheme == "falcon":
        made = base64.b64encode(hmac.new(key, body + stamp, hashlib.sha256).digest()).decode()
    else:
        made = hmac.new(key, stamp + body, hashlib.sha256).hexdigest()
    return {"X-Cs-Primary-Signature": made, "X-Cs-Delivery-Timestamp": time}


def iso(offset_s: float = 0) -> str:
    return datetime.fromtimestamp(wall_clock() + offset_s, UTC).isoformat().replace("+00:00", "Z")


async def status_of(
    application: Application, path: str, headers: dict[str, str], body: bytes = EPP
) -> int:
    return (await application.post(Webhook(path, headers, body))).status_code


@pytest.mark.parametrize("scheme", ["falcon", "falcon-hex"])
async def test_falcons_signature_covers_the_body_and_the_time_contract_71(
    application: Application, scheme: Signature
) -> None:
    path = "/webhook/crowdstrike/falcon"
    options = WebhookOptions(signature=scheme)
    await application.onboard("falcon", "crowdstrike", options=options)
    other: Signature = "falcon" if scheme == "falcon-hex" else "falcon-hex"
    good = falcon(iso(), scheme=scheme)
    signature, time = "X-Cs-Primary-Signature", "X-Cs-Delivery-Timestamp"
    for headers, status in (
        (good, 202),
        (falcon(iso(-290), scheme=scheme), 202),
        (falcon(iso(290), scheme=scheme), 202),
        (falcon(str(int(wall_clock() * 1000)), scheme=scheme), 202),
        (falcon(iso(-310), scheme=scheme), 401),
        (falcon(iso(310), scheme=scheme), 401),
        (falcon("", scheme=scheme), 401),
        (falcon("yesterday", scheme=scheme), 401),
        (falcon(iso(), scheme=other), 401),
        (falcon(iso(), scheme=scheme, secret=OTHER_SECRET), 401),
        (falcon(iso(), EPP + b" ", scheme=scheme), 401),
        (good | {time: iso(1)}, 401),
        ({signature: good[signature]}, 401),
        (good | {signature: good[signature].swapcase()}, 401),
        ({"X-Vyrox-Signature": sign(EPP, SECRET)}, 401),
    ):
        assert await status_of(application, path, headers) == status, headers
    # Another tenant's scheme stays as it was.
    path = f"/webhook/crowdstrike/{TENANTS['crowdstrike']}"
    assert await status_of(application, path, good) == 401


async def test_falcons_scheme_leaves_the_documented_path_as_it_is_contract_71(
    application: Application,
) -> None:
    body = DOCUMENTED["crowdstrike"].replace(b"acme-corp", b"falcon")
    await application.onboard("falcon", "crowdstrike", options=WebhookOptions(signature="falcon"))
    headers = {"X-Vyrox-Signature": sign(body, SECRET)}
    assert await status_of(application, "/webhook/crowdstrike", headers, body) == 202
    headers = falcon(iso(), body)
    assert await status_of(application, "/webhook/crowdstrike", headers, body) == 401


async def test_falcons_headers_can_have_other_names_contract_71(application: Application) -> None:
    options = WebhookOptions("falcon", "x-my-signature", "x-my-time")
    await application.onboard("falcon", "crowdstrike", options=options)
    signature, time = falcon(iso()).values()
    path = "/webhook/crowdstrike/falcon"
    renamed = {"X-My-Signature": signature, "X-My-Time": time}
    assert await status_of(application, path, renamed) == 202
    assert await status_of(application, path, falcon(time)) == 401
    assert await status_of(application, path, renamed | {"x-my-time": iso(2)}) == 401


async def test_the_secret_can_be_in_a_header_of_ones_own_contract_71(
    application: Application,
) -> None:
    options = WebhookOptions(secret_header="x-s1-secret")
    await application.onboard("own", "sentinelone", options=options)
    body = json.dumps(payloads.THREAT).encode()
    path = "/webhook/sentinelone/own"
    own, bearer = {"X-S1-Secret": SECRET}, {"Authorization": f"Bearer {SECRET}"}
    assert await status_of(application, path, own, body) == 202
    assert await status_of(application, path, bearer, body) == 202
    for headers in (own | bearer, {"X-S1-Secret": OTHER_SECRET}, {"X-S1-Secret": ""}, {}):
        assert await status_of(application, path, headers, body) == 401
    # The documented path, and tenants without the option, do not read it.
    documented = DOCUMENTED["sentinelone"].replace(b"acme-corp", b"own")
    assert await status_of(application, "/webhook/sentinelone", own, documented) == 401
    path = f"/webhook/sentinelone/{TENANTS['sentinelone']}"
    assert await status_of(application, path, own, body) == 401


@pytest.mark.parametrize("vendor", ["sentinelone", "defender"])
async def test_also_signature_is_accepted_on_both_paths_contract_71(
    application: Application, vendor: EdrVendor
) -> None:
    options = WebhookOptions(also_signature=True)
    await application.onboard("both", vendor, options=options)
    body = DOCUMENTED[vendor].replace(TENANTS[vendor].encode(), b"both")
    bearer = {"Authorization": f"Bearer {SECRET}"}
    signed = {"X-Vyrox-Signature": sign(body, SECRET)}
    for path in (f"/webhook/{vendor}", f"/webhook/{vendor}/both"):
        for headers, status in (
            (signed, 202),
            (bearer, 202),
            (signed | bearer, 401),
            (signed | {"Authorization": "Bearer x"}, 401),
            ({"X-Vyrox-Signature": sign(body, OTHER_SECRET)}, 401),
            ({"X-Vyrox-Signature": sign(body + b" ", SECRET)}, 401),
        ):
            assert await status_of(application, path, headers, body) == status, (path, headers)
    # Off by default.
    body, tenant_id = DOCUMENTED[vendor], TENANTS[vendor]
    signed = {"X-Vyrox-Signature": sign(body, SECRET)}
    for path in (f"/webhook/{vendor}", f"/webhook/{vendor}/{tenant_id}"):
        assert await status_of(application, path, signed, body) == 401
        assert await status_of(application, path, signed | bearer, body) == 202


def standard(message_id: str, body: bytes, *secrets: str, offset_s: float = 0) -> dict[str, str]:
    """The headers of the package `standardwebhooks`, signed with each of `secrets`."""
    now = datetime.fromtimestamp(int(wall_clock() + offset_s), UTC)
    made = (StandardWebhook(secret).sign(message_id, now, body.decode()) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(made),
    }


async def test_standard_webhooks_are_accepted_contract_71(application: Application) -> None:
    options = WebhookOptions(signature="standard")
    await application.onboard("std", "generic", WHSEC, FIELD_MAP, options)
    path = "/webhook/generic/std"
    good = standard("m1", GENERIC, WHSEC)
    for headers, status in (
        (good, 202),
        (standard("m2", GENERIC, OLD_WHSEC, WHSEC), 202),
        (good | {"webhook-signature": "v1a,AAAA v2,x  " + good["webhook-signature"]}, 202),
        (standard("m3", GENERIC, WHSEC, offset_s=-290), 202),
        (standard("m3", GENERIC, WHSEC, offset_s=-310), 401),
        (standard("m3", GENERIC, WHSEC, offset_s=310), 401),
        (standard("m3", GENERIC, OLD_WHSEC), 401),
        (standard("", GENERIC, WHSEC), 401),
        (standard("m" * 129, GENERIC, WHSEC), 401),
        (good | {"webhook-id": "m9"}, 401),
        (good | {"webhook-signature": good["webhook-signature"].removeprefix("v1,")}, 401),
        ({name: good[name] for name in ("webhook-id", "webhook-signature")}, 401),
        ({"X-Vyrox-Signature": sign(GENERIC, WHSEC)}, 401),
    ):
        assert await status_of(application, path, headers, GENERIC) == status, headers
    await application.rotate("std", "generic", OLD_WHSEC, 60)
    assert await status_of(application, path, standard("m4", GENERIC, WHSEC), GENERIC) == 202
    assert await status_of(application, path, standard("m5", GENERIC, OLD_WHSEC), GENERIC) == 202


async def test_a_webhook_id_is_the_key_of_a_redelivery_contract_71(
    application: Application,
) -> None:
    options = WebhookOptions(signature="standard")
    await application.onboard("std", "generic", WHSEC, FIELD_MAP, options)

    async def alert_ids(message_id: str, body: bytes) -> list[str]:
        headers = standard(message_id, body, WHSEC)
        answer = await application.post(Webhook("/webhook/generic/std", headers, body))
        assert answer.status_code == 202
        return answer.json().get("alert_ids") or [answer.json()["alert_id"]]

    first = await alert_ids("m1", GENERIC)
    assert await alert_ids("m1", GENERIC + b" ") == first
    assert await alert_ids("m2", GENERIC) != first
    several = await alert_ids("m3", b"[" + GENERIC + b"," + GENERIC + b"]")
    assert len(set(several)) == 2  # two elements of one delivery are two alerts
    assert await alert_ids("m3", b"[" + GENERIC + b"," + GENERIC + b"] ") == several


async def test_a_secret_that_is_not_of_the_standard_verifies_nothing_contract_71(
    application: Application,
) -> None:
    options = WebhookOptions(signature="standard")
    await application.onboard("std", "generic", SECRET, FIELD_MAP, options)
    signed = hmac.new(SECRET.encode(), b"m1.1." + GENERIC, hashlib.sha256).digest()
    headers = standard("m1", GENERIC, WHSEC)
    headers["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
    assert await status_of(application, "/webhook/generic/std", headers, GENERIC) == 401
