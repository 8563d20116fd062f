"""The API document as one page of HTML: no script, nothing from elsewhere (contract 100)."""

import functools
import html
from base64 import b64encode
from hashlib import sha256
from typing import Any, Final

import msgspec

from vyrox.routes.documents.openapi import document

Node = dict[str, Any]

_STYLE: Final = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem }
pre { overflow-x: auto; border: 1px solid; padding: .75rem }
td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0 }
summary { cursor: pointer; padding: .2rem 0 }
:root { color-scheme: light dark }
"""

_DIGEST: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@functools.cache
def page() -> bytes:
    """Return the page. What the document says is escaped."""
    content: Node = msgspec.json.decode(document())
    operations = [
        _operation(method, path, operation, content["components"]["responses"])
        for path, methods in content["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [
        f'<details id="{_text(name)}"><summary>{_text(name)}</summary>{_code(schema)}</details>'
        for name, schema in content["components"]["schemas"].items()
    ]
    info = content["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Vyrox API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Vyrox API {_text(info['version'])}</h1><p>{_text(info['description'])}</p>"
        '<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>'
        f"<h2>Credentials</h2>{_code(content['components']['securitySchemes'])}"
        f"<h2>Operations</h2>{''.join(operations)}<h2>Schemas</h2>{''.join(schemas)}"
        "</main></body></html>\n"
    ).encode()


def _operation(method: str, path: str, operation: Node, refusals: Node) -> str:
    shown = {
        name: operation[name]
        for name in ("security", "parameters", "requestBody")
        if operation.get(name)
    }
    texts = {
        status: (refusals[refusal] if refusal else response)["description"]
        for status, response in sorted(operation["responses"].items())
        for refusal in [response.get("$ref", "").rpartition("/")[2]]
    }
    rows = [
        f"<tr><th>{_text(status)}</th><td>{_text(text)}</td></tr>" for status, text in texts.items()
    ]
    return (
        f"<details><summary><code>{_text(method.upper())} {_text(path)}</code> "
        f"{_text(operation['summary'])} ({_text(', '.join(operation['tags']))})</summary>"
        f"<p>{_text(operation['description'])}</p>{_code(shown)}"
        f"<table>{''.join(rows)}</table>{_code(_success(operation))}</details>"
    )


def _success(operation: Node) -> Node:
    found = {code: each for code, each in operation["responses"].items() if code < "300"}
    return {code: each["content"] for code, each in found.items()}


def _code(content: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    return f"<pre>{_text(text)}</pre>"


def _text(text: str) -> str:
    return html.escape(text)
