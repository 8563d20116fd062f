"""The API document as one page of HTML: no script, nothing from elsewhere (contract 100)."""

import functools
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from vyrox.routes.documents.openapi import document
from vyrox.routes.documents.types_in_words import in_words, text_of

Node = dict[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; --line: light-dark(#c9ccd1, #44474d);
  --soft: light-dark(#f4f5f7, #1e2024) }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
body { color: light-dark(#1b1d21, #e6e8eb); background: light-dark(#fff, #16181b) }
a { color: light-dark(#0b57d0, #9ecbff) }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
h2 { margin-top: 2rem }
h3 { font-size: 1rem; margin: 1rem 0 .25rem }
details { border-top: 1px solid var(--line) }
details[open] { padding-bottom: 1rem }
summary { cursor: pointer; padding: .5rem 0 }
summary:hover { background: var(--soft) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-top: 1px solid var(--line) }
th { font-weight: 600; white-space: nowrap }
th code { overflow-wrap: normal }
td:last-child { width: 100%; overflow-wrap: anywhere }
details > div { scroll-margin-top: 3rem }
:target { background: var(--soft) }
@media (max-width: 36rem) {
  tr, th, td { display: block }
  th { white-space: normal; padding-bottom: 0 }
  th code { overflow-wrap: anywhere }
  td { border-top: 0; padding-top: 0 }
}
"""

_DIGEST: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_LISTENERS: Final = {"public": "Public listener", "private": "Private listener"}


@functools.cache
def page() -> bytes:
    """Return the page. What the document says is escaped."""
    content: Node = msgspec.json.decode(document())
    components, info = content["components"], content["info"]
    groups = "".join(
        f"<h2>{name}</h2>{''.join(_operations(tag, content))}" for tag, name in _LISTENERS.items()
    )
    schemas = "".join(_schema(name, each) for name, each in components["schemas"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Vyrox API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Vyrox API {text_of(info['version'])}</h1><p>{_prose(info['description'])}</p>"
        '<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>'
        f"<h2>Credentials</h2>{_credentials(components['securitySchemes'])}"
        f"{groups}<h2>Schemas</h2>{schemas}"
        "</main></body></html>\n"
    ).encode()


def _operations(tag: str, content: Node) -> Iterable[str]:
    for path, methods in content["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield _operation(method, path, operation, content["components"]["responses"])


def _operation(method: str, path: str, operation: Node, refusals: Node) -> str:
    parts = [
        f"<p>{_prose(operation['description'])} {_credential_of(operation['security'])}</p>",
        *_section("Parameters", map(_parameter, operation["parameters"])),
        *_section("Body", _contents(operation.get("requestBody", {}))),
        *_section("Responses", _responses(operation["responses"], refusals)),
    ]
    return (
        f"<details><summary><code>{text_of(method.upper())} {text_of(path)}</code> "
        f"{_prose(operation['summary'])}</summary>{''.join(parts)}</details>"
    )


def _section(title: str, rows: Iterable[str]) -> Iterable[str]:
    content = "".join(rows)
    if content:
        yield f"<h3>{title}</h3><table>{content}</table>"


def _row(name: str, text: str) -> str:
    return f"<tr><th>{name}</th><td>{text}</td></tr>"


def _credentials(schemes: Mapping[str, Node]) -> str:
    rows = (
        _row(text_of(name), f"<code>{text_of(header)}</code> {_prose(text)}")
        for name, each in schemes.items()
        for header in [each.get("name", "Authorization: Bearer SECRET")]
        for text in [each.get("description", "")]
    )
    return f"<table>{''.join(rows)}</table>"


def _credential_of(security: list[Node]) -> str:
    ways = [" and ".join(way) or "none" for way in security]
    return f"Credential: {text_of(', or '.join(ways))}."


def _parameter(each: Node) -> str:
    needed = "required" if each.get("required") else "optional"
    about = each.get("description") or in_words(each["schema"])
    about = _prose(about) if "description" in each else about
    return _row(f"<code>{text_of(each['name'])}</code>", f"{each['in']}, {needed}: {about}")


def _contents(holder: Node) -> Iterable[str]:
    for media_type, each in holder.get("content", {}).items():
        yield _row(text_of(media_type), in_words(each["schema"]))


def _responses(responses: Mapping[str, Node], refusals: Mapping[str, Node]) -> Iterable[str]:
    for status, each in sorted(responses.items()):
        refusal = each.get("$ref", "").rpartition("/")[2]
        about = _prose((refusals[refusal] if refusal else each)["description"])
        forms = "" if refusal else "".join(_contents(each))
        yield _row(text_of(status), f"{about}<table>{forms}</table>" if forms else about)


def _schema(name: str, schema: Node) -> str:
    needed = schema.get("required", [])
    rows = [
        _row(
            f"<code>{text_of(field)}</code>",
            f"{'required' if field in needed else 'optional'}: {in_words(each)}",
        )
        for field, each in schema.get("properties", {}).items()
    ]
    about = schema.get("description", "")
    form = f"<table>{''.join(rows)}</table>" if rows else f"<p>{in_words(schema)}</p>"
    return (
        f"<details><summary><code>{text_of(name)}</code></summary>"
        f'<div id="{text_of(name)}"><p>{_prose(about)}</p>{form}</div></details>'
    )


def _prose(text: str) -> str:
    """Return the text escaped; text between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text_of(text))
