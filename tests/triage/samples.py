"""Labelled alerts, kept as the files that `vyrox triage try` reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vyrox.models import NormalizedAlert
from vyrox.triage.trying import Read, read_line

SAMPLES: Final = Path(__file__).parent.parent / "data" / "triage"


def read(name: str, *, masked: bool = False) -> Iterator[Read]:
    """Yield the alerts of one file, judged."""
    for number, line in enumerate((SAMPLES / f"{name}.jsonl").read_bytes().splitlines(), 1):
        yield from read_line(line, number, masked=masked)


def alert(command_line: str | None = None, **members: object) -> NormalizedAlert:
    """Return an alert of one host with this command line."""
    values: dict[str, object] = {
        "id": "a",
        "tenant_id": "acme-corp",
        "source": "crowdstrike",
        "raw_id": "r",
        "timestamp": 1_788_220_800.0,
        "hostname": "ws-1",
        "device_id": "device-1",
        "process_cmdline": command_line,
        "vendor_severity": "LOW",
        **members,
    }
    return NormalizedAlert(**values)  # type: ignore[arg-type]
