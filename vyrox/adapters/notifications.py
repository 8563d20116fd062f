"""Microsoft Graph's notifications: which alert was changed, without the alert (contract 74).

Source: Microsoft Graph, "Receive change notifications through webhooks"; "Lifecycle notifications";
resource type `changeNotification`.
"""

import re
from typing import Final

import msgspec

from vyrox.adapters.decoding import one_line
from vyrox.errors import NormalizationError

MAX_ITEMS: Final = 1000
"""Notifications of one batch. More is no batch: nothing of it was authenticated."""

MAX_VALUES: Final = 100 * MAX_ITEMS
"""Commas of one batch. Its sender is not authenticated yet, and each value takes seventy bytes.
An item of Graph's has some fifteen."""

MAX_TOKEN_BYTES: Final = 1024
"""Of a validation token."""

_ALERT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
"""What a path of Graph may contain."""

_RESOURCE: Final = re.compile(
    r"/?security/alerts(?:_v2)?(?:/|\('?)([^/']+)(?:'?\))?", re.IGNORECASE
)

LIFECYCLE: Final = ("reauthorizationRequired", "subscriptionRemoved", "missed")


class _Data(msgspec.Struct, frozen=True):
    id: str | None = None


class _Notification(msgspec.Struct, frozen=True, rename="camel"):
    subscription_id: str
    client_state: str | None = None
    resource: str | None = None
    resource_data: _Data | None = None
    lifecycle_event: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    value: list[msgspec.Raw]


class Notification(msgspec.Struct, frozen=True):
    """One item of a batch, not authenticated yet.

    Attributes:
        raw: Its JSON.
        client_state: What the subscriber chose as the secret; None: it is missing.
        lifecycle: What happened to the subscription; None: an alert was changed.
    """

    raw: bytes
    subscription_id: str
    client_state: str | None
    lifecycle: str | None
    resource: str | None
    data_id: str | None

    def alert_id(self) -> str:
        """Return the id of the alert that was changed.

        Raises:
            NormalizationError: It names no alert, or its id is of no known form.
        """
        match = _RESOURCE.fullmatch(self.resource or "")
        if match is None:
            raise NormalizationError("the notification is not about an alert")
        found = self.data_id or match[1]
        if not _ALERT_ID.fullmatch(found):
            raise NormalizationError(one_line(f"not the id of an alert: {found[:64]}"))
        return found


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ITEM: Final = msgspec.json.Decoder(_Notification)


def read_batch(body: bytes) -> list[Notification] | None:
    """Return the notifications of a batch; None if `body` is not one.

    An item of another form has no `clientState`: the other items are read.
    """
    if body.count(b",") > MAX_VALUES:
        return None
    try:
        raws = _ENVELOPE.decode(body).value
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    if len(raws) > MAX_ITEMS:
        return None
    items = [_notification(bytes(raw)) for raw in raws]
    return items if any(each.subscription_id for each in items) else None


def _notification(raw: bytes) -> Notification:
    try:
        item = _ITEM.decode(raw)
    except (ValueError, RecursionError):
        item = _Notification("")
    data_id = None if item.resource_data is None else item.resource_data.id
    return Notification(
        raw, item.subscription_id, item.client_state, item.lifecycle_event, item.resource, data_id
    )


def token_in(values: list[str]) -> bytes | None:
    """Return the validation token to be echoed; None if it is not one, or not the only one."""
    if len(values) != 1 or len(values[0]) > MAX_TOKEN_BYTES:
        return None
    token = values[0]
    return token.encode() if token and token.isascii() and token.isprintable() else None
