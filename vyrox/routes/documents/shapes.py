"""What routes take and return for which they have no Struct of their own (contract 100)."""

from types import GenericAlias
from typing import Annotated, Final, Literal

import msgspec

from vyrox.adapters.decoding import Identifier
from vyrox.chain.entry import Scalar, Stream
from vyrox.triage.preview import Preview
from vyrox.triage.scope import Scope
from vyrox.triage.suppressions import State, Suppression


class Healthy(msgspec.Struct):
    """The service works."""

    status: Literal["ok"]


class Queued(msgspec.Struct):
    """The alert is stored."""

    status: Literal["queued"]
    alert_id: str


class AllQueued(msgspec.Struct):
    """The alerts of a delivery are stored."""

    status: Literal["queued"]
    alert_ids: list[str]


class Ignored(msgspec.Struct):
    """Nothing in the delivery is an alert."""

    status: Literal["ignored"]


Number = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
"""Of an entry, or how many."""


class TenantQuery(msgspec.Struct):
    """Whose."""

    tenant_id: str


class AlertQuery(TenantQuery):
    """`raw`: also the body as the vendor sent it."""

    raw: Literal["true"] | None = None


class CheckpointQuery(TenantQuery):
    """Which of the tenant's two chains."""

    stream: Stream = "actions"


class ExportQuery(TenantQuery):
    """`retained`: lines of a number and an event of those in archives that are here too.

    `since`: only the entries after this one.
    """

    stream: Literal["actions", "events", "retained"] = "actions"
    since: Number = 0


class ProofQuery(CheckpointQuery):
    """Exactly one of `entry` and `old_size`. Without `size`: in all entries."""

    entry: Number | None = None
    old_size: Number | None = None
    size: Number | None = None


class HandshakeQuery(msgspec.Struct):
    """Microsoft Graph's handshake: the token is echoed."""

    validationToken: Annotated[str, msgspec.Meta(pattern="^[ -~]{1,1024}$")] | None = None  # noqa: N815


NamedTenant = (
    Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,128}$")]
    | Annotated[int, msgspec.Meta(ge=0)]
)
"""A tenant that a vendor's body names."""


class CrowdStrikeDelivery(msgspec.Struct):
    """CrowdStrike's alert. Further fields: contract 12."""

    customer_id: NamedTenant
    detect_id: Identifier


class SentinelOneDelivery(msgspec.Struct):
    """SentinelOne's alert. Further fields: contract 12."""

    accountId: NamedTenant  # noqa: N815
    id: Identifier


class DefenderDelivery(msgspec.Struct):
    """Defender's alert. Further fields: contract 12."""

    tenantId: NamedTenant  # noqa: N815
    id: Identifier


ShownSuppression: Final = msgspec.defstruct(
    "ShownSuppression",
    [
        ("state", State),
        *((each.name, each.type) for each in msgspec.structs.fields(Suppression)),
    ],
    namespace={"__doc__": "A suppression with its state."},
)

Suppressions: Final = msgspec.defstruct(
    "Suppressions",
    [("suppressions", GenericAlias(list, (ShownSuppression,)))],
    namespace={"__doc__": "The tenant's suppressions, newest first."},
)


class PreviewedScope(msgspec.Struct):
    """What a suppression would have hidden. `needs_second`: a second person must confirm it."""

    scope: Scope
    command: str | None
    needs_second: bool
    preview: Preview


Entries = list[dict[str, Scalar]]
