"""`vyrox serve` that dies between a click and the vendor: `python -m chaos.decisions_service`.

At the step that KILL_STEP names, the process kills itself with SIGKILL.
"""

import os
import sys
from typing import Final

from chaos.planted import Step, plant
from vyrox.approvals import decisions
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.dispatch import ApprovedProposal, Dispatcher
from vyrox.cli import main
from vyrox.containment import claims
from vyrox.containment.vendor_action import VendorAction

STEPS: Final = {
    "before the decision": Step(decisions, "decide", is_after=False),
    "before its commit": Step(decisions, "decide", is_after=True),
    "before the answer": Step(Decisions, "decide", is_after=True),
    "before the dispatch": Step(Dispatcher, "_dispatch", is_after=False),
    "before the commit of the dispatch": Step(ApprovedProposal, "begin", is_after=True),
    "before the vendor": Step(VendorAction, "act", is_after=False),
    "before the change": Step(VendorAction, "_call", is_after=False),
    "after the change": Step(VendorAction, "_call", is_after=True),
    "before the commit of the result": Step(claims, "record", is_after=True),
}

if __name__ == "__main__":
    plant(STEPS[os.environ["KILL_STEP"]], 1)
    sys.argv = ["vyrox", "serve"]
    main()
