"""Variables that look like settings and are not: `DRYRUN`, `REDIS_URI` (contract 89).

Without a warning, the operator would believe that the service does what it does not do. The
environment also holds names that others have chosen, so only very similar names count.
"""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import takewhile
from typing import Final, NamedTuple

PREFIX: Final = "VYROX_"

OF_COMMANDS: Final = frozenset({"VYROX_URL", "VYROX_TENANT_ID"})
"""What `vyrox simulate` takes."""

MIN_COMPARED: Final = 6
"""Letters of a setting's name. Two shorter names can be similar and mean something else: `PATH` and
`PORT`."""

LONG: Final = 8
"""From this number of letters on, two differences are allowed, below it one."""

MAX_NAME: Final = 100
"""Characters of a variable's name in a warning, and in a comparison."""


class LookAlike(NamedTuple):
    """A variable that has no effect, and the setting that was probably meant, if there is one."""

    variable: str
    nearest: str | None

    def __str__(self) -> str:
        name = "".join(c if c.isprintable() else "?" for c in self.variable[:MAX_NAME])
        meant = f"did you mean {self.nearest}?" if self.nearest else "see: vyrox config"
        return f"{name} is set and is not a setting, so it has no effect; {meant}"


def find_look_alikes(env: Mapping[str, str], settings: Collection[str]) -> list[LookAlike]:
    """Return the variables in `env` that look like one of `settings` and are not, by name."""
    linked = tuple(_service_links(env))
    found = [
        LookAlike(name, _nearest(name, env, settings))
        for name in sorted(env)
        if name not in OF_COMMANDS.union(settings) and not name.startswith(linked)
    ]
    return [each for each in found if each.nearest or each.variable.upper().startswith(PREFIX)]


def _service_links(env: Mapping[str, str]) -> Iterator[str]:
    # Kubernetes names the services of a namespace: one called `vyrox` is VYROX_SERVICE_HOST,
    # VYROX_PORT, VYROX_PORT_8001_TCP and so on.
    for name in env:
        if name.endswith("_SERVICE_HOST"):
            service = name.removesuffix("_SERVICE_HOST")
            yield from (f"{service}_SERVICE_", f"{service}_PORT")


def _nearest(name: str, env: Mapping[str, str], settings: Collection[str]) -> str | None:
    if len(name) > MAX_NAME:
        return None
    plain = _plain(name)
    for setting in settings:
        if len(_plain(setting)) >= MIN_COMPARED and _is_near(plain, _plain(setting)):
            return setting
    if name.upper().startswith(PREFIX):
        rest = _plain(name[len(PREFIX) :])
        by_plain = {_plain(setting): setting for setting in settings}
        names = [rest, plain]
        near = [*filter(by_plain.get, names)] or [
            match for each in names for match in get_close_matches(each, by_plain, n=1)
        ]
        return by_plain[near[0]] if near else None
    whole = PREFIX + name
    # Other programs have an ENCRYPTION_KEY too. It is a mistake only if ours is missing.
    return whole if whole in settings and whole not in env else None


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.upper()))


def _is_near(one: str, other: str) -> bool:
    return _within(one, other, 1 if len(other) < LONG else 2)


def _within(one: str, other: str, changes: int) -> bool:
    """Return whether at most `changes` insertions, deletions, replacements and swaps differ."""
    if abs(len(one) - len(other)) > changes:
        return False
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    one, other = one[same:], other[same:]
    if changes == 0 or not one or not other:
        return max(len(one), len(other)) <= changes
    is_swapped = one[:2] == other[1::-1]
    return (
        _within(one[1:], other[1:], changes - 1)
        or _within(one[1:], other, changes - 1)
        or _within(one, other[1:], changes - 1)
        or (is_swapped and _within(one[2:], other[2:], changes - 1))
    )
