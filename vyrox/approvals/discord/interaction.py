"""What Discord sends to `/interactions`: its signature, and the parts that Vyrox reads (A29)."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vyrox.errors import InvalidRequestError, UnauthorizedError

SIGNED_FOR_S: Final = 60
"""How far the signed time may be from Vyrox's own (A29)."""

MAX_REASON: Final = 300
"""Characters of a reason that a person gives in the form that Reject opens."""

REASON_FIELD: Final = "reason"
"""The name of the field in that form."""

_SIGNATURE: Final = re.compile(rb"[0-9a-f]{128}")
_TIMESTAMP: Final = re.compile(rb"[0-9]{10}")


class Signed(msgspec.Struct, frozen=True):
    """A request whose signature is right: what an auditor needs to check it again."""

    timestamp: str
    signature: str
    body: bytes


class User(msgspec.Struct, frozen=True):
    """An account. Its name can change hands, so only the number is read."""

    id: str


class Member(msgspec.Struct, frozen=True):
    """An account in a guild."""

    user: User


class Button(msgspec.Struct, frozen=True):
    """A button of a message, or another component."""

    custom_id: str | None = None


class Row(msgspec.Struct, frozen=True):
    """A row of buttons."""

    components: Sequence[Button] = ()


class Message(msgspec.Struct, frozen=True):
    """The message under which a button was pressed, as Discord had it."""

    id: str
    author: User
    content: str
    components: Sequence[Row] = ()


class Field(msgspec.Struct, frozen=True):
    """A field of a form that was sent."""

    custom_id: str | None = None
    value: str | None = None


class FormPart(msgspec.Struct, frozen=True):
    """A part of a form: Discord wraps a field in a label, or in a row."""

    component: Field | None = None
    components: Sequence[Field] = ()


class Option(msgspec.Struct, frozen=True):
    """A part of a slash command: a subcommand, or an argument."""

    name: str
    value: str | int | float | bool | None = None
    options: Sequence["Option"] = ()


class Data(msgspec.Struct, frozen=True):
    """What was pressed, sent or typed. `components` are the parts of a form."""

    custom_id: str | None = None
    name: str | None = None
    options: Sequence[Option] = ()
    components: Sequence[FormPart] = ()


class Interaction(msgspec.Struct, frozen=True):
    """One interaction. `type`: 1 ping, 2 slash command, 3 button, 5 form."""

    type: Annotated[int, msgspec.Meta(extra_json_schema={"enum": [1, 2, 3, 5]})]
    id: str = ""
    application_id: str | None = None
    guild_id: str | None = None
    channel_id: str | None = None
    data: Data | None = None
    member: Member | None = None
    message: Message | None = None

    @property
    def reason(self) -> str:
        """The reason in the form, at most MAX_REASON characters, or nothing."""
        parts = () if self.data is None else self.data.components
        fields = (field for part in parts for field in (part.component, *part.components))
        found = (
            each.value for each in fields if each is not None and each.custom_id == REASON_FIELD
        )
        return (next(found, None) or "").strip()[:MAX_REASON]


_decoder: Final = msgspec.json.Decoder(Interaction)


def authenticate(
    signatures: Sequence[bytes],
    timestamps: Sequence[bytes],
    body: bytes,
    key: Ed25519PublicKey,
    now: float,
) -> Signed:
    """Return the request, once Discord has signed it, and just now: steps 1 and 2 of A29.

    Nothing separates the time from the body in what is signed. Ten digits, and a body that begins
    with a brace, make the split unique.

    Args:
        signatures: The values of X-Signature-Ed25519.
        timestamps: The values of X-Signature-Timestamp.
        now: Unix seconds.

    Raises:
        UnauthorizedError: Discord has not signed it, or not within SIGNED_FOR_S.
    """
    if len(signatures) != 1 or len(timestamps) != 1:
        raise UnauthorizedError("missing" if not signatures else "malformed")
    [signature], [timestamp] = signatures, timestamps
    if not _SIGNATURE.fullmatch(signature) or not _TIMESTAMP.fullmatch(timestamp):
        raise UnauthorizedError("malformed")
    if not body.startswith(b"{"):
        raise UnauthorizedError("malformed_body")
    try:
        key.verify(bytes.fromhex(signature.decode()), timestamp + body)
    except InvalidSignature as exc:
        raise UnauthorizedError("wrong") from exc
    if abs(now - int(timestamp)) > SIGNED_FOR_S:
        raise UnauthorizedError("stale_signature")
    return Signed(timestamp.decode(), signature.decode(), body)


def parse(body: bytes) -> Interaction:
    """Return what Discord has sent.

    Raises:
        InvalidRequestError: It is not an interaction.
    """
    try:
        return _decoder.decode(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequestError(type(exc).__name__) from exc
