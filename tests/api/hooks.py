"""What schemathesis imports: it signs the requests, and gives them a time and ids that exist.

SIGNED=false: it does not, and no request may get through.
"""

import json
import os
import time
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import NAMESPACE_OID, uuid5
from zlib import crc32

import msgspec
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import Case, CheckContext, HookContext, Response

from tests.adapters.payloads import DOCUMENTED
from vyrox.crypto import sign

HMAC_SECRET: Final = "h" * 40
WEBHOOK_SECRET: Final = "w" * 40
DISCORD: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
TENANT: Final = "acme-corp"

IDS: Final[dict[str, str]] = json.loads(os.environ.get("IDS", "{}"))
"""By the name of the parameter: an id of TENANT's that exists."""

IS_SIGNED: Final = os.environ.get("SIGNED") != "false"


class Signature(AuthBase):  # type: ignore[misc]  # requests has no types
    """Signs the bytes that are sent, as a caller does."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the headers."""
        url = urlsplit(str(request.url))
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else body
        now = str(int(time.time()))
        headers = request.headers
        if url.path == "/interactions":
            headers["X-Signature-Timestamp"] = now
            headers["X-Signature-Ed25519"] = DISCORD.sign(now.encode() + content).hex()
        elif url.path.startswith(("/webhook/sentinelone", "/webhook/defender")):
            headers["Authorization"] = f"Bearer {WEBHOOK_SECRET}"
        elif url.path.startswith("/webhook/"):
            headers["X-Vyrox-Signature"] = sign(content, WEBHOOK_SECRET)
        elif request.method == "GET":
            tenant_id = parse_qs(url.query).get("tenant_id", [""])[0]
            headers["X-Vyrox-Timestamp"] = now
            headers["X-Vyrox-Signature"] = sign(f"{tenant_id}:{now}", HMAC_SECRET)
        else:
            headers["X-Vyrox-Signature"] = sign(content, HMAC_SECRET)
        return request


if IS_SIGNED:
    schemathesis.auth.set_from_requests(Signature())  # type: ignore[attr-defined]


Fields = dict[str, Any]


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: Fields) -> None:
    """Make a valid request one that means something: rules across fields are not in a schema."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    path, query = case.path_parameters or {}, case.query or {}
    fields: Fields = case.body if isinstance(case.body, dict) else {}
    if crc32(repr((path, query, fields)).encode()) % 2:
        _name_what_exists(path, query, fields)
        if case.path == "/suppressions/preview" or (case.path == "/suppressions" and fields):
            _take_a_scope(fields or query)
    for value in path.values():
        # A body repeats the id of its path, which is encoded here already.
        fields.update({"id": unquote(str(value))} if "id" in fields else {})
    _identify(fields, case.path)
    if case.path == "/audit/proof":
        # Exactly one of the two.
        query.pop("entry" if "old_size" in query else "old_size", None)
        query.update({} if "old_size" in query else {"entry": query.get("entry", 0)})
    vendor = case.path.removeprefix("/webhook/").removesuffix("/{tenant_id}")
    if vendor in DOCUMENTED and path and fields:
        case.body = fields | msgspec.json.decode(DOCUMENTED[vendor])


def _name_what_exists(path: Fields, query: Fields, fields: Fields) -> None:
    path.update({name: IDS[name] for name in path.keys() & IDS.keys()})
    for place in (query, fields):
        place.update({"tenant_id": TENANT} if "tenant_id" in place else {})


def _take_a_scope(asked: Fields) -> None:
    asked.update(program="backup.exe", any_host=True)
    for name in {"like", "command", "host", "family", "families", "user"} & asked.keys():
        del asked[name]


def _identify(fields: Fields, path: str) -> None:
    for name in {"at", "approved_at"} & fields.keys():
        fields[name] = int(time.time())
    for name in {"customer_id", "accountId", "tenantId"} & fields.keys():
        # In JSON Schema 1.0 is an integer too; a tenant's number is one without a fraction.
        fields[name] = int(fields[name]) if isinstance(fields[name], float) else fields[name]
    if "request_id" in fields:
        # Of its own: a boundary value comes in many bodies.
        fields["request_id"] = str(uuid5(NAMESPACE_OID, repr((path, fields))))


@schemathesis.check
def refused_without_a_credential(
    _context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """Fail if an unsigned request gets through a route that has a credential."""
    operation = case.operation.definition.raw
    is_free = operation["security"] == [{}] or response.request.method in {"OPTIONS", "TRACE"}
    if IS_SIGNED or is_free or response.status_code in {401, 405, 431}:
        return
    # On the public listener the body may name no tenant (400). The credential of Graph's
    # notifications is in their body, and its handshake has none.
    is_graphs = case.path == "/webhook/defender/{tenant_id}" and response.status_code in {200, 202}
    assert "public" in operation["tags"]
    assert response.status_code == 400 or (is_graphs and b"queued" not in response.content)
