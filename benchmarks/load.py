"""Load: signed requests from wrk, each of them new."""

import subprocess
import uuid
from pathlib import Path
from typing import Final, Literal

import msgspec

SECRET: Final = "benchmark-secret-0123456789-0123456789"
"""Of every tenant."""

HMAC_SECRET: Final = f"hmac-{SECRET}"
"""Of the private listener."""

Kind = Literal["webhook", "execute"]

PATHS: Final[dict[Kind, str]] = {"webhook": "/webhook/crowdstrike", "execute": "/execute"}
SECRETS: Final[dict[Kind, str]] = {"webhook": SECRET, "execute": HMAC_SECRET}

_SCRIPT: Final = Path(__file__).with_name("signed.lua")


class Load(msgspec.Struct, frozen=True):
    """The result of one run of wrk.

    Attributes:
        answers: Requests that got a response, refused ones included.
        refused: Responses of 400 and above.
    """

    answers: int
    duration_us: int
    refused: int
    socket_errors: int
    timeouts: int
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def accepted(self) -> int:
        """Responses below 400. The stores show whether they kept their promise."""
        return self.answers - self.refused

    @property
    def errors(self) -> int:
        """Return the number of failures."""
        return self.refused + self.socket_errors + self.timeouts

    @property
    def per_second(self) -> float:
        """Accepted requests per second."""
        return self.accepted / self.duration_us * 1e6


def drive(kind: Kind, address: str, connections: int, seconds: int, tenants: int = 1) -> Load:
    """Return what wrk saw while it sent requests over `connections` connections for `seconds`.

    Args:
        address: Host and port.
        tenants: How many the requests are spread over.
    """
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", str(_SCRIPT)]
    run = uuid.uuid4().hex[:12]
    arguments = [kind, run, str(tenants), SECRETS[kind]]
    printed = subprocess.run(
        [*wrk, f"http://{address}{PATHS[kind]}", "--", *arguments],
        check=True,
        capture_output=True,
    ).stdout
    return msgspec.json.decode(printed.rstrip().rpartition(b"\n")[2], type=Load)
