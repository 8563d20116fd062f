"""A host's own word for its network state, as CrowdStrike and SentinelOne have one."""

from collections.abc import Mapping

from vyrox.edr import Done, Progress

States = Mapping[str | None, Progress]
"""Of one target, the vendor's words: for what is reached there, and for what is on the way."""


def already(status: str | None, states: States) -> Done | None:
    """Return what to answer where nothing need be sent, None where it must be."""
    progress = states.get(status)
    return Done(confirmed=progress == "reached", changed=False) if progress else None


def progress_towards(status: str | None, states: States, opposite: States) -> Progress:
    """Return how far a host is on the way to `states`.

    One on its way to the opposite has failed; one that rests there may yet begin.
    """
    if status in states:
        return states[status]
    return "failed" if opposite.get(status) == "pending" else "pending"
