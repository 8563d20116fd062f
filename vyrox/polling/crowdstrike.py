"""CrowdStrike's Alerts API, version 2: the ids of what has changed, then these alerts.

Source: CrowdStrike's swagger, as gofalcon and falconpy carry it: `GetQueriesAlertsV2`,
`PostEntitiesAlertsV2`. Permission: Alerts, read.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from vyrox.edr.client import Deadline
from vyrox.edr.crowdstrike.envelope import Page as Envelope
from vyrox.edr.crowdstrike.envelope import resources
from vyrox.edr.transport.api import VendorApi
from vyrox.polling.pages import (
    MAX_PAGE_BYTES,
    SIZES,
    Cut,
    Element,
    Page,
    in_parts,
    text_in,
    time_in,
)


class _Alert(msgspec.Struct, frozen=True):
    composite_id: str | None = None
    updated_timestamp: str | None = None


_IDS: Final = msgspec.json.Decoder(Envelope[str])
_ENTITIES: Final = msgspec.json.Decoder(Envelope[msgspec.Raw])
_ALERT: Final = msgspec.json.Decoder(_Alert)


class FalconAlerts:
    """The alerts of one Falcon tenant."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api

    async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
        """See Source."""
        cut = Cut.at(since, place)
        return await in_parts(lambda size: self._page(cut, size, deadline), SIZES)

    async def _page(self, cut: Cut, size: int, deadline: Deadline) -> Page:
        ids = await self._list(cut, size, deadline)
        if not ids:
            return Page((), None)
        request = self._api.request(
            "read alerts",
            "/alerts/entities/alerts/v2",
            body={"composite_ids": ids},
            max_bytes=MAX_PAGE_BYTES,
        )
        raws = resources(await self._api.read(request, deadline), _ENTITIES)
        elements = [Element(bytes(raw), _updated(raw)) for raw in raws[:size]]
        place_of = {each: number for number, each in enumerate(ids)}
        elements.sort(key=lambda each: _rank(each, place_of))
        next_place = cut.after([each.updated for each in elements], len(ids), size)
        if next_place is not None and await self._list(cut, size, deadline) != ids:
            # One of them was changed between the two calls. Its time may be later than that of
            # others which were not listed yet, and the next page would skip these.
            next_place = cut.place
        return Page(tuple(elements), next_place)

    async def _list(self, cut: Cut, size: int, deadline: Deadline) -> list[str]:
        query = {
            "filter": f"updated_timestamp:>='{cut.since}'",
            "sort": "updated_timestamp|asc",
            "limit": str(size),
            "offset": str(cut.skip),
        }
        request = self._api.request("list alerts", "/alerts/queries/alerts/v2", query=query)
        return resources(await self._api.read(request, deadline), _IDS)[:size]


def _updated(raw: msgspec.Raw) -> str | None:
    return time_in(bytes(raw), lambda text: _ALERT.decode(text).updated_timestamp)


def _rank(element: Element, place_of: Mapping[str, int]) -> int:
    """Return the alert's place in the list of ids, which is in order of change."""
    found = text_in(element.raw, lambda text: _ALERT.decode(text).composite_id)
    return place_of.get(found or "", -1)
