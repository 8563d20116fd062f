"""What `vyrox mock-edr` and `vyrox fake-discord` share: a socket, and an end at a signal."""

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from vyrox.trial.mock_edr.serve import Servable

F = TypeVar("F", bound=Callable[..., None])


def address_options(command: F) -> F:
    """Add `--host` and `--port`."""
    port = click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=0,
        show_default=True,
        help="Port; 0 for a free one.",
    )
    host = click.option(
        "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
    )
    return host(port(command))


async def serve_until_stopped(
    mock: "Servable", host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve `mock` until SIGTERM or Ctrl-C; pass its URL to `announce` once it listens."""
    # Imported here: the other commands start faster without it.
    from vyrox.trial.mock_edr.serve import serving

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(mock, host, port) as url:
        announce(url)
        await stopped.wait()
