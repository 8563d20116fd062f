"""All signals, and the version that is written beside each verdict."""

from hashlib import sha256
from typing import Final

from vyrox.triage import catalogue, facts, vendor
from vyrox.triage.mitigations import MITIGATIONS
from vyrox.triage.signal import Signal

SIGNALS: Final[tuple[Signal, ...]] = (*catalogue.SIGNALS, *facts.SIGNALS, *vendor.SIGNALS)

VERSION: Final = sha256(
    "\n".join(
        [f"{signal.name} {signal.weight}" for signal in SIGNALS]
        + [f"{each.name} {each.factor}" for each in MITIGATIONS]
    ).encode()
).hexdigest()[:12]
"""Changes with every name, weight and factor, so that an old score can be explained."""
