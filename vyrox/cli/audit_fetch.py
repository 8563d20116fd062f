"""What commands fetch from the audit routes of a service, signed with a reader's key."""

import asyncio
from base64 import b64decode
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from vyrox.chain.checkpoints import Consistency, Inclusion
from vyrox.chain.entry import Stream
from vyrox.chain.notes import MAX_NOTE_BYTES, Key, Note, read_key, read_note
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError

TIMEOUT_S: Final = 30.0
"""Without a byte."""

WHOLE_TIMEOUT_S: Final = 60.0
"""For one answer as a whole: a byte now and then must not hold up a watch."""

MAX_BYTES: Final = MAX_NOTE_BYTES
"""Of one answer: a proof has at most 63 hashes for each kind of subtree."""

_KEY: Final = "x-vyrox-checkpoint-key"

T = TypeVar("T")

_inclusion: Final = msgspec.json.Decoder(Inclusion)
_consistency: Final = msgspec.json.Decoder(Consistency)


class Fetched(msgspec.Struct, frozen=True):
    """A checkpoint, and what the service says of the key that has signed it.

    Attributes:
        endorsements: Notes with which a key names the next one, the oldest first.
    """

    note: Note
    key: Key
    endorsements: tuple[bytes, ...]


class UnreachableError(OperatorError):
    """The service did not answer: it may later."""


class AuditClient:
    """Fetches checkpoints and proofs of one tenant."""

    def __init__(self, client: httpx.AsyncClient, url: str, tenant_id: str, key: str) -> None:
        """`url` is that of the private listener; `key` is a reader's, or VYROX_HMAC_SECRET."""
        if urlsplit(url).scheme not in {"http", "https"}:
            raise OperatorError("--url must begin with http:// or https://")
        self._client = client
        self._url = url.rstrip("/")
        self._tenant_id = tenant_id
        self._key = key

    async def checkpoint(self, stream: Stream) -> Fetched:
        """Return the present checkpoint, not verified.

        Raises:
            UnreachableError: The service did not answer.
            OperatorError: It refuses.
            NoteError: It sent something else.
        """
        body, headers = await self._get("checkpoint", stream)
        named = headers.get("x-vyrox-key-endorsement", "").split(",")
        endorsements = tuple(b64decode(each) for each in named)
        return Fetched(read_note(body), read_key(headers.get(_KEY, "")), endorsements)

    async def inclusion(self, stream: Stream, entry: int, size: int | None) -> Inclusion:
        """Return the proof of an entry, not verified. Raises as `checkpoint`."""
        numbers = {"entry": entry} if size is None else {"entry": entry, "size": size}
        return _decoded(_inclusion, (await self._get("proof", stream, **numbers))[0])

    async def consistency(self, stream: Stream, old_size: int, size: int | None) -> Consistency:
        """Return the proof that a tree extends an older one, not verified.

        Raises as `checkpoint`.
        """
        numbers = {"old_size": old_size} if size is None else {"old_size": old_size, "size": size}
        return _decoded(_consistency, (await self._get("proof", stream, **numbers))[0])

    async def _get(self, name: str, stream: Stream, **numbers: int) -> tuple[bytes, httpx.Headers]:
        timestamp = str(int(wall_clock()))
        headers = {
            "x-vyrox-timestamp": timestamp,
            "x-vyrox-signature": sign(f"{self._tenant_id}:{timestamp}", self._key),
            "accept-encoding": "identity",  # a few compressed bytes can become gigabytes
        }
        params: dict[str, str | int] = {"tenant_id": self._tenant_id, "stream": stream, **numbers}
        url = f"{self._url}/audit/{name}"
        try:
            async with (
                asyncio.timeout(WHOLE_TIMEOUT_S),
                self._client.stream("GET", url, params=params, headers=headers) as answer,
            ):
                body = await _bounded(answer, url)
        except TimeoutError as exc:
            text = f"{url}: the answer was not whole within {WHOLE_TIMEOUT_S:g} s"
            raise UnreachableError(text) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise UnreachableError(f"{url}: {type(exc).__name__} {exc}") from exc
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise UnreachableError(f"{url} answered {answer.status_code}")
        if answer.status_code != httpx.codes.OK:
            raise OperatorError(f"{url} answered {answer.status_code}{_hint(answer.status_code)}")
        return body, answer.headers


async def _bounded(answer: httpx.Response, url: str) -> bytes:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise OperatorError(f"{url} answered with a compressed body")
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise OperatorError(f"{url} answered with more than {MAX_BYTES} bytes")
    return body


def _hint(status: int) -> str:
    return {
        401: ": the key is not one of a reader of this tenant",
        404: ": there is no such entry or size, or the service signs no checkpoints",
        410: ": this clock is more than 30 s from that of the service",
    }.get(status, "")


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except ValueError as exc:
        raise OperatorError("the service answered with something else than a proof") from exc
