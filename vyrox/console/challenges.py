"""Random challenges for passkeys (contract 66).

The server seals a challenge and the browser brings it back, so a page that anybody may open makes
the server store nothing. When it has been answered, its hash is stored: it is answered once.
"""

import base64
import os
import re
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection

from vyrox import crypto
from vyrox.errors import UnauthorizedError
from vyrox.store.rows import insert_rows
from vyrox.store.tables import console_challenges

LIFE_S: Final = 600
"""How long a person may take between the page and the answer."""

_CHALLENGE_BYTES: Final = 32
_SEALED: Final = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})\.(sha256=[0-9a-f]{64})")
_c: Final = console_challenges.c


class Challenges:
    """Makes and opens challenges. All containers of the service have the same key."""

    def __init__(self, secret: str) -> None:
        """Derive the key from `secret`, so that nothing signed with it is a request elsewhere."""
        self._key = crypto.sign("vyrox console challenge v1", secret)

    def make(self, purpose: str, now: float) -> tuple[bytes, str]:
        """Return a new challenge, and the sealed text that the browser brings back.

        Args:
            purpose: What the answer will do, and who may; it opens for nothing else.
        """
        challenge = os.urandom(_CHALLENGE_BYTES)
        text = f"{int(now) + LIFE_S}.{encoded(challenge)}"
        return challenge, f"{text}.{self._seal(purpose, text)}"

    def open(self, purpose: str, sealed: str, now: float) -> bytes:
        """Return the challenge that was sealed for `purpose`.

        Raises:
            UnauthorizedError: It was not, or it has expired.
        """
        match = _SEALED.fullmatch(sealed)
        if match is None or int(match[1]) <= now:
            raise UnauthorizedError("challenge_expired")
        text = f"{match[1]}.{match[2]}"
        if not crypto.verify(f"{purpose}\n{text}", match[3], self._key):
            raise UnauthorizedError("challenge_not_ours")
        return base64.urlsafe_b64decode(match[2] + "=")

    def _seal(self, purpose: str, text: str) -> str:
        return crypto.sign(f"{purpose}\n{text}", self._key)


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def use(connection: Connection, challenge: bytes, now: float) -> None:
    """Record that a challenge was answered.

    Raises:
        UnauthorizedError: It was answered before.
    """
    connection.execute(console_challenges.delete().where(_c.answered_at < now - LIFE_S))
    row = (sha256(challenge).hexdigest(), now)
    if not insert_rows(connection, console_challenges, [row], "ON CONFLICT (hash) DO NOTHING"):
        raise UnauthorizedError("challenge_answered")
