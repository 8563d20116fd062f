"""What links an alert to incidents: the keys under which it finds them, and those that it adds.

No key is made of an empty value.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from vyrox.triage.hosts import Hosts, clean, short_name
from vyrox.triage.judged import Judged
from vyrox.triage.story import Story
from vyrox.triage.users import person

GAP_S: Final = 4 * 3600.0
ACROSS_S: Final = 3600.0
DAY_S: Final = 86_400.0

MAX_NAMED: Final = 24
"""Words of one command that are taken for the names of hosts."""

_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{1,80}")

Why = Literal["vendor_group", "same_host", "named_target", "same_user_lateral", "manual"]


class Search(NamedTuple):
    """A key under which an alert may find incidents, and how far apart in time they may be."""

    key: str
    gap_s: float
    why: Why


def searches(judged: Judged, host: int | None, who: str | None, hosts: Hosts) -> Iterator[Search]:
    """Yield the keys under which an alert may find incidents, the strongest link first."""
    alert = judged.alert
    if group := clean(alert.vendor_group):
        yield Search(f"group:{alert.source}:{group}", DAY_S, "vendor_group")
    if host is None:
        return
    yield Search(f"host:{host}", GAP_S, "same_host")
    for name in sorted(hosts.names(host)):
        yield Search(f"names:{name}", ACROSS_S, "named_target")
    for name in named_hosts(judged):
        for other in sorted(hosts.bearing(name) - {host}):
            yield Search(f"host:{other}", ACROSS_S, "named_target")
    if who is not None:
        yield Search(f"lateral:{who}", ACROSS_S, "same_user_lateral")
        if judged.is_lateral:
            yield Search(f"person:{who}", ACROSS_S, "same_user_lateral")


def all_searched(batch: Iterable[Judged], hosts: Hosts) -> set[str]:
    """Return every key that `Grouping.add` may search for.

    The hosts of the batch are not known before `add` has run, so these are all that may be meant.
    """
    found: set[str] = set()
    for each in batch:
        name, device_id = clean(each.alert.hostname), clean(each.alert.device_id)
        meant = set() if name is None else hosts.bearing(name)
        if device_id is not None:
            known = hosts.of_device(each.alert.source, device_id)
            meant |= set() if known is None else {known}
        who = person(each.alert.username)
        for host in (None, *sorted(meant)):
            found |= {search.key for search in searches(each, host, who, hosts)}
        if name is not None:
            found.add(f"names:{short_name(name)}")
        if who is not None:
            found |= {f"lateral:{who}", f"person:{who}"}
        for named in named_hosts(each):
            found |= {f"host:{other}" for other in hosts.bearing(named)}
    return found


def keys(judged: Judged, host: int | None, who: str | None, story: Story) -> Iterator[str]:
    """Yield the keys that the incident of `story` gets with the alert."""
    alert = judged.alert
    if group := clean(alert.vendor_group):
        yield f"group:{alert.source}:{group}"
    if host is None:
        return
    yield f"host:{host}"
    for name in named_hosts(judged):
        if story.keeps_named(name):
            yield f"names:{name}"
    if who is not None:
        yield f"person:{who}"
        if judged.is_lateral:
            yield f"lateral:{who}"


def named_hosts(judged: Judged) -> list[str]:
    """Return what may be host names in a command that runs something on another host."""
    if not judged.is_lateral:
        return []
    text = (judged.alert.process_cmdline or "")[:4096].casefold()
    names = (short_name(word.strip(".-")) for word in _WORD.findall(text))
    return list(dict.fromkeys(name for name in names if len(name) > 2))[:MAX_NAMED]
