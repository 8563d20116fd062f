"""All signals, and the version that is written beside each verdict."""

from hashlib import sha256
from importlib.resources import files
from typing import Final

from vyrox.triage import catalogue, facts, vendor
from vyrox.triage.signal import Signal

SIGNALS: Final[tuple[Signal, ...]] = (*catalogue.SIGNALS, *facts.SIGNALS, *vendor.SIGNALS)

BY_WEIGHT: Final[tuple[Signal, ...]] = tuple(sorted(SIGNALS, key=lambda each: -each.weight))
"""The order in which signals are tried."""

EXHAUSTED: Final = Signal(
    "evasion.exhausted", "evasion", 0.6, lambda _subject: "too much to read", "T1027"
)
"""Found where the limit on what patterns read ended the search."""

_SOURCES: Final = ("encodings", "facts", "mitigations", "score", "vendor", "views")
"""The modules that decide a score, beside the patterns."""


def _version() -> str:
    package = files("vyrox.triage")
    read = [package / f"{name}.py" for name in _SOURCES]
    read += sorted((package / "signals").iterdir(), key=lambda file: file.name)
    digest = sha256()
    for file in read:
        if file.name.endswith((".toml", ".py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


VERSION: Final = _version()
"""Changes with every weight, pattern and function, so that an old score can be explained."""
