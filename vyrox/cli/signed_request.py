"""One signed request to the private listener, and the response for people (contract 83)."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

import click
import httpx
import msgspec

from vyrox.cli.addresses import base_url
from vyrox.cli.output import printable
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError, SettingsError
from vyrox.models import BreakGlass, ContainmentRequest
from vyrox.settings import Settings

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 330.0
"""Longer than the proxy takes with the largest EDR_DEADLINE_SECONDS, its commits included."""

READ_TIMEOUT_S: Final = 10.0
"""For what is only read to be shown."""

REFUSED: Final = 3
FAILED: Final = 4
UNKNOWN: Final = 5
"""Exit codes: it was refused; it was not done; it is not known whether it was done."""

_OUTCOMES: Final = {"refused": REFUSED, "not_done": FAILED, "unknown": UNKNOWN}
_WORDS: Final = {REFUSED: "refused", FAILED: "not done", UNKNOWN: "not known whether it was done"}

_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]{1,128}")
"""A request id that the service takes as the id of the HTTP request (contract 2)."""

_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)

_UNEXPLAINED: Final[dict[int, int]] = {
    httpx.codes.CONFLICT: UNKNOWN,
    httpx.codes.NOT_IMPLEMENTED: REFUSED,
    httpx.codes.SERVICE_UNAVAILABLE: FAILED,
}
"""By status, of a response that does not say what became of the request."""

_HINTS: Final[dict[int, str]] = {
    httpx.codes.UNAUTHORIZED: "VYROX_HMAC_SECRET here is not the service's",
    httpx.codes.GONE: "--approved-at is more than 30 s from the service's time",
}


class NotSentError(OperatorError):
    """Nothing was sent, so nothing was done."""

    exit_code = FAILED


class NoResponseError(OperatorError):
    """The response did not arrive. It is not known whether the action was carried out."""

    exit_code = UNKNOWN


class _Explained(msgspec.Struct, frozen=True):
    """The body of an error, as a service explains it or not."""

    detail: str = ""
    reason: str | None = None
    outcome: str | None = None


class _Done(msgspec.Struct, frozen=True):
    """The body of a response that a person reads."""

    detail: str = ""
    status: str = ""
    dry_run: bool = False


def send(
    request: ContainmentRequest | BreakGlass, url: str | None, route: str, as_json: bool
) -> None:
    """Send the request to the service and print the response. Exits with 3 to 5 if it is not 200.

    Args:
        url: Of the private listener; None for that of this machine's settings.
        route: `execute`, `lift` or `break-glass`.

    Raises:
        NotSentError: The request was not sent.
        NoResponseError: The response did not arrive.
    """
    answer = _post(request, _place(url), route)
    explained = _decode(answer)
    click.echo(f"request {printable(request.request_id)}", err=as_json)
    click.echo(printable(answer.text if as_json else _words(answer)))
    if answer.status_code != httpx.codes.OK:
        code = _exit_code(answer.status_code, explained)
        for line in _explain(answer, explained, code, request):
            click.echo(printable(line), err=True)
        raise click.exceptions.Exit(code)


def _words(answer: httpx.Response) -> str:
    """Return the response: on a terminal in words, for programs as it came."""
    status = answer.status_code
    if not sys.stdout.isatty():
        return f"{status} {_short(answer)}"
    try:
        done = msgspec.json.decode(answer.content, type=_Done)
    except ValueError:
        return f"{status} {_short(answer)}"
    if status != httpx.codes.OK:
        return f"{status} {done.detail}"
    if done.dry_run:
        return f"{done.status}: a dry run, no vendor was called"
    return done.status


def read(path: Sequence[str], tenant_id: str, url: str | None) -> bytes:
    """Return what a signed GET of the private listener returns.

    Raises:
        httpx.HTTPError: There is no such response.
        NotSentError: A setting is missing or invalid.
    """
    timestamp = str(int(wall_clock()))
    headers = {
        "x-vyrox-timestamp": timestamp,
        "x-vyrox-signature": sign(f"{tenant_id}:{timestamp}", _secret()),
    }
    place = "/".join([_place(url).rstrip("/"), *(quote(part, safe="") for part in path)])
    try:
        answer = httpx.get(
            place,
            params={"tenant_id": tenant_id},
            headers=headers,
            timeout=READ_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.InvalidURL as exc:
        raise httpx.UnsupportedProtocol(str(exc)) from exc
    answer.raise_for_status()
    return answer.content


def _decode(answer: httpx.Response) -> _Explained:
    try:
        return msgspec.json.decode(answer.content, type=_Explained)
    except ValueError:
        return _Explained()


def _short(answer: httpx.Response) -> str:
    """Return the body without the members that are printed as a sentence."""
    try:
        members = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
    except ValueError:
        return answer.text
    if answer.status_code == httpx.codes.OK or members.keys() != _EXPLAINED:
        return answer.text
    return msgspec.json.encode({"detail": members["detail"]}).decode()


_EXPLAINED: Final = set(_Explained.__struct_fields__)


def _exit_code(status: int, explained: _Explained) -> int:
    if explained.outcome in _OUTCOMES:
        return _OUTCOMES[explained.outcome]
    is_client_error = httpx.codes.BAD_REQUEST <= status < httpx.codes.INTERNAL_SERVER_ERROR
    return _UNEXPLAINED.get(status, REFUSED if is_client_error else UNKNOWN)


def _explain(
    answer: httpx.Response,
    explained: _Explained,
    code: int,
    request: ContainmentRequest | BreakGlass,
) -> Iterator[str]:
    """Yield why the service refused, or how to find out, and its identifier in the logs."""
    status = answer.status_code
    if explained.reason is not None:
        yield f"{_WORDS[code]}: {explained.reason}"
    elif status in _HINTS:
        yield _HINTS[status]
    if status == httpx.codes.UNAUTHORIZED:
        yield "why: vyrox audit events --kind auth.failed --since 5m"
    elif explained.reason is None and status >= httpx.codes.BAD_REQUEST:
        # The outcome of an action that failed at the vendor is an event of another kind.
        kind = "" if status == httpx.codes.BAD_GATEWAY else " --kind execute.refused"
        tenant = shlex.quote(request.tenant_id)
        yield f"why: vyrox audit events {tenant}{kind} --since 5m"
    log_id = answer.headers.get("x-request-id")
    if log_id and log_id != request.request_id:
        yield f"log id: {log_id}"


def _settings() -> Settings:
    try:
        return Settings.from_process()
    except SettingsError as exc:
        raise NotSentError(str(exc)) from exc


def _place(url: str | None) -> str:
    """Return `url`, or where a service with this machine's settings is reached.

    Raises:
        NotSentError: Its port is not known beforehand.
    """
    if url is not None:
        return url
    settings = _settings()
    if settings.proxy_port == 0:
        raise NotSentError("PROXY_PORT is 0, any free port: pass --url")
    return base_url(settings.proxy_host, settings.proxy_port)


def _post(request: ContainmentRequest | BreakGlass, url: str, route: str) -> httpx.Response:
    body = encoded(request)
    headers = {
        "content-type": "application/json",
        "x-vyrox-signature": sign(body, _secret()),
        "x-vyrox-explain": "1",
    }
    if _HEADER_TEXT.fullmatch(request.request_id):
        # One id for the response, the log and the events.
        headers["x-request-id"] = request.request_id
    try:
        return httpx.post(
            f"{url.rstrip('/')}/{route}",
            content=body,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        )
    except _NOT_SENT as exc:
        raise NotSentError(f"{_why_not_sent(url, exc)}. Nothing was sent") from exc
    except httpx.HTTPError as exc:
        raise NoResponseError(
            f"{url}: {type(exc).__name__} {exc}. It may have been carried out; ask again with "
            f"--request-id {shlex.quote(request.request_id)}"
        ) from exc


def _secret() -> str:
    secret = _settings().hmac_secret
    if secret is None:
        raise NotSentError("set VYROX_HMAC_SECRET to the service's own value: it signs requests")
    return secret


def _why_not_sent(url: str, error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        if url.startswith("https:"):
            return f"{url}: the listener speaks http, not https, or no service listens there"
        return f"{url}: no service listens there (PROXY_HOST, PROXY_PORT or --url): {error}"
    return f"{url}: {type(error).__name__} {error}"


def encoded(request: ContainmentRequest | BreakGlass) -> bytes:
    """Return the request as JSON. Raises click.UsageError if a value is not UTF-8."""
    try:
        return msgspec.json.encode(request)
    except UnicodeEncodeError as exc:
        raise click.UsageError("The options' values must be UTF-8.") from exc
