"""Requests of every route with something wrong: in the body, the header, the path, or any byte.

A request is made from a seed, its number and the time alone, so that it can be made again.
"""

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
from tests.routes.json_texts import EVERY
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


SHORT_TEXTS: Final = [text for text in EVERY.values() if len(text) < 10_000]
LONG_TEXTS: Final = [text for text in EVERY.values() if len(text) >= 10_000]

TOKENS: Final = [
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\r\n", b"\r\n\r\n", b"\n", b'"', b"\\", b"{", b"}"),
    *(b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"1e999", b"-", b"NaN", b"null", b"true"),
    *(b"9" * 4301, b"../", b"%00", b"%2F", b"%ff", b"?", b"#", b"&tenant_id=initech", b"chunked"),
    *(b"0\r\n\r\n", b"gzip", b"sha256=", b"Bearer ", b"1_000", b"1970-01-01T00:00:60Z"),
]

FIELDS: Final = [
    *(b"content-encoding: gzip", b"content-encoding: identity", b"expect: 100-continue"),
    *(b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked", b"content-length: 0"),
    *(b"content-length: -1", b"content-length: 99999999999999999999", b"host: other", b"host:"),
    *(b"x-request-id: caller", b"x-request-id: " + b"x" * 200, b"x-request-id: \xff"),
    *(b"upgrade: h2c\r\nconnection: upgrade", b"connection: close", b"connection: keep-alive"),
    *(b"accept: application/x-ndjson", b"x-forwarded-for: 10.0.0.1", b"x-vyrox-timestamp: nan"),
    *(b"x-vyrox-signature: sha256=" + b"0" * 64, b"authorization: Bearer x", b" folded: yes"),
    *(b"cookie: " + b"x" * 8000, b"a: " + b"x" * 20_000, b"\r\n".join([b"b: c"] * 70), b": none"),
]

METHODS: Final = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "X"]


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


def _whole(choice: random.Random, now: int) -> Request:
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


def _mutated_bytes(data: bytes, choice: random.Random) -> bytes:
    start = choice.randrange(len(data) + 1)
    end = min(len(data), start + choice.choice([0, 1, 1, 4, 20]))
    kind = choice.randrange(6)
    if kind == 0:  # bits
        flipped = bytes(byte ^ (1 << choice.randrange(8)) for byte in data[start:end])
        return data[:start] + flipped + data[end:]
    if kind == 1:  # left out
        return data[:start] + data[end:]
    if kind == 2:  # twice
        return data[:end] + data[start:]
    if kind == 3:  # truncated
        return data[:start]
    token = choice.choice(TOKENS) if kind == 4 else choice.randbytes(choice.randrange(1, 9))
    return data[:start] + token + data[end:]


def _mutated_json(body: bytes, choice: random.Random) -> bytes:
    """Return `body` with another text as one of its values, or with one key more or twice."""
    texts = LONG_TEXTS if choice.random() < 0.002 else SHORT_TEXTS
    text = choice.choice(texts)
    colons = [index for index, byte in enumerate(body) if byte == ord(":")]
    if not colons or choice.random() < 0.2:
        return text
    start = choice.choice(colons) + 1
    end = next((i for i in range(start, len(body)) if body[i] in b",}]"), len(body))
    if choice.random() < 0.2:
        return body[:start] + body[start:end] + b',"tenant_id":' + text + body[end:]
    return body[:start] + text + body[end:]


def _mutated_body(body: bytes, choice: random.Random) -> bytes:
    mutate = _mutated_json if choice.random() < 0.6 else _mutated_bytes
    return mutate(body, choice)


def _raw(request: Request, lines: list[bytes], choice: random.Random) -> bytes:
    target = f"{request.method} {request.path} HTTP/1.1".encode()
    body = request.body
    head = [target, b"host: vyrox", *lines]
    if choice.random() < 0.15:
        middle = choice.randrange(len(body) + 1)
        parts = [part for part in (body[:middle], body[middle:]) if part]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return b"\r\n".join([*head, b"transfer-encoding: chunked", b"", b""]) + (
            chunks + b"0\r\n\r\n"
        )
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", b""]) + body


def _with_mutations(request: Request, choice: random.Random) -> bytes:
    kind = choice.random()
    if kind < 0.6:
        body = request.body
        for _ in range(choice.choice([1, 1, 1, 2, 3])):
            body = _mutated_body(body, choice)
        request = msgspec.structs.replace(request, body=body)
    elif kind < 0.68:
        path = _mutated_bytes(request.path.encode(), choice).decode("latin-1")
        request = msgspec.structs.replace(request, path=path)
    elif kind < 0.71:
        request = msgspec.structs.replace(request, method=choice.choice(METHODS))
    signer = choice.random()
    headers = {} if signer < 0.1 else request.sign(request.body, signer > 0.25)
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    if 0.71 <= kind < 0.85:
        lines.insert(choice.randrange(len(lines) + 1), choice.choice(FIELDS))
        if choice.random() < 0.3:
            lines = [_mutated_bytes(line, choice) for line in lines]
    raw = _raw(request, lines, choice)
    return _mutated_bytes(raw, choice) if kind >= 0.85 and choice.random() < 0.9 else raw


def make(seed: int, number: int, now: int) -> tuple[bool, bytes]:
    """Return whether a request is for the public listener, and the request as bytes.

    Args:
        now: Unix seconds; what is signed is signed for then.
    """
    choice = random.Random(seed * 1_000_003 + number)
    request = _whole(choice, now)
    return request.public, _with_mutations(request, choice)
