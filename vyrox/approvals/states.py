"""The states of a proposal, and when they end by themselves. Pure (contract 62, A4 and A10).

    pending --approve--> approved --dispatch--> dispatched
       |                    `------60 s-------> lapsed
       |--reject----------> rejected
       |--15 min----------> expired
       |--withdraw--------> withdrawn
       `--other suggestion> superseded

Both times count whenever a state is read, whatever the database says: no restart, and no task that
is late, makes an old approval act. A quorum ahead of now is of a wrong clock, and has lapsed. What
the vendor did is the outcome of the action, not a state.
"""

from typing import Final, Literal

State = Literal[
    "pending",
    "approved",
    "dispatched",
    "rejected",
    "expired",
    "withdrawn",
    "superseded",
    "lapsed",
]

OPEN: Final[frozenset[State]] = frozenset({"pending", "approved"})

DECIDE_S: Final = 900
"""How long a drill may be answered. Other proposals have APPROVAL_TTL_SECONDS."""

DISPATCH_S: Final = 60
"""After the quorum, no changing call leaves later than this."""

MAX_AHEAD_S: Final = 10.0
"""A quorum later than this from now was stored by a wrong clock: it would act long after people
approved. Two containers may measure the present this far apart."""


def state_at(stored: State, expires_at: float, approved_at: float | None, now: float) -> State:
    """Return the state at `now` of a proposal that is stored as `stored`."""
    if stored == "pending" and now >= expires_at:
        return "expired"
    if stored == "approved" and not _is_in_time(approved_at, now):
        return "lapsed"
    return stored


def _is_in_time(approved_at: float | None, now: float) -> bool:
    if approved_at is None:
        return False
    return approved_at - MAX_AHEAD_S <= now < approved_at + DISPATCH_S
