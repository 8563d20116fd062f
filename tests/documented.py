"""Every response that the tests get is one that the API document has (contract 100)."""

import re
from typing import Any, Final

import httpx
import msgspec

from vyrox.routes.documents.openapi import document

Node = dict[str, Any]

_DOCUMENT: Final[Node] = msgspec.json.decode(document())

_PATHS: Final = [
    (re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?"), methods)
    # A fixed path is tried before one with a parameter.
    for path, methods in sorted(_DOCUMENT["paths"].items(), key=lambda each: "{" in each[0])
]


def operation_of(method: str, path: str) -> Node | None:
    """Return what the document has on a request; None: nothing."""
    name = {"HEAD": "get"}.get(method, method.lower())
    for pattern, methods in _PATHS:
        if pattern.fullmatch(path) and name in methods:
            found: Node = methods[name]
            return found
    return None


async def documented(response: httpx.Response) -> None:
    """Fail if the document does not have this status, media type, or detail of an error."""
    request = response.request
    operation = operation_of(request.method, request.url.path)
    if operation is None:
        assert response.status_code in {404, 405}, f"{request.method} {request.url.path}"
        return
    found = operation["responses"].get(str(response.status_code))
    assert found is not None, f"{request.method} {request.url.path}: {response.status_code}"
    if "$ref" in found:
        found = _DOCUMENT["components"]["responses"][found["$ref"].rpartition("/")[2]]
    media_type, _, _ = response.headers.get("content-type", "").partition(";")
    assert media_type in found["content"] or not media_type, media_type
    if response.is_error and request.method != "HEAD":
        await response.aread()
        properties = found["content"]["application/json"]["schema"]["properties"]
        assert response.json()["detail"] in properties["detail"]["enum"]
