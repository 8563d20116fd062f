"""The vendors' side of a containment: what every vendor's client offers."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from vyrox.chain.writer import Receipt
from vyrox.models import ActionType, ContainmentRequest


class VendorClient(Protocol):
    """Acts for one tenant at one vendor."""

    def supports(self, action: ActionType) -> bool:
        """Return whether the vendor can do `action` as asked; nothing is put in its place."""
        ...

    async def contain(self, request: ContainmentRequest, receipt: Receipt) -> None:
        """Carry the action out.

        Args:
            receipt: Proof that the audit entry is on disk, which only the chain's writer gives.

        Raises:
            VendorError: The vendor did not act.
            VendorOutcomeUnknownError: It may have.
        """
        ...


FindVendor = Callable[[ContainmentRequest], Awaitable[VendorClient | None]]
"""Returns who can act on the request: the vendor that the alert came from, else the tenant's only
one with credentials, else None (contract 25)."""


async def no_vendor(_request: ContainmentRequest) -> None:
    """Find nobody: there are no vendor credentials yet, so only dry runs succeed."""
