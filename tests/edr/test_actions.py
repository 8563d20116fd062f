"""Which vendor can do which action, and the reason if it cannot (contract 25)."""

from typing import Final

import msgspec
import pytest

from tests.sample_alerts import new_alert
from vyrox.edr.actions import why_unsupported
from vyrox.models import EdrVendor, Vendor

COMPOSITE: Final = f"{'a' * 32}:ind:{'b' * 32}:1-2-3"


@pytest.mark.parametrize(
    ("vendor", "source", "raw_id", "reason"),
    [
        ("crowdstrike", "crowdstrike", COMPOSITE, None),
        (
            "crowdstrike",
            "crowdstrike",
            "ldt:1:2",
            "a kill at crowdstrike needs an alert whose detect_id is a composite id; this alert's "
            "is not",
        ),
        ("crowdstrike", None, "", "a kill at crowdstrike needs a known alert"),
        ("sentinelone", "sentinelone", "123", None),
        (
            "sentinelone",
            "generic",
            "123",
            "a kill at sentinelone needs an alert of sentinelone; this one is of generic",
        ),
        ("defender", "defender", "da1", "defender has no process kill"),
    ],
)
def test_reason_why_a_kill_is_not_supported_contract_25(
    vendor: EdrVendor, source: Vendor | None, raw_id: str, reason: str | None
) -> None:
    alert = source and msgspec.structs.replace(new_alert(source=source), raw_id=raw_id)
    assert why_unsupported(vendor, "PROCESS_KILL", alert or None) == reason
    assert why_unsupported(vendor, "HOST_ISOLATION", None) is None
