"""SentinelOne's threats, in order of change.

Source: SentinelOne management API v2.1, `GET /threats`, as its SDK 6.0 uses it. Permission:
Threats, view.
"""

from typing import Final

import msgspec

from vyrox.edr.client import Deadline
from vyrox.edr.transport.api import VendorApi
from vyrox.polling.pages import MAX_PAGE_BYTES, SIZES, Cut, Element, Page, in_parts, time_in


class _List(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    updated_at: str | None = None


class _Threat(msgspec.Struct, frozen=True, rename="camel"):
    threat_info: _Info


_LIST: Final = msgspec.json.Decoder(_List)
_THREAT: Final = msgspec.json.Decoder(_Threat)


class Threats:
    """The threats of one SentinelOne account."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api

    async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
        """See Source."""
        cut = Cut.at(since, place)
        return await in_parts(lambda size: self._page(cut, size, deadline), SIZES)

    async def _page(self, cut: Cut, size: int, deadline: Deadline) -> Page:
        query = {
            "updatedAt__gte": cut.since,
            "sortBy": "updatedAt",
            "sortOrder": "asc",
            "limit": str(size),
            "skip": str(cut.skip),
        }
        request = self._api.request(
            "list threats", "/web/api/v2.1/threats", query=query, max_bytes=MAX_PAGE_BYTES
        )
        found = (await self._api.read(request, deadline)).decode(_LIST).data[:size]
        elements = tuple(Element(bytes(raw), _updated(raw)) for raw in found)
        return Page(elements, cut.after([each.updated for each in elements], len(found), size))


def _updated(raw: msgspec.Raw) -> str | None:
    return time_in(bytes(raw), lambda text: _THREAT.decode(text).threat_info.updated_at)
