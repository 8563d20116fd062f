"""Put a detection into the words of a vendor: its hosts, users, severities and tactics."""

from typing import Final

import msgspec

from vyrox.models import Vendor
from vyrox.trial.company import COMPUTERS
from vyrox.trial.simulate.stages import Scenario, Stage

_COMPUTERS: Final = {each.name: each for each in COMPUTERS}

_CATEGORIES: Final = {
    "TA0001": "InitialAccess",
    "TA0002": "Execution",
    "TA0003": "Persistence",
    "TA0004": "PrivilegeEscalation",
    "TA0005": "DefenseEvasion",
    "TA0006": "CredentialAccess",
    "TA0007": "Discovery",
    "TA0008": "LateralMovement",
    "TA0009": "Collection",
    "TA0010": "Exfiltration",
    "TA0011": "CommandAndControl",
    "TA0040": "Impact",
}
"""What Defender calls MITRE's tactics."""

_PERSON: Final = "CORP\\"
"""Accounts of the domain; other accounts have no address."""


def as_sent_by(vendor: Vendor, scenario: Scenario) -> Scenario:
    """Return a scenario, given in CrowdStrike's words, as this vendor reports it."""
    stages = tuple(_stage(each, vendor) for each in scenario.stages)
    return msgspec.structs.replace(scenario, vendor=vendor, stages=stages)


def _stage(stage: Stage, vendor: Vendor) -> Stage:
    is_defender = vendor == "defender"
    user = stage.username
    if vendor in {"defender", "generic"} and user.startswith(_PERSON):
        user = f"{user.removeprefix(_PERSON)}@acme.com"
    return msgspec.structs.replace(
        stage,
        # Defender's highest severity is "high".
        severity="high" if is_defender and stage.severity == "critical" else stage.severity,
        tactic=_CATEGORIES[stage.tactic] if is_defender else stage.tactic,
        host=_COMPUTERS[stage.host.name].at(vendor),
        username=user,
    )
