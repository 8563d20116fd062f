"""The vendors' side of a containment: what every vendor's client offers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import msgspec

from vyrox.chain.entry import Receipt
from vyrox.errors import VendorError
from vyrox.models import Device, Isolation, NormalizedAlert


class ActionResult(msgspec.Struct, frozen=True):
    """What a vendor has answered to an action.

    Attributes:
        confirmed: The host is known to be in the target state. False: the vendor has taken the
            action on, and no more is known yet.
        changed: False where the host was in the target state before, so nothing was sent.
        reference: What the vendor calls the action, where it has a name for it; `read_progress`
            takes it.
    """

    confirmed: bool
    changed: bool = True
    reference: str | None = None


Change = Literal["contained", "lifted"]
"""The two states of a device's network."""

Target = Literal[Change, "killed"]
"""The state that an action leads to."""

Progress = Literal["pending", "reached", "failed"]


class Finding(msgspec.Struct, frozen=True):
    """Whether one permission, which an action needs, is there.

    Attributes:
        permission: As the vendor's console calls it.
        present: None where a harmless call cannot tell.
    """

    permission: str
    needed_for: str
    present: bool | None


class Deadline:
    """The end of one whole action, all its calls together. Made in a running event loop."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.at = self._loop.time() + seconds
        """In the time of the event loop, which does not jump with the wall clock."""

    def remaining_s(self) -> float:
        """Return how many seconds are left, at least 0."""
        return max(0.0, self.at - self._loop.time())


Check = Callable[[], Awaitable[None]]
"""Returns if a changing call may leave now. Raises VendorError if it may not."""


class Order(msgspec.Struct, frozen=True):
    """One approved action on one device. A call that changes something cannot be made without it.

    Attributes:
        comment: For the vendor's own log, if it keeps one.
        receipt: Proof that the audit entry is on disk, which only the chain's writer gives.
        deadline: For all calls of the action together.
        check: Awaited by `calls.exchange` before each attempt of each changing call.
    """

    device: Device
    comment: str
    receipt: Receipt
    deadline: Deadline
    check: Check


class VendorClient(Protocol):
    """Acts for one tenant at one vendor.

    Every method raises VendorError if the vendor refuses, is away or sends an answer that cannot be
    believed, and nothing has changed there. `change` and `kill` raise VendorOutcomeUnknownError if
    the action was sent and may have happened. The texts are for the event log: they give the
    reason, and hold no secret.
    """

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        """Return the one device that `host` names: its id or, of exactly one device, its name.

        Args:
            known_id: The device that the alert names. If `host` is this id, it is not a name.

        Raises:
            VendorError: There is none, or more than one device has this name, or one device has
                this id and another one has it as its name.
        """
        ...

    async def change(self, target: Change, order: Order) -> ActionResult:
        """Bring the device of `order` into the state `target`, unless it is in it already."""
        ...

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:
        """Kill the process that `alert` shows, on the device of `order` and nowhere else.

        Raises:
            VendorError: The vendor's record of the alert, or the host, names another process.
        """
        ...

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        """Return how far an action has come that was sent earlier; changes nothing."""
        ...

    async def read_containment(self, device_id: str, deadline: Deadline) -> tuple[Isolation, ...]:
        """Return all actions that contain a device now, whichever client requested them.

        Changes nothing. Empty if the device is not contained, or the vendor's record cannot tell.
        """
        ...

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """Return which permissions the credentials have; changes nothing.

        Raises:
            VendorError: The credentials themselves are refused.
        """
        ...


@asynccontextmanager
async def held(
    lock: asyncio.Lock | asyncio.Semaphore, deadline: Deadline, name: str
) -> AsyncIterator[None]:
    """Hold `lock` during the block. Raises VendorError if its turn does not come in time."""
    try:
        # Not around the block, whose calls keep to the deadline themselves: two timeouts that end
        # together would cancel the task twice.
        async with asyncio.timeout_at(deadline.at):
            await lock.acquire()
    except TimeoutError as exc:
        raise VendorError(f"{name}: its turn did not come in time") from exc
    try:
        yield
    finally:
        lock.release()


States = Mapping[str | None, Progress]
"""Of one target, the vendor's words: for what is reached there, and for what is on the way.

Any other word is `pending` to who asks how far a host has come, never `failed`: one that rests in
the opposite state, or is still on its way there, may yet turn. Where it does not, the look for it
ends after its 15 minutes (contract 37).
"""


def already(status: str | None, states: States) -> ActionResult | None:
    """Return what to answer where nothing need be sent, None where it must be."""
    progress = states.get(status)
    return ActionResult(confirmed=progress == "reached", changed=False) if progress else None
