"""How good the verdicts and the grouping are on labelled alerts (`vyrox triage evaluate`)."""

import math
from collections.abc import Sequence
from itertools import combinations

import msgspec

from vyrox.triage.score import REVIEW
from vyrox.triage.trying import Read, group


class Share(msgspec.Struct, frozen=True):
    """A share of `of`, with its 95 % interval (Wilson)."""

    share: float
    low: float
    high: float
    of: int


class Measures(msgspec.Struct, frozen=True):
    """The measures of one set.

    Attributes:
        recall: Malicious alerts in `review` or higher.
        raised: Benign alerts in `review` or higher, those that a person should see left out.
        recall_at_1: Malicious alerts above the score that 1 % of the benign ones reach.
        recall_at_5: The same at 5 %.
        grouping_f1: Pairwise, the mean over stories; None without stories.
        tenants_mixed: Incidents that hold alerts of two tenants.
    """

    alerts: int
    recall: Share
    raised: Share
    recall_at_1: float
    recall_at_5: float
    grouping_f1: float | None
    tenants_mixed: int


def measure(reads: Sequence[Read]) -> Measures:
    """Return the measures of labelled alerts."""
    single = [read for read in reads if read.story is None]
    malicious = [read for read in single if read.label == "malicious"]
    benign = [read for read in single if read.label == "benign" and read.tier != "trigger"]
    return Measures(
        alerts=len(reads),
        recall=_share(malicious),
        raised=_share(benign),
        recall_at_1=_recall_at(malicious, benign, 0.01),
        recall_at_5=_recall_at(malicious, benign, 0.05),
        grouping_f1=_grouping(reads),
        tenants_mixed=_mixed(reads),
    )


def _share(reads: Sequence[Read]) -> Share:
    count, hits = len(reads), sum(read.judged.verdict.band != "close" for read in reads)
    if not count:
        return Share(0.0, 0.0, 1.0, 0)
    z = 1.96
    share = hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return Share(share, (middle - half) / scale, (middle + half) / scale, count)


def _recall_at(malicious: Sequence[Read], benign: Sequence[Read], rate: float) -> float:
    scores = sorted((read.judged.verdict.score for read in benign), reverse=True)
    allowed = int(rate * len(scores))
    threshold = scores[allowed] if allowed < len(scores) else REVIEW
    above = sum(read.judged.verdict.score > threshold for read in malicious)
    return above / len(malicious) if malicious else 0.0


def _grouping(reads: Sequence[Read]) -> float | None:
    stories: dict[str, list[Read]] = {}
    for read in reads:
        if read.story is not None:
            stories.setdefault(read.story.partition("/")[0], []).append(read)
    values = [_pairwise(story) for story in stories.values()]
    return sum(values) / len(values) if values else None


def _pairwise(story: Sequence[Read]) -> float:
    _, numbers = group(story)
    wanted = {pair for pair in combinations(range(len(story)), 2) if _same(story, *pair)}
    found = {
        pair for pair in combinations(range(len(story)), 2) if numbers[pair[0]] == numbers[pair[1]]
    }
    if not wanted and not found:
        return 1.0
    return 2 * len(wanted & found) / (len(wanted) + len(found))


def _same(story: Sequence[Read], first: int, second: int) -> bool:
    return story[first].story == story[second].story


def _mixed(reads: Sequence[Read]) -> int:
    _, numbers = group(reads)
    tenants: dict[int, set[str]] = {}
    for read, number in zip(reads, numbers, strict=True):
        tenants.setdefault(number, set()).add(read.judged.alert.tenant_id)
    return sum(len(each) > 1 for each in tenants.values())
