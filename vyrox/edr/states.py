"""A host's own word for its network state, as CrowdStrike and SentinelOne have one."""

from collections.abc import Mapping

from vyrox.edr.client import Done, Progress

States = Mapping[str | None, Progress]
"""Of one target, the vendor's words: for what is reached there, and for what is on the way.

Any other word is `pending` to who asks how far a host has come, never `failed`: one that rests in
the opposite state, or is still on its way there, may yet turn. Where it does not, the look for it
ends after its 15 minutes (contract 37).
"""


def already(status: str | None, states: States) -> Done | None:
    """Return what to answer where nothing need be sent, None where it must be."""
    progress = states.get(status)
    return Done(confirmed=progress == "reached", changed=False) if progress else None
