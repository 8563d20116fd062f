"""`vyrox serve` with a vendor that acts, as a process of its own: `python -m tests.acting_service`.

It adds a line to the file VENDOR_CALLS for each call. With VENDOR_STOPS it stops in its first call,
`before` or `after` that line is written, says so in the log, and never answers.
"""

import asyncio
import os
from functools import partial
from pathlib import Path

import uvloop

from vyrox import log, serve
from vyrox.app import create_app
from vyrox.chain.writer import Receipt
from vyrox.models import ActionType, ContainmentRequest
from vyrox.settings import Settings


class _Vendor:
    def __init__(self, calls: Path, stops: str) -> None:
        self._calls = calls
        self._stops = stops

    async def find(self, _request: ContainmentRequest) -> "_Vendor":
        return self

    def supports(self, _action: ActionType) -> bool:
        return True

    async def contain(self, request: ContainmentRequest, receipt: Receipt) -> None:
        if self._stops == "before":
            await self._stop(request)
        with self._calls.open("a") as calls:
            calls.write(f"{request.request_id} {receipt.hash}\n")
        if self._stops == "after":
            await self._stop(request)
        await asyncio.sleep(0.005)

    async def _stop(self, request: ContainmentRequest) -> None:
        log.event("vendor.stopped", execution=request.request_id)
        await asyncio.Event().wait()


def main() -> None:
    vendor = _Vendor(Path(os.environ["VENDOR_CALLS"]), os.environ.get("VENDOR_STOPS", ""))
    vars(serve)["create_app"] = partial(create_app, find_vendor=vendor.find)
    with log.configured():
        uvloop.run(serve.serve(Settings.from_process()))


if __name__ == "__main__":
    main()
