"""An alert with its verdict: what is put into incidents."""

from typing import Final

import msgspec

from vyrox.models import NormalizedAlert
from vyrox.triage.score import Verdict

STRONG: Final = 0.5
"""A family's share from which it counts as a step of the story."""

AHEAD_S: Final = 300
"""A time further ahead of the arrival than this counts as the arrival."""

LATERAL: Final[frozenset[str]] = frozenset(
    {"remote.ps_remoting", "remote.psexec", "remote.winrs", "remote.admin_share_use"}
)


class Judged(msgspec.Struct, frozen=True):
    """An alert with its verdict and the time at which it was delivered (Unix seconds).

    Attributes:
        person: What a person has decided about it already, or None.
    """

    alert: NormalizedAlert
    verdict: Verdict
    arrived_at: float
    person: str | None = None

    @property
    def at(self) -> float:
        """When it happened."""
        ahead = self.alert.timestamp > self.arrived_at + AHEAD_S
        return self.arrived_at if ahead else self.alert.timestamp

    @property
    def is_lateral(self) -> bool:
        """Whether its command runs something on another host."""
        return self.verdict.families.get("remote", 0.0) >= STRONG or any(
            reason.signal in LATERAL for reason in self.verdict.reasons
        )
