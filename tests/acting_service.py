"""`vyrox serve` with a fake vendor, in a process of its own: `python -m tests.acting_service`.

The vendor adds a line to the file VENDOR_CALLS for each call. If VENDOR_STOPS is `before` or
`after`, it stops before or after it writes the line of its first call: it logs
`vendor.stopped`, and never responds. With PATIENT_STORES the stores may take long.
"""

import asyncio
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import uvloop

from tests.patience import patient_stores
from tests.vendor import FakeVendor
from vyrox import log, serve
from vyrox.app import create_app
from vyrox.containment import vendor_action
from vyrox.edr.client import ActionResult, Order, Target
from vyrox.models import Device
from vyrox.settings import Settings


class _Vendor(FakeVendor):
    def __init__(self, calls: Path, stops: str) -> None:
        super().__init__()
        self._calls = calls
        self._stops = stops

    async def _act(self, target: Target, order: Order) -> ActionResult:
        device, receipt = order.device, order.receipt
        await order.check()
        if self._stops == "before":
            await self._stop(device)
        with self._calls.open("a") as calls:
            calls.write(f"{device.id} {receipt.hash}\n")
        if self._stops == "after":
            await self._stop(device)
        await asyncio.sleep(0.005)
        return ActionResult(confirmed=True)

    async def _stop(self, device: Device) -> None:
        log.event("vendor.stopped", device=device.id)
        await asyncio.Event().wait()


def main() -> None:
    vendor = _Vendor(Path(os.environ["VENDOR_CALLS"]), os.environ.get("VENDOR_STOPS", ""))
    # This vendor ignores the deadline, so the timeout after the grace ends its call.
    vars(vendor_action)["CLIENT_GRACE_S"] = 0.5
    vars(serve)["create_app"] = partial(create_app, make=vendor.make)
    patient = patient_stores() if os.environ.get("PATIENT_STORES") else nullcontext()
    with log.configured(), patient:
        uvloop.run(serve.serve(Settings.from_process()))


if __name__ == "__main__":
    main()
