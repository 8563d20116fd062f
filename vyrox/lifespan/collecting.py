"""Whether spans are sent to a collector (contract 106)."""

from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Final

from vyrox.errors import SettingsError
from vyrox.settings import Settings

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.common")


def check_installed(settings: Settings) -> str:
    """Return where spans go.

    Raises:
        SettingsError: A collector is set, and the packages for it are missing.
    """
    url = settings.telemetry.url
    if url is None:
        return "off: OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    if not all(map(_is_installed, _NEEDED)):
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs packages that are not installed. Install them with: "
            "EXTRAS=otel deploy/install.sh, or see docs/deploy.md, Optional parts"
        )
    return f"spans go to {url}"


async def start_sending(stack: AsyncExitStack, settings: Settings) -> None:
    """Send spans until the stack ends, if a collector is set. Raises as `check_installed`."""
    check_installed(settings)
    telemetry = settings.telemetry
    if telemetry.url is not None:
        # Not at the top: few installations have the packages, and they take long to load.
        from vyrox.lifespan.otlp import open_collector

        await stack.enter_async_context(
            open_collector(
                telemetry, telemetry.url, settings.outbound, names=settings.metrics_tenants
            )
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False
