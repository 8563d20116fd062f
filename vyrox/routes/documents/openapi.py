"""The OpenAPI 3.1 document, made from `described` (contract 100).

`python -m vyrox.routes.documents > docs/api/openapi.json` writes the file in the repository.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, Final

import msgspec

from vyrox.errors import VyroxError
from vyrox.http.explaining import MAX_REASON
from vyrox.routes.documents.described import EVERY, JSON, PRIVATE, PUBLIC, Credential, Described
from vyrox.routes.documents.shapes import HandshakeQuery

Node = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"

_ABOUT: Final = """Vyrox has two listeners. `servers` of an operation says which one it is on.
Requests that this document does not describe get 404 or 405. A HEAD is answered as a GET, without
a body. A slash at the end of a webhook's path is accepted. Every response has an X-Request-ID. New
operations, optional fields and members of a response may be added without notice; docs/contract.md
has the promises, and the numbers here are its."""

_SERVERS: Final = {
    "public": {"url": "http://localhost:8001", "description": "the public listener"},
    "private": {"url": "http://localhost:3000", "description": "the private listener"},
}

_SECURITY: Final[Mapping[Credential, list[Node]]] = {
    "none": [{}],
    "body": [{"signature": []}],
    "read": [{"signature": [], "timestamp": []}],
    "bearer": [{"bearer": []}],
    "tenant": [{"signature": []}, {"bearer": []}, {}],
    "discord": [{"discordSignature": [], "discordTimestamp": []}],
}
"""`tenant`: another scheme may be set for the tenant, so the document cannot exclude any."""


def _header(name: str, text: str) -> Node:
    return {"type": "apiKey", "in": "header", "name": name, "description": text}


_SCHEMES: Final = {
    "signature": _header(
        "X-Vyrox-Signature",
        "sha256= and the HMAC-SHA256 of the body as 64 lower-case hex digits; of a GET, of "
        "TENANT_ID:TIMESTAMP (contract 4, 5, 51)",
    ),
    "timestamp": _header("X-Vyrox-Timestamp", "Unix seconds, at most 30 s old (contract 51)"),
    "bearer": {"type": "http", "scheme": "bearer"},
    "discordSignature": _header("X-Signature-Ed25519", "of the time and the body (contract 67)"),
    "discordTimestamp": _header("X-Signature-Timestamp", "Unix seconds (contract 67)"),
}

_EXPLAIN: Final = {
    "name": "X-Vyrox-Explain",
    "in": "header",
    "description": "1: an error says why, if the signature is right (contract 83)",
    "schema": {"type": "string", "examples": ["1"]},
}

_ERROR: Final = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {"type": "string"},
        "reason": {"type": "string", "maxLength": MAX_REASON},
        "outcome": {"enum": ["refused", "not_done", "unknown"]},
    },
    "description": "`reason` and `outcome` only if the caller has asked for them (contract 83).",
}

_RETRY_AFTER: Final = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
_TRACE: Final = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}

_TENANT: Final = {
    "type": "string",
    "pattern": "^[A-Za-z0-9._-]{1,128}$",
    "not": {"enum": [".", ".."]},
}
_SEGMENT: Final = {"type": "string", "minLength": 1}
_SLOW_DOWN: Final = frozenset({429, 503})


@functools.cache
def document() -> bytes:
    """Return the document as JSON, two spaces deep, with a line end."""
    return msgspec.json.format(msgspec.json.encode(_document()), indent=2) + b"\n"


def _document() -> Node:
    groups = (("public", PUBLIC), ("private", PRIVATE))
    kinds = [kind for _, group in groups for each in group.values() for kind in _kinds(each)]
    unique = list({repr(kind): kind for kind in kinds}.values())
    made, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    schemas = {repr(kind): schema for kind, schema in zip(unique, made, strict=True)}
    paths: dict[str, Node] = {}
    refusals: dict[str, Node] = {}
    for listener, group in groups:
        for route, each in group.items():
            method, path = route.split()
            operation = _operation(listener, route, each, schemas, components)
            operation["responses"] |= _refusals(each, refusals)
            place, name = paths.setdefault(path, {}), method.lower()
            # Both listeners have a GET /health.
            place[name] = _joined(place[name], operation) if name in place else operation
    queries = {each.query.__name__ for _, group in groups for each in group.values() if each.query}
    named = {name: _cleaned(schema) for name, schema in components.items() if name not in queries}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vyrox",
            "version": version("vyrox"),
            "description": _ABOUT.replace("\n", " "),
        },
        "paths": paths,
        "components": {
            "schemas": {**named, "Error": _ERROR},
            "responses": dict(sorted(refusals.items())),
            "securitySchemes": _SCHEMES,
            "headers": {
                "RequestId": {"schema": {"type": "string"}, "description": "contract 2"},
                "RetryAfter": {"schema": {"type": "integer"}, "description": "in seconds"},
            },
        },
    }


def _kinds(each: Described) -> Iterable[Any]:
    if each.body not in (None, object):
        yield each.body
    if each.query is not None:
        yield each.query
    for types in each.returns.values():
        yield from types


def _operation(listener: str, route: str, each: Described, schemas: Node, components: Node) -> Node:
    operation: Node = {
        "operationId": f"{listener}_{re.sub('[^a-z_]+', '_', route.lower()).strip('_')}",
        "summary": each.summary,
        "description": f"Contract {', '.join(map(str, each.contract))}.",
        "tags": [listener],
        "servers": [_SERVERS[listener]],
        "security": _SECURITY[each.credential],
        "parameters": _parameters(listener, route, each, components),
        "responses": _responses(each, schemas),
    }
    if each.body is not None:
        schema = {} if each.body is object else schemas[repr(each.body)]
        # Graph's handshake has no body.
        required = not _has_handshake(each)
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
    return operation


def _has_handshake(each: Described) -> bool:
    return each.query is HandshakeQuery


def _joined(one: Node, other: Node) -> Node:
    joined = {**one, "responses": {**one["responses"], **other["responses"]}}
    joined["summary"] = f"{one['summary']}; on the private listener: {other['summary']}"
    for name in ("tags", "servers"):
        joined[name] = one[name] + other[name]
    return joined


def _parameters(listener: str, route: str, each: Described, components: Node) -> list[Node]:
    found: list[Node] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _TENANT if name == "tenant_id" else _SEGMENT,
        }
        for name in re.findall(r"{(\w+)}", route)
    ]
    if each.query is not None:
        query = components[each.query.__name__]
        for name, schema in query["properties"].items():
            given = _TENANT if name == "tenant_id" else _without_null(schema)
            required = name in query.get("required", [])
            found.append({"name": name, "in": "query", "required": required, "schema": given})
    if listener == "private" and each.credential != "none":
        found.append(_EXPLAIN)
    return found


def _without_null(schema: Node) -> Node:
    """Return the schema of a parameter: it is not given, where a body would have null."""
    kept = {name: value for name, value in schema.items() if value is not None}
    if "anyOf" in kept:
        kept["anyOf"] = [each for each in kept["anyOf"] if each != {"type": "null"}]
        if len(kept["anyOf"]) == 1:
            kept.update(kept.pop("anyOf")[0])
    return kept


def _responses(each: Described, schemas: Node) -> Node:
    content = {}
    for media_type, types in each.returns.items():
        made = [schemas[repr(kind)] for kind in types] or [{"type": "string"}]
        content[media_type] = {"schema": made[0] if len(made) == 1 else {"anyOf": made}}
    responses: Node = {
        str(each.status): {"description": "Success", "headers": _TRACE, "content": content}
    }
    if _has_handshake(each):
        text = {"text/plain": {"schema": {"type": "string"}}}
        told = "The validation token of Microsoft Graph, echoed (contract 74)"
        responses["200"] = {"description": told, "headers": _TRACE, "content": text}
        responses["202"]["description"] = "Success; without a body for Graph's notifications"
    return responses


def _refusals(each: Described, shared: dict[str, Node]) -> Node:
    """Return the responses to errors, as references to `shared`, which gets those it lacks."""
    by_status: dict[int, list[type[VyroxError]]] = {}
    for error in sorted({*EVERY, *each.errors}, key=lambda error: error.__name__):
        by_status.setdefault(error.status, []).append(error)
    found: Node = {}
    for status, errors in sorted(by_status.items()):
        name = "_or_".join(error.__name__.removesuffix("Error") for error in errors)
        shared[name] = _refusal(status, errors)
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found


def _refusal(status: int, errors: list[type[VyroxError]]) -> Node:
    schema = {
        "allOf": [{"$ref": _REFERENCE.format(name="Error")}],
        "properties": {"detail": {"enum": sorted({error.detail for error in errors})}},
    }
    retry = _RETRY_AFTER if status in _SLOW_DOWN else {}
    return {
        "description": " ".join(f"`{error.detail}`: {_about(error)}" for error in errors),
        "headers": {**_TRACE, **retry},
        "content": {JSON: {"schema": schema}},
    }


def _about(error: type[VyroxError]) -> str:
    if error is VyroxError:
        return "An error in Vyrox."
    return cleandoc(error.__doc__ or "").partition("\n")[0]


def _cleaned(schema: Node) -> Node:
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"])
    if "tenant_id" in schema.get("properties", {}):
        schema["properties"]["tenant_id"] = _TENANT
    return schema
