"""Where spans go (contract 106)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from vyrox.errors import SettingsError
from vyrox.settings import values

MAX_HEADERS: Final = 20
MAX_VALUE: Final = 4096
PATH: Final = "/v1/traces"
"""Of a collector's endpoint for spans, below its base URL."""

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SERVICE: Final = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """A collector that takes OTLP over HTTP.

    Attributes:
        url: The base URL, without `/v1/traces`; None: there are no spans.
        headers: Are sent with each request, and may have a secret.
        share: Of the alerts that have a trace, from 0 to 1.
    """

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "vyrox"
    share: float = 1.0


def read_telemetry(read: values.Read) -> TelemetrySettings:
    """Return where spans go, with the names that OpenTelemetry has for it.

    Raises:
        SettingsError: A value is bad.
    """
    share = read("OTEL_TRACES_SAMPLER_ARG", None, _share)
    found = TelemetrySettings(
        url=read("OTEL_EXPORTER_OTLP_ENDPOINT", None, _endpoint),
        headers=read("OTEL_EXPORTER_OTLP_HEADERS", None, _headers) or {},
        service=read("OTEL_SERVICE_NAME", None, _service) or TelemetrySettings.service,
        share=TelemetrySettings.share if share is None else share,
    )
    if found.headers and found.url is None:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is required with OTEL_EXPORTER_OTLP_HEADERS"
        )
    return found


def _endpoint(text: str) -> str:
    url = values.public_url(text)
    if url.rstrip("/").endswith(PATH):
        raise ValueError(f"must not end with {PATH}, which is added")
    return url


def _headers(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        value = unquote(value, errors="replace")
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            break
        found[name.lower()] = value
    else:
        if len(found) <= MAX_HEADERS and all(len(each) <= MAX_VALUE for each in found.values()):
            return found
    raise ValueError(
        f"must be at most {MAX_HEADERS} headers of printable ASCII, NAME=VALUE, comma-separated"
    )


def _service(text: str) -> str:
    if _SERVICE.fullmatch(text) is None:
        raise ValueError("must be 1 to 128 printable ASCII characters without spaces")
    return text


def _share(text: str) -> float:
    refused = ValueError("must be a number from 0 to 1")
    try:
        share = float(text)
    except ValueError:
        raise refused from None
    if not 0 <= share <= 1:
        raise refused
    return share
