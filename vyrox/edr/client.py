"""What the client of every vendor offers, and what it takes and returns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import msgspec

from vyrox.chain.entry import Receipt
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert


class ActionResult(msgspec.Struct, frozen=True):
    """The result of an action at the vendor.

    Attributes:
        confirmed: The vendor reports that the host is in the target state. False: the vendor has
            only accepted the action.
        changed: False if the host was in the target state before, so nothing was sent.
        reference: The vendor's id of the action, if it has one. `read_progress` takes it.
    """

    confirmed: bool
    changed: bool = True
    reference: str | None = None


Change = Literal["contained", "lifted"]
"""The two states of a device's network."""

Target = Literal[Change, "killed"]
"""The state that an action leads to."""

Progress = Literal["pending", "reached", "failed"]


class ResponseTooLargeError(VendorError):
    """The response to a request that changes nothing is longer than it may be."""


class Finding(msgspec.Struct, frozen=True):
    """Whether the credentials have one permission that an action needs.

    Attributes:
        permission: The name in the vendor's console.
        present: None if a request that changes nothing cannot show it.
    """

    permission: str
    needed_for: str
    present: bool | None


class Deadline:
    """The time limit of one action, for all its requests. Made in a running event loop."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.at = self._loop.time() + seconds
        """In the time of the event loop, which changes of the wall clock do not affect."""

    def remaining_s(self) -> float:
        """Return the seconds that remain, at least 0."""
        return max(0.0, self.at - self._loop.time())


Check = Callable[[], Awaitable[None]]
"""Returns if a request that changes something may be sent now. Raises VendorError if not."""


class Order(msgspec.Struct, frozen=True):
    """One approved action on one device. Every request that changes something needs one.

    Attributes:
        comment: For the vendor's own log, if it has one.
        receipt: Proof that the audit entry is on disk. Only the chain's writer makes it.
        deadline: For all requests of the action together.
        check: `calls.exchange` awaits it before each attempt of each request that changes
            something.
    """

    device: Device
    comment: str
    receipt: Receipt
    deadline: Deadline
    check: Check


def not_one(count: int, noun: str, host: str) -> VendorError:
    """Return the error for a host name that no device has, or several have."""
    if count == 0:
        return VendorError(f"no {noun} is called {host}")
    return VendorError(f"{count} {noun}s are called {host}: give the device id")


class VendorClient(Protocol):
    """Acts for one tenant at one vendor.

    Every method raises VendorError if the vendor refuses, is unavailable or sends an invalid
    response, and nothing has changed there. `change` and `kill` raise VendorOutcomeUnknownError if
    the action was sent and may have happened. The texts are for the event log: they contain the
    reason, and no secret.
    """

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """Return the one device whose id is `host`, or whose name is `host`.

        Args:
            known_id: The id of the alert's device. If `host` is this id, it is not a name.

        Raises:
            VendorError: No device, or more than one, has this name; or one device has this id, and
                the name of another one is equal to it.
        """
        ...

    async def change(self, target: Change, order: Order) -> ActionResult:
        """Bring the device of `order` into the state `target`, unless it is there already."""
        ...

    async def kill(self, order: Order, alert: NormalizedAlert, /) -> ActionResult:
        """Kill the process that `alert` shows, on the device of `order` only.

        Raises:
            VendorError: The vendor's record of the alert, or the host, shows another process.
        """
        ...

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """Return the progress of an action that was sent earlier. Changes nothing."""
        ...

    async def read_containment(
        self, device_id: str, deadline: Deadline, /
    ) -> tuple[Isolation, ...]:
        """Return all actions that contain a device now, whichever client requested them.

        Changes nothing. Empty if the device is not contained, or the vendor does not report it.
        """
        ...

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """Return which permissions the credentials have. Changes nothing.

        Raises:
            VendorError: The vendor rejects the credentials.
        """
        ...


@asynccontextmanager
async def locked(
    lock: asyncio.Lock | asyncio.Semaphore, deadline: Deadline, name: str
) -> AsyncIterator[None]:
    """Acquire `lock` for the block. Raises VendorError if that does not succeed in time."""
    try:
        # The block has timeouts of its own, with the same deadline. Two timeouts that end together
        # would cancel the task twice.
        async with asyncio.timeout_at(deadline.at):
            await lock.acquire()
    except TimeoutError as exc:
        raise VendorError(f"{name}: earlier requests did not end in time") from exc
    try:
        yield
    finally:
        lock.release()


States = Mapping[str | None, Progress]
"""The vendor's statuses of a host that is in one target state, or changing to it.

For the progress of an action, every other status is `pending`, not `failed`: a host in the opposite
state may still change. Vyrox stops checking after 15 minutes (contract 37).
"""


def present_result(status: str | None, states: States) -> ActionResult | None:
    """Return the result if nothing needs to be sent, else None."""
    progress = states.get(status)
    return ActionResult(confirmed=progress == "reached", changed=False) if progress else None
