"""Why a signature is not right: the usual mistakes, tried one after the other (contract 84).

For the command `vyrox tenant explain` only. Nothing here returns a secret.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple

import msgspec

MAX_BODY_BYTES: Final = 67_108_864
"""The largest body that a webhook accepts, whatever the settings."""

MAX_ENCODED_AGAIN: Final = 4 * 1024 * 1024
"""Bytes of a body whose JSON is encoded again. The mistake is the same with a small one."""

_PREFIX: Final = re.compile(r"(?:sha256\s*[=:]|v1\s*,)", re.IGNORECASE)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")


class Secret(NamedTuple):
    """A secret that may have signed.

    Attributes:
        whose: In words, such as `the present secret`.
        is_own: Whether it is the tenant's at this vendor, so that more mistakes are tried.
        is_valid: Whether a delivery that it signs is accepted.
    """

    whose: str
    value: bytes
    is_own: bool
    is_valid: bool


class Match(NamedTuple):
    """What the signature is right for: mistakes in words, none if it is right as it is."""

    secret: Secret
    mistakes: tuple[str, ...]


class Around(NamedTuple):
    """What is signed before and after the body: a time, or an id of the delivery."""

    before: bytes = b""
    after: bytes = b""


def digest_of(signature: str) -> bytes | None:
    """Return the 32 bytes in a signature of any form; None: there are none in it."""
    text = _PREFIX.sub("", "".join(signature.split()).strip("\"'"), count=1).strip("\"'")
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        found = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == 32 else None


def find_match(
    digest: bytes, body: bytes, secrets: Sequence[Secret], around: Around
) -> Match | None:
    """Return the first secret, and the fewest mistakes, with which the signature is right.

    Args:
        digest: From `digest_of`.
        around: What the tenant's scheme signs beside the body.
    """
    bodies = [("", body), *_bodies(body)]
    for secret in secrets:
        keys = [("", secret.value), *(_keys(secret.value) if secret.is_own else ())]
        frames = [("", around)]
        if secret.is_own and around != Around():
            frames.append(("the time beside the body was not signed", Around()))
        tried = sorted(product(frames, keys, bodies), key=_count)
        for (frame_mistake, frame), (key_mistake, key), (body_mistake, text) in tried:
            message = b"%b%b%b" % (frame.before, text, frame.after)
            if hmac.compare_digest(hmac.digest(key, message, "sha256"), digest):
                mistakes = (frame_mistake, key_mistake, body_mistake)
                return Match(secret, tuple(each for each in mistakes if each))
    return None


def find_token(token: bytes, secrets: Sequence[Secret]) -> Match | None:
    """Return the secret that a bearer token is, with what is around it by mistake."""
    text = token.strip()
    forms = [
        ("", token),
        ("white space is at an end of the token", text),
        ("quotes are around the token", text.strip(b"\"'")),
        ("the token begins with Bearer", re.sub(rb"(?i)^bearer\s+", b"", text)),
    ]
    for secret, (mistake, form) in product(secrets, forms):
        if hmac.compare_digest(form, secret.value):
            return Match(secret, (mistake,) if mistake else ())
    return None


def _count(tried: Sequence[tuple[str, object]]) -> int:
    return sum(bool(mistake) for mistake, _ in tried)


def _keys(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what senders take for the secret, with the mistake in words."""
    yield "the secret was used with a line end", secret + b"\n"
    yield "the secret was used with a line end", secret + b"\r\n"
    yield "the secret was used in quotes", b'"%b"' % secret
    yield "the secret was used in upper case", secret.upper()
    try:
        text = secret.removeprefix(b"whsec_").decode("ascii")
    except UnicodeDecodeError:
        return
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", text):
        yield "the secret was decoded from hex", bytes.fromhex(text)
    try:
        yield "the secret was decoded from Base64", base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what senders sign in place of the bytes that they send, with the mistake in words."""
    stripped = body.rstrip(b"\r\n")
    yield "the body was signed without its line end", stripped
    yield "the body was signed with a line end", body + b"\n"
    yield "the body was signed with a line end", body + b"\r\n"
    yield "the body was signed with other line ends", body.replace(b"\r\n", b"\n")
    windows = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield "the body was signed with other line ends", windows
    yield "the body was signed without its byte order mark", body.removeprefix(b"\xef\xbb\xbf")
    yield "nothing was signed: an empty body", b""
    if len(body) <= MAX_ENCODED_AGAIN:
        yield from _encoded_again(body)


def _encoded_again(body: bytes) -> Iterator[tuple[str, bytes]]:
    mistake = "the JSON was encoded again after it was signed"
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return
    styles = ((None, (",", ":")), (None, (", ", ": ")), (2, (",", ": ")), (4, (",", ": ")))
    for (indent, separators), is_sorted, is_ascii in product(styles, (False, True), (True, False)):
        try:
            text = json.dumps(
                value,
                indent=indent,
                separators=separators,
                sort_keys=is_sorted,
                ensure_ascii=is_ascii,
            )
        except (ValueError, RecursionError):
            return
        yield mistake, text.encode("utf-8", "surrogatepass")
