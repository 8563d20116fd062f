"""How good the verdicts and the grouping are on labelled alerts (`vyrox triage evaluate`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

import msgspec

from vyrox.triage.trying import Read, group

_FAMILIES: Final[Mapping[str, str]] = {
    "credentials": "1003 1040 1056 1110 1111 1187 1528 1539 1552 1555 1556 1557 1558 1606 1649",
    "recovery": "1490",
    "impact": "1485 1486 1489 1491 1495 1496 1498 1499 1529 1531 1542 1561 1565",
    "defences": "1070 1112 1553 1562 1564 1685 1686 1687 1688 1689 1690",
    "download": "1059 1102 1105 1189 1195 1197 1203 1204 1566 1568 1608",
    "proxy": "1127 1202 1216 1218 1220 1221",
    "remote": "1021 1047 1072 1080 1210 1219 1550 1563 1569 1570",
    "persistence": "1037 1053 1098 1136 1137 1176 1505 1543 1546 1547 1554 1574",
    "escalation": "1055 1068 1134 1222 1484 1548 1609 1610 1611",
    "exfiltration": "1020 1029 1030 1041 1048 1071 1090 1095 1132 1537 1560 1567 1571 1572 1573",
    "collection": "1005 1025 1039 1074 1113 1114 1115 1119 1123 1125 1185 1213",
    "evasion": "1027 1036 1140 1497 1620",
    "discovery": "1007 1010 1012 1016 1018 1033 1046 1049 1057 1069 1082 1083 1087 1120 1124 1135"
    " 1201 1482 1518 1526 1538 1580 1613 1614 1615 1652",
}
_FAMILY_OF: Final = {f"T{id_}": name for name, ids in _FAMILIES.items() for id_ in ids.split()}


class Share(msgspec.Struct, frozen=True):
    """A share of `of`, with its 95 % interval (Wilson)."""

    share: float
    low: float
    high: float
    of: int


class Threshold(msgspec.Struct, frozen=True):
    """The malicious alerts above the score that a share of the benign ones reaches."""

    score: float
    recall: Share


class Grouping(msgspec.Struct, frozen=True):
    """How alerts were put into incidents: means over the stories, none of them weighted."""

    stories: int
    pairwise_f1: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f1: float


class Part(msgspec.Struct, frozen=True):
    """The alerts of one tier, system or family: how many are in `review` or higher."""

    malicious: Share
    benign: Share


class About(msgspec.Struct, frozen=True):
    """What a labelled file says of an alert beside its label."""

    system: str = "unknown"
    technique: str | None = None

    @property
    def family(self) -> str:
        """The family of the behaviour."""
        return _FAMILY_OF.get((self.technique or "").partition(".")[0], "other")


class Measures(msgspec.Struct, frozen=True):
    """The measures of one set. Alerts that a person should see though they are benign are left out.

    Attributes:
        recall: Malicious alerts in `review` or higher.
        raised: Benign alerts in `review` or higher.
        urgent, urgent_benign: The same in `urgent`.
        at_1, at_5: Where 1 % and 5 % of the benign alerts are raised.
        explained: Alerts whose verdict has reasons.
        missing: Alerts without an incident.
        tenants_mixed: Incidents that hold alerts of two tenants.
    """

    alerts: int
    recall: Share
    raised: Share
    urgent: Share
    urgent_benign: Share
    at_1: Threshold
    at_5: Threshold
    tiers: Mapping[str, Part]
    systems: Mapping[str, Part]
    families: Mapping[str, Part]
    grouping: Grouping | None
    explained: Share
    missing: int
    tenants_mixed: int

    @property
    def grouping_f1(self) -> float | None:
        """The pairwise F1, or None without stories."""
        return None if self.grouping is None else self.grouping.pairwise_f1


class _Line(msgspec.Struct, frozen=True):
    os: str | None = None
    technique_true: str | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


def read_about(line: bytes) -> About:
    """Return what a line of a labelled file says of its alert.

    Raises:
        ValueError: The line is no JSON object, or a member has another type.
    """
    read = _LINE.decode(line)
    return About(read.os or "unknown", read.technique_true)


def measure(reads: Sequence[Read], about: Sequence[About] | None = None) -> Measures:
    """Return the measures of labelled alerts.

    Args:
        about: One for each alert, in the same order.
    """
    known = about or [About()] * len(reads)
    single = [pair for pair in zip(reads, known, strict=True) if pair[0].story is None]
    counted = [pair for pair in single if _is_malicious(pair[0]) or pair[0].tier != "trigger"]
    malicious, benign = _split([read for read, _ in counted])
    ended = group(reads)
    return Measures(
        alerts=len(reads),
        recall=_share(malicious, _is_raised),
        raised=_share(benign, _is_raised),
        urgent=_share(malicious, _is_urgent),
        urgent_benign=_share(benign, _is_urgent),
        at_1=_threshold(malicious, benign, 0.01),
        at_5=_threshold(malicious, benign, 0.05),
        tiers=_parts(single, lambda read, _: read.tier or "none"),
        systems=_parts(counted, lambda _, each: each.system),
        families=_parts(counted, lambda _, each: each.family),
        grouping=_grouping(reads),
        explained=_share(reads, lambda read: len(read.judged.verdict.explanation()) > 1),
        missing=len(reads) - sum({each.id: each.alerts for each in ended}.values()),
        tenants_mixed=_mixed(reads, [each.id for each in ended]),
    )


def _is_malicious(read: Read) -> bool:
    return read.label == "malicious"


def _is_raised(read: Read) -> bool:
    return read.judged.verdict.band != "close"


def _is_urgent(read: Read) -> bool:
    return read.judged.verdict.band == "urgent"


def _split(reads: Sequence[Read]) -> tuple[list[Read], list[Read]]:
    malicious = [read for read in reads if _is_malicious(read)]
    return malicious, [read for read in reads if read.label == "benign"]


def _share(reads: Sequence[Read], is_hit: Callable[[Read], bool]) -> Share:
    return _interval(sum(map(is_hit, reads)), len(reads))


def _interval(hits: int, count: int) -> Share:
    if not count:
        return Share(0.0, 0.0, 1.0, 0)
    z = 1.96
    share = hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return Share(share, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale), count)


def _threshold(malicious: Sequence[Read], benign: Sequence[Read], rate: float) -> Threshold:
    scores = sorted((read.judged.verdict.score for read in benign), reverse=True)
    allowed = int(rate * len(scores))
    score = scores[allowed] if scores else 0.0
    return Threshold(score, _share(malicious, lambda read: read.judged.verdict.score > score))


def _parts(
    pairs: Sequence[tuple[Read, About]], name_of: Callable[[Read, About], str]
) -> dict[str, Part]:
    named: dict[str, list[Read]] = {}
    for read, about in pairs:
        named.setdefault(name_of(read, about), []).append(read)
    return {name: _part(own) for name, own in sorted(named.items())}


def _part(reads: Sequence[Read]) -> Part:
    malicious, benign = _split(reads)
    return Part(_share(malicious, _is_raised), _share(benign, _is_raised))


def _grouping(reads: Sequence[Read]) -> Grouping | None:
    stories: dict[str, list[Read]] = {}
    for read in reads:
        if read.story is not None:
            stories.setdefault(read.story.rpartition("/")[0], []).append(read)
    if not stories:
        return None
    pairwise: list[float] = []
    precisions: list[float] = []
    recalls: list[float] = []
    for story in stories.values():
        found = [incident.id for incident in group(story)]
        wanted = [read.story or "" for read in story]
        pairwise.append(_pairwise(wanted, found))
        precisions.append(_bcubed(wanted, found))
        recalls.append(_bcubed(found, wanted))
    precision, recall = _mean(precisions), _mean(recalls)
    f1 = 2 * precision * recall / (precision + recall)
    return Grouping(len(stories), _mean(pairwise), precision, recall, f1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _pairwise(wanted: Sequence[object], found: Sequence[object]) -> float:
    pairs = list(combinations(range(len(wanted)), 2))
    right = {pair for pair in pairs if wanted[pair[0]] == wanted[pair[1]]}
    made = {pair for pair in pairs if found[pair[0]] == found[pair[1]]}
    if not right and not made:
        return 1.0
    return 2 * len(right & made) / (len(right) + len(made))


def _bcubed(wanted: Sequence[object], found: Sequence[object]) -> float:
    """Return the mean share of each alert's found group that belongs with it."""
    total = 0.0
    for place, own in enumerate(found):
        group_ = [other for other, name in enumerate(found) if name == own]
        total += sum(wanted[other] == wanted[place] for other in group_) / len(group_)
    return total / len(found)


def _mixed(reads: Sequence[Read], numbers: Sequence[str]) -> int:
    tenants: dict[str, set[str]] = {}
    for read, number in zip(reads, numbers, strict=True):
        tenants.setdefault(number, set()).add(read.judged.alert.tenant_id)
    return sum(len(each) > 1 for each in tenants.values())
