"""One-time codes for people who become approvers (contract 65, A39).

Only the hash of a code is stored, so a person who reads the database cannot use one.
"""

import base64
import os
import re
from hashlib import sha256
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import approver_codes

Purpose = Literal["passkey", "discord"]

CODE_S: Final = 3600
"""How long a code may be used."""

_DOMAIN: Final = b"vyrox-code-v1\n"
_BYTES: Final[dict[Purpose, int]] = {"passkey": 32, "discord": 10}
"""80 bits are enough for a code that a person types: guessing does not find one within an hour."""

_CHALLENGE_BYTES: Final = 32
_c: Final = approver_codes.c


class Code(msgspec.Struct, frozen=True):
    """What a code was made for.

    Attributes:
        vouched_by: See `keys.Key`.
        challenge: What the new key must answer.
    """

    hash: str
    tenant_id: str
    approver: str
    purpose: Purpose
    challenge: bytes
    vouched_by: str | None
    expires_at: float


def make(
    connection: Connection,
    tenant_id: str,
    approver: str,
    purpose: Purpose,
    now: float,
    *,
    vouched_by: str | None = None,
) -> str:
    """Return a new code, which ends the approver's earlier ones of this purpose."""
    drop(connection, tenant_id, approver, purpose)
    secret = os.urandom(_BYTES[purpose])
    if purpose == "passkey":
        code = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    else:
        code = "-".join(re.findall("....", base64.b32encode(secret).decode()))
    made = Code(
        _hash(purpose, code),
        tenant_id,
        approver,
        purpose,
        os.urandom(_CHALLENGE_BYTES),
        vouched_by,
        now + CODE_S,
    )
    connection.execute(approver_codes.insert().values(msgspec.structs.asdict(made)))
    return code


def find(connection: Connection, purpose: Purpose, code: str, now: float) -> Code | None:
    """Return what a code was made for, unless it is used, too old or none."""
    query = sa.select(approver_codes).where(_c.hash == _hash(purpose, code), _c.expires_at > now)
    row = connection.execute(query).first()
    return None if row is None else Code(*row)


def use_up(connection: Connection, code: Code) -> None:
    """Make a code one that was never made."""
    connection.execute(approver_codes.delete().where(_c.hash == code.hash))


def drop(
    connection: Connection, tenant_id: str, approver: str, purpose: Purpose | None = None
) -> None:
    """End the approver's codes, or those of one purpose."""
    which = [_c.tenant_id == tenant_id, _c.approver == approver]
    if purpose is not None:
        which.append(_c.purpose == purpose)
    connection.execute(approver_codes.delete().where(*which))


def _hash(purpose: Purpose, code: str) -> str:
    """Return the hash of a code. A typed one may have small letters, spaces, or no hyphens."""
    text = code if purpose == "passkey" else re.sub(r"[\s-]", "", code).upper()
    return sha256(_DOMAIN + f"{purpose}\n{text}".encode("utf-8", "replace")).hexdigest()
