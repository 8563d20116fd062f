"""Requests of every route with something wrong: in the body, the header, the path, or any byte.

A request is made from a seed, its number and the time alone, so that it can be made again.
"""

import random
from typing import Final

import msgspec

from chaos.well_formed import Request, whole
from tests.routes.json_texts import EVERY

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
    request = whole(choice, now)
    return request.public, _with_mutations(request, choice)
