r"""What is decided on: one exact action on one device, hashed as text (contract 62, A1).

    proposal_sha256 = hex(SHA-256("vyrox-proposal-v1\n" + text))

`text` is canonical JSON (RFC 8785). Names are ASCII and numbers are whole and within 2^53, so
msgspec writes exactly that if it sorts the names.
"""

import base64
import os
from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec

from vyrox.models import NOT_BLANK, ActionType, EdrVendor, LiftType

DOMAIN: Final = b"vyrox-proposal-v1\n"
"""What is hashed before the text, so that no other text of Vyrox has the same hash."""

MAX_REASON: Final = 1000
"""Characters of a reason."""

DEFAULT_LEASE_S: Final = 14_400
"""After 4 h a containment ends, unless the proposal says otherwise (A19)."""

CONTAINMENTS: Final = frozenset({"HOST_ISOLATION", "NETWORK_QUARANTINE"})
"""The actions that can have an end."""

_NONCE_BYTES: Final = 16

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Reason = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_REASON, extra_json_schema=NOT_BLANK)
]
Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Whole Unix seconds, up to the year 9999."""

DRILL: Final = "DRILL"
"""The action of a proposal without effect: people only show that they can answer."""

Required = Annotated[int, msgspec.Meta(ge=1, le=2)]
"""How many persons must approve."""

_encoder: Final = msgspec.json.Encoder(order="sorted")


class Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The process that a kill will hit, as far as it is known.

    Attributes:
        id: The vendor's identifier of the process.
        start: When it started, in Unix seconds.
    """

    name: Text
    id: Text | None = None
    start: Moment | None = None


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One exact action on one device (A1). No field of it is ever changed.

    Attributes:
        id: UUID-4; also the `request_id` of the execution.
        vendor: Null for a drill only.
        host: What `/execute` takes; `none` for a drill.
        process: For a kill.
        device_state: As it was read when the action was proposed; null if it was not read.
        lease_s: After how many seconds the containment ends; 0 means no end.
        nonce: 16 random bytes in base64url.
    """

    v: Literal[1] = 1
    id: Text
    tenant_id: Text
    alert_id: Text
    vendor: EdrVendor | None
    action_type: ActionType | LiftType | Literal["DRILL"]
    host: Text
    hostname: Text | None
    process: Process | None
    device_state: Text | None
    lease_s: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)]
    requested_by: Text
    reason: Reason
    created_at: Moment
    expires_at: Moment
    required: Required
    nonce: Text

    @property
    def is_drill(self) -> bool:
        """Whether it has no effect, whatever people say."""
        return self.action_type == DRILL


_decoder: Final = msgspec.json.Decoder(Proposal)


def new_nonce() -> str:
    """Return 16 random bytes in base64url, without padding."""
    return base64.urlsafe_b64encode(os.urandom(_NONCE_BYTES)).rstrip(b"=").decode()


def canonical(proposal: Proposal) -> bytes:
    """Return the text of a proposal: the same bytes for the same proposal.

    Raises:
        ValueError: A text holds a lone surrogate, which UTF-8 cannot encode.
    """
    return _encoder.encode(proposal)


def parse(text: bytes) -> Proposal:
    """Return the proposal that `text` is.

    Raises:
        ValueError: It is not the canonical text of a proposal: it has another form, another
            member, a member twice, or a value that is not allowed.
    """
    proposal = _decoder.decode(text)
    if canonical(proposal) != text:
        raise ValueError("the text is not canonical")
    return proposal


def digest(text: bytes) -> str:
    """Return the `proposal_sha256` of a proposal's text."""
    return sha256(DOMAIN + text).hexdigest()
