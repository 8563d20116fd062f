"""One page of a vendor's alerts, and where the next one begins (contract 72)."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from vyrox.adapters.forms.times import seconds_of
from vyrox.edr.client import Deadline, ResponseTooLargeError
from vyrox.errors import VendorError
from vyrox.models import EdrVendor

PAGE_ALERTS: Final = 100
"""Alerts of one page."""

SIZES: Final = (PAGE_ALERTS, 10, 1)
"""What is asked for if a page was too large. Who controls a host chooses how long its command
lines are, so a page that is too large must not end the reading."""

MAX_PAGE_BYTES: Final = 16 << 20
"""Bytes of one page. An alert with much evidence has some ten thousand."""

_TIME: Final = re.compile(r"[0-9][0-9T:.+Z-]{9,39}")
"""A time that a vendor has sent, as the next request may contain it."""

_PLACE: Final = re.compile(r"([0-9]{1,9}) (.+)")


class Account(NamedTuple):
    """A tenant at one vendor."""

    tenant_id: str
    vendor: EdrVendor


class Element(NamedTuple):
    """One alert as the vendor has sent it.

    Attributes:
        raw: Its JSON.
        updated: When the vendor last changed it, in the vendor's own spelling.
    """

    raw: bytes
    updated: str | None


class Page(NamedTuple):
    """One page.

    Attributes:
        next: Where the next page begins; None: this is the last one.
    """

    elements: tuple[Element, ...]
    next: str | None

    @property
    def highest(self) -> float | None:
        """The time of the latest change of an alert in it, in Unix seconds."""
        times = [seconds_of(each.updated) for each in self.elements if each.updated]
        return max((time for time in times if time is not None), default=None)


class Source(Protocol):
    """The alerts of one tenant at one vendor."""

    async def read(self, since: str, place: str | None, deadline: Deadline, /) -> Page:
        """Return a page of the alerts that were changed at `since` or later.

        Args:
            place: `next` of the page before; None: the first page.

        Raises:
            VendorBusyError: The vendor asks for a pause, as `VendorApi.read` raises it.
            VendorError: The vendor refuses, is unavailable, or its response is invalid.
        """
        ...


async def in_parts(read: Callable[[int], Awaitable["Page"]], sizes: Sequence[int]) -> "Page":
    """Return what `read` returns for the first of `sizes` that is not too large.

    Raises:
        ResponseTooLargeError: Not even the last one fits.
    """
    for size in sizes[:-1]:
        try:
            return await read(size)
        except ResponseTooLargeError:
            continue
    return await read(sizes[-1])


def as_text(seconds: float) -> str:
    """Return Unix seconds as all three vendors read them, to the millisecond, not rounded up."""
    at = datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


class Cut(NamedTuple):
    """A page of a list that is in order of change: what was changed since, without the first ones.

    A list by numbers only would skip an alert whenever one before it is changed, and so moves to
    the end. So each page begins at the time at which the page before has ended.
    """

    since: str
    skip: int

    @property
    def place(self) -> str:
        """As `at` reads it."""
        return f"{self.skip} {self.since}"

    @classmethod
    def at(cls, since: str, place: str | None) -> "Cut":
        """Return the page at `place`; the first one since `since` if that is None.

        Raises:
            VendorError: It is no place.
        """
        if place is None:
            return cls(since, 0)
        match = _PLACE.fullmatch(place)
        if match is None or not _TIME.fullmatch(match[2]):
            raise VendorError("the stored place is unusable; reading begins again")
        return cls(match[2], int(match[1]))

    def after(self, updates: Sequence[str | None], count: int, size: int) -> str | None:
        """Return the place of the next page; None if this was the last one.

        Args:
            updates: Of this page, in its order, as `time_in` returns them.
            count: How many the vendor has listed.
            size: How many were asked for; the last page has fewer.
        """
        if count < size:
            return None
        last = next((each for each in reversed(updates) if each is not None), None)
        if last is not None and _is_later(last, self.since):
            return Cut(last, 0).place
        return Cut(self.since, self.skip + count).place  # all were changed at the same time


def _is_later(one: str, other: str) -> bool:
    return (seconds_of(one) or 0.0) > (seconds_of(other) or 0.0)


def text_in(raw: bytes, read: Callable[[bytes], str | None]) -> str | None:
    """Return what `read` finds in an element; None if it cannot be read."""
    try:
        return read(raw)
    except (ValueError, RecursionError):
        return None


def time_in(raw: bytes, read: Callable[[bytes], str | None]) -> str | None:
    """Return the time that `read` finds in an element; None if it is not one."""
    text = text_in(raw, read)
    return text if text is not None and _TIME.fullmatch(text) else None
