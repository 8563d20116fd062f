"""What signs the checkpoints of the audit log, under which name, and who co-signs (contract 93)."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urldefrag

from vyrox.settings import values

DEFAULT_ORIGIN: Final = "vyrox"

MAX_WITNESSES: Final = 8

_ORIGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?")
_VERIFIER_KEY: Final = re.compile(r"[^\s+,]{1,200}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}")


@dataclass(frozen=True)
class Witness:
    """A witness that is asked for co-signatures.

    Attributes:
        key: Its verifier key; None: its signatures are stored unverified.
    """

    url: str
    key: str | None


@dataclass(frozen=True)
class CheckpointSettings:
    """Settings of checkpoints.

    Attributes:
        keys: 32 bytes each, URL-safe base64; the first one signs. Empty: the key file in the data
            directory, or no checkpoints with DATABASE_URL.
    """

    origin: str = DEFAULT_ORIGIN
    keys: tuple[str, ...] = field(default=(), repr=False)
    witnesses: tuple[Witness, ...] = ()


def read_checkpoints(read: values.Read) -> CheckpointSettings:
    """Return the settings of checkpoints. Raises SettingsError."""
    return CheckpointSettings(
        origin=read("VYROX_LOG_ORIGIN", None, _origin) or DEFAULT_ORIGIN,
        keys=read("VYROX_CHECKPOINT_KEY", None, _keys) or (),
        witnesses=read("WITNESS_URLS", None, _witnesses) or (),
    )


def _origin(text: str) -> str:
    if _ORIGIN.fullmatch(text) is None or "//" in text:
        raise ValueError(
            "must be a name without a scheme, such as audit.example.com: 1 to 63 lower-case "
            "letters, digits, dots, dashes and slashes"
        )
    return text


def _keys(text: str) -> tuple[str, ...]:
    try:
        return values.encryption_keys(text)
    except ValueError:
        raise ValueError(
            "must be one or more keys of 32 bytes (URL-safe base64), comma-separated, the one that "
            "signs first; make one with: vyrox generate-key"
        ) from None


def _witnesses(text: str) -> tuple[Witness, ...]:
    found = []
    for part in text.split(","):
        url, key = urldefrag(part.strip())
        if key and _VERIFIER_KEY.fullmatch(key) is None:
            raise ValueError("must have the verifier key of a witness, NAME+HASH+KEY, after its #")
        found.append(Witness(values.public_url(url), key or None))
    if len({each.url for each in found}) != len(found) or len(found) > MAX_WITNESSES:
        raise ValueError(f"must be at most {MAX_WITNESSES} different URLs, comma-separated")
    return tuple(found)
