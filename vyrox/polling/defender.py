"""Microsoft Graph's alerts, `alerts_v2`, of Defender for Endpoint.

Graph documents no order for this list. So the whole list is read before the cursor moves. Alerts
that are changed meanwhile are added to it and never leave it, so no page skips one.

Source: Microsoft Graph, "List alerts_v2"; "Paging Microsoft Graph data". Permission:
SecurityAlert.Read.All.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from vyrox.edr.client import Deadline, ResponseTooLargeError
from vyrox.edr.transport.api import VendorApi
from vyrox.errors import VendorError
from vyrox.polling.pages import MAX_PAGE_BYTES, SIZES, Element, Page, in_parts, time_in

_PATH: Final = "/v1.0/security/alerts_v2"
_SOURCE: Final = "microsoftDefenderForEndpoint"

MAX_PLACE: Final = 4096
"""Characters of the query of a link to the next page."""


class _List(msgspec.Struct, frozen=True):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


class _Alert(msgspec.Struct, frozen=True, rename="camel"):
    last_update_date_time: str | None = None


_LIST: Final = msgspec.json.Decoder(_List)
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_ALERT: Final = msgspec.json.Decoder(_Alert)


class GraphAlerts:
    """The alerts of one directory."""

    def __init__(self, api: VendorApi) -> None:
        self._api = api

    async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
        """See Source."""
        sizes: Sequence[int] = SIZES
        if place is not None:
            query = dict(parse_qsl(place))
            try:
                return await self._page(query, deadline)
            except ResponseTooLargeError:
                # How many are asked for is part of the link, so the list begins again.
                sizes = _below(query.get("$top", ""))
                if not sizes:
                    raise
        some = {"$filter": f"lastUpdateDateTime ge {since} and serviceSource eq '{_SOURCE}'"}
        return await in_parts(lambda top: self._page({**some, "$top": str(top)}, deadline), sizes)

    async def _page(self, query: Mapping[str, str], deadline: Deadline) -> Page:
        request = self._api.request("list alerts", _PATH, query=query, max_bytes=MAX_PAGE_BYTES)
        found = (await self._api.read(request, deadline)).decode(_LIST)
        # A page may be longer than asked for, and its link leads to what is behind it.
        elements = tuple(Element(bytes(raw), _updated(raw)) for raw in found.value)
        return Page(elements, _place(found.next_link, self._api.base_url))

    async def read_one(self, alert_id: str, deadline: Deadline) -> Element:
        """Return one alert. Raises as `read`.

        Args:
            alert_id: As a path may contain it.
        """
        request = self._api.request("read alert", f"{_PATH}/{alert_id}", max_bytes=MAX_PAGE_BYTES)
        raw = (await self._api.read(request, deadline)).decode(_RAW)
        return Element(bytes(raw), _updated(raw))


def _updated(raw: msgspec.Raw) -> str | None:
    return time_in(bytes(raw), lambda text: _ALERT.decode(text).last_update_date_time)


def _below(top: str) -> Sequence[int]:
    return [size for size in SIZES if top in map(str, SIZES) and size < int(top)]


def _place(link: str | None, base_url: str) -> str | None:
    """Return the query of the link to the next page. The token goes to Graph only.

    Raises:
        VendorError: It leads elsewhere, or is too long.
    """
    if link is None:
        return None
    try:
        parts = urlsplit(link)
    except ValueError as exc:
        raise VendorError("list alerts: the link to the next page is no URL") from exc
    where = f"{parts.scheme}://{parts.netloc}{parts.path}".lower()
    is_usable = parts.query.isascii() and parts.query.isprintable()
    if where != f"{base_url}{_PATH}".lower() or len(parts.query) > MAX_PLACE or not is_usable:
        raise VendorError("list alerts: the link to the next page leads elsewhere, or is too long")
    return parts.query
