"""One signed request to the private listener, and the response for people."""

import shlex
from collections.abc import Iterator
from typing import Final

import click
import httpx
import msgspec

from vyrox.cli.addresses import base_url
from vyrox.cli.output import printable
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.models import BreakGlass, ContainmentRequest
from vyrox.settings import Settings

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 330.0
"""Longer than the proxy takes with the largest EDR_DEADLINE_SECONDS, its commits included."""

_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)

_HINTS: Final[dict[int, str]] = {
    httpx.codes.UNAUTHORIZED: "VYROX_HMAC_SECRET here is not the service's",
    httpx.codes.GONE: "--approved-at is more than 30 s from the service's time",
}


def send(
    request: ContainmentRequest | BreakGlass, url: str | None, route: str, as_json: bool
) -> None:
    """Send the request to the service and print the response. Exits with 1 if it is not 200.

    Args:
        url: Of the private listener; None for that of this machine's settings.
        route: `execute`, `lift` or `break-glass`.

    Raises:
        OperatorError: The request was not sent, or the response did not arrive.
    """
    answer = _post(request, _proxy_url(Settings.from_process()) if url is None else url, route)
    click.echo(f"request {printable(request.request_id)}", err=as_json)
    click.echo(printable(answer.text if as_json else f"{answer.status_code} {answer.text}"))
    if answer.status_code != httpx.codes.OK:
        for line in _explained(answer, request.tenant_id):
            click.echo(printable(line), err=True)
        raise click.exceptions.Exit(1)


def _explained(answer: httpx.Response, tenant_id: str) -> Iterator[str]:
    """Yield how to find out why the service refused, and its identifier in the logs."""
    status = answer.status_code
    if status in _HINTS:
        yield _HINTS[status]
    if status == httpx.codes.UNAUTHORIZED:
        yield "why: vyrox audit events --kind auth.failed --since 5m"
    elif status >= httpx.codes.BAD_REQUEST:
        # The outcome of an action that failed at the vendor is an event of another kind.
        kind = "" if status == httpx.codes.BAD_GATEWAY else " --kind execute.refused"
        yield f"why: vyrox audit events --tenant {shlex.quote(tenant_id)}{kind} --since 5m"
    if log_id := answer.headers.get("x-request-id"):
        yield f"log id: {log_id}"


def _proxy_url(settings: Settings) -> str:
    """Return where a service with `settings` is reached from this machine.

    Raises:
        OperatorError: Its port is not known beforehand.
    """
    if settings.proxy_port == 0:
        raise OperatorError("PROXY_PORT is 0, any free port: pass --url")
    return base_url(settings.proxy_host, settings.proxy_port)


def _post(request: ContainmentRequest | BreakGlass, url: str, route: str) -> httpx.Response:
    body = encoded(request)
    headers = {
        "content-type": "application/json",
        "x-vyrox-signature": sign(body, _secret(Settings.from_process())),
    }
    try:
        return httpx.post(
            f"{url.rstrip('/')}/{route}",
            content=body,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        )
    except _NOT_SENT as exc:
        raise OperatorError(f"{_why_not_sent(url, exc)}. Nothing was sent") from exc
    except httpx.HTTPError as exc:
        raise OperatorError(
            f"{url}: {type(exc).__name__} {exc}. It may have been carried out; ask again with "
            f"--request-id {shlex.quote(request.request_id)}"
        ) from exc


def _secret(settings: Settings) -> str:
    if settings.hmac_secret is None:
        raise OperatorError("set VYROX_HMAC_SECRET to the service's own value: it signs requests")
    return settings.hmac_secret


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
