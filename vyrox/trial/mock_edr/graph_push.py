"""Microsoft Graph's side of a subscription: the handshake, and notifications.

Source: Microsoft Graph, "Receive change notifications through webhooks"; "Lifecycle notifications";
resource type `changeNotification`.
"""

import secrets
from typing import Final

import httpx

SUBSCRIPTION: Final = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07"

HANDSHAKE_S: Final = 10.0
NOTIFICATION_S: Final = 3.0
"""How long Graph waits for an answer."""

_HEADERS: Final = {"user-agent": "Microsoft Graph"}


class RefusedHandshakeError(Exception):
    """The receiver did not answer as Graph demands: there is no subscription."""


class Subscription:
    """One subscription to the alerts of a directory."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, client_state: str, directory: str
    ) -> None:
        """`url` is where notifications go; `client_state` is what each of them contains."""
        self._http = http
        self._url = url
        self._client_state = client_state
        self._directory = directory

    async def validate(self) -> None:
        """Do the handshake, as Graph does before it makes a subscription.

        Raises:
            RefusedHandshakeError: The receiver does not echo the token as plain text.
        """
        token = f"Validation: Testing client application reachability {secrets.token_hex(16)}"
        answer = await self._http.post(
            self._url,
            params={"validationToken": token},
            headers={**_HEADERS, "content-type": "text/plain; charset=utf-8"},
            timeout=HANDSHAKE_S,
        )
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if (answer.status_code, kind, answer.text) != (200, "text/plain", token):
            raise RefusedHandshakeError(f"{answer.status_code} {kind} {answer.text[:200]!r}")

    def notification(self, alert_id: str, **other: object) -> dict[str, object]:
        """Return the notification of one alert. A member of `other` that is None is left out."""
        resource = f"security/alerts_v2/{alert_id}"
        item: dict[str, object] = {
            "subscriptionId": SUBSCRIPTION,
            "subscriptionExpirationDateTime": "2026-12-20T18:23:45.9356913Z",
            "clientState": self._client_state,
            "changeType": "created",
            "resource": resource,
            "tenantId": self._directory,
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.alert",
                "@odata.id": resource,
                "id": alert_id,
            },
            **other,
        }
        return {name: value for name, value in item.items() if value is not None}

    def lifecycle(self, what: str, **other: object) -> dict[str, object]:
        """Return a notification about the subscription itself."""
        item: dict[str, object] = {
            "subscriptionId": SUBSCRIPTION,
            "subscriptionExpirationDateTime": "2026-12-20T18:23:45.9356913+00:00",
            "tenantId": self._directory,
            "clientState": self._client_state,
            "lifecycleEvent": what,
            **other,
        }
        return {name: value for name, value in item.items() if value is not None}

    async def push(self, *items: object) -> httpx.Response:
        """Send one batch; return the answer."""
        return await self._http.post(
            self._url, json={"value": items}, headers=_HEADERS, timeout=NOTIFICATION_S
        )
