"""Faults on demand, for the next requests."""

from typing import Annotated, Literal

import msgspec


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What happens to the next requests.

    Attributes:
        kind: `status`: `status` and no effect. `lost`: the effect, and no response. `slow`: the
            right response after `seconds`. `away`: the connection ends, without an effect.
        count: How many requests.
    """

    kind: Literal["status", "lost", "slow", "away"]
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    seconds: float = 1.0
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
