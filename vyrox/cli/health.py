"""`vyrox health`: whether the service on this machine would accept an alert now."""

from typing import Final

import click
import httpx

from vyrox.cli.addresses import base_url
from vyrox.errors import OperatorError
from vyrox.settings import Settings

TIMEOUT_S: Final = 4.0


@click.command("health")
def health() -> None:
    r"""Ask the public listener on this machine whether it would accept an alert now.

    It needs no secret, so a container platform can run it as its health check.

    \b
    Exit codes:
      0  it would
      1  it would not, or no service runs here; the line says which
    """
    settings = Settings.from_process()
    if settings.ingestion_port == 0:
        raise OperatorError("INGESTION_PORT is 0, any free port: this command cannot know it")
    url = f"{base_url(settings.ingestion_host, settings.ingestion_port)}/health"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as exc:
        raise OperatorError(
            f"{url}: no answer ({type(exc).__name__}). Does the service run?"
        ) from exc
    if answer.status_code != httpx.codes.OK:
        raise OperatorError(
            f"{url}: {answer.status_code}. A store is unavailable; the log names it"
        )
    click.echo("ok")
