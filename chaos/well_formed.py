"""Requests of every route as a client sends them, signed with the right secret or another one."""

import base64
import gzip
import hmac
import random
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from tests.adapters.forms import payloads as own
from tests.adapters.payloads import DOCUMENTED
from tests.approvals.discord.pressing import (
    ACCOUNTS,
    CHANNEL,
    STRANGER,
    Body,
    headers,
    interaction,
    slash,
)
from tests.ingestion import OTHER_SECRET, SECRET, TENANTS, VENDORS, credential, path_of
from tests.proxy import TENANT, encoded, export_headers, signed
from tests.routes.test_lift import LIFT
from tests.service import HMAC_SECRET
from vyrox.approvals.discord.message import button_id
from vyrox.models import Vendor
from vyrox.tenants.webhook_options import Signature

SCHEMES: Final[tuple[Signature, ...]] = ("falcon", "falcon-hex", "standard")
"""Each is also the name of a tenant that has it."""

STANDARD_SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()

_OWN_FORMS: Final[dict[Vendor, list[object]]] = {
    "crowdstrike": [own.EPP, own.AUDIT, own.FUSION, own.ENTITY],
    "sentinelone": [own.THREAT, own.STAR, own.UNIFIED],
    "defender": [own.MDE, own.OLD_GRAPH, own.INFO],
}


class Request(msgspec.Struct, frozen=True):
    """One request, before it is framed, and the listener that it is for.

    Attributes:
        sign: Returns the credential for a body, signed with the right secret or another one.
    """

    public: bool
    method: str
    path: str
    body: bytes
    sign: Callable[[bytes, bool], dict[str, str]]


def _webhook(vendor_number: int) -> Request:
    vendor = VENDORS[vendor_number]

    def sign(body: bytes, right: bool) -> dict[str, str]:
        return credential(vendor, body, SECRET if right else OTHER_SECRET)

    return Request(True, "POST", path_of(vendor), DOCUMENTED[vendor], sign)


def _elements(choice: random.Random) -> tuple[Vendor, bytes]:
    vendor = choice.choice(VENDORS)
    forms = [DOCUMENTED[vendor], *(encoded(each) for each in _OWN_FORMS.get(vendor, ()))]
    elements = [choice.choice(forms) for _ in range(choice.choice([1, 1, 2, 5]))]
    kind = choice.randrange(3)
    if kind == 0:
        return vendor, b"[" + b",".join(elements) + b"]"
    return vendor, elements[0] if kind == 1 else b"\n".join(elements)


def _on_path(now: int, choice: random.Random) -> Request:
    """Return a delivery on a path with the tenant in it, of any form, encoding and scheme."""
    vendor, body = _elements(choice)
    scheme = choice.choice((*SCHEMES, None, None))
    if scheme is not None:
        vendor = "generic" if scheme == "standard" else "crowdstrike"
    more = choice.choice(
        [
            {},
            {"content-encoding": "gzip"},
            {"content-type": "application/json; charset=utf-16"},
            {"content-type": "application/x-ndjson; charset=iso-8859-1"},
        ]
    )
    if "content-encoding" in more:
        body = gzip.compress(body, mtime=0)

    def sign(body: bytes, right: bool) -> dict[str, str]:
        secret = SECRET if right else OTHER_SECRET
        if scheme is None:
            return credential(vendor, body, secret) | more
        time = str(now if right else now - 3600)
        return _scheme_headers(scheme, time, body) | more

    path = f"/webhook/{vendor}/{scheme or TENANTS[vendor]}"
    return Request(True, "POST", path, body, sign)


def _scheme_headers(scheme: Signature, time: str, body: bytes) -> dict[str, str]:
    stamp = time.encode()
    if scheme == "standard":
        key = base64.b64decode(STANDARD_SECRET.removeprefix("whsec_"))
        made = hmac.digest(key, b"m%b.%b.%b" % (stamp, stamp, body), "sha256")
        return {
            "webhook-id": f"m{time}",
            "webhook-timestamp": time,
            "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
        }
    if scheme == "falcon":
        made = hmac.digest(SECRET.encode(), body + stamp, "sha256")
        signature = base64.b64encode(made).decode()
    else:
        signature = hmac.digest(SECRET.encode(), stamp + body, "sha256").hex()
    return {"x-cs-primary-signature": signature, "x-cs-delivery-timestamp": time}


def _sign_action(body: bytes, right: bool) -> dict[str, str]:
    return signed(body, HMAC_SECRET if right else OTHER_SECRET)


def _action(path: str, now: int, choice: random.Random, **changes: object) -> Request:
    fields = {
        "request_id": str(uuid.UUID(int=choice.getrandbits(128), version=4)),
        "tenant_id": TENANT,
        "alert_id": "alt_abc123",
        "action_type": choice.choice(["HOST_ISOLATION", "NETWORK_QUARANTINE", "PROCESS_KILL"]),
        "host": f"host-{choice.randrange(50)}",
        "approved_by": "jane.smith#1234",
        "approved_at": now,
        **changes,
    }
    return Request(False, "POST", path, encoded(fields), _sign_action)


def _export(now: int) -> Request:
    def sign(_: bytes, right: bool) -> dict[str, str]:
        return export_headers("initech", str(now), HMAC_SECRET if right else OTHER_SECRET)

    return Request(False, "GET", "/audit/export?tenant_id=initech", b"", sign)


def _interaction(now: int, choice: random.Random) -> Request:
    """Return a ping, a press of a button, a form or a slash command at Discord."""

    def sign(body: bytes, right: bool) -> dict[str, str]:
        return headers(body, now if right else now - 3600)

    account = choice.choice([*ACCOUNTS.values(), STRANGER])
    custom_id = button_id(choice.choice("ari"), choice.randbytes(32).hex())
    message = {
        "id": "1" * 18,
        "author": {"id": CHANNEL.bot_user_id},
        "content": "```\nAction: PROCESS_KILL\n```",
        "components": [{"type": 1, "components": [{"type": 2, "custom_id": custom_id}]}],
    }
    field = {"type": 4, "custom_id": "reason", "value": "no"}
    data = {"custom_id": custom_id, "components": [{"type": 18, "component": field}]}
    commands = ["status", "incidents", "contained", "drill", "register"]
    body: Body = choice.choice(
        [
            {"type": 1},
            interaction(3, account, data=data, message=message),
            interaction(5, account, data=data, message=message),
            slash(choice.choice(commands), account, code="AAAA-BBBB"),
        ]
    )
    body["id"] = str(choice.randrange(10**17, 10**18))  # the same for the same number
    return Request(True, "POST", "/interactions", encoded(body), sign)


def _health(public: bool) -> Request:
    return Request(public, "GET", "/health", b"", lambda _body, _right: {})


def whole(choice: random.Random, now: int) -> Request:
    """Return a request of any route. What is signed with a time is signed for `now`."""
    number = choice.randrange(22)
    if number >= 16:
        return _on_path(now, choice)
    if number < 8:
        return _webhook(number % 4)
    if number < 11:
        return _action("/execute", now, choice)
    if number == 11:
        return _action("/lift", now, choice, **LIFT)
    if number in {12, 13}:
        return _interaction(now, choice)
    return _export(now) if number == 14 else _health(choice.random() < 0.5)
