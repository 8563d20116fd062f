"""One request to a language model behind an OpenAI-compatible URL."""

import asyncio
from typing import Final

import httpx
import msgspec

from vyrox.http.outgoing import open_transport, why_failed
from vyrox.models import DIRECT, Outbound
from vyrox.triage.notes.answer import SCHEMA, SYSTEM

TIMEOUT_S: Final = 10.0
MAX_RESPONSE_BYTES: Final = 65_536
MAX_ANSWER_TOKENS: Final = 900
MAX_TOKENS: Final = 1_000_000
"""More tokens than this are not believed."""


class _Message(msgspec.Struct, frozen=True):
    content: str


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    usage: _Usage | None = None


class Reply(msgspec.Struct, frozen=True):
    """What the model has written, and what it cost."""

    content: str
    tokens_in: int
    tokens_out: int


class AskError(Exception):
    """There is no reply; the text says why in a few fixed words."""


_decoder: Final = msgspec.json.Decoder(_Completion)


class NoteClient:
    """Asks one model of one server."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        model: str,
        key: str | None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`url` is the base URL; the path of chat completions is added."""
        self._http = http
        self._url = f"{url}/chat/completions"
        self.model = model
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._timeout_s = timeout_s

    async def ask(self, material: bytes) -> Reply:
        """Return what the model writes about `material`.

        Raises:
            AskError: There is no answer in time, or none of the form that such servers send.
        """
        request = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": MAX_ANSWER_TOKENS,
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": material.decode()},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "note", "strict": True, "schema": SCHEMA},
            },
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._post(request)
        except TimeoutError:
            raise AskError("timeout") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as exc:
            raise AskError(why_failed(exc)) from None
        try:
            completion = _decoder.decode(body)
            content = completion.choices[0].message.content
        except (ValueError, IndexError, RecursionError):
            raise AskError("not a completion") from None
        usage = completion.usage or _Usage()
        return Reply(content, _believed(usage.prompt_tokens), _believed(usage.completion_tokens))

    async def _post(self, request: dict[str, object]) -> bytes:
        stream = self._http.stream("POST", self._url, json=request, headers=self._headers)
        async with stream as response:
            if response.status_code != httpx.codes.OK:
                raise AskError(f"status {response.status_code}")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise AskError("too large")
            return body


def _believed(tokens: int) -> int:
    return max(0, min(tokens, MAX_TOKENS))


def open_note_http(outbound: Outbound = DIRECT) -> httpx.AsyncClient:
    """Return the HTTP client: no redirect, no proxy of the environment. The caller closes it."""
    return httpx.AsyncClient(
        transport=open_transport(outbound, httpx.Limits(max_connections=100)),
        follow_redirects=False,
        trust_env=False,
        timeout=TIMEOUT_S,
        # A few compressed bytes could become gigabytes.
        headers={"accept-encoding": "identity"},
    )
