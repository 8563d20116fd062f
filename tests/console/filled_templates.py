"""Incidents of real alerts, as triage judges and groups them, to be copied."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from tests.console.filled_parts import PER_INCIDENT
from vyrox.models import NormalizedAlert
from vyrox.triage.incidents import Grouping
from vyrox.triage.judged import Judged
from vyrox.triage.score import Verdict, judge
from vyrox.triage.trying import read_line

_encode: Final = msgspec.json.Encoder().encode


_SAMPLES: Final = Path(__file__).parent.parent / "data" / "triage"
TOKEN: Final = re.compile(rb"TOKEN-([A-Z]+\d*)-")
HOSTS: Final = (770_001, 770_002)


@dataclass(frozen=True)
class Template:
    """An incident to be copied: its alerts, their verdicts, and its story."""

    alerts: Sequence[NormalizedAlert]
    verdicts: Sequence[Verdict]
    encoded: Sequence[bytes]
    story: bytes
    score: float
    band: str


@cache
def templates() -> Sequence[Template]:
    """Return incidents of real alerts, as triage judges and groups them."""
    found = list(_samples())
    return [
        _template(found[first : first + PER_INCIDENT])
        for first in range(0, len(found) - PER_INCIDENT + 1, PER_INCIDENT)
    ]


def _samples() -> Iterator[NormalizedAlert]:
    """Yield malicious and benign alerts in turn."""
    kinds = [
        [
            read.judged.alert
            for number, line in enumerate((_SAMPLES / name).read_bytes().splitlines()[:300], 1)
            for read in read_line(line, number)
        ]
        for name in ("malicious.jsonl", "benign.jsonl")
    ]
    for pair in zip(*kinds, strict=False):
        yield from pair


def _template(alerts: Sequence[NormalizedAlert]) -> Template:
    grouping = Grouping("template")
    judged = []
    for number, alert in enumerate(alerts):
        host = number % 5 == 4
        placed = msgspec.structs.replace(
            alert,
            id=f"TOKEN-ALERT{number}-",
            tenant_id="template",
            source="generic",
            raw_id=f"TOKEN-ALERT{number}-",
            timestamp=1e6 + number,
            hostname=f"TOKEN-HOST{int(host)}-",
            device_id=f"TOKEN-DEVICE{int(host)}-",
            username="TOKEN-USER0-",
            vendor_group="g",
        )
        judged.append(Judged(placed, judge(placed), 1e6 + number))
        grouping.add(judged[-1])
    [incident] = [each for each in grouping.incidents.values() if each.merged_into is None]
    story = incident.story
    numbers = dict(zip(sorted(story.hosts), HOSTS, strict=False))
    story.hosts = [numbers[host] for host in story.hosts]
    story.looks = [(at, numbers.get(host, host), signal) for at, host, signal in story.looks]
    story.devices = {
        key: msgspec.structs.replace(seen, host=numbers[seen.host])
        for key, seen in story.devices.items()
    }
    verdicts = [each.verdict for each in judged]
    return Template(
        alerts,
        verdicts,
        [_encode(each) for each in verdicts],
        _encode(story),
        incident.score,
        incident.band,
    )
